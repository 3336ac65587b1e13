//! One name server, asked one question by one datagram, or over TCP where a datagram cannot hold the answer. It waits for as long as it is
//! let: patience, repetition and judgement are the asker's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::message::{MAX_ALIASES, Nothing, Question, Said, Why, is_about_extension, read};
use crate::probe::ours::{Ours, ours};

/// The most that a datagram can hold. Some send more than they were asked for.
const MAX_DATAGRAM: usize = u16::MAX as usize;

/// How a question is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    /// With EDNS, which lets a datagram hold more than 512 bytes.
    Extended,
    /// As in 1987: some drop what they do not know.
    Plain,
    /// Some networks let no datagrams through.
    Tcp,
}

/// What came of a question.
#[derive(Debug)]
pub(super) enum Reply {
    Said(Said),
    /// Nobody is there, or there is no way to him.
    Nobody(io::Error),
    /// This machine has no descriptor or the like to ask with.
    NoResources(io::Error),
}

/// Asks for a name's addresses of one family; an alias that the reply leaves open is asked for, too.
pub(super) async fn ask(server: SocketAddr, name: &Name, kind: RecordType, way: Way) -> Reply {
    let mut at = name.clone();
    for _ in 0..MAX_ALIASES {
        let message = match exchange(server, &at, kind, way).await {
            Ok(message) => message,
            Err(error) if matches!(ours(&error), Some(Ours::Exhausted)) => return Reply::NoResources(error),
            Err(error) => return Reply::Nobody(error),
        };
        match read(&message, &at, kind) {
            Said::Alias(alias) => at = alias,
            Said::Nothing(Nothing { alias_of: None, why }) if at != *name => {
                return Reply::Said(Said::Nothing(Nothing { alias_of: Some(at), why }));
            }
            said => return Reply::Said(said),
        }
    }
    Reply::Said(Said::Nothing(Nothing { alias_of: Some(at), why: Why::Endless }))
}

/// Whether a server answers the question that every server can answer.
pub(super) async fn is_alive(server: SocketAddr, way: Way) -> Reply {
    match exchange(server, &Name::root(), RecordType::NS, way).await {
        Ok(message) => Reply::Said(match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => Said::Addresses(Vec::new()),
            code => Said::Refusal(code),
        }),
        Err(error) => Reply::Nobody(error),
    }
}

async fn exchange(server: SocketAddr, name: &Name, kind: RecordType, way: Way) -> io::Result<Message> {
    if way == Way::Tcp {
        return over_tcp(server, name, kind).await;
    }
    let mut message = over_udp(server, name, kind, way == Way::Extended).await?;
    if way == Way::Extended
        && message.as_ref().is_some_and(|message| is_about_extension(message.metadata.response_code))
    {
        message = over_udp(server, name, kind, false).await?;
    }
    match message {
        Some(message) if !message.metadata.truncation || kind == RecordType::NS => Ok(message),
        // Some cut their answers and have no TCP. A part of the addresses is better than none.
        Some(part) => over_tcp(server, name, kind).await.or_else(|error| match read(&part, name, kind) {
            Said::Addresses(_) => Ok(part),
            _ => Err(error),
        }),
        None => over_tcp(server, name, kind).await,
    }
}

/// The reply to one datagram; `None` for one that cannot be read.
async fn over_udp(server: SocketAddr, name: &Name, kind: RecordType, extended: bool) -> io::Result<Option<Message>> {
    let question = Question::new(name, kind, extended).ok_or(io::ErrorKind::InvalidInput)?;
    let any = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind::<SocketAddr>(any).await?;
    // So the kernel takes nobody else's datagrams, and tells when nobody is there.
    socket.connect(server).await?;
    socket.send(&question.bytes).await?;
    loop {
        socket.readable().await?;
        let mut datagram = Vec::with_capacity(MAX_DATAGRAM);
        match socket.try_recv_buf(&mut datagram) {
            Ok(_) if !question.is_answered_by(&datagram) => {}
            Ok(_) => match Message::from_vec(&datagram) {
                Ok(message) if question.is_of(&message) => return Ok(Some(message)),
                Ok(_) => {}
                Err(_) => return Ok(None),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn over_tcp(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let question = Question::new(name, kind, false).ok_or(io::ErrorKind::InvalidInput)?;
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), question.bytes.as_slice()].concat()).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    match Message::from_vec(&reply) {
        Ok(message) if question.is_of(&message) => Ok(message),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "its reply cannot be read")),
    }
}
