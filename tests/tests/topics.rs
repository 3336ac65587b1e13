//! The topic changes under the processes: it is made anew, grows, is deleted, and others write transactions into it. Nothing is
//! lost, and nobody has to start anything again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use local::site::{Behaviour, Response, Site};
use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset;
use tests::{
    Fed, NEW_YEAR, Sent, World, admin, complaints, delete_topic, messages, patiently, read_topic, said, stop, until,
    until_log,
};

const ANEW: &str = "the topic was created anew";
const DELETED: &str = "topics were deleted";
const TIMEOUT: Duration = Duration::from_secs(30);

async fn make_anew(world: &World) {
    delete_topic(world, &world.topic).await;
    world.make_topics().await;
}

/// How many offsets the world's topic has had.
fn ends(world: &World) -> i64 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap();
    let end = |partition| client.fetch_watermarks(&world.topic, partition, TIMEOUT).unwrap().1;
    (0..2).map(end).sum()
}

/// No offset tells the topic from the one before when it has as many records, or more.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_with_as_many_records_as_before() {
    let mut fed = Fed::new(World::new().await, &[]).await.settled().await;
    for rounds in [1, 3] {
        make_anew(&fed.world).await;
        for _ in 0..rounds {
            fed.feed().await;
        }
        fed.is_stored().await;
    }
    let perhaps = ["kafka client error", "kafka does not say which offsets it has", DELETED];
    fed.ends_having_said(&[ANEW, ANEW], &perhaps).await;
}

/// The same while nobody reads. What an earlier version has stored has no id of the topic yet, and learns it.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_anew_while_no_consumer_runs() {
    let mut fed = Fed::new(World::new().await, &[]).await.settled().await;
    fed.consumer = stop(fed.consumer).await;
    fed.world.query("UPDATE consumer_offsets SET topic_id = NULL").await;
    fed.consumer = fed.world.start("consumer", &[], &[]);
    until("the id of the topic", async || {
        fed.world.query("SELECT FROM consumer_offsets WHERE topic_id IS NULL").await.is_empty()
    })
    .await;
    assert_eq!(complaints(&stop(fed.consumer).await), [""; 0]);
    make_anew(&fed.world).await;
    fed.consumer = fed.world.start("consumer", &[], &[]);
    fed.feed().await;
    fed.is_stored().await;
    fed.ends_well(&[ANEW]).await;
}

/// Partitions that are added are read within half a minute, from their first record on, by those who began with the end, too. The
/// ones that were there go on meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_added() {
    let world = World::new().await;
    world.make_topics().await;
    world.send(&messages("before", 10, 5, NEW_YEAR)).await;
    let mut fed = Fed::new(world, &[("CONSUME_FROM", "end")]).await;
    until("the first offsets", async || fed.world.offsets().await == 50).await;
    fed.feed().await;
    fed.is_stored().await;
    let more = [NewPartitions::new(&fed.world.topic, 6)];
    let added = admin(&fed.world).create_partitions(&more, &AdminOptions::new()).await.unwrap();
    assert!(added.iter().all(Result::is_ok), "{added:?}");
    fed.feed().await;
    fed.is_stored().await;
    assert_eq!(fed.world.query("SELECT FROM consumer_offsets").await.len(), 6);
    fed.ends_having_said(&[], &["kafka client error"]).await;
}

/// The consumer says that its topic is gone, and makes it again.
#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_deleted_under_the_consumer() {
    let mut fed = Fed::new(World::new().await, &[]).await.settled().await;
    delete_topic(&fed.world, &fed.world.topic).await;
    fed.says(DELETED).await;
    fed.says("all topics are there again").await;
    fed.feed().await;
    fed.is_stored().await;
    let perhaps = ["kafka client error", "kafka does not say which offsets it has"];
    fed.ends_having_said(&[DELETED, ANEW], &perhaps).await;
}

