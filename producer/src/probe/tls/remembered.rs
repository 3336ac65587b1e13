//! The memory of verified certificate chains: to verify the same chain again is the largest single cost of an HTTPS check.
//!
//! A verdict on a chain depends on the verifier (its roots and rules), on what it is given (the name, the certificates as shown
//! and the stapled OCSP response) and on the time. The verifier never changes while it lives. What it is given is, all of
//! it and nothing else, the key that a verdict is found by. The time decides only whether certificates are valid at it, those
//! shown and the roots. So a chain that was accepted is accepted at any time at which all that were valid still are: a root
//! whose time begins only adds ways to be accepted. Hence the rule:
//!
//! - Only acceptance is remembered, and only if every certificate shown was valid then, those included that prove nothing. Any
//!   other chain is verified in full each time.
//! - A verdict is good from the second it was made, for an hour at most, and until the first of the certificates shown, or of
//!   all roots, expires. A clock that is set back, or far ahead, leads to full verification.
//!
//! So nothing is accepted that full verification would refuse. That the site has the key is proved anew on every handshake.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::iter::once;
use std::mem::replace;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::roots::Roots;
use super::validity;
use crate::probe::trace;

#[cfg(test)]
mod chains;
#[cfg(test)]
mod handshakes;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

/// For how many seconds a verdict is good.
const LASTS: i64 = 60 * 60;

/// How many verdicts are kept: two for each of ten thousand targets, since a chain may have been renewed or a check redirected
/// within the hour. They take less than 3 MB.
const ROOM: usize = 20_000;

/// Verifies a chain once an hour, and in between knows it again.
#[derive(Debug)]
pub(super) struct Remembering {
    verifier: Arc<dyn ServerCertVerifier>,
    /// Those that the verifier trusts.
    roots: Arc<Roots>,
    verdicts: Mutex<Verdicts>,
}

/// The SHA-256 of what a verifier is given. Chains are chosen by strangers, so that nothing weaker will do.
type Key = [u8; 32];

/// That a chain was accepted; times are Unix seconds.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    made: i64,
    good_until: i64,
    leaf_expires: i64,
}

/// A bounded number of verdicts.
#[derive(Debug)]
struct Verdicts {
    room: usize,
    by_key: HashMap<Key, Verdict>,
    /// The keys of the above, to draw one from.
    keys: Vec<Key>,
    evicted: u64,
}

impl Remembering {
    pub(super) fn new(verifier: Arc<dyn ServerCertVerifier>, roots: Arc<Roots>) -> Self {
        Self::with_room(verifier, roots, ROOM)
    }

    fn with_room(verifier: Arc<dyn ServerCertVerifier>, roots: Arc<Roots>, room: usize) -> Self {
        Self { verifier, roots, verdicts: Mutex::new(Verdicts::new(room)) }
    }

    /// To be held for a look only, and never while a chain is verified.
    fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        // What a panic leaves half done are at worst a few keys without a verdict.
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Remembering {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let key = key(leaf, intermediates, name, ocsp);
        let remembered = self.verdicts().find(&key);
        if let Some(verdict) = remembered.filter(|verdict| verdict.is_good(now)) {
            trace::certificate(Timestamp::from_second(verdict.leaf_expires).ok());
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.verifier.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        if let Some(verdict) = Verdict::on(leaf, intermediates, &self.roots, now) {
            self.verdicts().keep(key, verdict);
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Each piece goes in with its length, so that no two inputs read the same; an address is never spelt like a name.
fn key(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], name: &ServerName<'_>, ocsp: &[u8]) -> Key {
    let mut digest = Context::new(&SHA256);
    let mut put = |piece: &[u8]| {
        digest.update(&(piece.len() as u64).to_be_bytes());
        digest.update(piece);
    };
    put(name.to_str().as_bytes());
    put(ocsp);
    once(leaf).chain(intermediates).for_each(|certificate| put(certificate));
    let mut key = Key::default();
    key.copy_from_slice(digest.finish().as_ref());
    key
}

impl Verdict {
    /// The verdict on a chain just accepted, unless a certificate in it is not valid or cannot be read.
    fn on(
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        roots: &Roots,
        now: UnixTime,
    ) -> Option<Self> {
        let made = i64::try_from(now.as_secs()).ok()?;
        let leaf = validity(leaf)?;
        let mut good_until = made.saturating_add(LASTS).min(roots.next_end(made).unwrap_or(i64::MAX));
        for shown in once(Some(leaf.clone())).chain(intermediates.iter().map(validity)) {
            let shown: RangeInclusive<i64> = shown.filter(|shown| shown.contains(&made))?;
            good_until = good_until.min(*shown.end());
        }
        Some(Self { made, good_until, leaf_expires: *leaf.end() })
    }

    fn is_good(&self, now: UnixTime) -> bool {
        i64::try_from(now.as_secs()).is_ok_and(|now| (self.made..=self.good_until).contains(&now))
    }
}

impl Verdicts {
    fn new(room: usize) -> Self {
        Self { room, by_key: HashMap::new(), keys: Vec::new(), evicted: 0 }
    }

    fn find(&self, key: &Key) -> Option<Verdict> {
        self.by_key.get(key).copied()
    }

    /// Keeps a verdict in place of an older one on the same chain. When there is no room, one drawn by lot is forgotten: a site
    /// that shows a new chain each time cannot aim at others, and with more chains than room many are still known again.
    fn keep(&mut self, key: Key, verdict: Verdict) {
        if self.by_key.insert(key, verdict).is_some() {
            return;
        }
        if self.keys.len() < self.room {
            self.keys.push(key);
            return;
        }
        self.evicted += 1;
        // The map's hasher is keyed with a secret, which makes a count as good as chance.
        let lot = self.by_key.hasher().hash_one(self.evicted) % self.room as u64;
        let forgotten = replace(&mut self.keys[lot as usize], key);
        self.by_key.remove(&forgotten);
    }
}
