//! Why a chain of certificates is refused: one sentence that names the certificate, the date and the cause.
//!
//! All texts in certificates are a stranger's, and go through [`quoted`].

mod algorithm;
mod chain;
mod names;

#[cfg(test)]
mod pki;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::Error;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

use super::dates;
use super::roots::Roots;
use super::verifier::Shown;
use chain::Chain;

/// How many characters of a stranger's text are repeated.
const TEXT: usize = 64;

/// The extensions that verification knows, as object identifiers.
const KNOWN_EXTENSIONS: [&str; 6] = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.37"];

/// Why verification ended with this error.
pub(super) fn explain(
    shown: &Shown<'_>,
    roots: &Roots,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    error: &Error,
) -> String {
    let Some(chain) = Chain::read(shown, roots, algorithms) else {
        return "the server's certificate cannot be read: it is damaged or no X.509 certificate".to_owned();
    };
    let leaf = || chain.label(chain.leaf());
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity => out_of_date(&chain),
        Error::CertNotValidForName(_) => names::mismatch(&leaf(), chain.leaf(), shown.name),
        Error::UnknownIssuer => nobody_trusted(&chain),
        Error::CaUsedAsEndEntity if chain::is_self_issued(chain.leaf()) => nobody_trusted(&chain),
        Error::CaUsedAsEndEntity => {
            format!("{} is a certificate authority's own (CA:TRUE), not one for a site", leaf())
        }
        Error::EndEntityUsedAsCa => chain.about(
            |chain, certificate| !chain.is_leaf(certificate) && !certificate.is_ca(),
            |_| "signed the one before it, but does not belong to a certificate authority (CA:FALSE)".to_owned(),
        ),
        Error::PathLenConstraintViolated => chain.about(
            |chain, certificate| !chain.is_leaf(certificate) && path_length(certificate).is_some(),
            |authority| {
                let below = path_length(authority).unwrap_or_default();
                format!("allows at most {below} intermediate certificates below it, and the server sent more")
            },
        ),
        Error::NameConstraintViolation => names::forbidden(&chain),
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => wrong_purpose(&chain),
        Error::InvalidSignatureForPublicKey => algorithm::bad_signature(&chain),
        Error::UnsupportedSignatureAlgorithmContext(_) | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            algorithm::unsupported(&chain)
        }
        Error::UnsupportedCriticalExtension => chain.about(
            |_, certificate| unknown_extension(certificate).is_some(),
            |certificate| {
                let id = unknown_extension(certificate).unwrap_or_default();
                format!("has a critical extension that is unknown here ({id})")
            },
        ),
        Error::UnsupportedCertVersion => chain.about(
            |_, certificate| certificate.version() != X509Version::V3,
            |certificate| format!("is of X.509 version {}, and version 3 is needed", certificate.version().0 + 1),
        ),
        Error::MaximumPathDepthExceeded
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => {
            format!("the server sent {} certificates that form too long or too tangled a chain", chain.sent())
        }
        Error::CertDistrusted => format!("{} comes from a certificate authority that is distrusted", leaf()),
        Error::CertRevoked => format!("{} is revoked", leaf()),
        other => chain.malformed(flaw(other)),
    }
}

/// Why the proof that the server has its certificate's key failed.
pub(super) fn unproved(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, leaf)) = X509Certificate::from_der(certificate) else {
        return "the server's certificate cannot be read".to_owned();
    };
    let label = format!("certificate {}", subject(&leaf));
    match algorithm::weak_key(&leaf) {
        Some(weakness) => format!("{label} {weakness}"),
        None => format!("the server did not prove that it has the key of {label}: its signature does not fit"),
    }
}

/// What is wrong with the encoding.
fn flaw(error: &Error) -> &'static str {
    match error {
        Error::BadDerTime => "has a malformed date",
        Error::InvalidSerialNumber => "has a malformed serial number",
        Error::MalformedExtensions | Error::ExtensionValueInvalid => "has a malformed extension",
        Error::MalformedDnsIdentifier => "has a malformed name",
        Error::MalformedNameConstraint | Error::InvalidNetworkMaskConstraint => "has malformed name constraints",
        Error::SignatureAlgorithmMismatch => "names two different algorithms for its signature",
        Error::BadDer | Error::TrailingData(_) => "is damaged: it is not correctly encoded",
        _ => "breaks the rules of X.509",
    }
}

