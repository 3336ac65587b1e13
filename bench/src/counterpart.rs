//! The other side of many checks, as cheap as can be since it shares the machine: a site that answers any host name in one write, and
//! a name server that knows every name. Both on threads of their own, so that the runtime of the bench does not delay them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use local::certificate::Authority;
use tokio::net::TcpSocket;

use crate::site::serve;

/// Of all sites. Each is called after its target: `t1.example.test`.
pub(crate) const DOMAIN: &str = "example.test";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\nall is well here now";
/// A burst of connections that nobody has taken yet.
const BACKLOG: u32 = 4096;
/// How many loopback addresses the names share: a single one may run out of ports.
const HOSTS: u8 = 250;
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

    /// A site, with TLS and a P-256 key if so wanted.
    pub(crate) fn start(tls: bool) -> io::Result<Self> {
        let secure = tls.then(Authority::new).transpose()?;
        let acceptor = secure.as_ref().map(|authority| authority.valid(&[&format!("*.{DOMAIN}")]).acceptor());
        let site = TcpSocket::new_v4()?;
        site.set_reuseaddr(true)?;
        site.bind((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let port = site.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                serve(site.listen(BACKLOG)?, acceptor, ANSWER.into()).await;
                io::Result::Ok(())
            })
        });
        Ok(Self { port, dns: name_server()?, secure })
    }
}

fn name_server() -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = socket.local_addr()?;
    thread::spawn(move || answer_names(&socket));
    Ok(address)
}

fn answer_names(socket: &UdpSocket) {
    let mut message = [0; 512];
    loop {
        // An error here is about an earlier reply that found nobody, and no reason to stop.
        let Ok((length, peer)) = socket.recv_from(&mut message) else { continue };
        if let Some(reply) = reply(&message[..length]) {
            let _ = socket.send_to(&reply, peer);
        }
    }
}

/// Every name has one IPv4 address.
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let name = query.get(DNS_HEAD..)?;
    let end = DNS_HEAD + name.iter().position(|byte| *byte == 0)? + 5;
    let question = query.get(DNS_HEAD..end)?;
    let asked = u16::from_be_bytes(question.last_chunk::<4>()?.first_chunk::<2>().copied()?);
    let answers = u8::from(asked == TYPE_A);
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(question);
    if answers == 1 {
        let host = question.iter().fold(1_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte)) % HOSTS + 1;
        // A pointer to the name, type A, class IN, TTL of a second, four bytes.
        reply.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, host]);
    }
    Some(reply)
}
