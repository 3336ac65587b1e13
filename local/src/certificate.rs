//! A certificate authority of our own, and the leaves that a TLS site may show: good, expired, wrong or home-made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const BUILT_WRONG: &str = "the parameters of a certificate are ours and valid";

/// A certificate authority that only this process knows.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// What a site proves itself with.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<ServerConfig>);

impl Authority {
    /// Makes an authority, and writes its certificate to a file that is removed with it.
    pub fn new() -> std::io::Result<Authority> {
        let mut parameters = parameters(&[], 30);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.distinguished_name.push(DnType::CommonName, "Local test authority");
        let key = KeyPair::generate().expect(BUILT_WRONG);
        let certificate = parameters.self_signed(&key).expect(BUILT_WRONG);
        let folder = tempfile::Builder::new().prefix("slotwatch-ca-").tempdir()?;
        fs::write(folder.path().join("ca.pem"), certificate.pem())?;
        Ok(Authority { folder, issuer: Issuer::new(parameters, key) })
    }

    /// The authority's certificate as a PEM file.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The folder of the file above, gone when the authority is dropped.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A certificate for these names (or addresses) that lasts thirty days.
    pub fn valid(&self, names: &[&str]) -> Identity {
        self.signed(names, 30)
    }

    /// A certificate for these names that lasts this many days from now.
    pub fn expiring(&self, names: &[&str], days: u32) -> Identity {
        self.signed(names, i64::from(days))
    }

    /// A certificate for these names that expired a day ago.
    pub fn expired(&self, names: &[&str]) -> Identity {
        self.signed(names, -1)
    }

    /// A certificate that is good, but for another name than anyone asks for.
    pub fn wrong_name(&self) -> Identity {
        self.signed(&["somebody-else.invalid"], 30)
    }

    /// A certificate for these names that nobody vouches for.
    pub fn self_signed(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().expect(BUILT_WRONG);
        let certificate = parameters(names, 30).self_signed(&key).expect(BUILT_WRONG);
        identity(certificate.der().clone(), &key)
    }

    fn signed(&self, names: &[&str], days: i64) -> Identity {
        let key = KeyPair::generate().expect(BUILT_WRONG);
        let certificate = parameters(names, days).signed_by(&key, &self.issuer).expect(BUILT_WRONG);
        identity(certificate.der().clone(), &key)
    }
}

/// Valid from ten days ago until `days` from now, which may be in the past.
fn parameters(names: &[&str], days: i64) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect(BUILT_WRONG);
    let now = SystemTime::now();
    let distance = DAY * u32::try_from(days.unsigned_abs()).unwrap_or(u32::MAX);
    parameters.not_before = (now - 10 * DAY).into();
    parameters.not_after = if days < 0 { (now - distance).into() } else { (now + distance).into() };
    parameters
}

fn identity(certificate: CertificateDer<'static>, key: &KeyPair) -> Identity {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows its own protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a key fits the certificate that was made with it");
    Identity(Arc::new(config))
}
