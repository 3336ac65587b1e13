//! What a URL of Postgres must look like before its parts are taken for granted: a special character in a password would move the border
//! between them, and the client would ask for a host that is a piece of the password. Pure. No message quotes the URL.

const EXPECTED: &str = "expected a URL such as postgres://user:password@host:5432/dbname";
const ENCODED: &str = "in a user name or a password @ is written %40, : %3A, / %2F, ? %3F, # %23, % %25";

/// Says what is wrong with a URL.
pub(super) fn check(url: &str) -> Result<(), String> {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or_else(|| EXPECTED.to_owned())?;
    let fault = |what: &str| Err(format!("{what}; {ENCODED}"));
    if rest.contains('#') {
        return fault("a bare # stands in it");
    }
    let (authority, behind) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let hosts = match authority.split_once('@') {
        Some((_, hosts)) if hosts.contains('@') => return fault("more than one @ stands before the host"),
        Some((_, hosts)) => hosts,
        None => authority,
    };
    if hosts.split(',').all(is_host) {
        return Ok(());
    }
    if !authority.contains('@') && behind.contains('@') {
        return fault("a bare / or ? stands before the @");
    }
    if !hosts.contains('[') && hosts.split(',').any(|host| host.matches(':').count() > 1) {
        return Err("an IPv6 address stands in brackets, as in postgres://user@[::1]:5432/dbname".to_owned());
    }
    fault("a host is no name, or a port is no number")
}

/// A name, an address in brackets, or the encoded folder of a socket; with a port, or without.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').map(|inner| inner.split_once(']')) {
        Some(None) => return false,
        Some(Some((address, port))) => (address, port),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_port && (!name.is_empty() || host.is_empty()) && !name.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_as_they_should_be() {
        for url in [
            "postgres://h",
            "postgres://u@h/d",
            "postgresql://u:p@h:5432/d?sslmode=disable",
            "postgres://u:p%40%2f%3A%23%3f%25@h/d",
            "postgres://u:with:colon@h/d",
            "postgres://u:with blank@h/d",
            "postgres://u:p@h1:1,h2:2,h3/d",
            "postgres://u:p@[::1]:5432/d",
            "postgres://u:p@[2001:db8::1],h:2/d",
            "postgres://u@%2fvar%2frun%2Fpostgresql/d",
            "postgres:///d?host=%2fvar%2frun",
            "postgres://u@h?options=-csearch_path%3Dmine",
            "postgres://u@h/d?user=me@server",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_the_password_is_not() {
        let table = [
            ("host=h user=u", "expected a URL"),
            ("mysql://u@h/d", "expected a URL"),
            ("postgres://u:s3@cret@h/d", "%40"),
            ("postgres://u:s3cret@@h/d", "%40"),
            ("postgres://u:s3/cret@h/d", "%2F"),
            ("postgres://u:s3?cret@h/d", "%3F"),
            ("postgres://u:s3#cret@h/d", "%23"),
            ("postgres://u:s3cret@h/d#frag", "%23"),
            ("postgres://u:s3cret@h:port/d", "no number"),
            ("postgres://u:s3cret@h:99999/d", "no number"),
            ("postgres://u:s3cret@h:/d", "no number"),
            ("postgres://u:s3cret@::1/d", "brackets"),
            ("postgres://u:s3cret@2001:db8::1:5432/d", "brackets"),
            ("postgres://u:s3cret@[::1/d", "no name"),
            ("postgres://u:s3cret@h1:1,:2/d", "no name"),
            ("postgres://u:s3cret@my host/d", "no name"),
        ];
        for (url, expected) in table {
            let fault = check(url).unwrap_err();
            assert!(fault.contains(expected), "{url}: {fault}");
            assert!(!fault.contains("s3") && !fault.contains("cret"), "{url}: {fault}");
        }
    }
}
