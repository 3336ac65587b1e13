//! That nothing is accepted that full verification refuses, and nothing verified in full that need not be.

use std::sync::Condvar;
use std::thread;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;

use super::chains::*;
use super::*;

/// A root, an intermediate and a leaf, all good, and what a site shows of them.
struct Good {
    root: Authority,
    intermediate: Authority,
    leaf: CertificateDer<'static>,
    shown: Shown,
}

impl Good {
    fn new() -> Self {
        let root = Authority::root(LONG);
        let intermediate = root.intermediate(LONG);
        let leaf = intermediate.leaf(&[NAME, "other.test", "192.0.2.1"], LONG);
        let shown = Shown::new(&[&leaf, &intermediate.certificate]);
        Self { root, intermediate, leaf, shown }
    }

    /// What full verification refuses, and must go on to refuse once the good chain is known.
    fn bad(&self) -> Vec<(&'static str, Shown)> {
        let Self { root, intermediate, leaf, shown } = self;
        let shows = |leaf: &CertificateDer<'static>, issuer: &Authority| Shown::new(&[leaf, &issuer.certificate]);
        let signed = |dates| shows(&intermediate.leaf(&[NAME], dates), intermediate);
        let below = |dates| {
            let intermediate = root.intermediate(dates);
            shows(&intermediate.leaf(&[NAME], LONG), &intermediate)
        };
        // Of the same names as ours, but not ours.
        let false_root = Authority::root(LONG);
        let false_intermediate = false_root.intermediate(LONG);
        let false_leaf = false_intermediate.leaf(&[NAME], LONG);
        let home_made = Authority::root(LONG).leaf(&[NAME], LONG);
        let all_in_one = CertificateDer::from([leaf.as_ref(), intermediate.certificate.as_ref()].concat());
        vec![
            ("expired leaf", signed(EXPIRED)),
            ("leaf not valid yet", signed(NOT_YET)),
            ("expired intermediate", below(EXPIRED)),
            ("intermediate not valid yet", below(NOT_YET)),
            ("wrong name", shown.to("elsewhere.test")),
            ("wrong address", shown.to("192.0.2.2")),
            ("leaf of another site", shows(&intermediate.leaf(&["elsewhere.test"], LONG), intermediate)),
            ("false root", shows(&false_leaf, &false_intermediate)),
            ("false root, shown", Shown::new(&[&false_leaf, &false_intermediate.certificate, &false_root.certificate])),
            ("false intermediate", shows(leaf, &false_intermediate)),
            ("false leaf", shows(&false_leaf, intermediate)),
            ("leaf of nobody", shows(&home_made, intermediate)),
            ("altered leaf", shows(&altered(leaf, 1), intermediate)),
            ("altered leaf, before the signature", shows(&altered(leaf, 100), intermediate)),
            ("altered intermediate", Shown::new(&[leaf, &altered(&intermediate.certificate, 1)])),
            ("no intermediate", Shown::new(&[leaf])),
            ("intermediate for a leaf", shows(&intermediate.certificate, intermediate)),
            ("the other way round", Shown::new(&[&intermediate.certificate, leaf])),
            ("the same bytes in one", Shown::new(&[&all_in_one])),
            ("nothing in it", Shown::new(&[&CertificateDer::from(Vec::new())])),
        ]
    }
}

#[test]
fn what_full_verification_refuses_is_refused_before_and_after() {
    let good = Good::new();
    for (label, bad) in good.bad() {
        let pair = Pair::new(&good.root);
        for round in 1..=3 {
            assert!(pair.verdict(&bad, label).is_err(), "{label}");
            pair.verdict(&good.shown, label).unwrap();
            assert_eq!(
                (pair.remembered(), pair.verified()),
                (1, 1 + round),
                "{label}: the good one, and only that one"
            );
        }
    }
}

