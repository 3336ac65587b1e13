//! A certificate authority of our own, and the leaves that a server may show: good, expired, wrong or home-made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
pub use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const BUILT_WRONG: &str = "the parameters of a certificate are ours and valid";

/// A certificate authority that only this process knows.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    /// What stands between a leaf and the authority's own certificate, which sites show with the leaf.
    intermediate: Option<Certificate>,
}

/// What a key is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// ECDSA on the curve P-256.
    P256,
    /// ECDSA on the curve P-384.
    P384,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// What a site, a server or one of its clients proves itself with.
#[derive(Clone)]
pub struct Identity {
    config: Arc<ServerConfig>,
    chain: Vec<Certificate>,
    kind: Kind,
    key_pem: String,
}

impl Authority {
    /// Makes an authority, and writes its certificate to a file that is removed with it.
    pub fn new() -> std::io::Result<Authority> {
        Authority::of(Kind::P256)
    }

    fn of(kind: Kind) -> std::io::Result<Authority> {
        let parameters = authority_parameters("Local test authority");
        let key = kind.generate();
        let certificate = parameters.self_signed(&key).expect(BUILT_WRONG);
        let folder = tempfile::Builder::new().prefix("slotwatch-ca-").tempdir()?;
        fs::write(folder.path().join("ca.pem"), certificate.pem())?;
        Ok(Authority { folder, issuer: Issuer::new(parameters, key), intermediate: None })
    }

    /// An authority that signs through an intermediate certificate; both have keys of this kind.
    pub fn with_intermediate(kind: Kind) -> std::io::Result<Authority> {
        let root = Authority::of(kind)?;
        let parameters = authority_parameters("Local test intermediate");
        let key = kind.generate();
        let certificate = parameters.signed_by(&key, &root.issuer).expect(BUILT_WRONG);
        Ok(Authority { folder: root.folder, issuer: Issuer::new(parameters, key), intermediate: Some(certificate) })
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

    /// A certificate for these names with a key of this kind.
    pub fn of_kind(&self, names: &[&str], kind: Kind) -> Identity {
        self.issue(names, 30, kind)
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
        let key = Kind::P256.generate();
        let certificate = parameters(names, 30).self_signed(&key).expect(BUILT_WRONG);
        Identity::new(vec![certificate], Kind::P256, &key)
    }

    /// A site that takes only visitors who have a certificate of this authority's, over this version of TLS.
    pub fn demanding(&self, names: &[&str], version: &'static SupportedProtocolVersion) -> Identity {
        let identity = self.valid(names);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        let own = CertificateDer::from_pem_file(self.ca_file()).expect("the file is ours");
        roots.add(own).expect(BUILT_WRONG);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("the provider knows its own protocol versions")
            .with_client_cert_verifier(clients.expect("there is a root"))
            .with_cert_resolver(Arc::clone(&identity.config.cert_resolver));
        Identity { config: Arc::new(config), ..identity }
    }

    fn signed(&self, names: &[&str], days: i64) -> Identity {
        self.issue(names, days, Kind::P256)
    }

    fn issue(&self, names: &[&str], days: i64, kind: Kind) -> Identity {
        let key = kind.generate();
        let leaf = parameters(names, days).signed_by(&key, &self.issuer).expect(BUILT_WRONG);
        let chain = std::iter::once(leaf).chain(self.intermediate.clone()).collect();
        Identity::new(chain, kind, &key)
    }
}

impl Kind {
    fn generate(self) -> KeyPair {
        let key = match self {
            Kind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Kind::P384 => KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384),
            Kind::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        };
        key.expect("the provider makes keys of every kind")
    }
}

impl Identity {
    fn new(chain: Vec<Certificate>, kind: Kind, key: &KeyPair) -> Identity {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key_pem = key.serialize_pem();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = provider.key_provider.load_private_key(key).expect("the provider reads the keys that it made");
        let shown = chain.iter().map(|certificate| certificate.der().clone()).collect();
        let shows = SingleCertAndKey::from(CertifiedKey::new(shown, key));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows its own protocol versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shows));
        Identity { config: Arc::new(config), chain, kind, key_pem }
    }

    /// The certificates in PEM, its own first.
    pub fn certificate_pem(&self) -> String {
        self.chain.iter().map(Certificate::pem).collect()
    }

    /// The key in PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The same certificates, in the hands of somebody who has not their key.
    pub fn copied(&self) -> Identity {
        Identity::new(self.chain.clone(), self.kind, &self.kind.generate())
    }

    /// The server's side of handshakes.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// The same for a server that speaks these protocols, the best first.
    pub fn acceptor_for(&self, protocols: &[&str]) -> TlsAcceptor {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn authority_parameters(name: &str) -> CertificateParams {
    let mut parameters = parameters(&[], 30);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
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
