//! What certificates say: names, purposes, signatures, and what is none of these.

use openssl::hash::MessageDigest;
use rcgen::{BasicConstraints, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, NameConstraints, SanType};

use super::*;

#[test]
fn names() {
    let good = Good::new();
    let hosts = |hosts: &[&str], asked| good.leaf_for(says("x", hosts, LONG), asked);
    let none = |name: &str| good.leaf(says(name, &[], LONG));
    let many = ["a.test", "*.b.test", "c.test", "10.0.0.1", "::1", "f.test", "g.test"];
    let as_name =
        with(says("x", &[], LONG), |x| x.subject_alt_names.push(SanType::DnsName("10.0.0.1".try_into().unwrap())));
    check(vec![
        ("fits", hosts(&["a.test", NAME], NAME), ""),
        ("wildcard", hosts(&["*.site.test"], "a.site.test"), ""),
        ("address", hosts(&["10.0.0.1"], "10.0.0.1"), ""),
        (
            "another",
            hosts(&["other.test"], NAME),
            r#"certificate "x" is not for the name site.test: its names are other.test"#,
        ),
        (
            "many",
            hosts(&many, NAME),
            r#"certificate "x" is not for the name site.test: its names are a.test, *.b.test, c.test, 10.0.0.1, ::1 and 2 more"#,
        ),
        (
            "too deep",
            hosts(&["*.site.test"], "a.b.site.test"),
            r#"certificate "x" is not for the name a.b.site.test: its names are *.site.test (a wildcard stands for one label only)"#,
        ),
        (
            "above the wildcard",
            hosts(&["*.site.test"], NAME),
            r#"certificate "x" is not for the name site.test: its names are *.site.test (*.site.test does not include site.test itself)"#,
        ),
        (
            "common name only",
            none(NAME),
            r#"certificate "site.test" is not for the name site.test: it has no subject alternative names for hosts (the common name fits, but only subject alternative names count)"#,
        ),
        (
            "no names",
            none("x"),
            r#"certificate "x" is not for the name site.test: it has no subject alternative names for hosts"#,
        ),
        (
            "another address",
            hosts(&["10.0.0.1"], "10.0.0.2"),
            r#"certificate "x" is not for the address 10.0.0.2: its names are 10.0.0.1"#,
        ),
        (
            "address as a name",
            good.leaf_for(as_name, "10.0.0.1"),
            r#"certificate "x" is not for the address 10.0.0.1: its names are 10.0.0.1 (as a DNS name, and an address must be there as an IP address)"#,
        ),
        (
            "nameless",
            good.leaf_for(says("", &["other.test"], LONG), NAME),
            r#"certificate "other.test" is not for the name site.test: its names are other.test"#,
        ),
    ]);
}

