//! The certificates that are trusted: the system's and those of a file, each from its first day to its last.

use std::fs;
use std::ops::RangeInclusive;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use shared::config::Fault;
use webpki::{Error, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::validity;

/// What chains of certificates may end at.
#[derive(Debug, Default)]
pub(super) struct Roots {
    /// As they are looked for; in the order of the certificates.
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    certificate: CertificateDer<'static>,
    valid: RangeInclusive<i64>,
}

impl Roots {
    /// The system's CA certificates and those of the file. Where the system has none, as in small images, Mozilla's list stands
    /// in: without roots every healthy site would look broken.
    pub(super) fn load(ca_file: &str) -> Result<Self, Fault> {
        let mut roots = Self::default();
        for certificate in rustls_native_certs::load_native_certs().certs {
            roots.add_if_readable(&certificate);
        }
        if roots.anchors.is_empty() {
            tracing::info!("the system has no CA certificates; using the built-in list");
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().for_each(|certificate| roots.add_if_readable(certificate));
        }
        if !ca_file.is_empty() {
            roots.add_file(ca_file).map_err(|reason| Fault::new("probe.ca_file", reason))?;
        }
        Ok(roots)
    }

    fn add_file(&mut self, ca_file: &str) -> Result<(), String> {
        let pem = fs::read(ca_file).map_err(|error| format!("cannot read {ca_file}: {error}"))?;
        let mut number = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            number += 1;
            let certificate = certificate.map_err(|error| format!("{ca_file} is not PEM: {error}"))?;
            self.add(&certificate).map_err(|_| format!("certificate {number} of {ca_file} cannot be read"))?;
        }
        if number == 0 {
            return Err(format!("no certificate in {ca_file}"));
        }
        Ok(())
    }

    /// A system's store may hold what nobody can read; the others are good without it.
    fn add_if_readable(&mut self, certificate: &CertificateDer<'_>) {
        if self.add(certificate).is_err() {
            tracing::debug!("a certificate in the system's store cannot be read, and is left out");
        }
    }

    pub(super) fn add(&mut self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let anchor = anchor_from_trusted_cert(certificate)?.to_owned();
        let valid = validity(certificate).ok_or(Error::BadDer)?;
        self.anchors.push(anchor);
        self.certificates.push(Root { certificate: certificate.clone().into_owned(), valid });
        Ok(())
    }

    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// Whether this very certificate is trusted.
    pub(super) fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|root| root.certificate == *certificate)
    }

    /// Whether an anchor is one that is valid then; one that was renewed stands here twice.
    pub(super) fn in_force(&self, anchor: &TrustAnchor<'_>, time: UnixTime) -> Result<(), Error> {
        let mut verdict = Err(Error::UnknownIssuer);
        for root in
            self.anchors.iter().zip(&self.certificates).filter(|(ours, _)| *ours == anchor).map(|(_, root)| root)
        {
            match valid_at(&root.valid, time) {
                Ok(()) => return Ok(()),
                outdated => verdict = outdated,
            }
        }
        verdict
    }

    /// When the next of the certificates that are valid then expires.
    pub(super) fn next_end(&self, now: i64) -> Option<i64> {
        self.certificates.iter().map(|root| *root.valid.end()).filter(|end| *end >= now).min()
    }

    /// Those of this name, which is DER as in a certificate.
    pub(super) fn named(&self, name: &[u8]) -> impl Iterator<Item = X509Certificate<'_>> {
        // An anchor's name lacks its header, which has four bytes at most.
        let same = move |anchor: &TrustAnchor<'_>| {
            name.ends_with(anchor.subject.as_ref()) && name.len() - anchor.subject.len() <= 4
        };
        let found = self.anchors.iter().zip(&self.certificates).filter(move |(anchor, _)| same(anchor));
        found.filter_map(|(_, root)| Some(X509Certificate::from_der(&root.certificate).ok()?.1))
    }
}

/// That something is valid at a time, or what is wrong.
pub(super) fn valid_at(valid: &RangeInclusive<i64>, time: UnixTime) -> Result<(), Error> {
    let now = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let at = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap_or_default()));
    if now < *valid.start() {
        Err(Error::CertNotValidYet { time, not_before: at(*valid.start()) })
    } else if now > *valid.end() {
        Err(Error::CertExpired { time, not_after: at(*valid.end()) })
    } else {
        Ok(())
    }
}
