//! A producer that did not run for a while, frozen or dead: what it says of the slots of that time, and what it leaves open.

use std::collections::BTreeSet;
use std::time::Duration;

use local::site::{Response, Site};
use producer::schedule::Rhythm;
use rustix::process::Signal;
use tests::{World, due, due_between, logged, now, patiently, stop, until, until_hit};

const NAMES: [&str; 3] = ["a", "b", "c"];
const INTERVAL: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_secs(5);

fn targets(site: &Site) -> String {
    let url = site.url("127.0.0.1");
    NAMES.iter().map(|name| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n")).collect()
}

/// Every slot of a suspension has a row, and only the newest of each target may have been checked.
#[tokio::test(flavor = "multi_thread")]
async fn the_slots_of_a_suspension_are_missed_and_none_is_absent() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let file = world.file("targets.toml", &targets(&site));
    let consumer = world.start("consumer", &[], &[]);
    let producer = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file)]);
    world.until_stored("rows before", |rows| rows.len() >= 6).await;

    producer.signal(Signal::STOP).unwrap();
    let frozen = now();
    tokio::time::sleep(PAUSE).await;
    let thawed = now();
    producer.signal(Signal::CONT).unwrap();
    let before = world.stored().await.len();
    world.until_stored("rows of the pause and after it", |rows| rows.len() >= before + 24).await;
    let producer = stop(producer).await;
    let due = due(&producer, &NAMES, INTERVAL);
    let rows = world.until_stored("all that was due", |rows| rows.len() >= due.len()).await;
    stop(consumer).await;
    assert_eq!(world.slots().await, due);
    assert_eq!(rows.len(), due.len());

    let query = "SELECT target, (extract(epoch FROM scheduled_at) * 1000)::bigint, state, failure_class
                 FROM check_results ORDER BY scheduled_at";
    let mut late = 0;
    for row in world.query(query).await {
        let (target, slot): (&str, i64) = (row.get(0), row.get(1));
        let (state, class): (&str, Option<&str>) = (row.get(2), row.get(3));
        // A slot that came due as the process froze, or whose next one came as it thawed, may have gone either way.
        if slot > frozen + 100 && slot + 1000 <= thawed {
            assert_eq!((state, class), ("missed", Some("late")), "{target} {slot}, {frozen} to {thawed}");
            late += 1;
        } else if slot < frozen - 1000 {
            // A busy machine may have missed it.
            let well = [("up", None), ("missed", Some("late"))];
            assert!(well.contains(&(state, class)), "{target} {slot} {state}, {frozen} to {thawed}");
        }
    }
    assert!(late >= 9, "{late}");
}

/// A check that was frozen for longer than its deadline has measured us and not the site.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_was_frozen_blames_nobody() {
    let world = World::new().await;
    // Answers in time, as a process that runs would have seen.
    let site = Site::start(Response::ok("fine").slow(4 * INTERVAL, Duration::ZERO).into()).await.unwrap();
    let url = site.url("127.0.0.1");
    let consumer = world.start("consumer", &[], &[]);
    let variables = [("SITE_URL", url.as_str()), ("SITE_TIMEOUT", "5s"), ("SITE_INTERVAL", "168h")];
    let producer = world.start("producer", &[], &variables);
    until_hit(&site, 1).await;
    producer.signal(Signal::STOP).unwrap();
    tokio::time::sleep(7 * INTERVAL).await;
    producer.signal(Signal::CONT).unwrap();
    let rows = world.until_stored("the result", |rows| rows.len() == 1).await;
    assert_eq!((rows[0].state.as_str(), rows[0].class.as_deref()), ("unmeasured", Some("resources")), "{rows:#?}");
    stop(producer).await;
    stop(consumer).await;
}

/// Nobody lived, so nobody knows: those slots have no row, but for the latest of each target, which is checked late.
#[tokio::test(flavor = "multi_thread")]
async fn the_slots_of_a_dead_producer_are_absent_but_for_the_latest() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let file = world.file("targets.toml", &targets(&site));
    let consumer = world.start("consumer", &[], &[]);
    let mut first = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file)]);
    world.until_stored("rows before", |rows| rows.len() >= 15).await;
    let lived = now();
    first.signal(Signal::KILL).unwrap();
    let killed = now();
    patiently("the end", first.wait()).await.unwrap();
    let began = logged(&first, "schedule.started_at_ms");

    tokio::time::sleep(PAUSE).await;
    let second = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file)]);
    let before = world.stored().await.len();
    world.until_stored("rows after", |rows| rows.len() >= before + 6).await;
    let second = stop(second).await;
    let due_of_second = due(&second, &NAMES, INTERVAL);
    until("all of the second's rows", async || due_of_second.is_subset(&world.slots().await)).await;
    stop(consumer).await;
    let stored = world.slots().await;
    // What the first one was about to do when it died may be there or not.
    let sure = due_between((began, lived - 3000), &NAMES, INTERVAL);
    let most: BTreeSet<_> = &due_between((began, killed), &NAMES, INTERVAL) | &due_of_second;
    assert!(sure.is_subset(&stored) && stored.is_subset(&most), "{stored:#?}");
    let started = logged(&second, "schedule.started_at_ms");
    for name in NAMES {
        let latest = Rhythm::new(name, INTERVAL).latest(started);
        let between = |slot: i64| slot > killed && slot <= started;
        let stored: Vec<i64> =
            stored.iter().filter(|(target, slot)| target == name && between(*slot)).map(|(_, slot)| *slot).collect();
        assert_eq!(stored, [latest]);
    }
}
