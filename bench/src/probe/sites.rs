//! What all of them probe: one page over HTTP and over TLS, and the names of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use local::certificate::{Authority, Kind};
use local::dns::{Answer, DnsServer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::site::serve;

/// How many names there are. Each has an address of its own: the ports towards a single one would soon be used up.
pub(crate) const HOSTS: u32 = 100;
/// What the page is searched for.
pub(crate) const PATTERN: &str = r"You\s+may\s+use";
const PAGE_BYTES: usize = 1256;
const DOMAIN: &str = "bench.test";

/// How a site is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scheme {
    /// Without TLS.
    Http,
    /// With an RSA-2048 certificate under RSA-2048.
    Rsa,
    /// With a P-256 certificate under P-384.
    Ec,
}

impl Scheme {
    pub(crate) const ALL: [Self; 3] = [Self::Http, Self::Rsa, Self::Ec];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Rsa => "HTTPS, RSA-2048",
            Self::Ec => "HTTPS, P-256 under P-384",
        }
    }

    pub(crate) fn is_tls(self) -> bool {
        self != Self::Http
    }
}

/// The sites, their name server and their roots; all end with it.
pub(crate) struct Sites {
    dns: DnsServer,
    /// Of the two chains.
    authorities: [Authority; 2],
    ports: [u16; 3],
    _serving: JoinSet<()>,
}

/// The name of a host.
pub(crate) fn host(index: u32) -> String {
    format!("host-{index}.{DOMAIN}")
}

/// Its address.
pub(crate) fn address(index: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 1).to_bits() + index))
}

impl Sites {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let page: Arc<[u8]> = page().into();
        let (rsa, ec) = (Authority::with_intermediate(Kind::Rsa2048)?, Authority::with_intermediate(Kind::P384)?);
        let (any_host, first) = (format!("*.{DOMAIN}"), address(0).to_string());
        let names = [any_host.as_str(), &first];
        let identities = [None, Some(rsa.of_kind(&names, Kind::Rsa2048)), Some(ec.of_kind(&names, Kind::P256))];
        let mut serving = JoinSet::new();
        let mut ports = [0; 3];
        for (port, identity) in ports.iter_mut().zip(identities) {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
            *port = listener.local_addr()?.port();
            serving.spawn(serve(listener, identity.map(|identity| identity.acceptor()), page.clone()));
        }
        let dns = DnsServer::start((0..HOSTS).map(|index| (host(index), Answer::from(address(index))))).await?;
        Ok(Self { dns, authorities: [rsa, ec], ports, _serving: serving })
    }

    /// Where names are known.
    pub(crate) fn dns(&self) -> SocketAddr {
        self.dns.addr()
    }

    /// The root of a scheme's chain; without TLS, just any.
    pub(crate) fn ca_file(&self, scheme: Scheme) -> PathBuf {
        let [rsa, ec] = &self.authorities;
        if scheme == Scheme::Rsa { rsa.ca_file() } else { ec.ca_file() }
    }

    pub(crate) fn port(&self, scheme: Scheme) -> u16 {
        match scheme {
            Scheme::Http => self.ports[0],
            Scheme::Rsa => self.ports[1],
            Scheme::Ec => self.ports[2],
        }
    }

    pub(crate) fn url(&self, scheme: Scheme, host: &str) -> String {
        let name = if scheme.is_tls() { "https" } else { "http" };
        format!("{name}://{host}:{}/", self.port(scheme))
    }
}

fn page() -> Vec<u8> {
    let mut body = "<!doctype html><title>Example</title><p>".to_owned();
    while body.len() < PAGE_BYTES - 100 {
        body.push_str("This domain is for use in examples. ");
    }
    body.push_str("You may use it without asking.</p>\n");
    let body = format!("{body:<PAGE_BYTES$}");
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
