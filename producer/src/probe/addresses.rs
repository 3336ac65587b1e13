//! Which of a host's addresses may be connected to at all, and in which order they are tried.
//!
//! `dns.prefer` says which family comes first. Within a family the order is that of RFC 6724, section 6, as the system's own resolver
//! has it; where its rules see no difference, the answer's order stays.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

const LINK_LOCAL: u16 = 2;
const SITE_LOCAL: u16 = 5;
const GLOBAL: u16 = 14;

/// Of RFC 6724, section 2.1: prefix, its length, precedence and label; the longest prefix that matches counts.
const POLICIES: [(Ipv6Addr, u32, u8, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];

/// Why no site can be at an address, if so.
pub(super) fn impossible(address: IpAddr) -> Option<String> {
    let why = match address.to_canonical() {
        ip if ip.is_multicast() => "is a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "is the broadcast address",
        IpAddr::V4(v4) if v4.octets()[0] == 0 => "is the address of no host",
        IpAddr::V6(v6) if v6.is_unspecified() => "is the address of no host",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            "is a link-local address, which names nobody beyond its own link"
        }
        _ => return None,
    };
    Some(format!("{address} {why}"))
}

/// Sorts addresses of one family, best first. `source` is where this machine would connect from.
pub(super) fn sort(addresses: &mut [IpAddr], source: impl Fn(IpAddr) -> Option<IpAddr>) {
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|address| rank(*address, source(*address)));
    }
}

/// The smaller, the better.
fn rank(to: IpAddr, from: Option<IpAddr>) -> impl Ord {
    let (to, from) = (mapped(to), from.map(mapped));
    let (precedence, label) = policy(to);
    (
        from.is_none(),
        from.is_none_or(|from| scope(from) != scope(to)),
        from.is_none_or(|from| policy(from).1 != label),
        Reverse(precedence),
        scope(to),
        Reverse(from.map_or(0, |from| common_bits(from, to))),
    )
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn policy(address: Ipv6Addr) -> (u8, u8) {
    let matches = |(prefix, length, ..): &&(Ipv6Addr, u32, u8, u8)| equal_bits(address, *prefix) >= *length;
    let (_, _, precedence, label) = POLICIES.iter().find(matches).unwrap_or(&POLICIES[POLICIES.len() - 1]);
    (*precedence, *label)
}

fn scope(address: Ipv6Addr) -> u16 {
    let segments = address.segments();
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => LINK_LOCAL,
        IpAddr::V4(_) => GLOBAL,
        IpAddr::V6(v6) if v6.is_multicast() => segments[0] & 0xf,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => LINK_LOCAL,
        IpAddr::V6(_) if segments[0] & 0xffc0 == 0xfec0 => SITE_LOCAL,
        IpAddr::V6(_) => GLOBAL,
    }
}

/// How many bits of its network an address shares with ours. Of IPv4 this says nothing: networks there are not handed out by nearness.
fn common_bits(from: Ipv6Addr, to: Ipv6Addr) -> u32 {
    if to.to_ipv4_mapped().is_some() { 0 } else { equal_bits(from, to).min(64) }
}

fn equal_bits(one: Ipv6Addr, other: Ipv6Addr) -> u32 {
    (one.to_bits() ^ other.to_bits()).leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the examples of RFC 6724, section 10.2, say of one family, and what it says of IPv4.
    #[test]
    fn the_order_of_the_standard() {
        // Each address with where we would connect from; in the order that is wanted.
        let table: [&[(&str, &str)]; 9] = [
            &[("2001:db8:1::1", "2001:db8:1::2"), ("2001:db8:3ffe::1", "")],
            &[("2001:db8:1::1", "2001:db8:1::2"), ("2001:db8:2::1", "fe80::2")],
            &[("fe80::1", "fe80::2"), ("2001:db8:1::1", "2001:db8:1::2")],
            &[("2001:db8:1::1", "2001:db8:1::2"), ("2002:c633:6401::1", "2002:c633:6401::2")],
            &[("2002:c633:6401::1", "2002:c633:6401::2"), ("2001:db8:1::1", "2002:c633:6401::2")],
            &[("2001:db8:1::1", "2001:db8:1::2"), ("2001:db8:3ffe::1", "2001:db8:1::2")],
            &[("2001:db8:1::1", "2001:db8:1::2"), ("fd11:1::1", "fd11:1::2")],
            &[("198.51.100.2", "10.0.0.1"), ("198.51.100.1", "10.0.0.1")],
            &[("198.51.100.2", "10.0.0.1"), ("10.1.1.1", "")],
        ];
        for wanted in table {
            let parse = |text: &str| text.parse::<IpAddr>().ok();
            let source = |to: IpAddr| parse(wanted.iter().find(|(address, _)| parse(address) == Some(to)).unwrap().1);
            let wanted: Vec<IpAddr> = wanted.iter().map(|(address, _)| parse(address).unwrap()).collect();
            let mut sorted = wanted.clone();
            sort(&mut sorted, source);
            assert_eq!(sorted, wanted);
            // Where no rule sees a difference, the answer's order stays.
            let tied = wanted[1] == IpAddr::from([198, 51, 100, 1]);
            sorted.reverse();
            let expected = if tied { sorted.clone() } else { wanted };
            sort(&mut sorted, source);
            assert_eq!(sorted, expected);
        }
    }

    #[test]
    fn no_site_is_there() {
        let nobody = ["224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "0.1.2.3", "::", "ff02::1", "fe80::1"];
        for address in nobody.into_iter().chain(["::ffff:224.0.0.1", "::ffff:0.0.0.0"]) {
            assert!(impossible(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.255", "169.254.1.1", "240.0.0.1", "::1", "2001:db8::1", "fd00::1"] {
            assert_eq!(impossible(address.parse().unwrap()), None, "{address}");
        }
    }
}
