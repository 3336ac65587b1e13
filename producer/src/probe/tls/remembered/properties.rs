//! Whatever is shown, by whatever name and whenever, the verdict is that of full verification.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rustls::pki_types::CertificateDer;

use super::chains::*;

/// Roots, one of them good for a while, and chains that are good, good for a while, or bad.
static LAB: LazyLock<(Vec<CertificateDer<'static>>, Vec<Shown>)> = LazyLock::new(|| {
    let (root, short_root) = (Authority::root(LONG), Authority::root(SHORT));
    let alone = [LONG, SHORT].map(|dates| Authority::alone(&[NAME], dates));
    let mut chains = Vec::new();
    for intermediate in [LONG, SHORT, EXPIRED, NOT_YET].map(|dates| root.intermediate(dates)) {
        for leaf in [LONG, SHORT, EXPIRED, NOT_YET].map(|dates| intermediate.leaf(&[NAME, "192.0.2.1"], dates)) {
            chains.push(Shown::new(&[&leaf, &intermediate.certificate]));
            chains.push(Shown::new(&[&leaf]));
            chains.push(Shown::new(&[&altered(&leaf, 1), &intermediate.certificate]));
            chains.push(Shown::new(&[&leaf, &altered(&intermediate.certificate, 1)]));
            for unused in [SHORT, EXPIRED, NOT_YET].map(|dates| root.intermediate(dates).certificate) {
                chains.push(Shown::new(&[&leaf, &unused, &intermediate.certificate]));
            }
        }
    }
    let false_intermediate = Authority::root(LONG).intermediate(LONG);
    let leaf = false_intermediate.leaf(&[NAME], LONG);
    chains.push(Shown::new(&[&leaf, &false_intermediate.certificate]));
    chains.push(Shown::new(&[&chains[0].chain[0], &false_intermediate.certificate]));
    chains.extend(alone.iter().map(|leaf| Shown::new(&[leaf])));
    let short_intermediate = short_root.intermediate(LONG);
    chains.push(Shown::new(&[&short_intermediate.leaf(&[NAME], LONG), &short_intermediate.certificate]));
    (alone.into_iter().chain([root.certificate, short_root.certificate]).collect(), chains)
});

/// Around the times at which something begins or ends.
fn time() -> impl Strategy<Value = u64> {
    let times = [LONG, SHORT, EXPIRED, NOT_YET, (NOW, NOW + 3600)].map(|(from, until)| [from, until]).concat();
    (select(times), 0..=4_u64).prop_map(|(time, beside)| time - 2 + beside)
}

fn shown() -> impl Strategy<Value = Shown> {
    let names = select(vec![NAME, NAME, NAME, "192.0.2.1", "elsewhere.test"]);
    // Few of all chains, so that the same come again; among them the good one at the head.
    let chains = prop_oneof![Just(0), 0..LAB.1.len()];
    (chains, names, time()).prop_map(|(chain, name, now)| LAB.1[chain].to(name).at(now))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_verdict_is_that_of_full_verification(
        few in vec(shown(), 1..6),
        asked in vec((any::<prop::sample::Index>(), proptest::option::of(time())), 1..60),
        trusted in subsequence(LAB.0.clone(), 1..=4),
        room in 1..8_usize,
    ) {
        let pair = Pair::with_room(&trusted.iter().collect::<Vec<_>>(), room);
        for (shown, now) in asked {
            let shown = shown.get(&few);
            let _ = pair.verdict(&shown.at(now.unwrap_or(shown.now)), "asked");
            prop_assert!(pair.remembered() <= room);
        }
    }
}
