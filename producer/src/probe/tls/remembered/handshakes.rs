//! Whole handshakes: a remembered chain is no proof that the site has its key.

use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use super::chains::*;
use super::*;

#[derive(Debug)]
struct StoppedClock;

impl TimeProvider for StoppedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

/// A handshake with a site that shows this chain and signs with this key.
fn shake_hands(
    verifier: Arc<Remembering>,
    version: &'static SupportedProtocolVersion,
    chain: &[CertificateDer<'static>],
    key: &rcgen::KeyPair,
) -> Result<(), Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider.key_provider.load_private_key(key).unwrap();
    let shows = SingleCertAndKey::from(CertifiedKey::new(chain.to_vec(), key));
    let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
    let server = server.with_no_client_auth().with_cert_resolver(Arc::new(shows));
    let client = ClientConfig::builder_with_details(provider, Arc::new(StoppedClock));
    let client = client.with_protocol_versions(&[version]).unwrap().dangerous();
    let client = client.with_custom_certificate_verifier(verifier).with_no_client_auth();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(NAME).unwrap()).unwrap();
    while client.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn who_shows_a_remembered_chain_must_have_its_key() {
    for version in [&TLS12, &TLS13] {
        let root = Authority::root(LONG);
        let intermediate = root.intermediate(LONG);
        let (leaf, key) = intermediate.leaf_and_key(&[NAME], LONG);
        let (_, other_key) = intermediate.leaf_and_key(&[NAME], LONG);
        let chain = [leaf, intermediate.certificate.clone()];
        let pair = Pair::new(&root);
        for _ in 0..2 {
            let handshake = |key| shake_hands(pair.remembering.clone(), version, &chain, key);
            assert_eq!(handshake(&key), Ok(()), "{version:?}");
            let bad = Err(Error::InvalidCertificate(CertificateError::BadSignature));
            assert_eq!(handshake(&other_key), bad, "{version:?}");
            assert_eq!((pair.remembered(), pair.verified()), (1, 1), "{version:?}");
        }
    }
}