#[test]
fn what_is_good_in_another_way_is_verified_for_itself() {
    let good = Good::new();
    let Good { root, intermediate, leaf, shown } = &good;
    let unused = root.intermediate(LONG).certificate;
    let table = [
        ("another name of the leaf", shown.to("other.test")),
        ("an address of the leaf", shown.to("192.0.2.1")),
        ("another leaf", Shown::new(&[&intermediate.leaf(&[NAME], LONG), &intermediate.certificate])),
        ("the root, shown", Shown::new(&[leaf, &intermediate.certificate, &root.certificate])),
        ("an unused certificate", Shown::new(&[leaf, &intermediate.certificate, &unused])),
        ("another order", Shown::new(&[leaf, &unused, &intermediate.certificate])),
        ("another OCSP response", Shown { ocsp: vec![1], ..shown.clone() }),
    ];
    let pair = Pair::new(root);
    pair.verdict(shown, "the first").unwrap();
    for (count, (label, other)) in (2..).zip(table) {
        for _ in 0..2 {
            pair.verdict(&other, label).unwrap();
            assert_eq!((pair.remembered(), pair.verified()), (count, count), "{label}");
        }
    }
    Pair::new(&Authority::root(LONG)).verdict(shown, "a verifier without that root").unwrap_err();
}

/// When a chain that is remembered was asked for again, whether it was accepted, and how often verified in full for it.
type Again = (u64, bool, usize);

