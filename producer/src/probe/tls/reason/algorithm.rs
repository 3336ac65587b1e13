//! The keys and signatures of certificates, and what they are for.

use x509_parser::prelude::X509Certificate;
use x509_parser::public_key::PublicKey;

use super::chain::{Chain, is_self_issued};
use super::{bounded, subject};

/// RSA keys with fewer bits are refused.
const RSA_BITS: usize = 2048;

/// Object identifiers of signatures that browsers refuse as well, or do not know, by name.
const SIGNATURES: [(&str, &str); 12] = [
    ("1.2.840.113549.1.1.2", "MD2, which is broken"),
    ("1.2.840.113549.1.1.4", "MD5, which is broken"),
    ("1.2.840.113549.1.1.5", "SHA-1, which is broken"),
    ("1.3.14.3.2.29", "SHA-1, which is broken"),
    ("1.2.840.10045.4.1", "SHA-1, which is broken"),
    ("1.2.840.10040.4.3", "DSA and SHA-1, which are broken"),
    ("2.16.840.1.101.3.4.3.2", "DSA, which is not supported"),
    ("1.2.840.113549.1.1.14", "SHA-224, which is not supported"),
    ("1.2.840.10045.4.3.1", "SHA-224, which is not supported"),
    ("1.2.840.113549.1.1.10", "RSA-PSS with parameters that are not supported"),
    ("1.3.101.113", "Ed448, which is not supported"),
    ("1.2.156.10197.1.501", "SM2, which is not supported"),
];

/// What an RSA key is too short for, if it is.
pub(super) fn weak_key(certificate: &X509Certificate<'_>) -> Option<String> {
    let bits = match certificate.public_key().parsed() {
        // The size counts whole bytes, and a sign's byte.
        Ok(PublicKey::RSA(key)) => key.modulus.iter().skip_while(|byte| **byte == 0).count() * 8,
        _ => return None,
    };
    (bits < RSA_BITS).then(|| format!("has an RSA key of {bits} bits, and at least {RSA_BITS} are needed"))
}

/// Which signature does not fit the key of the one that was sent, or is trusted, as its issuer.
pub(super) fn bad_signature(chain: &Chain<'_>) -> String {
    let path: Vec<_> = chain.path().collect();
    if let Some(pair) = path.windows(2).find(|pair| !chain.is_signed_by(pair[0], pair[1])) {
        return match weak_key(pair[1]) {
            Some(weakness) => format!("{} {weakness}", chain.label(pair[1])),
            None => format!("{} is not signed by the key of {}", chain.label(pair[0]), chain.label(pair[1])),
        };
    }
    let roots: Vec<_> = chain.roots_named().collect();
    let with_root = path.iter().flat_map(|sent| roots.iter().map(move |root| (sent, root)));
    let mut named = with_root.filter(|(sent, root)| sent.issuer().as_raw() == root.subject().as_raw());
    match named.find(|(sent, root)| !chain.is_signed_by(sent, root)) {
        Some((_, root)) if weak_key(root).is_some() => {
            format!("trusted root certificate {} {}", subject(root), weak_key(root).unwrap_or_default())
        }
        Some((sent, root)) => {
            let (sent, root) = (chain.label(sent), subject(root));
            format!("{sent} is signed by another key than that of the trusted root certificate {root}")
        }
        None => format!("a signature in the chain of {} is wrong", chain.label(chain.leaf())),
    }
}

/// Which signature is of a kind that we do not accept.
pub(super) fn unsupported(chain: &Chain<'_>) -> String {
    let known = |certificate: &X509Certificate<'_>| {
        let id = certificate.signature_algorithm.algorithm.as_bytes();
        // An algorithm's identifier begins with the tag and the length of its object identifier.
        let starts = |known: &[u8]| known.get(2..).is_some_and(|known| known.starts_with(id));
        chain.algorithms.iter().any(|algorithm| starts(algorithm.signature_alg_id().as_ref()))
    };
    let by = |certificate: &X509Certificate<'_>| {
        let id = certificate.signature_algorithm.algorithm.to_id_string();
        let name = SIGNATURES.iter().find(|(known, _)| *known == id).map(|(_, name)| (*name).to_owned());
        name.unwrap_or_else(|| format!("an algorithm that is not supported ({})", bounded(&id)))
    };
    // What a root says about itself is never verified.
    let counts = |chain: &Chain<'_>, certificate: &X509Certificate<'_>| {
        chain.is_leaf(certificate) || !is_self_issued(certificate)
    };
    if let Some(certificate) = chain.find(|chain, certificate| counts(chain, certificate) && !known(certificate)) {
        return format!("{} is signed with {}", chain.label(certificate), by(certificate));
    }
    let path: Vec<_> = chain.path().collect();
    match path.windows(2).find(|pair| !chain.is_signed_by(pair[0], pair[1])) {
        Some(pair) => format!("{} has a key of a kind that is not supported", chain.label(pair[1])),
        None => format!("{} is signed with RSA-PSS or by a key that is not supported", chain.label(chain.last())),
    }
}

/// What a certificate's extended key usage allows.
pub(super) fn purposes(certificate: &X509Certificate<'_>) -> Option<String> {
    let usage = certificate.extended_key_usage().ok().flatten()?.value;
    let known = [
        (usage.any, "any"),
        (usage.client_auth, "client authentication"),
        (usage.code_signing, "code signing"),
        (usage.email_protection, "e-mail protection"),
        (usage.time_stamping, "time stamping"),
        (usage.ocsp_signing, "OCSP signing"),
    ];
    let known = known.iter().filter(|(is, _)| *is).map(|(_, name)| (*name).to_owned());
    let others = usage.other.iter().map(|id| bounded(&id.to_id_string())).take(3);
    let all: Vec<String> = known.chain(others).collect();
    (!all.is_empty()).then(|| all.join(", "))
}
