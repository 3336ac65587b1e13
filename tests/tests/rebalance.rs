//! Consumers come, go, die and freeze while they share the work: partitions move, and the account stays exact.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::time::Duration;

use local::process::Process;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::Signal;
use tests::{Fed, Link, Proxy, SESSIONS, World, patiently, said, stop, until, until_log};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use url::Url;

/// As short as the brokers allow.
const SESSION: &str = "session.timeout.ms=6000,heartbeat.interval.ms=500";
const ASSIGNED: &str = "partitions assigned";

async fn fed(more: &[(&'static str, &str)]) -> Fed {
    let variables: Vec<_> = [("KAFKA_OPTIONS", SESSION)].iter().chain(more).copied().collect();
    Fed::new(World::new().await, &variables).await.settled().await
}

/// A further consumer of the same group, when it has partitions.
async fn second(fed: &Fed) -> Process {
    let second = fed.world.start("consumer", &[], &[("KAFKA_OPTIONS", SESSION)]);
    until_log(&second, "assigned", |log| said(log, ASSIGNED) > 0).await;
    second
}

/// The second one leaves, and the first has everything again.
async fn leaves_again(second: Process, fed: Fed) {
    stop(second).await;
    until_log(&fed.consumer, "assigned all", |log| said(log, ASSIGNED) == 3).await;
    fed.ends_having_said(
        &[],
        &["another session holds a lock", "ended sessions of former owners", "postgres is not available"],
    )
    .await;
}

/// Stands in the way of every batch, until the client is dropped or told otherwise: the offsets can be moved, the rows not stored.
async fn obstacle(fed: &Fed) -> (Client, JoinSet<()>) {
    let (client, driver) = fed.world.connect().await;
    client.batch_execute("BEGIN; LOCK TABLE checks IN EXCLUSIVE MODE").await.unwrap();
    (client, driver)
}

async fn until_count(fed: &Fed, what: &str, query: &str, count: i64) {
    until(what, async || fed.world.query(query).await[0].get::<_, i64>(0) == count).await;
}

/// A session that has moved the offsets and waits for the obstacle.
async fn until_held_up(fed: &Fed, sessions: i64) {
    let held_up = format!("SELECT count(*) {SESSIONS} AND wait_event_type = 'Lock' AND query LIKE 'COPY checks%'");
    until_count(fed, "a batch in the middle of its transaction", &held_up, sessions).await;
}

/// What the group is at: any join or departure makes a new list of members.
fn members(world: &World) -> Vec<String> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap();
    let groups = client.fetch_group_list(Some(&world.name), Duration::from_secs(30)).unwrap();
    groups.groups()[0].members().iter().map(|member| member.id().to_owned()).collect()
}

/// A second consumer joins while the first one is in the middle of a batch. What the first has read is dropped or stored, never
/// both; each has its share; and when the second leaves, the first has everything again.
#[tokio::test(flavor = "multi_thread")]
async fn one_joins_in_the_middle_of_a_batch_and_leaves() {
    let mut fed = fed(&[]).await;
    let (obstacle, _driver) = obstacle(&fed).await;
    fed.feed().await;
    until_held_up(&fed, 1).await;
    let second = second(&fed).await;
    until_log(&fed.consumer, "assigned again", |log| said(log, ASSIGNED) == 2).await;
    obstacle.batch_execute("ROLLBACK").await.unwrap();
    fed.feed().await;
    fed.is_stored().await;
    let owners = "SELECT count(DISTINCT backend_pid) FROM consumer_offsets";
    fed.feed().await;
    fed.is_stored().await;
    until_count(&fed, "each its share", owners, 2).await;
    leaves_again(second, fed).await;
}

/// The brokers hand out the partitions, one by one, where they are asked to (KIP-848).
#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_hand_out_the_partitions() {
    let options = [("KAFKA_OPTIONS", "group.protocol=consumer")];
    let mut fed = Fed::new(World::new().await, &options).await.settled().await;
    let second = fed.world.start("consumer", &[], &options);
    until_log(&second, "its share", |log| said(log, ASSIGNED) > 0).await;
    fed.feed().await;
    fed.is_stored().await;
    until_count(&fed, "each its share", "SELECT count(DISTINCT backend_pid) FROM consumer_offsets", 2).await;
    let gained = said(&fed.consumer.log(), ASSIGNED);
    stop(second).await;
    until_log(&fed.consumer, "all again", |log| said(log, ASSIGNED) > gained).await;
    fed.ends_having_said(&[], &["another session holds a lock", "ended sessions of former owners"]).await;
}