fn out_of_date(chain: &Chain<'_>) -> String {
    let outdated = chain.find(|chain, certificate| chain.outdated(certificate));
    let on_the_way = outdated.filter(|certificate| chain.is_on_path(certificate));
    // A root is named only if all that was sent on the way to it is in order.
    let root = chain.roots_named().find(|root| chain.outdated(root));
    match (on_the_way, root, outdated) {
        (Some(sent), ..) | (None, None, Some(sent)) => dated(&chain.label(sent), sent, chain.now),
        (None, Some(root), _) => dated(&format!("trusted root certificate {}", subject(&root)), &root, chain.now),
        (None, None, None) => format!("{} is out of date", chain.label(chain.leaf())),
    }
}

fn dated(label: &str, certificate: &X509Certificate<'_>, now: i64) -> String {
    let (from, until) = dates(certificate).into_inner();
    if from > until {
        format!("{label} is valid from {} until {}, which is never", day(from, now), day(until, now))
    } else if until < now {
        format!("{label} expired on {}", day(until, now))
    } else {
        format!("{label} is not valid before {}", day(from, now))
    }
}

/// A date in UTC, with the time if it is today's.
fn day(seconds: i64, now: i64) -> String {
    let utc = |seconds| Timestamp::from_second(seconds).map(|at| at.to_zoned(TimeZone::UTC));
    match (utc(seconds), utc(now)) {
        (Ok(at), Ok(now)) if at.date() == now.date() => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        (Ok(at), _) => at.date().to_string(),
        (Err(_), _) => "a date beyond all calendars".to_owned(),
    }
}

fn nobody_trusted(chain: &Chain<'_>) -> String {
    let last = chain.last();
    let label = chain.label(last);
    let self_issued = chain::is_self_issued(last);
    if chain.is_leaf(last) && self_issued {
        return format!("{label} is self-signed, and not among the trusted ones (probe.ca_file adds to them)");
    }
    if self_issued {
        let leaf = chain.label(chain.leaf());
        return format!("{leaf} leads to {label}, which is not among the trusted ones (probe.ca_file adds to them)");
    }
    if chain.ends_in_a_circle() {
        return format!(
            "{} leads to no root: those who signed it only vouch for each other",
            chain.label(chain.leaf())
        );
    }
    format!("{label}: its issuer {} was not sent and is not among the trusted ones", issuer(last))
}

fn wrong_purpose(chain: &Chain<'_>) -> String {
    let for_servers = |certificate: &X509Certificate<'_>| {
        certificate.extended_key_usage().ok().flatten().is_none_or(|usage| usage.value.server_auth)
    };
    chain.about(
        |_, certificate| !for_servers(certificate),
        |certificate| match algorithm::purposes(certificate) {
            Some(purposes) => format!("is not for servers: its extended key usage is {purposes} only"),
            None => "is not for servers: its extended key usage is empty".to_owned(),
        },
    )
}

fn path_length(certificate: &X509Certificate<'_>) -> Option<u32> {
    certificate.basic_constraints().ok().flatten()?.value.path_len_constraint
}

/// The first extension that must be known and is not.
fn unknown_extension(certificate: &X509Certificate<'_>) -> Option<String> {
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    let mut ids = critical.map(|extension| extension.oid.to_id_string());
    ids.find(|id| !KNOWN_EXTENSIONS.contains(&id.as_str())).map(|id| bounded(&id))
}

/// Whom a certificate is for, in few words.
fn subject(certificate: &X509Certificate<'_>) -> String {
    let name = names::short(certificate.subject()).or_else(|| names::listed(certificate).into_iter().next());
    name.map_or_else(|| "without a name".to_owned(), |name| quoted(&name))
}

fn issuer(certificate: &X509Certificate<'_>) -> String {
    names::short(certificate.issuer()).map_or_else(|| "without a name".to_owned(), |name| quoted(&name))
}

/// A stranger's text: bounded, and without control characters or such that turn the direction of writing.
fn quoted(text: &str) -> String {
    format!("{:?}", bounded(text))
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
