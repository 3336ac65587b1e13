//! What Postgres says was due, stored and absent is what the schedule's arithmetic says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use local::site::{Behaviour, Response, Site};
use rustix::process::Signal;
use tests::{Slot, World, due_between, logged, now, patiently, stop, until};

const NAMES: [&str; 3] = ["a", "b", "c"];
const INTERVAL: Duration = Duration::from_secs(1);

/// The slots of each target, counted.
fn counts(slots: &BTreeSet<Slot>) -> BTreeMap<String, i64> {
    let mut counts: BTreeMap<String, i64> = NAMES.map(|name| (name.to_owned(), 0)).into();
    for (target, _) in slots {
        *counts.entry(target.clone()).or_default() += 1;
    }
    counts
}

/// Killed, away for some slots, and started again: nobody was there to record the slots of that time, and still they show.
#[tokio::test(flavor = "multi_thread")]
async fn slots_of_a_time_without_a_producer_are_absent() {
    let world = World::new().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let url = site.url("127.0.0.1");
    let targets = NAMES.map(|name| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n")).concat();
    let file = world.file("targets.toml", &targets);
    let variables = [("SCHEDULE_TARGETS_FILE", file.as_str())];
    let consumer = world.start("consumer", &[], &[]);
    let mut first = world.start("producer", &[], &variables);
    world.until_stored("rows before the gap", |rows| rows.len() >= 9).await;
    first.signal(Signal::KILL).unwrap();
    patiently("the end", first.wait()).await.unwrap();
    let killed_at = now();
    // Two slots of each target at least.
    while due_between((killed_at, now()), &NAMES, INTERVAL).len() < 4 * NAMES.len() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let second = world.start("producer", &[], &variables);
    let before = world.stored().await.len();
    world.until_stored("rows after the gap", |rows| rows.len() >= before + 9).await;
    let second = stop(second).await;

    let bounds = (logged(&first, "schedule.started_at_ms"), logged(&second, "schedule.stopped_at_ms"));
    let due = due_between(bounds, &NAMES, INTERVAL);
    let of_second = (logged(&second, "schedule.started_at_ms"), bounds.1);
    let of_second = due_between(of_second, &NAMES, INTERVAL);
    until("all that the second run owes", async || of_second.is_subset(&world.slots().await)).await;
    stop(consumer).await;
    let stored = world.slots().await;
    assert!(stored.is_subset(&due));
    let absent: BTreeSet<Slot> = due.difference(&stored).cloned().collect();
    assert!(counts(&absent).values().all(|slots| *slots >= 2), "{absent:?}");

    let window = format!("to_timestamp(0), to_timestamp({} / 1000.0)", bounds.1 + 1);
    let missed = "(SELECT count(*) FROM check_results r WHERE r.target = a.target AND r.state = 'missed')";
    let account = format!(
        "SELECT target, due, stored, absent, missed = {missed} AND stored = up + down + missed + unmeasured
         FROM slot_account({window}) a WHERE location = '{}'",
        world.name
    );
    let account = world.query(&account).await;
    let column =
        |index: usize| -> BTreeMap<String, i64> { account.iter().map(|row| (row.get(0), row.get(index))).collect() };
    assert_eq!((column(1), column(2), column(3)), (counts(&due), counts(&stored), counts(&absent)));
    assert!(account.iter().all(|row| row.get(4)));

    let gaps = format!(
        "SELECT target, (extract(epoch FROM slot) * 1000)::bigint
         FROM slot_gaps({window}), generate_series(first_slot, last_slot, interval '1 second') slot"
    );
    let gaps: BTreeSet<Slot> = world.query(&gaps).await.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(gaps, absent);
}
