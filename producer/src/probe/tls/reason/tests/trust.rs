//! Dates and issuers: who is trusted, and until when.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa};

use super::*;

#[test]
fn dates() {
    let good = Good::new();
    let dated = |from, until| good.leaf(says(NAME, &[NAME], (from, until)));
    let root = |dates| {
        let root = Signer::root(authority("Old root", dates));
        let intermediate = root.sign(authority(INTERMEDIATE, LONG));
        let leaf = intermediate.leaf(site());
        [
            said(&[&root.der], &[&leaf, &intermediate.der], NAME, NOW),
            said(&[&root.der], &[&leaf, &intermediate.der, &root.der], NAME, NOW),
        ]
    };
    let [old_root, old_root_sent] = root(EXPIRED);
    let [new_root, _] = root(NOT_YET);
    let stranger = Signer::root(authority("Stranger", EXPIRED)).der;
    check(vec![
        ("good", good.sent(&[&good.intermediate.der]), ""),
        ("leaf expired", dated(EXPIRED.0, EXPIRED.1), r#"certificate "site.test" expired on 2027-01-05"#),
        ("leaf expired today", dated(LONG.0, NOW - 1), r#"certificate "site.test" expired on 2027-01-15 07:59:59 UTC"#),
        (
            "leaf not yet valid",
            dated(NOT_YET.0, NOT_YET.1),
            r#"certificate "site.test" is not valid before 2027-01-25"#,
        ),
        (
            "never valid",
            dated(LONG.1, LONG.0),
            r#"certificate "site.test" is valid from 2027-01-25 until 2027-01-05, which is never"#,
        ),
        (
            "intermediate expired",
            good.below(authority(INTERMEDIATE, EXPIRED)),
            r#"intermediate certificate "Test intermediate" expired on 2027-01-05"#,
        ),
        (
            "intermediate not yet valid",
            good.below(authority(INTERMEDIATE, NOT_YET)),
            r#"intermediate certificate "Test intermediate" is not valid before 2027-01-25"#,
        ),
        ("root expired", old_root, r#"trusted root certificate "Old root" expired on 2027-01-05"#),
        ("root expired, and sent", old_root_sent, r#"root certificate "Old root" expired on 2027-01-05"#),
        ("root not yet valid", new_root, r#"trusted root certificate "Old root" is not valid before 2027-01-25"#),
        ("a stranger that expired", good.sent(&[&stranger, &good.intermediate.der]), ""),
    ]);
}

/// As with DST Root CA X3: one root has expired, and another that is good has signed the same key.
#[test]
fn a_good_root_beside_an_expired_one() {
    let parameters = authority("New root", LONG);
    let (old, new) = (Signer::root(authority("Old root", EXPIRED)), Signer::root(parameters.clone()));
    let cross = old.cross(&parameters, &new);
    let intermediate = new.sign(authority(INTERMEDIATE, LONG));
    let leaf = intermediate.leaf(site());
    // The same name and the same key, renewed.
    let renewed = new.cross(&authority("New root", EXPIRED), &new);
    let sent = [&leaf, &intermediate.der, &cross];
    let expired = r#"trusted root certificate "Old root" expired on 2027-01-05"#;
    check(vec![
        ("only the old one", said(&[&old.der], &sent, NAME, NOW), expired),
        ("only the new one", said(&[&new.der], &sent, NAME, NOW), ""),
        ("both", said(&[&old.der, &new.der], &sent, NAME, NOW), ""),
        ("both, the other way round", said(&[&new.der, &old.der], &sent, NAME, NOW), ""),
        ("renewed", said(&[&renewed, &new.der], &sent, NAME, NOW), ""),
        ("renewed, the other way round", said(&[&new.der, &renewed], &sent, NAME, NOW), ""),
        ("before the end", said(&[&old.der], &sent, NAME, EXPIRED.1), ""),
        (
            "after the end",
            said(&[&old.der], &sent, NAME, EXPIRED.1 + 1),
            r#"trusted root certificate "Old root" expired on 2027-01-05 08:00:00 UTC"#,
        ),
    ]);
}

#[test]
fn issuers() {
    let good = Good::new();
    let private = Signer::root(authority("Private root", LONG));
    let between = private.sign(authority("Private intermediate", LONG));
    let leaf = between.leaf(site());
    let [one, other] = ["One", "Other"].map(|name| Signer::root(authority(name, LONG)));
    let circle =
        [&one.leaf(site()), &other.cross(&authority("One", LONG), &one), &one.cross(&authority("Other", LONG), &other)];
    let own = |parameters: CertificateParams| said(&[&good.root.der], &[&Signer::root(parameters).der], NAME, NOW);
    let self_signed =
        r#"certificate "site.test" is self-signed, and not among the trusted ones (probe.ca_file adds to them)"#;
    let authoritative = |constraints| with(site(), |site| site.is_ca = constraints);
    check(vec![
        (
            "no intermediate",
            good.sent(&[]),
            r#"certificate "site.test": its issuer "Test intermediate" was not sent and is not among the trusted ones"#,
        ),
        (
            "another intermediate",
            good.sent(&[&between.der]),
            r#"certificate "site.test": its issuer "Test intermediate" was not sent and is not among the trusted ones"#,
        ),
        (
            "no root",
            said(&[&good.root.der], &[&leaf, &between.der], NAME, NOW),
            r#"intermediate certificate "Private intermediate": its issuer "Private root" was not sent and is not among the trusted ones"#,
        ),
        (
            "unknown root",
            said(&[&good.root.der], &[&leaf, &between.der, &private.der], NAME, NOW),
            r#"certificate "site.test" leads to root certificate "Private root", which is not among the trusted ones (probe.ca_file adds to them)"#,
        ),
        (
            "circle",
            said(&[&good.root.der], &circle, NAME, NOW),
            r#"certificate "site.test" leads to no root: those who signed it only vouch for each other"#,
        ),
        ("self-signed", own(site()), self_signed),
        ("self-signed, CA:FALSE", own(authoritative(IsCa::ExplicitNoCa)), self_signed),
        ("self-signed, CA:TRUE", own(authoritative(IsCa::Ca(BasicConstraints::Unconstrained))), self_signed),
        (
            "a CA's own",
            good.leaf(authoritative(IsCa::Ca(BasicConstraints::Unconstrained))),
            r#"certificate "site.test" is a certificate authority's own (CA:TRUE), not one for a site"#,
        ),
        (
            "no CA",
            good.below(says(INTERMEDIATE, &[], LONG)),
            r#"intermediate certificate "Test intermediate" signed the one before it, but does not belong to a certificate authority (CA:FALSE)"#,
        ),
    ]);
}

/// As `openssl req -x509` makes them, and as others do.
#[test]
fn a_certificate_that_is_trusted_itself() {
    let good = Good::new();
    let kinds = [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa];
    for kind in kinds {
        let is_ca = |parameters| with(parameters, |parameters| parameters.is_ca = kind);
        let own = Signer::root(is_ca(site())).der;
        let issued = good.intermediate.leaf(is_ca(site()));
        let other = Signer::root(is_ca(site())).der;
        let name = || said(&[&own], &[&own], "other.test", NOW).unwrap();
        assert_eq!(said(&[&own], &[&own], NAME, NOW), None, "{kind:?}");
        assert_eq!(
            said(&[&own, &good.root.der], &[&own, &good.intermediate.der], NAME, NOW),
            None,
            "{kind:?}, in company"
        );
        assert_eq!(said(&[&issued], &[&issued], NAME, NOW), None, "{kind:?}, issued by somebody unknown");
        assert!(name().contains("is not for the name other.test"), "{kind:?}: {}", name());
        assert!(said(&[&own], &[&other], NAME, NOW).is_some(), "{kind:?}: the same name, another key");
        for (dates, says) in [(EXPIRED, "expired on 2027-01-05"), (NOT_YET, "is not valid before 2027-01-25")] {
            let dated = Signer::root(is_ca(super::says(NAME, &[NAME], dates))).der;
            let said = said(&[&dated], &[&dated], NAME, NOW).unwrap();
            assert!(said.contains(says), "{kind:?}: {said}");
        }
        let client =
            with(is_ca(site()), |client| client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
        let client = Signer::root(client).der;
        assert!(said(&[&client], &[&client], NAME, NOW).is_some(), "{kind:?}, for clients");
    }
}
