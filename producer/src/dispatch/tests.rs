use shared::admin::Metrics;
use shared::config::{Environment, load};

use super::*;
use crate::settings::Settings;
use crate::targets::load_targets;

fn unchanging() -> Receiver<Change> {
    tokio::sync::mpsc::channel(1).1
}

#[tokio::test]
async fn who_is_told_to_stop_before_the_first_slot_owes_none() {
    let loaded = load::<Settings>(None, &Environment::from_pairs([("SITE_URL", "http://127.0.0.1/")])).unwrap();
    let targets = load_targets(&loaded).unwrap();
    let (results, mut received) = tokio::sync::mpsc::channel(1);
    let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
    let probe = Arc::new(Probe::new(&loaded.settings).unwrap());
    stop.cancel();
    let counts = Checks::new(&mut Metrics::new("producer", "0"));
    let checker = Checker { probe, location: "here".into(), results, counts, give_up };
    let tally = run(targets, unchanging(), None, 1, checker, stop).await;
    assert_eq!(tally, Tally::default());
    assert_eq!(received.recv().await, None);
}

/// Found by a bench: when the results found no room for a while, slots were judged by the time before.
#[tokio::test]
async fn who_waited_for_room_knows_how_late_it_is() {
    let second = Duration::from_secs(1);
    let phase = |n: &usize| Rhythm::new(&format!("t{n}"), second).latest(0);
    let together = (0..).filter(|n| phase(n) == phase(&0)).take(10);
    let target = |n| format!("[[targets]]\nname = 't{n}'\nurl = 'http://127.0.0.1:1/'\ninterval = '1s'\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    std::fs::write(&path, together.map(target).collect::<String>()).unwrap();
    let environment = Environment::from_pairs([("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())]);
    let loaded = load::<Settings>(None, &environment).unwrap();
    let targets = load_targets(&loaded).unwrap();
    let (results, mut received) = tokio::sync::mpsc::channel(1);
    let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
    let probe = Arc::new(Probe::new(&loaded.settings).unwrap());
    let counts = Checks::new(&mut Metrics::new("producer", "0"));
    let checker = Checker { probe, location: "here".into(), results, counts, give_up };

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
    let (tally, seen) = tokio::join!(run(targets, unchanging(), None, 1, checker, stop.clone()), reader);
    assert_eq!(tally.due, seen.len() as u64);
    assert!(seen.iter().any(overload));
    let too_late = |result: &&CheckResult| overload(result) && result.meta.lateness > 2_000_000;
    assert_eq!(seen.iter().find(too_late), None);
}

/// Found by a bench: at twice the load that fits, checks began after their next slot, since they had waited to be run.
#[tokio::test]
async fn a_check_that_runs_after_its_next_slot_is_late() {
    let variables = [("SITE_URL", "http://127.0.0.1:1/"), ("SITE_INTERVAL", "1s")];
    let loaded = load::<Settings>(None, &Environment::from_pairs(variables)).unwrap();
    let target = load_targets(&loaded).unwrap().remove(0);
    let (results, mut received) = tokio::sync::mpsc::channel(1);
    let probe = Arc::new(Probe::new(&loaded.settings).unwrap());
    let counts = Checks::new(&mut Metrics::new("producer", "0"));
    let checker = Checker { probe, location: "here".into(), results, counts, give_up: CancellationToken::new() };
    let slot = shared::message::Slot::from_millis(now_millis() - 1000).unwrap();
    let due = Due { target: 0, slot, action: Action::Check };
    checker.check(target, due, Room::new(1).now().unwrap()).await;
    let outcome = received.recv().await.unwrap().outcome;
    assert_eq!((outcome.state, outcome.failure.unwrap().class), (State::Missed, FailureClass::Late));
}
