//! What is said about handshakes that fail, and about connections that TLS ends later.

use std::io;
use std::sync::Arc;

use rustls::{CertificateError, OtherError, PeerMisbehaved};

use super::*;

/// As tokio-rustls wraps it, and hyper-rustls that.
fn wrapped(error: Error) -> io::Error {
    io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
}

#[test]
fn every_end_is_said_in_words() {
    let eof = |text: &str| io::Error::new(io::ErrorKind::UnexpectedEof, text);
    let alert = |alert| wrapped(Error::AlertReceived(alert));
    let table = [
        (alert(Alert::ProtocolVersion), "no TLS version in common with us (TLS 1.2 or 1.3)"),
        (alert(Alert::HandshakeFailure), "no cipher suite or key exchange in common with us"),
        (alert(Alert::InsufficientSecurity), "neither CBC nor RSA key exchange"),
        (alert(Alert::UnrecognisedName), "does not know this host name"),
        (alert(Alert::InternalError), "internal error"),
        (alert(Alert::DecodeError), "TLS alert decode_error"),
        (alert(Alert::UnknownCA), "TLS alert unknown_ca"),
        (alert(Alert::Unknown(200)), "TLS alert 200"),
        (wrapped(Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)), "no TLS version"),
        (wrapped(Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon)), "key exchange in common"),
        (wrapped(Error::PeerIncompatible(PeerIncompatible::NullCompressionRequired)), ": null compression required"),
        (wrapped(Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite)), "unoffered cipher suite"),
        (wrapped(Error::InvalidMessage(InvalidMessage::MissingData("Random"))), "not TLS: missing data"),
        (
            wrapped(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
            "does not speak TLS on this port, but plain HTTP",
        ),
        (wrapped(Error::DecryptError), "cannot be decrypted"),
        (wrapped(Error::InvalidCertificate(CertificateError::BadEncoding)), "certificate is refused"),
        (wrapped(Error::Other(OtherError(Arc::new(io::Error::other("x"))))), "gave up"),
        (wrapped(Error::General("x".to_owned())), "gave up"),
        (eof("tls handshake eof"), "the server closed the connection"),
        (
            eof("peer closed connection without sending TLS close_notify: https://docs.rs/x"),
            "without TLS's close_notify",
        ),
        (io::Error::from(io::ErrorKind::ConnectionReset), "connection reset"),
    ];
    for (error, expected) in table {
        let said = failed(&Trace::default(), &error);
        assert!(said.contains(expected), "{error:?}: {said}");
        assert!(said.starts_with("TLS handshake failed: "), "{said}");
        for odd in ["https:", "Other", "(\"", "rustls", "os error 0"] {
            assert!(!said.contains(odd), "{error:?}: {said}");
        }
    }
}

#[test]
fn a_demand_for_a_client_certificate_is_known() {
    let asked = || {
        let trace = Arc::new(Trace::default());
        let noted = trace.follow(async { crate::probe::trace::client_certificate_wanted() });
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(noted);
        trace
    };
    let alert = |alert| wrapped(Error::AlertReceived(alert));
    // As HTTP/2 hands it on.
    let text = |alert| io::Error::other(Error::AlertReceived(alert).to_string());
    let table = [
        (false, alert(Alert::CertificateRequired), true),
        (true, alert(Alert::CertificateRequired), true),
        (true, alert(Alert::BadCertificate), true),
        (true, alert(Alert::HandshakeFailure), true),
        (true, alert(Alert::AccessDenied), true),
        (true, alert(Alert::UnknownCA), true),
        (true, text(Alert::CertificateRequired), true),
        (true, text(Alert::BadCertificate), true),
        (false, alert(Alert::HandshakeFailure), false),
        (true, alert(Alert::InternalError), false),
        (true, alert(Alert::ProtocolVersion), false),
        (true, io::Error::from(io::ErrorKind::ConnectionReset), false),
        (true, io::Error::from(io::ErrorKind::UnexpectedEof), false),
    ];
    for (was_asked, error, expected) in table {
        let trace = if was_asked { asked() } else { Arc::default() };
        assert_eq!(wants_a_certificate(&trace, &error), expected, "{was_asked}, {error:?}");
        assert_eq!(failed(&trace, &error).contains("wants a client certificate"), expected, "{was_asked}, {error:?}");
    }
}
