//! TLS as the probe needs it: a full handshake every time, its begin noted, the certificate's end of validity kept.

mod remembered;

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue, VerifierBuilderError,
    WebPkiServerVerifier,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, NamedGroup, RootCertStore, SignatureScheme,
};
use shared::config::Fault;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::trace;
use crate::settings;
use remembered::Remembering;

pub(super) fn client_config(settings: &settings::Probe) -> Result<ClientConfig, Fault> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let internal = |error: &dyn std::fmt::Display| Fault::new("probe", format!("TLS cannot be set up: {error}"));
    let roots = Arc::new(roots(&settings.ca_file)?);
    let verifier = verifier(roots, provider.clone(), settings.remember_chains).map_err(|error| internal(&error))?;
    let mut config = builder(provider)
        .map_err(|error| internal(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::store(Arc::new(NoSessions));
    Ok(config)
}

fn verifier(
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    remember: bool,
) -> Result<Arc<dyn ServerCertVerifier>, VerifierBuilderError> {
    let full = Arc::new(Recording(WebPkiServerVerifier::builder_with_provider(roots, provider).build()?));
    Ok(if remember { Arc::new(Remembering::new(full)) } else { full })
}

fn builder(provider: Arc<CryptoProvider>) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

/// The system's CA certificates and those of the file. Where the system has none, as in small images, Mozilla's list stands in:
/// without roots every healthy site would look broken.
fn roots(ca_file: &str) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::info!("the system has no CA certificates; using the built-in list");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if !ca_file.is_empty() {
        let fault = |reason: String| Fault::new("probe.ca_file", reason);
        let pem = fs::read(Path::new(ca_file)).map_err(|error| fault(format!("cannot read {ca_file}: {error}")))?;
        let mut found = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| fault(format!("{ca_file} is not PEM: {error}")))?;
            roots.add(certificate).map_err(|error| fault(format!("{ca_file} has a bad certificate: {error}")))?;
            found += 1;
        }
        if found == 0 {
            return Err(fault(format!("no certificate in {ca_file}")));
        }
    }
    Ok(roots)
}

/// Verifies as usual, and keeps what the check reports about the certificate.
#[derive(Debug)]
struct Recording(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Recording {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let expires_at = expiry(leaf);
        trace::certificate(expires_at);
        let verified = self.0.verify_server_cert(leaf, intermediates, name, ocsp, now);
        if let Err(Error::InvalidCertificate(reason)) = &verified {
            trace::certificate_refused(in_words(reason, expires_at));
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn expiry(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    Timestamp::from_second(*validity(leaf)?.end()).ok()
}

/// From when until when a certificate is valid, in Unix seconds, both included.
fn validity(certificate: &CertificateDer<'_>) -> Option<RangeInclusive<i64>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    Some(validity.not_before.timestamp()..=validity.not_after.timestamp())
}

fn in_words(reason: &CertificateError, expires_at: Option<Timestamp>) -> String {
    match (reason, expires_at) {
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, Some(at)) => {
            format!("certificate expired {at}")
        }
        (CertificateError::UnknownIssuer, _) => "certificate is signed by nobody we trust".to_owned(),
        _ => format!("certificate refused: {reason}"),
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
