//! What was checked arrives, whatever happens to Kafka or the producer on the way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use local::kafka::Kafka;
use local::process::Process;
use local::site::{Behaviour, Response, Site};
use rustix::process::Signal;
use tests::{Proxy, World, due, due_between, logged, now, patiently, stop, until, until_hit};

const SECOND: Duration = Duration::from_secs(1);

async fn site() -> Site {
    Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap()
}

fn targets(site: &Site, names: &[&str]) -> String {
    let url = site.url("127.0.0.1");
    names.iter().map(|name| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n")).collect()
}

/// Stopped while Kafka is away: ends within the grace, says what waits, and the next start sends it.
#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_did_not_take_waits_in_the_spool_for_the_next_start() {
    let world = World::new().await;
    let kafka = Proxy::start(world.brokers.parse().unwrap(), false).await.unwrap();
    let brokers = kafka.addr().to_string();
    let site = site().await;
    let file = world.file("targets.toml", &targets(&site, &["a", "b"]));
    let variables = [("SCHEDULE_TARGETS_FILE", file.as_str()), ("KAFKA_BROKERS", &brokers), ("STOP_GRACE", "3s")];
    let first = world.start("producer", &[], &variables);
    until_hit(&site, 6).await;
    let first = stop(first).await;
    let of_first = due(&first, &["a", "b"], SECOND);
    assert_eq!(logged(&first, "results.spooled"), of_first.len() as i64, "{:#?}", first.log());
    assert!(first.log().iter().any(|line| line.contains("results wait in the spool for the next start")));

    kafka.heal();
    let consumer = world.start("consumer", &[], &[]);
    let second = world.start("producer", &[], &variables[..2]);
    until("the slots of both runs", async || of_first.is_subset(&world.slots().await)).await;
    let second = stop(second).await;
    let all = &of_first | &due(&second, &["a", "b"], SECOND);
    world.until_stored("all that was due", |rows| rows.len() >= all.len()).await;
    stop(consumer).await;
    assert_eq!(world.slots().await, all);
    assert_eq!(logged(&second, "results.spooled"), 0);
}

/// Killed while Kafka is away: every check that had finished is sent by the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_producer_loses_no_finished_check() {
    let world = World::new().await;
    let kafka = Proxy::start(world.brokers.parse().unwrap(), false).await.unwrap();
    let brokers = kafka.addr().to_string();
    let site = site().await;
    let file = world.file("targets.toml", &targets(&site, &["a", "b", "c"]));
    let variables = [("SCHEDULE_TARGETS_FILE", file.as_str()), ("KAFKA_BROKERS", &brokers)];
    let mut first = world.start("producer", &[], &variables);
    until_hit(&site, 24).await;
    let killed_at = now();
    first.signal(Signal::KILL).unwrap();
    patiently("the end", first.wait()).await.unwrap();
    let started = logged(&first, "schedule.started_at_ms");

    kafka.heal();
    let consumer = world.start("consumer", &[], &[]);
    let second = world.start("producer", &[], &variables);
    // A check of the last seconds may have been under way.
    let finished = due_between((started, killed_at - 5000), &["a", "b", "c"], SECOND);
    assert!(finished.len() >= 3);
    until("what had finished", async || finished.is_subset(&world.slots().await)).await;
    stop(second).await;
    stop(consumer).await;
}

/// The broker is killed and comes back: checks go on, and all that was due is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_and_comes_back_costs_nothing() {
    let world = World::new().await;
    let mut kafka = tokio::task::spawn_blocking(|| Kafka::start(None).unwrap()).await.unwrap();
    let brokers = kafka.brokers().to_owned();
    let site = site().await;
    let file = world.file("targets.toml", &targets(&site, &["a", "b", "c"]));
    let variables = [("SCHEDULE_TARGETS_FILE", file.as_str()), ("KAFKA_BROKERS", &brokers)];
    let consumer = world.start("consumer", &[], &variables);
    let mut producer = world.start("producer", &[], &variables);
    world.until_stored("rows before the fault", |rows| rows.len() >= 6).await;

    tokio::task::block_in_place(|| kafka.kill()).unwrap();
    let before = site.hits();
    patiently("noticing", producer.says("kafka is unreachable")).await.unwrap();
    until_hit(&site, before + 9).await;
    tokio::task::block_in_place(|| kafka.start_again()).unwrap();
    let stored = world.slots().await.len();
    world.until_stored("rows after the fault", |rows| rows.len() >= stored + 12).await;

    let producer: Process = stop(producer).await;
    let due = due(&producer, &["a", "b", "c"], SECOND);
    let rows = world.until_stored("all that was due", |rows| rows.len() >= due.len()).await;
    stop(consumer).await;
    assert_eq!(world.slots().await, due);
    assert_eq!(rows.len(), due.len());
}