#[test]
fn what_certificates_are_for() {
    let good = Good::new();
    let purposes = |purposes: &[ExtendedKeyUsagePurpose]| {
        let purposes = purposes.to_vec();
        move |parameters| with(parameters, |parameters| parameters.extended_key_usages = purposes)
    };
    let client = purposes(&[ExtendedKeyUsagePurpose::ClientAuth]);
    let code = purposes(&[ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::TimeStamping]);
    let last = with(authority(INTERMEDIATE, LONG), |last| last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let last = good.root.sign(last);
    let beyond = last.sign(authority("One too many", LONG));
    let subtrees = |permitted: Vec<GeneralSubtree>, excluded_subtrees| {
        let constraints = NameConstraints { permitted_subtrees: permitted, excluded_subtrees };
        with(authority(INTERMEDIATE, LONG), |parameters| parameters.name_constraints = Some(constraints))
    };
    let corp = || GeneralSubtree::DnsName("corp.test".to_owned());
    let network = GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([10, 0, 0, 0], 8));
    let constrained_root = Signer::root(subtrees(vec![corp()], vec![]));
    let mut deep = vec![good.root.sign(authority("0", LONG))];
    for number in 1..9 {
        deep.push(deep[number - 1].sign(authority(&number.to_string(), LONG)));
    }
    let deep_leaf = deep[8].leaf(site());
    let deep: Vec<&Der> = std::iter::once(&deep_leaf).chain(deep.iter().map(|signer| &signer.der)).collect();
    check(vec![
        (
            "for clients",
            good.leaf(client(site())),
            r#"certificate "site.test" is not for servers: its extended key usage is client authentication only"#,
        ),
        (
            "intermediate for code",
            good.below(code(authority(INTERMEDIATE, LONG))),
            r#"intermediate certificate "Test intermediate" is not for servers: its extended key usage is code signing, time stamping only"#,
        ),
        (
            "path length",
            said(&[&good.root.der], &[&beyond.leaf(site()), &beyond.der, &last.der], NAME, NOW),
            r#"intermediate certificate "Test intermediate" allows at most 0 intermediate certificates below it, and the server sent more"#,
        ),
        (
            "too long",
            said(&[&good.root.der], &deep, NAME, NOW),
            "the server sent 10 certificates that form too long or too tangled a chain",
        ),
        (
            "permitted names",
            good.below(subtrees(vec![corp(), network], vec![])),
            r#"certificate "site.test" names what intermediate certificate "Test intermediate" may not issue for: its name constraints say only corp.test, 10.0.0.0/8"#,
        ),
        (
            "excluded names",
            good.below(subtrees(vec![], vec![GeneralSubtree::DnsName("test".to_owned())])),
            r#"certificate "site.test" names what intermediate certificate "Test intermediate" may not issue for: its name constraints say not test"#,
        ),
        (
            "a root's constraints",
            said(&[&constrained_root.der], &[&constrained_root.leaf(site())], NAME, NOW),
            r#"certificate "site.test" names what trusted root certificate "Test intermediate" may not issue for: its name constraints say only corp.test"#,
        ),
        (
            "critical extension",
            good.leaf(critical(site())),
            r#"certificate "site.test" has a critical extension that is unknown here (1.2.3.4)"#,
        ),
        (
            "critical extension of an intermediate",
            good.below(critical(authority(INTERMEDIATE, LONG))),
            r#"intermediate certificate "Test intermediate" has a critical extension that is unknown here (1.2.3.4)"#,
        ),
    ]);
}

