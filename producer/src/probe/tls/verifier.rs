//! Full verification of what a site shows. What it refuses, it explains.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use webpki::{EndEntityCert, Error, KeyUsage, VerifiedPath};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::roots::{Roots, valid_at};
use super::{dates, expiry, reason};
use crate::probe::trace;

/// What a site shows, when, and for which name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) intermediates: &'a [CertificateDer<'a>],
    pub(super) name: &'a ServerName<'a>,
    pub(super) now: UnixTime,
}

/// Verifies a chain as browsers do, with two additions: a root is trusted only while it is valid, and a certificate that is
/// trusted itself needs no issuer.
#[derive(Debug)]
pub(super) struct Verifier {
    roots: Arc<Roots>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(roots: Arc<Roots>, provider: &CryptoProvider) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms }
    }

    fn verify(&self, shown: &Shown<'_>) -> Result<(), Error> {
        let leaf = EndEntityCert::try_from(shown.leaf)?;
        if let Err(error) = self.find_path(&leaf, shown)
            && !(self.roots.contains(shown.leaf) && may_stand_alone(shown))
        {
            return Err(error);
        }
        leaf.verify_is_valid_for_subject_name(shown.name)
    }

    /// Some way from the leaf to a root that is valid.
    fn find_path(&self, leaf: &EndEntityCert<'_>, shown: &Shown<'_>) -> Result<(), Error> {
        let in_force = |path: &VerifiedPath<'_>| self.roots.in_force(path.anchor(), shown.now);
        let (algorithms, roots) = (self.algorithms.all, self.roots.anchors());
        let usage = KeyUsage::server_auth();
        leaf.verify_for_usage(algorithms, roots, shown.intermediates, shown.now, usage, None, Some(&in_force)).map(drop)
    }

    /// Tells the check why it is refused, and the server what its alert will be.
    fn refuse(&self, shown: &Shown<'_>, error: Error) -> rustls::Error {
        trace::certificate_refused(reason::explain(shown, &self.roots, self.algorithms.all, &error));
        let alert = match error {
            Error::BadDer | Error::BadDerTime | Error::TrailingData(_) => CertificateError::BadEncoding,
            Error::CertExpired { .. } | Error::InvalidCertValidity => CertificateError::Expired,
            Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
            Error::CertNotValidForName(_) => CertificateError::NotValidForName,
            Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
            Error::UnknownIssuer => CertificateError::UnknownIssuer,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        };
        alert.into()
    }
}

/// Whether a certificate that is trusted itself is valid then, and made for servers.
fn may_stand_alone(shown: &Shown<'_>) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(shown.leaf) else { return false };
    let purpose = match leaf.extended_key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.any || usage.value.server_auth),
        Err(_) => false,
    };
    purpose && valid_at(&dates(&leaf), shown.now).is_ok()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        trace::certificate(expiry(leaf));
        let shown = Shown { leaf, intermediates, name, now };
        match self.verify(&shown) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(self.refuse(&shown, error)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verified = verify_tls12_signature(message, certificate, signature, &self.algorithms);
        verified.inspect_err(|_| trace::certificate_refused(reason::unproved(certificate)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verified = verify_tls13_signature(message, certificate, signature, &self.algorithms);
        verified.inspect_err(|_| trace::certificate_refused(reason::unproved(certificate)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
