//! The spool, while Kafka is away for longer than it has room for, and when a backlog goes out again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use local::kafka::Kafka;
use local::site::{Response, Site};
use producer::dispatch::{self, Checker};
use producer::metrics::Checks;
use producer::probe::Probe;
use producer::publish;
use producer::settings::Settings;
use producer::spool::Spool;
use producer::targets::load_targets;
use shared::admin::Metrics;
use shared::config::{Environment, load};
use shared::message::{CheckResult, Slot, State, result_id};
use tests::{Proxy, Record, World, due, logged, patiently, read_topic, said, stop, until};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(1);
const MAX_BYTES: u64 = 2 << 20;

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("t{n:02}")).collect()
}

/// Asserts that within each target records stand in the order of their slots, none twice, unless their checks were under way at the
/// same time. A slot that is missed is known before the check of the one before it has ended.
fn in_order(records: &[Record]) {
    let mut last: BTreeMap<String, (i64, f64)> = BTreeMap::new();
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by_key(|record| (record.partition, record.offset));
    for record in sorted {
        let result: CheckResult = serde_json::from_slice(&record.payload).unwrap();
        if result.outcome.state == State::Missed {
            continue;
        }
        let slot = result.meta.scheduled_at.as_millis();
        let Some(began) = result.http.start else { continue };
        let ended = began + result.http.elapsed.unwrap() as f64 / 1e6;
        let before = last.insert(result.meta.target.clone(), (slot, began));
        let in_order = before.is_none_or(|(before, its_begin)| before < slot || before > slot && ended >= its_begin);
        assert!(in_order, "{} {before:?} {slot}", result.meta.target);
    }
}

