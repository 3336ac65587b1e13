//! A small DNS server: names of our own, and names that misbehave, over UDP and TCP on one loopback port.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

const TTL_SECONDS: u32 = 1;
/// How often a port that UDP got and TCP did not is given up for another.
const PORT_ATTEMPTS: u32 = 20;

/// What the server does when asked for a name. A name that it has not been told of does not exist (NXDOMAIN).
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answers with the addresses of the family asked for, or with none.
    Addresses(Vec<IpAddr>),
    /// Answers the first question with one address, and all others with another.
    Rebinding(IpAddr, IpAddr),
    /// Answers the same, but late.
    Delayed(Duration, Vec<IpAddr>),
    /// Never answers.
    Silent,
    /// Answers with one address, and SERVFAIL when asked for the other family.
    OnlyOf(IpAddr),
    /// Answers SERVFAIL.
    ServFail,
    /// Answers REFUSED.
    Refused,
}

impl From<IpAddr> for Answer {
    fn from(address: IpAddr) -> Answer {
        Answer::Addresses(vec![address])
    }
}

/// A running server; it stops when this is dropped.
pub struct DnsServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    _tasks: JoinSet<()>,
}

/// The names, in lower case and without the last dot, and how often each was asked for.
#[derive(Default)]
struct Zone {
    answers: Mutex<HashMap<String, Answer>>,
    queries: Mutex<HashMap<String, u64>>,
}

impl DnsServer {
    /// Starts a server on a free port.
    pub async fn start<N: Into<String>>(names: impl IntoIterator<Item = (N, Answer)>) -> io::Result<DnsServer> {
        let (udp, tcp) = bind().await?;
        let address = udp.local_addr()?;
        let zone = Arc::new(Zone::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&zone)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&zone)));
        let server = DnsServer { address, zone, _tasks: tasks };
        for (name, answer) in names {
            server.set(name, answer);
        }
        Ok(server)
    }

    /// Where the server listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Gives a name another answer from now on, or makes it known.
    pub fn set(&self, name: impl Into<String>, answer: Answer) {
        held(&self.zone.answers).insert(name.into().to_ascii_lowercase(), answer);
    }

    /// Makes a name unknown.
    pub fn remove(&self, name: &str) {
        held(&self.zone.answers).remove(&name.to_ascii_lowercase());
    }

    /// How many queries there have been for a name, of whatever type.
    pub fn queries(&self, name: &str) -> u64 {
        held(&self.zone.queries).get(&name.to_ascii_lowercase()).copied().unwrap_or(0)
    }
}

impl Zone {
    /// Looks the answer up, and how often it was given before.
    fn ask(&self, name: &Name) -> (u64, Option<Answer>) {
        let name = name.to_ascii();
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let answer = held(&self.answers).get(&name).cloned();
        let mut queries = held(&self.queries);
        let asked = queries.entry(name).or_default();
        *asked += 1;
        (*asked - 1, answer)
    }

    /// The reply to one datagram, after the delay that the name has; none where silence is what was asked for.
    async fn reply(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let query = Message::from_vec(datagram).ok()?;
        let question = query.queries.first()?.clone();
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.metadata.recursion_desired = query.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        let mut addresses = Vec::new();
        let (asked, answer) = self.ask(question.name());
        match answer {
            None => reply.metadata.response_code = ResponseCode::NXDomain,
            Some(Answer::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
            Some(Answer::Refused) => reply.metadata.response_code = ResponseCode::Refused,
            Some(Answer::Silent) => return None,
            Some(Answer::OnlyOf(known)) if data(known, question.query_type()).is_none() => {
                reply.metadata.response_code = ResponseCode::ServFail;
            }
            Some(Answer::OnlyOf(known)) => addresses = vec![known],
            Some(Answer::Addresses(known)) => addresses = known,
            Some(Answer::Rebinding(first, then)) => addresses = vec![if asked == 0 { first } else { then }],
            Some(Answer::Delayed(delay, known)) => {
                tokio::time::sleep(delay).await;
                addresses = known;
            }
        }
        for data in addresses.into_iter().filter_map(|address| data(address, question.query_type())) {
            reply.add_answer(Record::from_rdata(question.name().clone(), TTL_SECONDS, data));
        }
        reply.add_query(question);
        reply.to_vec().ok()
    }
}

fn data(address: IpAddr, wanted: RecordType) -> Option<RData> {
    match (address, wanted) {
        (IpAddr::V4(address), RecordType::A) => Some(RData::A(address.into())),
        (IpAddr::V6(address), RecordType::AAAA) => Some(RData::AAAA(address.into())),
        _ => None,
    }
}

async fn bind() -> io::Result<(UdpSocket, TcpListener)> {
    for _ in 1..PORT_ATTEMPTS {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        if let Ok(tcp) = TcpListener::bind(udp.local_addr()?).await {
            return Ok((udp, tcp));
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

async fn serve_udp(socket: Arc<UdpSocket>, zone: Arc<Zone>) {
    let mut replies = JoinSet::new();
    let mut datagram = [0; 4096];
    loop {
        // An error here is about an earlier reply that found nobody, and no reason to stop.
        let Ok((length, peer)) = socket.recv_from(&mut datagram).await else { continue };
        let (query, socket, zone) = (datagram[..length].to_vec(), Arc::clone(&socket), Arc::clone(&zone));
        replies.spawn(async move {
            if let Some(reply) = zone.reply(&query).await {
                let _ = socket.send_to(&reply, peer).await;
            }
        });
        while replies.try_join_next().is_some() {}
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let zone = Arc::clone(&zone);
        connections.spawn(async move {
            // A client that goes away in the middle has no use for an error.
            let _ = serve_connection(stream, &zone).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(mut stream: TcpStream, zone: &Zone) -> io::Result<()> {
    loop {
        let mut query = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut query).await?;
        if let Some(reply) = zone.reply(&query).await {
            stream.write_u16(u16::try_from(reply.len()).unwrap_or(u16::MAX)).await?;
            stream.write_all(&reply).await?;
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