#[test]
fn signatures_and_encodings() {
    let good = Good::new();
    let altered = |der: &Der| {
        let mut bytes = der.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        Der::from(bytes)
    };
    let namesake = Signer::root(authority("Test root", LONG)).sign(authority(INTERMEDIATE, LONG));
    let false_root = Signer::root(authority("Test root", LONG));
    let garbage = Der::from(vec![0x30, 3, 2, 1, 1]);
    let cut = Der::from(good.leaf[..good.leaf.len() / 2].to_vec());
    let sha256 = MessageDigest::sha256();
    let root = Old::new("Old root", (2048, sha256, 3), true, None);
    let weak = Old::new("Weak", (1024, sha256, 3), true, Some(&root));
    let below_weak = Old::new(NAME, (2048, sha256, 3), false, Some(&weak));
    let weak_root = Old::new("Weak root", (1024, sha256, 3), true, None);
    let below_weak_root = Old::new(NAME, (2048, sha256, 3), false, Some(&weak_root));
    let signed = |digest, version| {
        said(&[&root.der], &[&Old::new(NAME, (2048, digest, version), false, Some(&root)).der], NAME, NOW)
    };
    check(vec![
        (
            "altered leaf",
            said(&[&good.root.der], &[&altered(&good.leaf), &good.intermediate.der], NAME, NOW),
            r#"certificate "site.test" is not signed by the key of intermediate certificate "Test intermediate""#,
        ),
        (
            "an intermediate of the same name",
            good.sent(&[&namesake.der]),
            r#"certificate "site.test" is not signed by the key of intermediate certificate "Test intermediate""#,
        ),
        (
            "a trusted root of the same name",
            said(&[&false_root.der], &[&good.leaf, &good.intermediate.der], NAME, NOW),
            r#"intermediate certificate "Test intermediate" is signed by another key than that of the trusted root certificate "Test root""#,
        ),
        ("good after a false one", good.sent(&[&namesake.der, &good.intermediate.der]), ""),
        (
            "no certificate",
            said(&[&good.root.der], &[&garbage], NAME, NOW),
            "the server's certificate cannot be read: it is damaged or no X.509 certificate",
        ),
        (
            "half a certificate",
            said(&[&good.root.der], &[&cut, &good.intermediate.der], NAME, NOW),
            "the server's certificate cannot be read: it is damaged or no X.509 certificate",
        ),
        (
            "garbage as an intermediate",
            good.sent(&[&garbage]),
            "certificate 2 of the 2 that the server sent is damaged: it is not correctly encoded",
        ),
        ("SHA-256", signed(sha256, 3), ""),
        ("SHA-1", signed(MessageDigest::sha1(), 3), r#"certificate "site.test" is signed with SHA-1, which is broken"#),
        ("MD5", signed(MessageDigest::md5(), 3), r#"certificate "site.test" is signed with MD5, which is broken"#),
        ("version 1", signed(sha256, 1), r#"certificate "site.test" is of X.509 version 1, and version 3 is needed"#),
        (
            "a short key",
            said(&[&root.der], &[&below_weak.der, &weak.der], NAME, NOW),
            r#"intermediate certificate "Weak" has an RSA key of 1024 bits, and at least 2048 are needed"#,
        ),
        (
            "a root's short key",
            said(&[&weak_root.der], &[&below_weak_root.der], NAME, NOW),
            r#"trusted root certificate "Weak root" has an RSA key of 1024 bits, and at least 2048 are needed"#,
        ),
    ]);
    let short = Old::new(NAME, (1024, sha256, 3), false, Some(&root)).der;
    let no_key =
        r#"the server did not prove that it has the key of certificate "site.test": its signature does not fit"#;
    assert_eq!(
        unproved(&short),
        r#"certificate "site.test" has an RSA key of 1024 bits, and at least 2048 are needed"#
    );
    assert_eq!(unproved(&good.leaf), no_key);
}

#[test]
fn what_strangers_write_is_bounded_and_escaped() {
    let good = Good::new();
    let evil = format!("a\n\u{1b}[31m\u{202e}\"{}", "x".repeat(20_000));
    let long = format!("{}.test", ["y"; 120].join("."));
    let many: Vec<&str> = std::iter::repeat_n(long.as_str(), 100).collect();
    let stranger = Signer::root(authority(&evil, LONG));
    let between = stranger.sign(authority(&evil, LONG));
    let leaf = between.leaf(says(&evil, &many, LONG));
    let mut said = vec![
        good.leaf(says(&evil, &many, EXPIRED)),
        good.leaf(says(&evil, &many, LONG)),
        good.leaf(says("", &many, LONG)),
        said(&[&good.root.der], &[&leaf], NAME, NOW),
        said(&[&good.root.der], &[&leaf, &between.der], NAME, NOW),
        said(&[&good.root.der], &[&leaf, &between.der, &stranger.der], NAME, NOW),
    ];
    let constraints = NameConstraints {
        permitted_subtrees: many.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect(),
        excluded_subtrees: vec![],
    };
    said.push(good.below(with(authority(&evil, LONG), |ca| ca.name_constraints = Some(constraints))));
    for said in said {
        let said = said.unwrap();
        assert!(said.chars().count() < 700, "{said}");
        assert!(!said.chars().any(|c| c.is_control() || c == '\u{202e}'), "{said:?}");
        assert!(!said.contains(&"x".repeat(70)), "{said}");
    }
}
