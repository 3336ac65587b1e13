//! The names in certificates, and those that a site is asked by.

use std::net::IpAddr;

use rustls::pki_types::ServerName;
use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::prelude::X509Certificate;
use x509_parser::x509::X509Name;

use super::chain::Chain;
use super::{bounded, quoted};

/// How many names are listed.
const NAMES: usize = 5;

/// The common name of somebody, or else his organization.
pub(super) fn short(name: &X509Name<'_>) -> Option<String> {
    let attributes = name.iter_common_name().chain(name.iter_organizational_unit()).chain(name.iter_organization());
    let mut texts = attributes.map(|attribute| match attribute.as_str() {
        Ok(text) => text.to_owned(),
        Err(_) => String::from_utf8_lossy(attribute.as_slice()).into_owned(),
    });
    texts.find(|text| !text.trim().is_empty())
}

/// The hosts that a certificate is for.
pub(super) fn listed(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    names.iter().filter_map(host).collect()
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    Some(v4.or_else(|_| v6()).ok()?.to_string())
}

/// Why a certificate does not fit the host.
pub(super) fn mismatch(label: &str, certificate: &X509Certificate<'_>, asked: &ServerName<'_>) -> String {
    let asked = asked.to_str();
    let asked = asked.trim_end_matches('.');
    let listed = listed(certificate);
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let common_fits = common.into_iter().any(|name| name.eq_ignore_ascii_case(asked));
    let hint = hint(&listed, asked)
        .or_else(|| common_fits.then(|| "the common name fits, but only subject alternative names count".to_owned()));
    let what = match listed.is_empty() {
        true => "it has no subject alternative names for hosts".to_owned(),
        false => format!("its names are {}", list(&listed)),
    };
    let hint = hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
    let kind = if asked.parse::<IpAddr>().is_ok() { "address" } else { "name" };
    format!("{label} is not for the {kind} {}: {what}{hint}", bounded(asked))
}

fn hint(listed: &[String], asked: &str) -> Option<String> {
    if asked.parse::<IpAddr>().is_ok() {
        let as_name = listed.iter().any(|name| name == asked);
        return as_name.then(|| "as a DNS name, and an address must be there as an IP address".to_owned());
    }
    let asked = asked.to_ascii_lowercase();
    listed.iter().find_map(|name| {
        let parent = name.strip_prefix("*.")?.to_ascii_lowercase();
        if asked == parent {
            return Some(format!("*.{} does not include {0} itself", bounded(&parent)));
        }
        let deeper = asked.strip_suffix(&parent).is_some_and(|rest| rest.ends_with('.'));
        deeper.then(|| "a wildcard stands for one label only".to_owned())
    })
}

/// Some of the names, and how many there are beyond.
fn list(names: &[String]) -> String {
    let listed: Vec<String> = names.iter().take(NAMES).map(|name| plain(name)).collect();
    match names.len().saturating_sub(NAMES) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}

/// A host as it is, unless there is something odd about it.
fn plain(name: &str) -> String {
    let usual = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | ':' | '/'));
    if usual { bounded(name) } else { quoted(name) }
}

/// Which authority may not issue for the leaf's names.
pub(super) fn forbidden(chain: &Chain<'_>) -> String {
    let leaf = chain.label(chain.leaf());
    let sent = chain.path().filter_map(|authority| Some((chain.label(authority), constraints(authority)?))).next();
    let trusted = || {
        let mut roots = chain.roots_named();
        roots
            .find_map(|root| Some((format!("trusted root certificate {}", super::subject(&root)), constraints(&root)?)))
    };
    match sent.or_else(trusted) {
        Some((authority, constraints)) => {
            format!("{leaf} names what {authority} may not issue for: its name constraints say {constraints}")
        }
        None => format!("{leaf} names what its issuer may not issue for"),
    }
}

fn constraints(authority: &X509Certificate<'_>) -> Option<String> {
    let constraints = authority.name_constraints().ok().flatten()?.value;
    let trees = |label: &str, trees: &Option<Vec<GeneralSubtree<'_>>>| {
        let bases: Vec<String> = trees.as_ref()?.iter().filter_map(|tree| base(&tree.base)).collect();
        (!bases.is_empty()).then(|| format!("{label} {}", list(&bases)))
    };
    let permitted = trees("only", &constraints.permitted_subtrees);
    let excluded = trees("not", &constraints.excluded_subtrees);
    let all: Vec<String> = permitted.into_iter().chain(excluded).collect();
    Some(if all.is_empty() { "something about other kinds of names".to_owned() } else { all.join("; ") })
}

/// What a constraint is about; an address has its mask behind it.
fn base(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let (network, mask) = bytes.split_at(bytes.len() / 2);
            let length: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
            Some(format!("{}/{length}", address(network)?))
        }
        _ => None,
    }
}
