//! DNS, uncached: name servers asked one after the other, so that who answered what is known.
//!
//! A name server that answers says something about the name. One that is silent may be dead, and one that answers with an error may have
//! lost those that it asks; then a question that every name server can answer, for the root zone, tells whether that is about the name
//! or about us.

mod sockets;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf;
use shared::config::Fault;
use tokio::time::Instant;

use super::micros;
use super::ours::is_ours;
use crate::settings::{Dns, Family};
use sockets::Sockets;

/// What became of a lookup.
#[derive(Debug)]
pub(super) enum Resolved {
    /// The first address of the preferred family.
    Address(IpAddr),
    /// The name has no address, or its own name servers fail.
    Failed(String),
    /// No name server answers anything, or anything but errors.
    Unreachable(String),
    /// This machine has no descriptor or the like for a question.
    NoResources(String),
}

#[derive(Debug)]
pub(super) struct Resolver {
    servers: Vec<Server>,
    families: &'static [RecordType],
    search: bool,
    began: Instant,
}

#[derive(Debug)]
struct Server {
    address: String,
    resolver: hickory_resolver::Resolver<Sockets>,
    sockets: Sockets,
    /// When it last answered anything, in microseconds since the resolver began; 0 for never.
    answered: AtomicU64,
}

/// What one name server said to one question.
enum Answer {
    Address(IpAddr),
    /// The name exists, without an address of this family.
    NoData,
    NoSuchName,
    Refusal(ResponseCode),
    Silence(String),
    NoResources(String),
}

impl Resolver {
    pub(super) fn new(settings: &Dns) -> Result<Self, Fault> {
        let (system, options) = system_conf::read_system_conf().unwrap_or_default();
        let name_servers: Vec<NameServerConfig> = if settings.servers.is_empty() {
            system.name_servers().to_vec()
        } else {
            settings
                .servers
                .iter()
                .enumerate()
                .map(|(index, text)| parse_server(index, text))
                .collect::<Result<_, _>>()?
        };
        if name_servers.is_empty() {
            return Err(Fault::new("dns.servers", "is empty, and /etc/resolv.conf names no server"));
        }
        let options = adapt(options, settings.timeout);
        let server = |name_server: NameServerConfig| {
            let port = name_server.connections.first().map_or(53, |connection| connection.port);
            let address = SocketAddr::new(name_server.ip, port).to_string();
            let config =
                ResolverConfig::from_parts(system.domain().cloned(), system.search().to_vec(), vec![name_server]);
            let sockets = Sockets::default();
            let resolver = hickory_resolver::Resolver::builder_with_config(config, sockets.clone())
                .with_options(options.clone())
                .build()
                .map_err(|error| Fault::new("dns", format!("the resolver cannot be set up: {error}")))?;
            Ok(Server { address, resolver, sockets, answered: AtomicU64::new(0) })
        };
        Ok(Self {
            servers: name_servers.into_iter().map(server).collect::<Result<_, _>>()?,
            families: match settings.prefer {
                Family::Ipv4 => &[RecordType::A, RecordType::AAAA],
                Family::Ipv6 => &[RecordType::AAAA, RecordType::A],
                Family::Ipv4Only => &[RecordType::A],
                Family::Ipv6Only => &[RecordType::AAAA],
            },
            search: settings.search,
            began: Instant::now(),
        })
    }

