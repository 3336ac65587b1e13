//! Certificates of every kind, made for a test.

use std::time::{Duration, UNIX_EPOCH};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints as CaFlag, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;

use crate::probe::tls::roots::Roots;

/// When the tests happen: 2027-01-15, 08:00 UTC.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const DAY: u64 = 24 * 60 * 60;

/// From when until when something is valid, in Unix seconds.
pub(super) type Dates = (u64, u64);

pub(super) const LONG: Dates = (NOW - 10 * DAY, NOW + 10 * DAY);
pub(super) const EXPIRED: Dates = (NOW - 20 * DAY, NOW - 10 * DAY);
pub(super) const NOT_YET: Dates = (NOW + 10 * DAY, NOW + 20 * DAY);

pub(super) type Der = CertificateDer<'static>;

/// Who signs.
pub(super) struct Signer {
    pub(super) der: Der,
    issuer: Issuer<'static, KeyPair>,
}

/// What a certificate says.
pub(super) fn says(name: &str, hosts: &[&str], (from, until): Dates) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut parameters = CertificateParams::new(hosts).unwrap();
    parameters.distinguished_name = DistinguishedName::new();
    if !name.is_empty() {
        parameters.distinguished_name.push(DnType::CommonName, name);
    }
    parameters.not_before = (UNIX_EPOCH + Duration::from_secs(from)).into();
    parameters.not_after = (UNIX_EPOCH + Duration::from_secs(until)).into();
    parameters
}

pub(super) fn authority(name: &str, dates: Dates) -> CertificateParams {
    let mut parameters = says(name, &[], dates);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

/// With an extension that nobody knows, and must.
pub(super) fn critical(mut parameters: CertificateParams) -> CertificateParams {
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    parameters.custom_extensions.push(extension);
    parameters
}

impl Signer {
    pub(super) fn root(parameters: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = parameters.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(parameters, key) }
    }

    pub(super) fn sign(&self, parameters: CertificateParams) -> Signer {
        let key = KeyPair::generate().unwrap();
        let der = parameters.signed_by(&key, &self.issuer).unwrap().der().clone();
        Signer { der, issuer: Issuer::new(parameters, key) }
    }

    pub(super) fn leaf(&self, parameters: CertificateParams) -> Der {
        self.sign(parameters).der
    }

    /// The certificate of somebody who has one already, signed by us as well.
    pub(super) fn cross(&self, parameters: &CertificateParams, other: &Signer) -> Der {
        parameters.signed_by(other.issuer.key(), &self.issuer).unwrap().der().clone()
    }
}

pub(super) fn roots(trusted: &[&Der]) -> Roots {
    let mut roots = Roots::default();
    trusted.iter().for_each(|certificate| roots.add(certificate).unwrap());
    roots
}

/// A key of old, and who has it.
pub(super) struct Old {
    pub(super) der: Der,
    x509: X509,
    key: PKey<Private>,
}

impl Old {
    /// Made by OpenSSL, which still does what others have given up. Signs itself if nobody else does.
    pub(super) fn new(
        name: &str,
        (bits, digest, version): (u32, MessageDigest, i32),
        is_authority: bool,
        signer: Option<&Old>,
    ) -> Old {
        let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_text("CN", name).unwrap();
        let subject = subject.build();
        let mut made = X509::builder().unwrap();
        made.set_version(version - 1).unwrap();
        made.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(7).unwrap()).unwrap()).unwrap();
        made.set_subject_name(&subject).unwrap();
        made.set_issuer_name(signer.map_or(&*subject, |signer| signer.x509.subject_name())).unwrap();
        let at = |seconds: u64| Asn1Time::from_unix(seconds.try_into().unwrap()).unwrap();
        made.set_not_before(&at(LONG.0)).unwrap();
        made.set_not_after(&at(LONG.1)).unwrap();
        made.set_pubkey(&key).unwrap();
        if version == 3 && is_authority {
            made.append_extension(CaFlag::new().critical().ca().build().unwrap()).unwrap();
        } else if version == 3 {
            let names = SubjectAlternativeName::new().dns(name).build(&made.x509v3_context(None, None)).unwrap();
            made.append_extension(names).unwrap();
        }
        made.sign(signer.map_or(&key, |signer| &signer.key), digest).unwrap();
        let x509 = made.build();
        Old { der: x509.to_der().unwrap().into(), x509, key }
    }
}