/// Checks go on, the oldest results make room for the newest, and the account of what is missing is exact.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_drops_the_oldest_and_says_how_many() {
    let world = World::new().await;
    let proxy = Proxy::unconnected().await.unwrap();
    let relay = proxy.addr();
    let kafka = tokio::task::spawn_blocking(move || Kafka::start_behind(None, &[relay]).unwrap()).await.unwrap();
    proxy.lead_to(kafka.behind(relay).unwrap());
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let names = names(20);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // Messages of 30 kB, so that the spool is full after a few seconds.
    let url = site.url("127.0.0.1") + &"x".repeat(15_000);
    let target = |name: &&str| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n");
    let file = world.file("targets.toml", &names.iter().map(target).collect::<String>());
    let spool = world.file("full.sqlite", "");
    let (brokers, max_bytes) = (relay.to_string(), MAX_BYTES.to_string());
    // It makes the topics, so that the spool is not full before there are any.
    let mut consumer = world.start("consumer", &[], &[("KAFKA_BROKERS", kafka.brokers())]);
    patiently("the consumer's start", consumer.says("partitions assigned")).await.unwrap();
    let producer = world.start(
        "producer",
        &[],
        &[
            ("SCHEDULE_TARGETS_FILE", &file),
            ("KAFKA_BROKERS", &brokers),
            ("SPOOL_FILE", &spool),
            ("SPOOL_MAX_BYTES", &max_bytes),
            // Some of the oldest are in the client's hands when the spool has no room for them any more.
            ("PUBLISH_MAX_IN_FLIGHT", "30"),
        ],
    );
    world.until_stored("rows before the outage", |rows| rows.len() >= 40).await;

    proxy.cut();
    let cut = Instant::now();
    until("the loss", async || said(&producer.log(), "the spool is full") == 1).await;
    let hits = site.hits();
    let size = |file: &str| std::fs::metadata(file).map_or(0, |file| file.len());
    let (mut largest, mut largest_log) = (0, 0);
    while site.hits() < hits + 200 {
        assert!(cut.elapsed() < Duration::from_secs(60), "checks do not go on");
        largest = largest.max(size(&spool));
        largest_log = largest_log.max(size(&format!("{spool}-wal")));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(largest < 2 * MAX_BYTES && largest_log < 4 * MAX_BYTES, "{largest} and {largest_log} bytes on disk");
    let said = said(&producer.log(), "the spool is full") as u64;
    assert!(said <= 1 + cut.elapsed().as_secs() / 10, "{said} lines");

    proxy.heal();
    let rows = world.stored().await.len();
    world.until_stored("the backlog and fresh results", |now| now.len() >= rows + 150).await;
    let producer = stop(producer).await;
    let due = due(&producer, &names, INTERVAL);
    let delivered = usize::try_from(logged(&producer, "results.delivered")).unwrap();
    world.until_stored("all that was delivered", |rows| rows.len() >= delivered).await;
    stop(consumer).await;
    let stored = world.slots().await;
    let absent: BTreeSet<_> = due.difference(&stored).cloned().collect();
    assert!(stored.is_subset(&due) && absent.len() >= 100, "{} absent", absent.len());
    // The first line that has the field is that of the moment when the spool was full; the last one sums up.
    let last = producer.log().into_iter().rfind(|line| line.contains("producer stopped")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!(summary["results.dropped"], absent.len(), "{last}");
    assert_eq!(summary["results.spooled"], 0, "{last}");
    assert_eq!(delivered, stored.len());
    for name in &names {
        let of = |slots: &BTreeSet<(String, i64)>| -> BTreeSet<i64> {
            slots.iter().filter(|(target, _)| target == name).map(|(_, slot)| *slot).collect()
        };
        let (absent, stored) = (of(&absent), of(&stored));
        let (Some(first), Some(last)) = (absent.first(), absent.last()) else { panic!("{name} lost nothing") };
        // Checks that run at the same time may end in either order.
        let between = |slot: &&i64| **slot > first + 3000 && **slot < last - 3000;
        assert_eq!(stored.iter().find(between), None, "{name}: a result was dropped before an older one");
    }
    let records = tokio::task::block_in_place(|| read_topic(kafka.brokers(), &world.topic));
    assert_eq!(records.len(), stored.len());
    in_order(&records);
}

/// Messages of many targets in the order of their slots.
fn results(names: &[String], slots: std::ops::Range<i64>) -> Vec<CheckResult> {
    let golden = include_str!("../../shared/schema/golden/up.json");
    let golden: CheckResult = serde_json::from_str(golden).unwrap();
    let of = |name: &String, second: i64| {
        let mut result = golden.clone();
        result.meta.target.clone_from(name);
        result.meta.scheduled_at = Slot::from_millis(1_700_000_000_000 + second * 1000).unwrap();
        result.http.start = Some(1.7e9 + second as f64);
        result.http.elapsed = Some(500_000);
        result.meta.id = result_id(name, &result.meta.location, result.meta.scheduled_at);
        result
    };
    slots.flat_map(|second| names.iter().map(move |name| of(name, second))).collect()
}

/// What an earlier run left goes out first, from the disk, and what comes meanwhile after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_sent_in_order_while_fresh_results_come() {
    let world = World::new().await;
    let variables = [("KAFKA_BROKERS", world.brokers.as_str()), ("KAFKA_TOPIC", &world.topic)];
    let settings = load::<Settings>(None, &Environment::from_pairs(variables)).unwrap().settings;
    let path = world.file("backlog.sqlite", "");
    let mut spool = Spool::open(Path::new(&path), 1 << 30).unwrap();
    let names = names(20);
    let encode = |result: &CheckResult| serde_json::to_vec(result).unwrap();
    for group in results(&names, 0..600).chunks(1000) {
        spool.update(&group.iter().map(encode).collect::<Vec<_>>(), &[]).unwrap();
        spool.update(&[b"no result".to_vec()], &[]).unwrap();
    }

    let (sender, fresh) = mpsc::channel(100);
    let feed = async move {
        for round in results(&names, 600..900).chunks(20) {
            for result in round {
                sender.send(result.clone()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let publishing =
        publish::run(&settings.kafka, &settings.publish, spool, fresh, Arc::default(), CancellationToken::new());
    let ((), summary) = patiently("publishing", async { tokio::join!(feed, publishing) }).await;
    let summary = summary.unwrap();
    assert_eq!((summary.delivered, summary.refused, summary.spooled, summary.dropped), (18_000, 12, 0, 0));
    let records = tokio::task::block_in_place(|| read_topic(&world.brokers, &world.topic));
    assert_eq!(records.len(), 18_000);
    in_order(&records);
}

/// While nobody takes results, no more checks are started than may run.
#[tokio::test(flavor = "multi_thread")]
async fn checks_wait_where_their_results_find_no_room() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let url = site.url("127.0.0.1");
    let target = |name: &String| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n");
    let file = world.file("targets.toml", &names(50).iter().map(target).collect::<String>());
    let loaded = load::<Settings>(None, &Environment::from_pairs([("SCHEDULE_TARGETS_FILE", file.as_str())])).unwrap();
    let (sender, mut results) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let checker = Checker {
        probe: Arc::new(Probe::new(&loaded.settings).unwrap()),
        location: "test".into(),
        results: sender,
        counts: Checks::new(&mut Metrics::new("producer", "0")),
        heirs_after: None,
        give_up: CancellationToken::new(),
    };
    let scheduling = dispatch::run(load_targets(&loaded).unwrap(), mpsc::channel(1).1, 3, checker, stop.clone());
    let watch = async {
        // One result is in the queue, those of three checks wait for its place; time enough for all others to start.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(site.hits() <= 4, "{} checks ran", site.hits());
        stop.cancel();
        while results.recv().await.is_some() {}
    };
    let (tally, ()) = patiently("scheduling", async { tokio::join!(scheduling, watch) }).await;
    assert!(tally.due >= 50 && tally.due > tally.missed, "every target had a slot when it began: {tally:?}");
}
