//! What a server sent, in the order in which one certificate vouches for the other.

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::dates;
use super::super::roots::Roots;
use super::super::verifier::Shown;
use super::subject;

pub(super) struct Chain<'a> {
    /// Those that can be read, the leaf first, each with its place among those that were sent.
    read: Vec<(usize, X509Certificate<'a>)>,
    /// From the leaf to the last one whose issuer was not sent, as places in the above.
    path: Vec<usize>,
    sent: Vec<&'a CertificateDer<'a>>,
    roots: &'a Roots,
    pub(super) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    pub(super) now: i64,
}

impl<'a> Chain<'a> {
    /// None if the leaf cannot be read.
    pub(super) fn read(
        shown: &Shown<'a>,
        roots: &'a Roots,
        algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
    ) -> Option<Self> {
        let sent: Vec<_> = std::iter::once(shown.leaf).chain(shown.intermediates).collect();
        let parse = |der: &&'a CertificateDer<'a>| Some(X509Certificate::from_der(der).ok()?.1);
        let read: Vec<_> = sent.iter().enumerate().filter_map(|(place, der)| Some((place, parse(der)?))).collect();
        if read.first()?.0 != 0 {
            return None;
        }
        let now = i64::try_from(shown.now.as_secs()).unwrap_or(i64::MAX);
        let mut chain = Self { read, path: vec![0], sent, roots, algorithms, now };
        while let Some(next) = chain.next() {
            chain.path.push(next);
        }
        Some(chain)
    }

    /// Who issued the last one so far; one whose signature fits, if there are several of that name.
    fn next(&self) -> Option<usize> {
        let last = self.last();
        let issuers: Vec<usize> = (0..self.read.len())
            .filter(|place| !self.path.contains(place) && is_issued_by(last, &self.read[*place].1))
            .collect();
        match issuers[..] {
            [] => None,
            [only] => Some(only),
            [first, ..] => {
                let signed = issuers.iter().find(|place| self.is_signed_by(last, &self.read[**place].1));
                Some(signed.copied().unwrap_or(first))
            }
        }
    }

    pub(super) fn leaf(&self) -> &X509Certificate<'a> {
        &self.read[0].1
    }

    pub(super) fn last(&self) -> &X509Certificate<'a> {
        &self.read[self.path[self.path.len() - 1]].1
    }

    pub(super) fn is_leaf(&self, certificate: &X509Certificate<'_>) -> bool {
        certificate.as_raw() == self.leaf().as_raw()
    }

    pub(super) fn sent(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn path(&self) -> impl Iterator<Item = &X509Certificate<'a>> {
        self.path.iter().map(|place| &self.read[*place].1)
    }

    pub(super) fn is_on_path(&self, certificate: &X509Certificate<'_>) -> bool {
        self.path().any(|other| other.as_raw() == certificate.as_raw())
    }

    /// Whether the last one's issuer was sent, and is on the path already.
    pub(super) fn ends_in_a_circle(&self) -> bool {
        let last = self.last();
        self.read.iter().any(|(_, certificate)| is_issued_by(last, certificate))
    }

    /// The trusted roots that have issued something on the path, by their names.
    pub(super) fn roots_named(&self) -> impl Iterator<Item = X509Certificate<'_>> {
        self.path().flat_map(|certificate| self.roots.named(certificate.issuer().as_raw()))
    }

    /// The first of which something holds, on the path or beside it.
    pub(super) fn find(&self, holds: impl Fn(&Self, &X509Certificate<'a>) -> bool) -> Option<&X509Certificate<'a>> {
        self.path()
            .chain(self.read.iter().map(|(_, certificate)| certificate))
            .find(|certificate| holds(self, certificate))
    }

    /// A sentence about the first of which something holds, or about the leaf.
    pub(super) fn about(
        &self,
        holds: impl Fn(&Self, &X509Certificate<'a>) -> bool,
        what: impl Fn(&X509Certificate<'a>) -> String,
    ) -> String {
        match self.find(holds) {
            Some(certificate) => format!("{} {}", self.label(certificate), what(certificate)),
            None => {
                format!("{} does not lead to a trusted root in a way that the rules allow", self.label(self.leaf()))
            }
        }
    }

    /// A sentence about the first that verification cannot read.
    pub(super) fn malformed(&self, flaw: &str) -> String {
        let broken = self.sent.iter().position(|der| EndEntityCert::try_from(*der).is_err()).unwrap_or(0);
        match self.read.iter().find(|(place, _)| *place == broken) {
            Some((_, certificate)) => format!("{} {flaw}", self.label(certificate)),
            None => format!("certificate {} of the {} that the server sent {flaw}", broken + 1, self.sent.len()),
        }
    }

    pub(super) fn outdated(&self, certificate: &X509Certificate<'_>) -> bool {
        !dates(certificate).contains(&self.now)
    }

    pub(super) fn is_signed_by(&self, certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
        let issuer = CertificateDer::from(issuer.as_raw());
        let Ok(issuer) = EndEntityCert::try_from(&issuer) else { return false };
        let (text, signature) = (certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
        self.algorithms.iter().any(|algorithm| issuer.verify_signature(*algorithm, text, signature).is_ok())
    }

    /// What a certificate is, and whom it names.
    pub(super) fn label(&self, certificate: &X509Certificate<'_>) -> String {
        let kind = match self.is_leaf(certificate) {
            true => "certificate",
            false if is_self_issued(certificate) => "root certificate",
            false => "intermediate certificate",
        };
        format!("{kind} {}", subject(certificate))
    }
}

pub(super) fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    is_issued_by(certificate, certificate)
}

fn is_issued_by(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
}
