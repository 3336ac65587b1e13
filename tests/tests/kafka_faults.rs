//! Kafka fails in every way that it has: each process says so once, needs no restart, and the account is exact afterwards.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use local::kafka::{Kafka, Listener, Login, USER};
use local::process::Process;
use local::site::{Behaviour, Response, Site};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use tests::{
    Fed, Link, Proxy, Sent, World, admin, complaints, delete_topic, due, logged, patiently, said, stop, until,
    until_hit, until_log,
};

const LOST: &str = "kafka is unreachable";
const AGAIN: &str = "kafka is reachable again";
/// A silent broker is given up, and a dead member, as soon as the brokers allow.
const OPTIONS: &str = "socket.timeout.ms=6000,session.timeout.ms=10000";
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A world on a broker of its own, with a relay between it and whoever goes there.
async fn behind_relay() -> (World, Kafka, Proxy) {
    let proxy = Proxy::unconnected().await.unwrap();
    let address = proxy.addr();
    let kafka = tokio::task::spawn_blocking(move || Kafka::start_behind(None, &[address]).unwrap()).await.unwrap();
    proxy.lead_to(kafka.behind(address).unwrap());
    let mut world = World::new().await;
    kafka.brokers().clone_into(&mut world.brokers);
    (world, kafka, proxy)
}

async fn consumer_behind_relay() -> (Fed, Kafka, Proxy) {
    let (world, kafka, proxy) = behind_relay().await;
    let brokers = proxy.addr().to_string();
    let fed = Fed::new(world, &[("KAFKA_BROKERS", &brokers), ("KAFKA_OPTIONS", OPTIONS)]).await;
    (fed.settled().await, kafka, proxy)
}

/// A producer that checks three targets a second, and the site that it asks.
async fn producer(world: &World, variables: &[(&'static str, &str)]) -> (Process, Site) {
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let url = site.url("127.0.0.1");
    let entry = |name| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n");
    let file = world.file("targets.toml", &NAMES.map(entry).concat());
    let variables: Vec<_> = variables.iter().copied().chain([("SCHEDULE_TARGETS_FILE", file.as_str())]).collect();
    (world.start("producer", &[], &variables), site)
}

/// One that has nothing to deliver for an hour notices that the brokers are gone, and that they are back.
#[tokio::test(flavor = "multi_thread")]
async fn the_producer_is_idle_and_cut_off() {
    let (world, _kafka, proxy) = behind_relay().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let (brokers, url) = (proxy.addr().to_string(), site.url("127.0.0.1"));
    let variables = [("KAFKA_BROKERS", brokers.as_str()), ("SITE_URL", &url), ("SITE_INTERVAL", "1h")];
    let consumer = world.start("consumer", &[], &[]);
    let producer = world.start("producer", &[], &variables);
    world.until_stored("the first row", |rows| !rows.is_empty()).await;
    proxy.set(Link::Cut);
    until_times(&producer, LOST, 1).await;
    proxy.heal();
    until_times(&producer, AGAIN, 1).await;
    stop(producer).await;
    stop(consumer).await;
}

/// A client that may not write exactly once gives up for good. By then the right has been granted, and another one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn the_brokers_say_what_no_client_recovers_from() {
    let mut world = World::new().await;
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(&world.topic, 1, 1).unwrap();
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal]);
    world.brokers = cluster.bootstrap_servers();
    let (producer, site) = producer(&world, &[]).await;
    until_times(&producer, "the kafka client has given up; going on with a new one", 1).await;
    until_hit(&site, 10).await;
    let producer = stop(producer).await;
    let [due, delivered, spooled] =
        ["checks.due", "results.delivered", "results.spooled"].map(|name| logged(&producer, name));
    assert_eq!((delivered, spooled), (due, 0), "{:#?}", producer.log());
}

async fn until_times(process: &Process, text: &str, times: usize) {
    until_log(process, text, |log| said(log, text) == times).await;
}