    /// Resolves a host name.
    pub(super) async fn resolve(&self, host: &str) -> Resolved {
        let Ok(mut name) = Name::from_utf8(host) else {
            return Resolved::Failed(format!("{host} is no domain name"));
        };
        // Without the root at its end a name is also tried with the search domains.
        name.set_fqdn(!self.search && host.trim_end_matches('.').contains('.') || host.ends_with('.'));
        let mut refusal = None;
        for family in self.families {
            match self.ask(&name, *family).await {
                Answer::Address(address) => return Resolved::Address(address),
                Answer::NoData => {}
                Answer::NoSuchName => return Resolved::Failed(format!("{host} does not exist (NXDOMAIN)")),
                // Some have trouble with one family only.
                Answer::Refusal(code) => refusal = Some(code),
                Answer::NoResources(error) => return Resolved::NoResources(error),
                Answer::Silence(servers) if self.is_anyone_alive().await => {
                    return Resolved::Failed(format!(
                        "no answer for {host} from {servers}, which answer other questions"
                    ));
                }
                Answer::Silence(servers) => return Resolved::Unreachable(format!("no answer from {servers}")),
            }
        }
        match refusal {
            None => Resolved::Failed(format!("{host} has no address of the wanted family")),
            Some(code) if self.is_anyone_alive().await => {
                Resolved::Failed(format!("name servers answer {code} for {host}"))
            }
            Some(code) => {
                Resolved::Unreachable(format!("name servers answer {code} for {host}, and for the root, too"))
            }
        }
    }

    /// Asks the name servers in order until one gives an answer that the others would give, too.
    async fn ask(&self, name: &Name, family: RecordType) -> Answer {
        let mut refusal = None;
        for server in &self.servers {
            match server.ask(name, family).await {
                Answer::Silence(_) => continue,
                // The question never left this machine: it says nothing about the server.
                answer @ Answer::NoResources(_) => return answer,
                Answer::Refusal(code) => refusal = Some(code),
                answer => {
                    self.note_answer(server);
                    return answer;
                }
            }
            self.note_answer(server);
        }
        match refusal {
            Some(code) => Answer::Refusal(code),
            None => {
                let addresses: Vec<&str> = self.servers.iter().map(|server| server.address.as_str()).collect();
                Answer::Silence(addresses.join(", "))
            }
        }
    }

    fn note_answer(&self, server: &Server) {
        server.answered.store(micros(self.began.elapsed()).max(1), Ordering::Relaxed);
    }

    /// Whether any name server has answered anything since then.
    pub(super) fn has_answered_since(&self, then: Instant) -> bool {
        let then = micros(then.saturating_duration_since(self.began));
        self.servers.iter().any(|server| server.answered.load(Ordering::Relaxed) > then)
    }

    /// Whether any name server can answer anything now. An earlier answer says nothing: the network may have failed since.
    async fn is_anyone_alive(&self) -> bool {
        for server in &self.servers {
            match server.ask(&Name::root(), RecordType::NS).await {
                Answer::Address(_) | Answer::NoData | Answer::NoSuchName => {
                    self.note_answer(server);
                    return true;
                }
                Answer::Refusal(_) | Answer::Silence(_) | Answer::NoResources(_) => {}
            }
        }
        false
    }
}

impl Server {
    async fn ask(&self, name: &Name, family: RecordType) -> Answer {
        let asked = Instant::now();
        match self.resolver.lookup(name.clone(), family).await {
            Ok(lookup) => first_address(&lookup).map_or(Answer::NoData, Answer::Address),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => Answer::NoSuchName,
                ResponseCode::NoError => Answer::NoData,
                code => Answer::Refusal(code),
            },
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Answer::Refusal(code),
            Err(error) => match self.sockets.refused_since(asked) {
                Some(why) => Answer::NoResources(why),
                None => Answer::Silence(error.to_string()),
            },
        }
    }
}

fn first_address(lookup: &Lookup) -> Option<IpAddr> {
    lookup.answers().iter().find_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    })
}

/// The system's options without what hides things: caches, retries, races.
fn adapt(mut options: ResolverOpts, timeout: Duration) -> ResolverOpts {
    options.cache_size = 0;
    options.attempts = 0;
    options.num_concurrent_reqs = 1;
    options.timeout = timeout;
    options
}

fn parse_server(index: usize, text: &str) -> Result<NameServerConfig, Fault> {
    let address = match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(address), _) => address,
        (_, Ok(ip)) => SocketAddr::new(ip, 53),
        _ => {
            let expected = format!("expected an address such as 1.1.1.1 or [::1]:5353, found {text:?}");
            return Err(Fault::new(format!("dns.servers[{index}]"), expected));
        }
    };
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    Ok(NameServerConfig::new(address.ip(), true, connections))
}