/// Partitions that were paused when others came are read again: the client keeps a pause over an assignment, unless it is told.
#[tokio::test(flavor = "multi_thread")]
async fn one_joins_and_leaves_while_partitions_are_paused() {
    let mut fed = fed(&[("CONSUME_BATCH_ROWS", "100"), ("LOG_LEVEL", "info,consumer=debug")]).await;
    let (obstacle, _driver) = obstacle(&fed).await;
    while said(&fed.consumer.log(), "partitions are paused") == 0 {
        fed.feed().await;
    }
    let second = second(&fed).await;
    until_log(&fed.consumer, "assigned again", |log| said(log, ASSIGNED) == 2).await;
    obstacle.batch_execute("ROLLBACK").await.unwrap();
    fed.is_stored().await;
    leaves_again(second, fed).await;
}

/// The first dies in the middle of a transaction; the second waits until the group knows, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn one_dies_in_the_middle_of_a_batch() {
    let mut fed = fed(&[]).await;
    let second = second(&fed).await;
    let (obstacle, _driver) = obstacle(&fed).await;
    fed.feed().await;
    until_held_up(&fed, 2).await;
    let mut first = std::mem::replace(&mut fed.consumer, second);
    first.signal(Signal::KILL).unwrap();
    patiently("the end", first.wait()).await.unwrap();
    obstacle.batch_execute("ROLLBACK").await.unwrap();
    until_log(&fed.consumer, "assigned all", |log| said(log, "\"[0, 1]\"") > 0).await;
    fed.is_stored().await;
    fed.ends_having_said(&[], &["another session holds a lock"]).await;
}

/// The first freezes in the middle of a transaction for longer than the group waits. Its heir ends its session, for it holds the
/// lock on the offsets; when it thaws it drops what it held, joins again, and has its share.
#[tokio::test(flavor = "multi_thread")]
async fn one_freezes_in_the_middle_of_a_batch() {
    let mut fed = fed(&[]).await;
    let (obstacle, _driver) = obstacle(&fed).await;
    fed.feed().await;
    until_held_up(&fed, 1).await;
    fed.consumer.signal(Signal::STOP).unwrap();
    // Its transaction goes on, and waits for a commit that will not come.
    obstacle.batch_execute("ROLLBACK").await.unwrap();
    let second = second(&fed).await;
    fed.feed().await;
    fed.is_stored().await;
    until_log(&second, "the fence", |log| said(log, "ended sessions of former owners") == 1).await;
    fed.consumer.signal(Signal::CONT).unwrap();
    until_log(&fed.consumer, "assigned again", |log| said(log, ASSIGNED) == 2).await;
    fed.feed().await;
    fed.is_stored().await;
    stop(second).await;
    until_log(&fed.consumer, "assigned all", |log| said(log, ASSIGNED) == 3).await;
    fed.ends_having_said(&[], &["postgres is not available", "kafka"]).await;
}

/// Postgres is silent for much longer than `max.poll.interval.ms`. The group keeps us, for we go on polling; and memory is
/// bounded, for partitions are paused.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_silent_for_longer_than_the_group_would_wait() {
    let world = World::new().await;
    let mut url = Url::parse(&world.postgres_url).unwrap();
    let server: SocketAddr = url.socket_addrs(|| None).unwrap()[0];
    let proxy = Proxy::start(server, true).await.unwrap();
    url.set_port(Some(proxy.addr().port())).unwrap();
    let options = format!("{SESSION},max.poll.interval.ms=6000");
    let variables = [
        ("KAFKA_OPTIONS", options.as_str()),
        ("POSTGRES_URL", url.as_str()),
        ("POSTGRES_TIMEOUT", "5s"),
        ("POSTGRES_CONNECT_TIMEOUT", "5s"),
        ("CONSUME_BATCH_ROWS", "100"),
        ("LOG_LEVEL", "info,consumer=debug"),
    ];
    let mut fed = Fed::new(world, &variables).await;
    fed.feed().await;
    fed.is_stored().await;
    let before = members(&fed.world);
    proxy.set(Link::Stalled);
    for _ in 0..40 {
        fed.feed().await;
    }
    // Three tries of five seconds each.
    until_log(&fed.consumer, "patience", |log| said(log, "no answer within 5s") >= 3).await;
    assert!(said(&fed.consumer.log(), "partitions are paused") > 0);
    assert_eq!(members(&fed.world), before);
    proxy.heal();
    fed.is_stored().await;
    assert_eq!(said(&fed.consumer.log(), ASSIGNED), 1, "{:#?}", fed.consumer.log());
    fed.ends_well(&["no answer within 5s"]).await;
}
