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
    /// Makes of each question what it likes.
    Scripted(Script),
}

/// Makes a reply of a question, or none. It is told how often the name was asked for before, and whether this came over TCP.
pub type Script = fn(&Message, u64, bool) -> Option<Message>;

/// An empty reply to a question, as a script begins with one.
pub fn reply_to(query: &Message) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(query.queries.iter().cloned());
    reply
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
    tasks: Mutex<JoinSet<()>>,
}

/// The names, in lower case and without the last dot, and how often each was asked for.
#[derive(Default)]
struct Zone {
    to_all: Mutex<Option<Answer>>,
    answers: Mutex<HashMap<String, Answer>>,
    queries: Mutex<HashMap<String, u64>>,
}

impl DnsServer {
    /// Starts a server on a free port.
    pub async fn start<N: Into<String>>(names: impl IntoIterator<Item = (N, Answer)>) -> io::Result<DnsServer> {
        let (udp, tcp) = bind().await?;
        let address = udp.local_addr()?;
        let server = DnsServer { address, zone: Arc::default(), tasks: Mutex::default() };
        server.serve(udp, tcp);
        for (name, answer) in names {
            server.set(name, answer);
        }
        Ok(server)
    }

    fn serve(&self, udp: UdpSocket, tcp: TcpListener) {
        let mut tasks = held(&self.tasks);
        tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&self.zone)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&self.zone)));
    }

    /// Gives all names, the root as well, one answer, or each its own again.
    pub fn set_all(&self, answer: Option<Answer>) {
        *held(&self.zone.to_all) = answer;
    }

    /// Closes the port, so that whoever asks is told that nobody is there.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *held(&self.tasks));
        tasks.shutdown().await;
    }

    /// Listens again on the port that was closed.
    ///
    /// # Errors
    /// Another has the port now.
    pub async fn reopen(&self) -> io::Result<()> {
        let (udp, tcp) = (UdpSocket::bind(self.address).await?, TcpListener::bind(self.address).await?);
        self.serve(udp, tcp);
        Ok(())
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
        let labels: Vec<_> = name.iter().map(String::from_utf8_lossy).collect();
        let name = labels.join(".").to_ascii_lowercase();
        let answer = held(&self.to_all).clone().or_else(|| held(&self.answers).get(&name).cloned());
        let mut queries = held(&self.queries);
        let asked = queries.entry(name).or_default();
        *asked += 1;
        (*asked - 1, answer)
    }

    /// The reply to one datagram, after the delay that the name has; none where silence is what was asked for.
    async fn reply(&self, datagram: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(datagram).ok()?;
        let question = query.queries.first()?.clone();
        let mut reply = reply_to(&query);
        let mut addresses = Vec::new();
        let (asked, answer) = self.ask(question.name());
        match answer {
            None => reply.metadata.response_code = ResponseCode::NXDomain,
            Some(Answer::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
            Some(Answer::Refused) => reply.metadata.response_code = ResponseCode::Refused,
            Some(Answer::Silent) => return None,
            Some(Answer::Scripted(script)) => return script(&query, asked, tcp)?.to_vec().ok(),
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
            if let Some(reply) = zone.reply(&query, false).await {
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
        if let Some(reply) = zone.reply(&query, true).await {
            stream.write_u16(u16::try_from(reply.len()).unwrap_or(u16::MAX)).await?;
            stream.write_all(&reply).await?;
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
