use shared::admin::Metrics;
use shared::config::{Environment, Loaded, load};

use super::*;
use crate::settings::Settings;
use crate::targets::load_targets;

fn unchanging() -> Receiver<Change> {
    tokio::sync::mpsc::channel(1).1
}

fn loaded(variables: &[(&str, &str)]) -> Loaded<Settings> {
    load(None, &Environment::from_pairs(variables.iter().copied())).unwrap()
}

/// A checker, and where its results go: one finds room.
fn checker(loaded: &Loaded<Settings>, heirs_after: Option<Duration>) -> (Checker, Receiver<CheckResult>) {
    let (results, received) = tokio::sync::mpsc::channel(1);
    let probe = Arc::new(Probe::new(&loaded.settings).unwrap());
    let counts = Checks::new(&mut Metrics::new("producer", "0"));
    let give_up = CancellationToken::new();
    (Checker { probe, location: "here".into(), results, counts, heirs_after, give_up }, received)
}

/// Targets of these names, where nobody answers.
fn targets(names: impl Iterator<Item = usize>, interval: &str) -> (Loaded<Settings>, Vec<Arc<Target>>) {
    let target = |n| format!("[[targets]]\nname = 't{n}'\nurl = 'http://127.0.0.1:1/'\ninterval = '{interval}'\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    std::fs::write(&path, names.map(target).collect::<String>()).unwrap();
    let loaded = loaded(&[("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())]);
    let targets = load_targets(&loaded).unwrap();
    (loaded, targets)
}

#[tokio::test]
async fn who_is_told_to_stop_before_the_first_slot_owes_none() {
    let loaded = loaded(&[("SITE_URL", "http://127.0.0.1/")]);
    let (checker, mut received) = checker(&loaded, None);
    let stop = CancellationToken::new();
    stop.cancel();
    let tally = run(load_targets(&loaded).unwrap(), unchanging(), 1, checker, stop).await;
    assert_eq!(tally, Tally::default());
    assert_eq!(received.recv().await, None);
}

/// Found by a bench: when the results found no room for a while, slots were judged by the time before.
#[tokio::test]
async fn who_waited_for_room_knows_how_late_it_is() {
    let second = Duration::from_secs(1);
    let phase = |n: &usize| Rhythm::new(&format!("t{n}"), second).latest(0);
    let together = (0..).filter(|n| phase(n) == phase(&0)).take(10);
    let (loaded, targets) = targets(together, "1s");
    let (checker, mut received) = checker(&loaded, None);
    let stop = CancellationToken::new();

    let overload = |result: &CheckResult| {
        result.outcome.failure.as_ref().is_some_and(|failure| failure.class == FailureClass::Overload)
    };
    let reader = async {
        let mut seen = Vec::new();
        while let Some(result) = received.recv().await {
            if !seen.iter().any(overload) && overload(&result) {
                // The next one finds room in the queue, the one after it waits, and those behind it have not been looked at.
                tokio::time::sleep(4 * second).await;
                stop.cancel();
            }
            seen.push(result);
        }
        seen
    };
    let (tally, seen) = tokio::join!(run(targets, unchanging(), 1, checker, stop.clone()), reader);
    assert_eq!(tally.due, seen.len() as u64);
    assert!(seen.iter().any(overload));
    let too_late = |result: &&CheckResult| overload(result) && result.meta.lateness > 2_000_000;
    assert_eq!(seen.iter().find(too_late), None);
}

/// Found by a bench: at twice the load that fits, checks began after their next slot, since they had waited to be run. Found by a replica
/// that took over: of a slot that its former owner had checked it said that nobody did.
#[tokio::test]
async fn a_check_that_runs_after_its_next_slot_is_late() {
    let shared = Some(Duration::from_secs(6));
    let table = [
        (Action::Check, None, true),
        (Action::Check, shared, true),
        (Action::CatchUp, None, true),
        (Action::CatchUp, shared, false),
    ];
    for (action, heirs_after, said) in table {
        let loaded = loaded(&[("SITE_URL", "http://127.0.0.1:1/"), ("SITE_INTERVAL", "1s")]);
        let (checker, mut received) = checker(&loaded, heirs_after);
        let target = load_targets(&loaded).unwrap().remove(0);
        let slot = shared::message::Slot::from_millis(now_millis() - 1000).unwrap();
        let due = Due { target: 0, slot, action };
        checker.check(target, due, Room::new(1).now().unwrap()).await;
        let outcome = received.recv().await.map(|result| result.outcome);
        let seen = outcome.map(|outcome| (outcome.state, outcome.failure.unwrap().class));
        let late = said.then_some((State::Missed, FailureClass::Late));
        assert_eq!(seen, late, "{action:?} {heirs_after:?}");
    }
}

/// Of slots from before the start that found no room, only who has its targets alone says that nobody checked them.
#[tokio::test]
async fn slots_from_before_the_start_are_left_to_whoever_had_them() {
    for heirs_after in [None, Some(Duration::from_secs(6))] {
        let (loaded, targets) = targets(0..10, "1h");
        let (checker, mut received) = checker(&loaded, heirs_after);
        let stop = CancellationToken::new();
        let reader = async {
            received.recv().await.unwrap();
            stop.cancel();
            let mut left = 0;
            while let Some(result) = received.recv().await {
                left += usize::from(result.outcome.failure.unwrap().class == FailureClass::Stopped);
            }
            left
        };
        let (_, left) = tokio::join!(run(targets, unchanging(), 1, checker, stop.clone()), reader);
        assert_eq!(left > 0, heirs_after.is_none(), "{left}");
    }
}
