//! DNS, uncached: each lookup asks for itself, so that what it learns is about now.
//!
//! A name server that answers says something about the name. One that is silent may be dead, and one that answers with an error may have
//! lost those that it asks; then a question that every name server can answer, for the root zone, tells whether that is about the name
//! or about us: see [`lookup`].

mod lookup;
mod message;
mod server;
mod system;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::rr::{Name, RecordType};
use shared::config::Fault;
use tokio::time::Instant;

use crate::settings::{Dns, Family};
use lookup::Lookup;
use system::{Conf, Hosts};

/// What became of a lookup.
#[derive(Debug)]
pub(super) enum Resolved {
    /// The addresses of one family, as the answer has them.
    Addresses(Vec<IpAddr>),
    /// The name has no address.
    Nothing(String),
    /// Its own name servers fail.
    Failed(String),
    /// No name server answers anything, or anything but errors.
    Unreachable(String),
    /// This machine has no descriptor or the like for a question.
    NoResources(String),
}

#[derive(Debug)]
pub(super) struct Resolver {
    servers: Vec<SocketAddr>,
    /// Why there are none, if so.
    unknown: Option<String>,
    hosts: Hosts,
    families: &'static [RecordType],
    search: Vec<Name>,
    /// With fewer dots a name is tried with the search domains first; `None` if one with a dot is not tried with them at all.
    ndots: Option<usize>,
    timeout: Duration,
}

impl Resolver {
    pub(super) fn new(settings: &Dns) -> Result<Self, Fault> {
        let (Conf { servers: system, search, ndots }, unread) = system::conf();
        let configured = settings.servers.iter().enumerate().map(|(index, text)| parse_server(index, text));
        let configured = configured.collect::<Result<Vec<_>, _>>()?;
        let addresses = if configured.is_empty() { system } else { configured };
        let why = unread.map_or_else(|| "names none".to_owned(), |error| format!("cannot be read: {error}"));
        let resolver = Self {
            unknown: addresses.is_empty().then(|| format!("no name server is known: /etc/resolv.conf {why}")),
            servers: addresses,
            hosts: system::hosts(),
            families: match settings.prefer {
                Family::Ipv4 => &[RecordType::A, RecordType::AAAA],
                Family::Ipv6 => &[RecordType::AAAA, RecordType::A],
                Family::Ipv4Only => &[RecordType::A],
                Family::Ipv6Only => &[RecordType::AAAA],
            },
            search,
            ndots: settings.search.then_some(ndots),
            timeout: settings.timeout,
        };
        if let Some(unknown) = &resolver.unknown {
            tracing::warn!("{unknown}; only addresses and names of /etc/hosts can be checked");
        }
        Ok(resolver)
    }

    /// Resolves a host name to the addresses of the preferred family, or of the other one where there is none.
    pub(super) async fn resolve(&self, host: &str, until: Instant) -> Resolved {
        self.look_up(host, self.families, until).await
    }

    /// The addresses of the family that this one is not of, or why nobody could say whether there are any.
    pub(super) async fn others(&self, host: &str, known: IpAddr, until: Instant) -> Result<Vec<IpAddr>, String> {
        let family = family_of(known);
        let other = self.families.iter().position(|other| *other != family);
        let Some(at) = other.filter(|_| self.families.contains(&family)) else { return Ok(Vec::new()) };
        match self.look_up(host, &self.families[at..=at], until).await {
            Resolved::Addresses(addresses) => Ok(addresses),
            Resolved::Nothing(_) | Resolved::Failed(_) => Ok(Vec::new()),
            Resolved::Unreachable(why) | Resolved::NoResources(why) => Err(why),
        }
    }

    async fn look_up(&self, host: &str, families: &[RecordType], until: Instant) -> Resolved {
        let Some(name) = system::name(host) else {
            return Resolved::Failed(format!("{host} is no domain name: a label is empty or too long"));
        };
        let here = self.hosts.addresses(host);
        for family in families {
            let of_family: Vec<IpAddr> =
                here.iter().copied().filter(|address| family_of(*address) == *family).collect();
            if !of_family.is_empty() {
                return Resolved::Addresses(of_family);
            }
        }
        if let Some(unknown) = &self.unknown {
            return Resolved::Unreachable(unknown.clone());
        }
        let mut nothing = String::new();
        for tried in self.names(host, &name) {
            match Lookup::new(&self.servers, &tried, families, until).run(self.timeout).await {
                Resolved::Nothing(why) if tried == name => nothing = why,
                Resolved::Nothing(_) => {}
                resolved => return resolved,
            }
        }
        Resolved::Nothing(nothing)
    }

    /// The names that a host may stand for, in order.
    fn names(&self, host: &str, name: &Name) -> Vec<Name> {
        let dots = host.matches('.').count();
        if host.ends_with('.') || dots > 0 && self.ndots.is_none() {
            return vec![name.clone()];
        }
        let mut names: Vec<Name> =
            self.search.iter().filter_map(|domain| relative(name).append_domain(domain).ok()).collect();
        let at = if dots > 0 && dots >= self.ndots.unwrap_or_default() { 0 } else { names.len() };
        names.insert(at, name.clone());
        names
    }
}

fn relative(name: &Name) -> Name {
    let mut name = name.clone();
    name.set_fqdn(false);
    name
}

fn family_of(address: IpAddr) -> RecordType {
    if address.is_ipv4() { RecordType::A } else { RecordType::AAAA }
}

fn parse_server(index: usize, text: &str) -> Result<SocketAddr, Fault> {
    match (text.parse::<SocketAddr>(), text.parse::<IpAddr>()) {
        (Ok(address), _) => Ok(address),
        (_, Ok(ip)) => Ok(SocketAddr::new(ip, 53)),
        _ => {
            let expected = format!("expected an address such as 1.1.1.1 or [::1]:5353, found {text:?}");
            Err(Fault::new(format!("dns.servers[{index}]"), expected))
        }
    }
}
