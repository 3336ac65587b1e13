//! Why a handshake failed, in words.

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::fmt::Debug;

use rustls::{AlertDescription as Alert, Error, InvalidMessage, PeerIncompatible};

use crate::probe::trace::Trace;
use crate::probe::words::{find, innermost};

/// What we offer; the reason for the most frequent refusals.
const OFFERED: &str = "TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20; neither CBC nor RSA key exchange";

/// Alerts by which servers refuse those who show no certificate, or a wrong one.
const REFUSALS: [Alert; 8] = [
    Alert::CertificateRequired,
    Alert::AccessDenied,
    Alert::BadCertificate,
    Alert::CertificateUnknown,
    Alert::HandshakeFailure,
    Alert::NoCertificate,
    Alert::UnknownCA,
    Alert::UnsupportedCertificate,
];

/// Why there is no connection that TLS protects.
pub(in crate::probe) fn failed(trace: &Trace, error: &(dyn StdError + 'static)) -> String {
    if let Some(fault) = trace.certificate_fault() {
        return fault;
    }
    if wants_a_certificate(trace, error) {
        return "the server wants a client certificate, and we have none".to_owned();
    }
    let said = in_words(error).unwrap_or_else(|| innermost(error).to_string());
    let asked = if trace.client_certificate_wanted() { "; it had asked for a client certificate" } else { "" };
    format!("TLS handshake failed: {said}{asked}")
}

/// Whether a server ended the connection because we show no certificate: it has asked for one, or says so.
pub(in crate::probe) fn wants_a_certificate(trace: &Trace, error: &(dyn StdError + 'static)) -> bool {
    alert(error).is_some_and(|alert| {
        alert == Alert::CertificateRequired || trace.client_certificate_wanted() && REFUSALS.contains(&alert)
    })
}

/// What TLS says about the end of a connection, if it is TLS that ended it.
pub(in crate::probe) fn in_words(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(error) = find::<Error>(error) {
        return Some(tls_error(error));
    }
    if let Some(alert) = alert(error) {
        return Some(alerted(alert));
    }
    match innermost(error).to_string() {
        said if said.contains("handshake") => Some("the server closed the connection".to_owned()),
        said if said.contains("close_notify") => Some(
            "the server closed the connection without TLS's close_notify, so that the end may be missing".to_owned(),
        ),
        _ => None,
    }
}

fn tls_error(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => alerted(*alert),
        Error::PeerIncompatible(why) => incompatible(why),
        Error::PeerMisbehaved(what) => format!("the server broke the rules of TLS: {}", spelt_out(what, ' ')),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "the server does not speak TLS on this port, but plain HTTP perhaps (then its URL begins with http)"
                .to_owned()
        }
        Error::InvalidMessage(what) => format!("the server sent something that is not TLS: {}", spelt_out(what, ' ')),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server sent a TLS message out of turn".to_owned()
        }
        Error::DecryptError => "the server sent a TLS record that cannot be decrypted".to_owned(),
        Error::PeerSentOversizedRecord => "the server sent a TLS record that is too long".to_owned(),
        Error::NoCertificatesPresented => "the server sent no certificate".to_owned(),
        Error::NoApplicationProtocol => "the server has no application protocol in common with us (ALPN)".to_owned(),
        Error::InvalidCertificate(_) => "the server's certificate is refused".to_owned(),
        _ => "the TLS library gave up".to_owned(),
    }
}

/// The alert that the server sent. HTTP/2 keeps no more of an error than its text.
fn alert(error: &(dyn StdError + 'static)) -> Option<Alert> {
    match find::<Error>(error) {
        Some(Error::AlertReceived(alert)) => Some(*alert),
        Some(_) => None,
        None => {
            let text = innermost(error).to_string();
            REFUSALS.into_iter().find(|alert| text == Error::AlertReceived(*alert).to_string())
        }
    }
}

fn alerted(alert: Alert) -> String {
    match alert {
        Alert::ProtocolVersion => "the server has no TLS version in common with us (TLS 1.2 or 1.3)".to_owned(),
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            format!("the server has no cipher suite or key exchange in common with us ({OFFERED})")
        }
        Alert::UnrecognisedName => "the server does not know this host name (alert unrecognized_name)".to_owned(),
        Alert::InternalError => "the server reports an internal error (alert internal_error)".to_owned(),
        Alert::NoApplicationProtocol => {
            "the server speaks no HTTP that we do (alert no_application_protocol)".to_owned()
        }
        Alert::Unknown(number) => format!("the server ended the connection with TLS alert {number}"),
        other => format!("the server ended the connection with TLS alert {}", spelt_out(&other, '_')),
    }
}

fn incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "the server has no TLS version in common with us (TLS 1.2 or 1.3)".to_owned()
        }
        PeerIncompatible::NoCipherSuitesInCommon | PeerIncompatible::NoKxGroupsInCommon => {
            format!("the server has no cipher suite or key exchange in common with us ({OFFERED})")
        }
        other => format!("the server's TLS does not fit ours: {}", spelt_out(other, ' ')),
    }
}

/// The name of a kind in words, as in "selected unoffered cipher suite".
fn spelt_out(kind: &impl Debug, between: char) -> String {
    let name = format!("{kind:?}");
    let name = name.split(['(', ' ', '{']).next().unwrap_or_default();
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && words.ends_with(|last: char| last.is_ascii_lowercase()) {
            words.push(between);
        }
        words.push(letter);
    }
    words.to_ascii_lowercase()
}
