//! TLS as the probe needs it: a full handshake every time, its begin noted, the certificate's end of validity kept.

mod handshake;
mod reason;
mod remembered;
mod roots;
mod verifier;

use std::ops::RangeInclusive;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{
    ClientSessionStore, ResolvesClientCert, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, Error, NamedGroup, SignatureScheme};
use shared::config::Fault;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::trace;
use crate::settings;
pub(super) use handshake::{failed, in_words, wants_a_certificate};
use remembered::Remembering;
use roots::Roots;
use verifier::Verifier;

pub(super) fn client_config(settings: &settings::Probe) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(Roots::load(&settings.ca_file)?);
    let verifier = verifier(roots, &provider, settings.remember_chains);
    let mut config = builder(provider)
        .map_err(|error| Fault::new("probe", format!("TLS cannot be set up: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(NoCertificate));
    config.resumption = Resumption::store(Arc::new(NoSessions));
    Ok(config)
}

fn verifier(roots: Arc<Roots>, provider: &CryptoProvider, remember: bool) -> Arc<dyn ServerCertVerifier> {
    let full = Arc::new(Verifier::new(roots.clone(), provider));
    if remember { Arc::new(Remembering::new(full, roots)) } else { full }
}

fn builder(provider: Arc<CryptoProvider>) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// From when until when a certificate is valid, in Unix seconds, both included.
fn validity(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<i64>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(dates(&certificate))
}

fn dates(certificate: &X509Certificate<'_>) -> RangeInclusive<i64> {
    let validity = certificate.validity();
    validity.not_before.timestamp()..=validity.not_after.timestamp()
}

fn expiry(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    Timestamp::from_second(*validity(leaf)?.end()).ok()
}

/// Has no certificate of its own. rustls asks it for one when the server wants to know who we are.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        trace::client_certificate_wanted();
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Remembers no session, so that every handshake is a full one. rustls asks it for a hint when the ClientHello is made, which
/// is when TCP stands and TLS begins.
#[derive(Debug)]
struct NoSessions;

impl ClientSessionStore for NoSessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        trace::tls_began();
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}