async fn links_of_a_consumer(links: &[Link]) {
    let (mut fed, _kafka, proxy) = consumer_behind_relay().await;
    for (times, link) in (1..).zip(links) {
        proxy.set(*link);
        fed.feed().await;
        until_times(&fed.consumer, LOST, times).await;
        proxy.heal();
        fed.is_stored().await;
        until_times(&fed.consumer, AGAIN, times).await;
    }
    fed.ends_well(&vec![LOST; links.len()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_is_cut_off() {
    links_of_a_consumer(&[Link::Cut, Link::Cut]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_hears_nothing() {
    links_of_a_consumer(&[Link::Stalled, Link::Deaf]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumers_link_is_slow_and_its_connections_break() {
    let (mut fed, _kafka, proxy) = consumer_behind_relay().await;
    proxy.set(Link::Slow(Duration::from_millis(20)));
    for _ in 0..3 {
        fed.feed().await;
        proxy.reset();
    }
    fed.is_stored().await;
    fed.ends_having_said(&[], &[LOST]).await;
}

async fn links_of_a_producer(links: &[Link], is_noticed: bool) {
    let (world, _kafka, proxy) = behind_relay().await;
    let consumer = world.start("consumer", &[], &[]);
    let brokers = proxy.addr().to_string();
    let (producer, site) = producer(&world, &[("KAFKA_BROKERS", &brokers), ("KAFKA_OPTIONS", OPTIONS)]).await;
    world.until_stored("rows before the fault", |rows| rows.len() >= 6).await;
    for (times, link) in (1..).zip(links) {
        proxy.set(*link);
        until_hit(&site, site.hits() + 9).await;
        if is_noticed {
            until_times(&producer, LOST, times).await;
        } else {
            proxy.reset();
        }
        proxy.heal();
        let stored = world.slots().await.len();
        world.until_stored("rows after the fault", |rows| rows.len() >= stored + 12).await;
    }
    let producer = stop(producer).await;
    world.accounts_for(&due(&producer, &NAMES, Duration::from_secs(1))).await;
    stop(consumer).await;
    let said = complaints(&producer);
    assert!(said.iter().all(|line| line.contains(LOST)), "{said:#?}");
    assert_eq!(said.len(), if is_noticed { links.len() } else { said.len() }, "{said:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_producer_is_cut_off_and_hears_nothing() {
    links_of_a_producer(&[Link::Cut, Link::Stalled, Link::Deaf], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_producers_link_is_slow_and_its_connections_break() {
    let slow = Link::Slow(Duration::from_millis(50));
    links_of_a_producer(&[slow, slow, slow], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_dies_under_the_consumer_and_comes_back() {
    let (mut fed, mut kafka, _proxy) = consumer_behind_relay().await;
    for times in 1..=2 {
        tokio::task::block_in_place(|| kafka.kill()).unwrap();
        until_times(&fed.consumer, LOST, times).await;
        tokio::task::block_in_place(|| kafka.start_again()).unwrap();
        fed.feed().await;
        fed.is_stored().await;
    }
    fed.ends_well(&[LOST, LOST]).await;
}

/// Deletes all records of a topic but the last of each partition.
async fn delete_records(world: &World, before: i64) {
    let mut list = TopicPartitionList::new();
    for partition in 0..2 {
        list.add_partition_offset(&world.topic, partition, Offset::Offset(before)).unwrap();
    }
    let deleted = admin(world).delete_records(&list, &AdminOptions::new()).await.unwrap();
    assert!(deleted.elements().iter().all(|element| element.error().is_ok()), "{deleted:?}");
}

/// How many records a consumer says are lost.
fn lost(process: &Process) -> i64 {
    let lost = |line: &String| serde_json::from_str::<Value>(line).ok()?["lost.records"].as_i64();
    process.log().iter().filter_map(lost).sum()
}

/// Nobody reads, and retention deletes what nobody has read. So much is lost, and said to be.
#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_before_they_are_read() {
    let world = World::new().await;
    world.make_topics().await;
    let first = world.start("consumer", &[], &[]);
    until_times(&first, "partitions assigned", 1).await;
    until("the first offsets", async || {
        world.has_tables().await && world.query("SELECT 1 FROM consumer_offsets").await.len() >= 2
    })
    .await;
    stop(first).await;
    let sent = tests::messages("deleted", 10, 20, tests::NEW_YEAR);
    world.send(&sent).await;
    delete_records(&world, 30).await;
    let mut second = world.start("consumer", &[], &[]);
    patiently("saying it", second.says("kafka deleted records before they were stored")).await.unwrap();
    let left = sent.records.len() - 60;
    world.until_stored("what is left", |rows| rows.len() == left).await;
    let second = stop(second).await;
    assert_eq!(lost(&second), 60);
    assert_eq!(complaints(&second).len(), 2, "one a partition: {:#?}", second.log());
    let stored = world.slots().await;
    assert!(stored.is_subset(&sent.due));

    // Whoever asks for everything that there is misses nothing.
    let end = world.offsets().await;
    let third = world.start("consumer", &["--from-beginning"], &[]);
    until_times(&third, "reading from the beginning", 1).await;
    until("reading again", async || world.offsets().await >= end).await;
    assert_eq!(complaints(&stop(third).await), [""; 0]);
    world.accounts_for(&stored).await;
}

/// A topic that was made anew under a consumer is noticed, and read from its begin.
#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_deleted_and_made_anew() {
    let mut fed = Fed::new(World::new().await, &[]).await;
    for times in 1..=3 {
        fed.feed().await;
        fed.is_stored().await;
        delete_topic(&fed.world, &fed.world.topic).await;
        fed.world.make_topics().await;
        until_times(&fed.consumer, "the topic was created anew", times).await;
        // Else who looks for the offsets again, when there are as many records as before, would pass over all of them.
        assert_eq!(fed.world.offsets().await, 0);
    }
    // A topic may be listed before all of its partitions are there.
    let perhaps = ["kafka client error", "kafka does not say which offsets it has", "topics were deleted"];
    fed.ends_having_said(&["the topic was created anew"; 3], &perhaps).await;
}

/// What is no row has nowhere to go: it and what comes after it waits, and nothing is passed over.
#[tokio::test(flavor = "multi_thread")]
async fn the_topic_of_dead_letters_is_deleted_and_made_anew() {
    let mut fed = Fed::new(World::new().await, &[("KAFKA_CREATE_TOPICS", "false")]).await.settled().await;
    let dead_letters = fed.world.dead_letter_topic();
    delete_topic(&fed.world, &dead_letters).await;
    fed.world.send(&Sent { records: vec![("poison".to_owned(), b"poison".to_vec())], ..Sent::default() }).await;
    fed.feed().await;
    fed.says("dead letters are not acknowledged").await;
    fed.world.make_topics().await;
    fed.is_stored().await;
    let payloads: Vec<Vec<u8>> = fed.world.dead_letters().await.into_iter().map(|letter| letter.payload).collect();
    assert_eq!(payloads, [b"poison"]);
    let said = ["dead letters are not acknowledged", "records went to the dead letters"];
    fed.ends_having_said(&said, &["kafka client error", "topics were deleted", "waiting for topics"]).await;
}

/// Where only an administrator may create topics, both processes say what is missing, and wait.
#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_by_hand() {
    let world = World::new().await;
    let by_hand = [("KAFKA_CREATE_TOPICS", "false")];
    let consumer = world.start("consumer", &[], &by_hand);
    let (producer, site) = producer(&world, &by_hand).await;
    for process in [&consumer, &producer] {
        let missing = format!("create by hand: `{}`", world.topic);
        until_times(process, &missing, 1).await;
    }
    until_hit(&site, 6).await;
    world.make_topics().await;
    world.until_stored("rows", |rows| rows.len() >= 9).await;
    let producer = stop(producer).await;
    world.accounts_for(&due(&producer, &NAMES, Duration::from_secs(1))).await;
    let consumer = stop(consumer).await;
    assert_eq!((complaints(&producer).len(), complaints(&consumer).len()), (1, 1), "{:#?}", complaints(&producer));
}

/// What the brokers' clock and ours disagree about waits until they agree, whoever is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_finds_the_time_of_results_impossible_for_a_while() {
    let world = World::new().await;
    world.make_topics().await;
    let allow = async |milliseconds: &str| {
        let config = AlterConfig::new(ResourceSpecifier::Topic(&world.topic));
        let config = config.set("message.timestamp.before.max.ms", milliseconds);
        let altered = admin(&world).alter_configs(&[config], &AdminOptions::new()).await.unwrap();
        assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    };
    // Every record is older when it arrives.
    allow("0").await;
    let consumer = world.start("consumer", &[], &[]);
    let (producer, site) = producer(&world, &[]).await;
    until_times(&producer, "are the clocks right?", 1).await;
    until_hit(&site, 9).await;
    allow("9223372036854775807").await;
    world.until_stored("rows", |rows| rows.len() >= 12).await;
    let producer = stop(producer).await;
    world.accounts_for(&due(&producer, &NAMES, Duration::from_secs(1))).await;
    stop(consumer).await;
    assert_eq!(
        complaints(&producer).len(),
        said(&producer.log(), "are the clocks right?"),
        "{:#?}",
        complaints(&producer)
    );
}

/// A wrong password is said once, as an error, by both; when it is right they go on by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_does_not_let_us_in_for_a_while() {
    const REFUSED: &str = "kafka does not let us in";
    let mut world = World::new().await;
    let knowing = |password: &str| Listener { login: Some(Login::Plain(password.to_owned())), ..Listener::default() };
    let mut kafka = tokio::task::block_in_place(|| Kafka::start_with(None, vec![knowing("another")])).unwrap();
    kafka.brokers().clone_into(&mut world.brokers);
    let login = kafka.listener(0).unwrap().to_string();
    let variables = [
        ("KAFKA_BROKERS", login.as_str()),
        ("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext"),
        ("KAFKA_SASL_MECHANISM", "PLAIN"),
        ("KAFKA_USERNAME", USER),
        ("KAFKA_PASSWORD", "correct horse"),
    ];
    let consumer = world.start("consumer", &[], &variables);
    let (producer, site) = producer(&world, &variables).await;
    for process in [&consumer, &producer] {
        until_times(process, REFUSED, 1).await;
    }
    until_hit(&site, 9).await;
    tokio::task::block_in_place(|| kafka.change_listener(0, knowing("correct horse"))).unwrap();
    world.until_stored("rows", |rows| rows.len() >= 12).await;
    let producer = stop(producer).await;
    world.accounts_for(&due(&producer, &NAMES, Duration::from_secs(1))).await;
    let consumer = stop(consumer).await;
    for process in [&consumer, &producer] {
        assert!(!process.log().iter().any(|line| line.contains("correct horse")));
        assert_eq!(complaints(process).len(), 1, "{:#?}", complaints(process));
    }
}