/// So does the producer, and what could not be sent meanwhile is sent.
#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_deleted_under_the_producer() {
    let world = World::new().await;
    world.make_topics().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let url = site.url("127.0.0.1");
    let mut producer = world.start("producer", &[], &[("SITE_URL", &url), ("SITE_INTERVAL", "1s")]);
    let sent = async |count| {
        until("results", async || {
            tokio::task::block_in_place(|| read_topic(&world.brokers, &world.topic)).len() >= count
        })
        .await;
    };
    sent(2).await;
    delete_topic(&world, &world.topic).await;
    patiently(DELETED, producer.says(DELETED)).await.unwrap();
    patiently("its return", producer.says("all topics are there again")).await.unwrap();
    sent(2).await;
    let producer = stop(producer).await;
    assert_eq!(said(&producer.log(), DELETED), 1, "{:#?}", producer.log());
}

/// Settings by which results go before they are stored are named at the start, by both.
#[tokio::test(flavor = "multi_thread")]
async fn the_topic_is_compacted_and_short_lived() {
    let world = World::new().await;
    world.make_topics().await;
    let config = AlterConfig::new(ResourceSpecifier::Topic(&world.topic));
    let config = config.set("cleanup.policy", "compact,delete").set("retention.ms", "120000");
    let altered = admin(&world).alter_configs(&[config], &AdminOptions::new()).await.unwrap();
    assert!(altered.iter().all(Result::is_ok), "{altered:?}");
    for process in [
        world.start("consumer", &[], &[]),
        world.start("producer", &[], &[("SITE_URL", "http://127.0.0.1:9/"), ("SITE_INTERVAL", "1h")]),
    ] {
        until_log(&process, "both warnings", |log| {
            said(log, "cleanup.policy=compact,delete") == 1 && said(log, "retention.ms=120000") == 1
        })
        .await;
        stop(process).await;
    }
}

/// Writes records in one transaction, which is kept or given up.
fn transaction(world: &World, sent: &Sent, kept: bool) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.brokers)
        .set("transactional.id", &world.name)
        .create()
        .unwrap();
    producer.init_transactions(TIMEOUT).unwrap();
    producer.begin_transaction().unwrap();
    for (key, payload) in &sent.records {
        producer.send(BaseRecord::to(&world.topic).key(key).payload(payload)).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
    if kept { producer.commit_transaction(TIMEOUT) } else { producer.abort_transaction(TIMEOUT) }.unwrap();
}

/// Marks of transactions, and records of those that were given up, take offsets. Nobody waits for them, and nobody misses them when
/// retention has taken them.
#[tokio::test(flavor = "multi_thread")]
async fn others_write_transactions() {
    let world = World::new().await;
    world.make_topics().await;
    let consumer = world.start("consumer", &[], &[]);
    let kept = messages("kept", 10, 5, NEW_YEAR);
    let given_up = messages("given up", 10, 5, NEW_YEAR);
    tokio::task::block_in_place(|| {
        transaction(&world, &kept, true);
        transaction(&world, &given_up, false);
    });
    world.accounts_for(&kept.due).await;
    until("the ends", async || world.offsets().await == ends(&world)).await;
    assert!(ends(&world) > 100, "there are marks");
    // What comes behind a gap is stored as well.
    let more = messages("more", 10, 5, NEW_YEAR);
    tokio::task::block_in_place(|| transaction(&world, &more, true));
    let due = kept.due.union(&more.due).cloned().collect();
    world.accounts_for(&due).await;
    until("the ends", async || world.offsets().await == ends(&world)).await;
    assert_eq!(complaints(&stop(consumer).await), [""; 0]);

    let mut list = TopicPartitionList::new();
    for partition in 0..2 {
        list.add_partition_offset(&world.topic, partition, Offset::End).unwrap();
    }
    admin(&world).delete_records(&list, &AdminOptions::new()).await.unwrap();
    let again = world.start("consumer", &[], &[]);
    until_log(&again, "partitions", |log| said(log, "partitions assigned") == 1).await;
    let last = messages("last", 10, 5, NEW_YEAR);
    world.send(&last).await;
    world.accounts_for(&due.union(&last.due).cloned().collect()).await;
    assert_eq!(complaints(&stop(again).await), [""; 0]);
}