#[test]
fn a_verdict_is_good_for_an_hour_at_most_and_while_all_certificates_are() {
    let root = Authority::root(LONG);
    let (short_root, alone) = (Authority::root(SHORT), Authority::alone(&[NAME], SHORT));
    let long = root.intermediate(LONG);
    let chain = |root: &Authority, intermediate: Dates, leaf: Dates| {
        let intermediate = root.intermediate(intermediate);
        Shown::new(&[&intermediate.leaf(&[NAME], leaf), &intermediate.certificate])
    };
    let with_unused = |unused: Dates| {
        Shown::new(&[&long.leaf(&[NAME], LONG), &long.certificate, &root.intermediate(unused).certificate])
    };
    let (accepted, refused, known, in_full) = (true, false, 0, 1);
    let (from, until) = SHORT;
    let short = [
        (NOW, accepted, known),
        (until, accepted, known),
        (until + 1, refused, in_full),
        (NOW - 1, accepted, in_full),
        (from, accepted, in_full),
        (from - 1, refused, in_full),
    ];
    let long = [
        (NOW, accepted, known),
        (NOW + 3600, accepted, known),
        (NOW + 3601, accepted, in_full),
        (NOW + 10 * DAY, accepted, in_full),
        (NOW + 10 * DAY + 1, refused, in_full),
        (NOW - 1, accepted, in_full),
        (NOW - 10 * DAY, accepted, in_full),
        (NOW - 10 * DAY - 1, refused, in_full),
        (0, refused, in_full),
        (u64::MAX, refused, in_full),
    ];
    let unused = [
        (NOW, accepted, known),
        (until, accepted, known),
        (until + 1, accepted, in_full),
        (from - 1, accepted, in_full),
    ];
    let never_known = [(NOW, accepted, in_full), (NOW + 1, accepted, in_full), (NOW - 1, accepted, in_full)];
    let ours = &root.certificate;
    let [past, future] = [EXPIRED, NOT_YET].map(|dates| Authority::root(dates).certificate);
    let table: [(&str, &[&CertificateDer<'static>], Shown, &[Again]); 11] = [
        ("all long", &[ours], chain(&root, LONG, LONG), &long),
        ("short leaf", &[ours], chain(&root, LONG, SHORT), &short),
        ("short intermediate", &[ours], chain(&root, SHORT, LONG), &short),
        ("short root", &[&short_root.certificate], chain(&short_root, LONG, LONG), &short),
        ("another root that is short", &[ours, &short_root.certificate], chain(&root, LONG, LONG), &unused),
        ("other roots that are not valid", &[&past, ours, &future], chain(&root, LONG, LONG), &long),
        ("short leaf that is trusted itself", &[ours, &alone], Shown::new(&[&alone]), &short),
        ("short unused certificate", &[ours], with_unused(SHORT), &unused),
        ("expired unused certificate", &[ours], with_unused(EXPIRED), &never_known),
        ("unused certificate not valid yet", &[ours], with_unused(NOT_YET), &never_known[..1]),
        ("century", &[ours], chain(&root, (0, NOW + 36_500 * DAY), LONG), &long),
    ];
    for (label, trusted, shown, times) in table {
        for (now, accepted, verified) in times {
            let pair = Pair::with_room(trusted, ROOM);
            pair.verdict(&shown, label).unwrap();
            let again = shown.at(*now);
            assert_eq!(pair.verdict(&again, label).is_ok(), *accepted, "{label} at {now}");
            assert_eq!(pair.verified(), 1 + verified, "{label} at {now}");
        }
    }
}

#[test]
fn a_new_verdict_takes_the_place_of_an_old_one() {
    let good = Good::new();
    let pair = Pair::new(&good.root);
    for (now, verified) in [(NOW, 1), (NOW + 3601, 2), (NOW + 7201, 2), (NOW + 7202, 3), (NOW, 4), (NOW + 3600, 4)] {
        pair.verdict(&good.shown.at(now), "again").unwrap();
        assert_eq!((pair.remembered(), pair.verified()), (1, verified), "at {now}");
    }
}

#[test]
fn the_memory_is_bounded_and_right_when_it_is_full() {
    let root = Authority::root(LONG);
    let leaf = root.leaf(&["*.site.test"], LONG);
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let names: Vec<&'static str> = names.iter().map(|name| &*format!("{name}.site.test").leak()).collect();
    let pair = Pair::with_room(&[&root.certificate], 6);
    for round in 1..=10 {
        for (number, name) in (1..).zip(&names) {
            pair.verdict(&Shown::new(&[&leaf]).to(name), name).unwrap();
            let seen = if round == 1 { number } else { names.len() };
            assert_eq!(pair.remembered(), seen.min(6), "{name}");
            let verified = pair.verified();
            pair.verdict(&Shown::new(&[&leaf]).to(name), name).unwrap();
            assert_eq!(pair.verified(), verified, "{name} is known, having come last");
            pair.verdict(&Shown::new(&[&leaf]).to("a.b.site.test"), "deeper name").unwrap_err();
        }
    }
    // By lot, about two in ten are known again; if the oldest were forgotten, none would be.
    assert!(pair.verified() < 10 * names.len() * 2, "{}", pair.verified());
}

#[test]
fn the_real_bound_is_kept() {
    let mut verdicts = Verdicts::new(ROOM);
    let verdict = Verdict { made: 0, good_until: 1, leaf_expires: 1 };
    for number in 0..3 * ROOM as u64 {
        let mut key = Key::default();
        key[..8].copy_from_slice(&number.to_be_bytes());
        verdicts.keep(key, verdict);
        assert!(verdicts.find(&key).is_some());
    }
    assert_eq!((verdicts.by_key.len(), verdicts.keys.len()), (ROOM, ROOM));
    assert!(verdicts.keys.iter().all(|key| verdicts.find(key).is_some()));
    let bytes = verdicts.keys.capacity() * size_of::<Key>()
        + verdicts.by_key.capacity() * 8 / 7 * (size_of::<(Key, Verdict)>() + 1);
    assert!(bytes < 3_000_000, "{bytes}");
}

/// Accepts a chain once two threads ask at the same time.
#[derive(Debug, Default)]
struct Together(Mutex<usize>, Condvar);

impl ServerCertVerifier for Together {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut here = self.0.lock().unwrap();
        *here += 1;
        self.1.notify_all();
        let (here, _) = self.1.wait_timeout_while(here, Duration::from_secs(60), |here| *here < 2).unwrap();
        if *here < 2 { Err(Error::General("alone".to_owned())) } else { Ok(ServerCertVerified::assertion()) }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("not asked for".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("not asked for".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        Vec::new()
    }
}

#[test]
fn chains_are_verified_at_the_same_time() {
    let remembering = Remembering::new(Arc::new(Together::default()), Arc::default());
    let good = Good::new();
    let verdicts = thread::scope(|scope| {
        let asked = [NAME, "other.test"].map(|name| {
            let (shown, remembering) = (good.shown.to(name), &remembering);
            scope.spawn(move || shown.verdict(remembering))
        });
        asked.map(|asked| asked.join().unwrap())
    });
    assert_eq!(verdicts, [Ok(()), Ok(())]);
}

#[test]
fn the_switch_turns_it_off() {
    let mut roots = Roots::default();
    roots.add(&Authority::root(LONG).certificate).unwrap();
    let roots = Arc::new(roots);
    for remember in [true, false] {
        let verifier = crate::probe::tls::verifier(roots.clone(), &default_provider(), remember);
        assert_eq!(format!("{verifier:?}").contains("Remembering"), remember, "{verifier:?}");
    }
}
