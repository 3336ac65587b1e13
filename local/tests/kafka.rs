//! A real broker: what is in it survives stopping and killing, and a frozen one answers nobody.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::time::Duration;

use local::kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_broker_keeps_its_messages_and_its_port_when_stopped_and_when_killed() {
    let mut kafka = Kafka::start(None).unwrap();
    let brokers = kafka.brokers().to_owned();
    create_topic(&brokers).await;
    produce(&brokers, "one").await;

    kafka.stop().unwrap();
    assert!(kafka.pid().is_none());
    kafka.start_again().unwrap();
    assert_eq!(kafka.brokers(), brokers);
    produce(&brokers, "two").await;

    kafka.kill().unwrap();
    kafka.start_again().unwrap();
    produce(&brokers, "three").await;
    assert_eq!(consume(&brokers, 3).await, ["one", "two", "three"]);

    kafka.pause().unwrap();
    assert!(!answers(&brokers, Duration::from_millis(300)));
    kafka.resume().unwrap();
    assert!(answers(&brokers, PATIENCE));

    let folder = kafka.folder().unwrap().to_owned();
    drop(kafka);
    assert!(!folder.exists());
}

#[test]
fn a_named_folder_is_kept_and_found_again() {
    let data = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        drop(Kafka::start(Some(data.path())).unwrap());
        assert!(data.path().join("kafka/data/meta.properties").exists());
    }
}

#[test]
fn the_embedded_broker_answers() {
    let kafka = Kafka::embedded().unwrap();
    assert!(answers(kafka.brokers(), PATIENCE));
}

async fn create_topic(brokers: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let topic = NewTopic::new("numbers", 1, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    admin.create_topics(&[topic], &options).await.unwrap()[0].clone().unwrap();
}

async fn produce(brokers: &str, text: &str) {
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("acks", "all").create().unwrap();
    producer.send(FutureRecord::<str, _>::to("numbers").payload(text), PATIENCE).await.unwrap();
}

async fn consume(brokers: &str, count: usize) -> Vec<String> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "readers")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["numbers"]).unwrap();
    let mut texts = Vec::new();
    while texts.len() < count {
        let message = tokio::time::timeout(PATIENCE, consumer.recv()).await.expect("a message in time").unwrap();
        texts.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
    }
    texts
}

fn answers(brokers: &str, patience: Duration) -> bool {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    client.fetch_metadata(None, patience).is_ok()
}
