//! Certificates for the tests, and verifiers with the same roots: one remembers, one does not, and one is another's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::aws_lc_rs;

use super::*;
use crate::probe::tls::verifier::Verifier;

/// When the tests happen.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const DAY: u64 = 24 * 60 * 60;
pub(super) const NAME: &str = "site.test";

/// From when until when something is valid, in Unix seconds.
pub(super) type Dates = (u64, u64);

pub(super) const LONG: Dates = (NOW - 10 * DAY, NOW + 10 * DAY);
pub(super) const EXPIRED: Dates = (NOW - 10 * DAY, NOW - 1);
pub(super) const NOT_YET: Dates = (NOW + 1, NOW + 10 * DAY);
pub(super) const SHORT: Dates = (NOW - 100, NOW + 100);

/// A root or an intermediate.
pub(super) struct Authority {
    pub(super) certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn root(dates: Dates) -> Self {
        Self::new("Test root", dates, None)
    }

    pub(super) fn intermediate(&self, dates: Dates) -> Self {
        Self::new("Test intermediate", dates, Some(self))
    }

    fn new(subject: &str, dates: Dates, issuer: Option<&Self>) -> Self {
        let mut parameters = parameters(&[], dates);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, subject);
        let key = KeyPair::generate().unwrap();
        let certificate = match issuer {
            Some(authority) => parameters.signed_by(&key, &authority.issuer),
            None => parameters.self_signed(&key),
        };
        Self { certificate: certificate.unwrap().der().clone(), issuer: Issuer::new(parameters, key) }
    }

    /// A leaf that has signed itself.
    pub(super) fn alone(names: &[&str], dates: Dates) -> CertificateDer<'static> {
        parameters(names, dates).self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    /// A leaf for these names, and its key.
    pub(super) fn leaf_and_key(&self, names: &[&str], dates: Dates) -> (CertificateDer<'static>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (parameters(names, dates).signed_by(&key, &self.issuer).unwrap().der().clone(), key)
    }

    pub(super) fn leaf(&self, names: &[&str], dates: Dates) -> CertificateDer<'static> {
        self.leaf_and_key(names, dates).0
    }
}

fn parameters(names: &[&str], (from, until): Dates) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.not_before = (UNIX_EPOCH + Duration::from_secs(from)).into();
    parameters.not_after = (UNIX_EPOCH + Duration::from_secs(until)).into();
    parameters
}

/// A copy with one byte changed, counted from the end, where the signature stands.
pub(super) fn altered(certificate: &CertificateDer<'_>, from_end: usize) -> CertificateDer<'static> {
    let mut der = certificate.to_vec();
    let at = der.len() - from_end;
    der[at] ^= 1;
    der.into()
}

/// What a site shows, and when and by which name it was asked.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) name: &'static str,
    /// The leaf comes first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) ocsp: Vec<u8>,
    pub(super) now: u64,
}

impl Shown {
    pub(super) fn new(chain: &[&CertificateDer<'static>]) -> Self {
        let chain = chain.iter().map(|certificate| (*certificate).clone()).collect();
        Self { name: NAME, chain, ocsp: Vec::new(), now: NOW }
    }

    pub(super) fn to(&self, name: &'static str) -> Self {
        Self { name, ..self.clone() }
    }

    pub(super) fn at(&self, now: u64) -> Self {
        Self { now, ..self.clone() }
    }

    /// What a verifier says to it.
    pub(super) fn verdict(&self, verifier: &dyn ServerCertVerifier) -> Result<(), Error> {
        let name = ServerName::try_from(self.name).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now));
        verifier.verify_server_cert(&self.chain[0], &self.chain[1..], &name, &self.ocsp, now).map(drop)
    }
}

/// Counts how often a chain is verified in full.
#[derive(Debug)]
struct Counting(Arc<dyn ServerCertVerifier>, AtomicUsize);

impl ServerCertVerifier for Counting {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.verify_server_cert(leaf, intermediates, name, ocsp, now)
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

/// A verifier with a memory, and one without.
pub(super) struct Pair {
    pub(super) remembering: Arc<Remembering>,
    counting: Arc<Counting>,
    full: Arc<dyn ServerCertVerifier>,
    /// The TLS library's own, which trusts roots whatever their dates.
    dateless: Arc<dyn ServerCertVerifier>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Pair {
    pub(super) fn new(root: &Authority) -> Self {
        Self::with_room(&[&root.certificate], ROOM)
    }

    pub(super) fn with_room(trusted: &[&CertificateDer<'static>], room: usize) -> Self {
        let (mut roots, mut store) = (Roots::default(), RootCertStore::empty());
        for certificate in trusted {
            roots.add(certificate).unwrap();
            store.add((*certificate).clone()).unwrap();
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let full = Arc::new(Verifier::new(roots.clone(), &provider));
        let counting = Arc::new(Counting(full.clone(), AtomicUsize::new(0)));
        let remembering = Arc::new(Remembering::with_room(counting.clone(), roots, room));
        let dateless = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
        let trusted = trusted.iter().map(|certificate| (*certificate).clone()).collect();
        Self { remembering, counting, full, dateless, trusted }
    }

    /// The verdict of the one that remembers, which must be that of the other.
    pub(super) fn verdict(&self, shown: &Shown, label: &str) -> Result<(), Error> {
        let verdict = shown.verdict(&*self.remembering);
        // In words, since not every error equals itself.
        assert_eq!(format!("{verdict:?}"), format!("{:?}", shown.verdict(&*self.full)), "{label} at {}", shown.now);
        let now = i64::try_from(shown.now).unwrap_or(i64::MAX);
        let valid = |root: &CertificateDer<'_>| validity(root).is_some_and(|dates| dates.contains(&now));
        if self.trusted.iter().all(valid) && !self.trusted.contains(&shown.chain[0]) {
            let theirs = shown.verdict(&*self.dateless);
            assert_eq!(verdict.is_ok(), theirs.is_ok(), "{label} at {}: {verdict:?}, {theirs:?}", shown.now);
        }
        verdict
    }

    /// How often the one that remembers has verified in full.
    pub(super) fn verified(&self) -> usize {
        self.counting.1.load(Ordering::SeqCst)
    }

    pub(super) fn remembered(&self) -> usize {
        let verdicts = self.remembering.verdicts();
        assert_eq!(verdicts.by_key.len(), verdicts.keys.len());
        verdicts.keys.len()
    }
}
