//! What is trusted, and what is said of the rest.

mod contents;
mod trust;

use std::time::Duration;

use rcgen::CertificateParams;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{ServerName, UnixTime};

use super::pki::*;
use super::*;
use crate::probe::tls::verifier::Verifier;
use crate::probe::trace::Trace;

const NAME: &str = "site.test";
const INTERMEDIATE: &str = "Test intermediate";

/// What a verifier with these roots says about what a server sent; nothing if it is accepted.
fn said(trusted: &[&Der], sent: &[&Der], name: &str, now: u64) -> Option<String> {
    let verifier = Verifier::new(roots(trusted).into(), &default_provider());
    let sent: Vec<Der> = sent.iter().map(|der| (*der).clone()).collect();
    let name = ServerName::try_from(name).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let trace = std::sync::Arc::new(Trace::default());
    let verdict = trace.follow(async { verifier.verify_server_cert(&sent[0], &sent[1..], &name, &[], now) });
    let verdict = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(verdict);
    let fault = trace.certificate_fault();
    assert_eq!(verdict.is_err(), fault.is_some(), "{verdict:?}, {fault:?}");
    fault
}

/// A root, an intermediate and a leaf that are good, to be changed in one thing.
struct Good {
    root: Signer,
    intermediate: Signer,
    leaf: Der,
}

impl Good {
    fn new() -> Self {
        let root = Signer::root(authority("Test root", LONG));
        let intermediate = root.sign(authority(INTERMEDIATE, LONG));
        let leaf = intermediate.leaf(site());
        Self { root, intermediate, leaf }
    }

    /// What is said of a leaf like this below the good intermediate.
    fn leaf(&self, parameters: CertificateParams) -> Option<String> {
        self.leaf_for(parameters, NAME)
    }

    fn leaf_for(&self, parameters: CertificateParams, name: &str) -> Option<String> {
        let leaf = self.intermediate.leaf(parameters);
        said(&[&self.root.der], &[&leaf, &self.intermediate.der], name, NOW)
    }

    /// What is said of a good leaf below an intermediate like this.
    fn below(&self, parameters: CertificateParams) -> Option<String> {
        let intermediate = self.root.sign(parameters);
        said(&[&self.root.der], &[&intermediate.leaf(site()), &intermediate.der], NAME, NOW)
    }

    /// What is said of the good leaf with other company.
    fn sent(&self, with: &[&Der]) -> Option<String> {
        said(&[&self.root.der], &[&[&self.leaf], with].concat(), NAME, NOW)
    }
}

fn site() -> CertificateParams {
    says(NAME, &[NAME], LONG)
}

fn with(mut parameters: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    change(&mut parameters);
    parameters
}

fn check(table: Vec<(&str, Option<String>, &str)>) {
    for (label, said, expected) in table {
        assert_eq!(said.as_deref().unwrap_or_default(), expected, "{label}");
    }
}
