//! The other side of many checks, as cheap as can be since it shares the machine: a site that answers any host name in one write, and
//! a name server that knows every name. Both on threads of their own, so that the runtime of the bench does not delay them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::sync_channel;
use std::thread;

use local::certificate::Authority;
use local::site::{Response, Site};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Of all sites. Each is called after its target: `t1.example.test`.
pub(crate) const DOMAIN: &str = "example.test";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\nall is well here now";
/// A burst of connections that nobody has taken yet.
const BACKLOG: u32 = 4096;
/// The head of a DNS message; the question stands behind it.
const DNS_HEAD: usize = 12;
const TYPE_A: u16 = 1;

/// A site and a name server, for as long as this process lives.
pub(crate) struct Counterpart {
    port: u16,
    /// The name server's address.
    pub(crate) dns: SocketAddr,
    secure: Option<Authority>,
}

impl Counterpart {
    /// The site's scheme and port; every host name leads to it.
    pub(crate) fn site(&self) -> (&'static str, u16) {
        (if self.secure.is_some() { "https" } else { "http" }, self.port)
    }

    /// The certificate that is to be trusted beside the system's; empty for none.
    pub(crate) fn ca_file(&self) -> String {
        self.secure.as_ref().map_or_else(String::new, |authority| authority.ca_file().display().to_string())
    }

    /// One without TLS.
    pub(crate) fn start() -> io::Result<Self> {
        let site = TcpSocket::new_v4()?;
        site.set_reuseaddr(true)?;
        site.bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let port = site.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        thread::spawn(move || runtime.block_on(serve(site)));
        Ok(Self { port, dns: name_server(250)?, secure: None })
    }

    /// One with TLS and a P-256 key.
    pub(crate) fn start_tls() -> io::Result<Self> {
        let authority = Authority::new()?;
        let identity = authority.valid(&[&format!("*.{DOMAIN}")]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (here, listening) = sync_channel(1);
        thread::spawn(move || {
            runtime.block_on(async {
                let site = Site::start_tls(Response::ok("all is well here now").into(), &identity).await;
                let _ = here.send(site.as_ref().map(Site::addr).map_err(io::Error::kind));
                // It serves for as long as it is held.
                std::future::pending::<()>().await;
            });
        });
        let address = listening.recv().map_err(io::Error::other)?.map_err(io::Error::from)?;
        Ok(Self { port: address.port(), dns: name_server(1)?, secure: Some(authority) })
    }
}

fn name_server(hosts: u8) -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    thread::spawn(move || answer_names(&socket, hosts));
    Ok(address)
}

async fn serve(socket: TcpSocket) -> io::Result<()> {
    let listener = socket.listen(BACKLOG)?;
    let mut visits = tokio::task::JoinSet::new();
    loop {
        // The only failures to accept are a client's haste and a lack of descriptors; both pass.
        if let Ok((stream, _)) = listener.accept().await {
            visits.spawn(async move {
                let _ = visit(stream).await;
            });
        }
        while visits.try_join_next().is_some() {}
    }
}

/// One request, which has no body and fits a read, and its answer.
async fn visit(mut stream: TcpStream) -> io::Result<()> {
    let mut request = [0; 2048];
    if stream.read(&mut request).await? > 0 {
        stream.write_all(ANSWER).await?;
    }
    Ok(())
}

fn answer_names(socket: &UdpSocket, hosts: u8) {
    let mut message = [0; 512];
    loop {
        // An error here is about an earlier reply that found nobody, and no reason to stop.
        let Ok((length, peer)) = socket.recv_from(&mut message) else { continue };
        if let Some(reply) = reply(&message[..length], hosts) {
            let _ = socket.send_to(&reply, peer);
        }
    }
}

/// Every name has one IPv4 address, one of so many loopback addresses: a single one may run out of ports.
fn reply(query: &[u8], hosts: u8) -> Option<Vec<u8>> {
    let name = query.get(DNS_HEAD..)?;
    let end = DNS_HEAD + name.iter().position(|byte| *byte == 0)? + 5;
    let question = query.get(DNS_HEAD..end)?;
    let asked = u16::from_be_bytes(question.last_chunk::<4>()?.first_chunk::<2>().copied()?);
    let answers = u8::from(asked == TYPE_A);
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(question);
    if answers == 1 {
        let host = question.iter().fold(1_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)) % hosts + 1;
        // A pointer to the name, type A, class IN, TTL of a second, four bytes.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, host]);
    }
    Some(reply)
}
