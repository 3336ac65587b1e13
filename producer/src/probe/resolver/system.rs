//! What this machine's own files say of names: `/etc/resolv.conf` and `/etc/hosts`. As the system's resolver does, lines that make no
//! sense are passed over.

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use hickory_resolver::proto::rr::Name;

const DNS_PORT: u16 = 53;
/// With fewer dots, a name is tried with the search domains first.
const DEFAULT_NDOTS: usize = 1;
const MOST_NDOTS: usize = 15;

/// `/etc/resolv.conf`.
#[derive(Debug)]
pub(super) struct Conf {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<Name>,
    pub(super) ndots: usize,
}

/// The names of `/etc/hosts`, in lower case.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<String, Vec<IpAddr>>);

/// Reads `/etc/resolv.conf`, and says why it cannot be read.
pub(super) fn conf() -> (Conf, Option<String>) {
    let read = fs::read("/etc/resolv.conf");
    let text = read.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    (parse_conf(&text, host.trim(), index_of), read.err().map(|error| error.to_string()))
}

/// Reads `/etc/hosts`.
pub(super) fn hosts() -> Hosts {
    parse_hosts(&fs::read("/etc/hosts").as_deref().map(String::from_utf8_lossy).unwrap_or_default())
}

/// A name of whatever characters: hosts have underscores, and hyphens where they should not.
pub(super) fn name(text: &str) -> Option<Name> {
    let labels: Vec<&[u8]> = text.trim_end_matches('.').split('.').map(str::as_bytes).collect();
    if labels.iter().any(|label| label.is_empty() || label.len() > 63) {
        return None;
    }
    Name::from_labels(labels).ok()
}

impl Hosts {
    /// The addresses of a name. `localhost` has both loopback addresses, whatever the file says of it (RFC 6761).
    pub(super) fn addresses(&self, host: &str) -> Vec<IpAddr> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let mut addresses = self.0.get(&host).cloned().unwrap_or_default();
        if host == "localhost" || host.ends_with(".localhost") && addresses.is_empty() {
            for loopback in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                if !addresses.contains(&loopback) {
                    addresses.push(loopback);
                }
            }
        }
        addresses
    }
}

fn parse_conf(text: &str, host: &str, index_of: impl Fn(&str) -> Option<u32>) -> Conf {
    let mut conf = Conf { servers: Vec::new(), search: Vec::new(), ndots: DEFAULT_NDOTS };
    conf.search.extend(host.split_once('.').and_then(|(_, domain)| name(domain)));
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with(['#', ';']));
        match words.next() {
            Some("nameserver") => conf.servers.extend(words.next().and_then(|word| server(word, &index_of))),
            Some("search") => conf.search = words.filter_map(name).collect(),
            Some("domain") => conf.search = words.take(1).filter_map(name).collect(),
            Some("options") => {
                let ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).last();
                conf.ndots = ndots.unwrap_or(conf.ndots).min(MOST_NDOTS);
            }
            _ => {}
        }
    }
    conf
}

/// A name server's address; that of a neighbour says on which network he is.
fn server(word: &str, index_of: impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    match word.split_once('%') {
        None => Some(SocketAddr::new(word.parse().ok()?, DNS_PORT)),
        Some((address, zone)) => Some(
            SocketAddrV6::new(address.parse().ok()?, DNS_PORT, 0, zone.parse().ok().or_else(|| index_of(zone))?).into(),
        ),
    }
}

/// The number of a network interface.
fn index_of(interface: &str) -> Option<u32> {
    let is_name = !interface.contains('/') && interface != "..";
    is_name
        .then(|| fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?.trim().parse().ok())
        .flatten()
}

fn parse_hosts(text: &str) -> Hosts {
    let mut hosts = Hosts::default();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        for host in words {
            let addresses = hosts.0.entry(host.trim_end_matches('.').to_ascii_lowercase()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let read = |text: &str| {
            let conf = parse_conf(text, "box.corp.test", |zone| (zone == "eth0").then_some(7));
            let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
            let search: Vec<String> = conf.search.iter().map(ToString::to_string).collect();
            format!("{} | {} | {}", servers.join(" "), search.join(" "), conf.ndots)
        };
        let table = [
            ("", " | corp.test. | 1"),
            ("nameserver 10.0.0.1", "10.0.0.1:53 | corp.test. | 1"),
            ("nameserver\t10.0.0.1 # here\r\nnameserver ::1\r\n", "10.0.0.1:53 [::1]:53 | corp.test. | 1"),
            ("#nameserver 10.0.0.1\n; old\n nameserver 10.0.0.2", "10.0.0.2:53 | corp.test. | 1"),
            ("nameserver dns.test\nnameserver\nnameserver 10.0.0.1", "10.0.0.1:53 | corp.test. | 1"),
            ("nameserver fe80::1%eth0\nnameserver fe80::2%3", "[fe80::1%7]:53 [fe80::2%3]:53 | corp.test. | 1"),
            ("nameserver fe80::1%gone\nnameserver 10.0.0.1", "10.0.0.1:53 | corp.test. | 1"),
            ("search a.test b_c.test. ..\noptions ndots:5 rotate ndots:x", " | a.test. b_c.test. | 5"),
            ("domain a.test\nsearch b.test\noptions ndots:99", " | b.test. | 15"),
            ("search b.test\ndomain a.test\nsearch", " |  | 1"),
            ("family inet4\nlookup file bind\n\u{fffd}\0", " | corp.test. | 1"),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_of_the_hosts_file() {
        let hosts = parse_hosts(
            "\u{feff}127.0.0.1 Site.Test. my_app # other\n::1 site.test\n127.0.0.1 site.test\nfe80::1%lo0 bad\nx y\n",
        );
        let table = [
            ("site.test", "127.0.0.1 ::1"),
            ("SITE.test.", "127.0.0.1 ::1"),
            ("my_app", "127.0.0.1"),
            ("localhost", "127.0.0.1 ::1"),
            ("app.localhost", "127.0.0.1 ::1"),
            ("other", ""),
            ("bad", ""),
            ("notlocalhost", ""),
        ];
        let found = |hosts: &Hosts, host: &str| {
            hosts.addresses(host).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (host, expected) in table {
            assert_eq!(found(&hosts, host), expected, "{host}");
        }
        let hosts = parse_hosts("127.0.0.1 localhost\n10.1.2.3 app.localhost\n");
        for (host, expected) in [("localhost", "127.0.0.1 ::1"), ("app.localhost", "10.1.2.3")] {
            assert_eq!(found(&hosts, host), expected, "{host}");
        }
    }

    #[test]
    fn names_of_whatever_characters() {
        let long = "a".repeat(63);
        for good in
            ["a", "my_app", "_status.test", "-a.b-.test", "r3---sn-4g5e6nz7.test", "123.test", "site.test.", &long]
        {
            let name = name(good).unwrap_or_else(|| panic!("{good}"));
            assert_eq!(name.iter().collect::<Vec<_>>().join(&b'.'), good.trim_end_matches('.').as_bytes());
        }
        for bad in ["", ".", "a..b", &"a".repeat(64), &format!("{long}.{long}.{long}.{long}.{long}")] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }
}
