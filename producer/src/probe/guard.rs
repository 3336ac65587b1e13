//! The address guard: whether an address may be connected to. It sees every address after resolution, on every hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use shared::config::Fault;

/// What is allowed.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    allow_private: bool,
    networks: Vec<IpNet>,
    /// None for all.
    ports: Vec<u16>,
}

impl Guard {
    /// A guard that lets through public addresses, and those of these networks; or all.
    ///
    /// # Errors
    /// Something that is no network.
    pub(super) fn new(allow_private: bool, networks: &[String], ports: &[u16]) -> Result<Self, Fault> {
        let parse = |text: &String| network(text).map_err(|why| Fault::new("probe.allow_networks", why));
        let networks = networks.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { allow_private, networks, ports: ports.to_vec() })
    }

    /// Refuses an address, in words.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), String> {
        // A mapped address reaches what the IPv4 address in it reaches.
        let reached = address.to_canonical();
        let allowed = || self.networks.iter().any(|network| network.contains(&reached));
        if self.allow_private || is_public(address) || allowed() {
            return Ok(());
        }
        Err(format!("{address} is not a public address, and probe.allow_private is false"))
    }

    /// Refuses, in words, an address that a redirect leads to: no public site may lead us into a private network.
    pub(super) fn check_redirect(&self, from: IpAddr, to: IpAddr) -> Result<(), String> {
        if !is_public(from) || is_public(to) || self.networks.iter().any(|network| network.contains(&to.to_canonical()))
        {
            return Ok(());
        }
        Err(format!("{from} is public and redirects to {to}, which is not; probe.allow_networks can allow it"))
    }

    /// Refuses a port, in words.
    pub(super) fn check_port(&self, port: u16) -> Result<(), String> {
        if self.ports.is_empty() || self.ports.contains(&port) {
            return Ok(());
        }
        Err(format!("port {port} is not among those of probe.allow_ports"))
    }
}

/// A network as it is written, one of mapped addresses as the IPv4 network that it reaches.
fn network(text: &str) -> Result<IpNet, String> {
    let network: IpNet = text
        .parse()
        .or_else(|_| text.parse().map(IpAddr::into))
        .map_err(|_| format!("expected networks such as \"10.1.0.0/16\" or \"fd00::/8\", found {text:?}"))?;
    if network.trunc() != network {
        let (all, one) = (network.trunc(), network.addr());
        return Err(format!("{text:?} is an address within a network: write \"{all}\" for all of it, or \"{one}\""));
    }
    match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(v4), Some(length)) if network.addr().is_ipv6() => {
            Ok(Ipv4Net::new(v4, length).map_err(|error| error.to_string())?.into())
        }
        _ => Ok(network),
    }
}

/// Whether the IANA registries of special-purpose addresses call the address globally reachable.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    // Addresses that carry an IPv4 address reach what that one reaches.
    if let Some(v4) = embedded_v4(address) {
        return is_public_v4(v4);
    }
    let segments = address.segments();
    // Only 2000::/3 is handed out as global unicast; some of it is set aside.
    segments[0] & 0xe000 == 0x2000
        && !(segments[0] == 0x2001 && segments[1] < 0x200)
        && !(segments[0] == 0x2001 && segments[1] == 0xdb8)
        && !(segments[0] == 0x3fff && segments[1] < 0x1000)
}

/// The IPv4 address inside a mapped, compatible, NAT64 or 6to4 address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let at = |index: usize| {
        let [[a, b], [c, d]] = [segments[index].to_be_bytes(), segments[index + 1].to_be_bytes()];
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff | 0, ..] => Some(at(6)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(at(6)),
        [0x2002, ..] => Some(at(1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        let public =
            ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"];
        let special = [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "3fff::1",
            "5f00::1",
            "100::1",
        ];
        for address in public {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in special {
            assert!(!is_public(address.parse().unwrap()), "{address}");
            Guard::new(true, &[], &[]).unwrap().check(address.parse().unwrap()).unwrap();
        }
    }

    #[test]
    fn networks_mean_what_they_say() {
        let guard = |text: &str| Guard::new(false, &[text.to_owned()], &[]);
        let table = [
            ("::ffff:10.0.0.0/104", "10.1.2.3", "192.168.0.1"),
            ("::ffff:10.1.0.0/112", "::ffff:10.1.2.3", "10.2.0.1"),
            ("::ffff:192.168.7.7", "192.168.7.7", "192.168.7.8"),
            ("::ffff:0:0/96", "10.1.2.3", "fd00::1"),
            ("fd00::/8", "fd12::1", "10.0.0.1"),
            ("::/0", "fd12::1", "10.0.0.1"),
        ];
        for (network, allowed, refused) in table {
            let guard = guard(network).unwrap();
            guard.check(allowed.parse().unwrap()).unwrap();
            guard.check(refused.parse().unwrap()).unwrap_err();
        }
        // Host bits that are set may be meant for one address or for all of the network.
        for (text, instead) in [
            ("10.1.2.3/8", "write \"10.0.0.0/8\" for all of it, or \"10.1.2.3\""),
            ("fd00::1/8", "write \"fd00::/8\" for all of it, or \"fd00::1\""),
            ("::ffff:10.1.2.3/104", "for all of it"),
        ] {
            let fault = guard(text).unwrap_err().message;
            assert!(fault.contains(instead), "{fault}");
        }
    }

    #[test]
    fn redirects_do_not_lead_inside() {
        let networks = ["10.1.0.0/16".to_owned()];
        let guard = Guard::new(true, &networks, &[]).unwrap();
        let (inside, allowed, public) = ("192.168.1.1", "10.1.2.3", "1.1.1.1");
        let mapped = "::ffff:127.0.0.1";
        let table = [
            (public, inside, false),
            (public, mapped, false),
            (public, "169.254.169.254", false),
            (public, "64:ff9b::10.0.0.1", false),
            (public, allowed, true),
            (public, "2606:4700::1111", true),
            (inside, "127.0.0.1", true),
            (inside, public, true),
        ];
        for (from, to, expected) in table {
            let verdict = guard.check_redirect(from.parse().unwrap(), to.parse().unwrap());
            assert_eq!(verdict.is_ok(), expected, "{from} to {to}: {verdict:?}");
        }
    }

    #[test]
    fn ports_may_be_few() {
        let guard = Guard::new(true, &[], &[80, 443]).unwrap();
        guard.check_port(443).unwrap();
        assert!(guard.check_port(25).unwrap_err().contains("port 25"));
        Guard::new(true, &[], &[]).unwrap().check_port(25).unwrap();
    }

    #[test]
    fn networks_may_be_allowed() {
        let networks = ["10.1.0.0/16", "192.168.7.7", "fd00:1::/32"].map(str::to_owned);
        let guard = Guard::new(false, &networks, &[]).unwrap();
        let allowed = ["10.1.2.3", "::ffff:10.1.2.3", "192.168.7.7", "fd00:1::9", "1.1.1.1"];
        let refused = ["10.2.0.1", "::10.1.2.3", "64:ff9b::10.1.2.3", "192.168.7.8", "fd00:2::9", "127.0.0.1"];
        for address in allowed {
            guard.check(address.parse().unwrap()).unwrap();
        }
        for address in refused {
            guard.check(address.parse().unwrap()).unwrap_err();
        }
        for wrong in ["10.1.0.0/33", "example.net", "", "10.1"] {
            assert_eq!(Guard::new(false, &[wrong.to_owned()], &[]).unwrap_err().key, "probe.allow_networks");
        }
    }
}
