//! A disk that is full for a while costs time and nothing else: the producer's, and the one under Postgres.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use local::full_disk::FullDisk;
use local::postgres::{Options, Postgres};
use local::site::{Response, Site};
use tests::{Proxy, World, due, said, stop, until, until_hit};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

const NAMES: [&str; 3] = ["a", "b", "c"];
const INTERVAL: Duration = Duration::from_secs(2);

fn targets(site: &Site, names: &[&str]) -> String {
    let url = site.url("127.0.0.1");
    names.iter().map(|name| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '2s'\n")).collect()
}

/// The spool's disk fills up twice: while Kafka is away, and while it comes back. Checks go on, and all arrives in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_whose_disk_is_full_checks_on_and_loses_nothing() {
    let world = World::new().await;
    let kafka = Proxy::start(world.brokers.parse().unwrap(), false).await.unwrap();
    let brokers = kafka.addr().to_string();
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let file = world.file("targets.toml", &targets(&site, &NAMES));
    let disk = FullDisk::holding("spool.sqlite").unwrap();
    let preload = disk.variables();
    let mut variables = vec![("SCHEDULE_TARGETS_FILE", file.as_str()), ("KAFKA_BROKERS", &brokers)];
    variables.extend(preload.iter().map(|(name, value)| (*name, value.as_str())));
    let producer = world.start("producer", &[], &variables);
    let consumer = world.start("consumer", &[], &[]);

    for outage in 1..=2 {
        until_hit(&site, site.hits() + 6).await;
        disk.fill().unwrap();
        until("the trouble", async || said(&producer.log(), "results cannot be spooled") == outage).await;
        if outage == 2 {
            kafka.heal();
        }
        until_hit(&site, site.hits() + 12).await;
        assert_eq!(said(&producer.log(), "results are spooled again"), outage - 1);
        disk.make_room().unwrap();
        until("the end of it", async || said(&producer.log(), "results are spooled again") == outage).await;
    }

    let producer = stop(producer).await;
    assert_eq!(said(&producer.log(), "results cannot be spooled"), 2, "once an outage: {:#?}", producer.log());
    let due = due(&producer, &NAMES, INTERVAL);
    let rows = world.until_stored("all that was due", |rows| rows.len() >= due.len()).await;
    stop(consumer).await;
    assert_eq!(world.slots().await, due);
    assert_eq!(rows.len(), due.len());
    // The slots from before the start may have passed before there was time for them, and so may a round or two on a busy machine.
    let (well, not): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.state == "up");
    assert!(not.iter().all(|row| row.class.as_deref() == Some("late")) && not.len() * 3 < well.len(), "{not:#?}");
}

/// Postgres has no room for rows: the consumer waits with its partitions paused, and goes on when there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_whose_disk_is_full_is_waited_for() {
    let world = World::new().await;
    // Not the log of transactions: to fail there ends the server, while a table that cannot grow is an error like others.
    let disk = FullDisk::holding("/data/base/").unwrap();
    let preload = disk.variables();
    let options = Options { variables: &preload, ..Options::default() };
    let postgres = tokio::task::block_in_place(|| Postgres::start_with(&options)).unwrap();
    let url = postgres.url();
    // Rows of a kilobyte need new pages soon.
    let site = Site::start(Response::new(500, &"x".repeat(500), "").into()).await.unwrap();
    let names: Vec<String> = (0..10).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = world.file("targets.toml", &targets(&site, &names));
    let producer = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file)]);
    let variables = [("POSTGRES_URL", url.as_str()), ("CONSUME_BATCH_ROWS", "5"), ("LOG_LEVEL", "consumer=debug")];
    let consumer = world.start("consumer", &[], &variables);

    for outage in 1..=2 {
        let stored = count(&url).await;
        until_count(&url, |now| now > stored + 10).await;
        disk.fill().unwrap();
        until("the trouble", async || said(&consumer.log(), "waiting until it is over") == outage).await;
        until("a pause", async || said(&consumer.log(), "partitions are paused") >= outage).await;
        let stored = count(&url).await;
        until_hit(&site, site.hits() + 30).await;
        assert_eq!(count(&url).await, stored);
        disk.make_room().unwrap();
        until("the end of it", async || said(&consumer.log(), "records are stored again") == outage).await;
    }

    let producer = stop(producer).await;
    let due = due(&producer, &names, INTERVAL);
    until_count(&url, |now| now >= due.len()).await;
    let consumer = stop(consumer).await;
    let said: Vec<String> =
        consumer.log().into_iter().filter(|line| line.contains("waiting until it is over")).collect();
    assert!(said.len() == 2 && said.iter().all(|line| line.contains("(53100)")), "{said:#?}");
    let stored = slots(&url).await;
    assert_eq!(stored.len(), due.len());
    assert_eq!(stored.into_iter().collect::<std::collections::BTreeSet<_>>(), due);
}

async fn until_count(url: &str, satisfied: impl Fn(usize) -> bool) {
    until("rows", async || satisfied(count(url).await)).await;
}

async fn count(url: &str) -> usize {
    slots(url).await.len()
}

async fn slots(url: &str) -> Vec<tests::Slot> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let mut task = JoinSet::new();
    task.spawn(connection);
    if !client.query_one("SELECT to_regclass('check_results') IS NOT NULL", &[]).await.unwrap().get::<_, bool>(0) {
        return Vec::new();
    }
    let query = "SELECT target, (extract(epoch FROM scheduled_at) * 1000)::bigint FROM check_results";
    client.query(query, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}
