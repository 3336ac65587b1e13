//! Records that nobody else writes: results of our own making, good and bad, and a world that is ready for them.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use shared::kafka::{ClientEvents, Kafka, ensure_topics};

use crate::{World, patiently, until};

const GOLDEN: &str = include_str!("../../shared/schema/golden/up.json");

/// A good result of a target for one of the seconds after an hour of 2021, keyed and told apart by both.
///
/// # Panics
/// More than an hour.
pub fn golden(target: &str, second: usize) -> Value {
    assert!(second < 3600);
    let mut message: Value = serde_json::from_str(GOLDEN).expect("a golden message");
    message["meta"]["target"] = json!(target);
    message["meta"]["scheduled_at"] = json!(format!("2021-03-29T01:{:02}:{:02}.000Z", second / 60, second % 60));
    message
}

/// The second that a [`golden`] was made for, from its row.
pub const GOLDEN_SECOND: &str = "extract(epoch FROM scheduled_at - '2021-03-29T01:00:00Z')::int";

/// A key and a value, each of which may be missing.
pub type Plain = (Option<Vec<u8>>, Option<Vec<u8>>);

impl World {
    /// Makes the tables and the topics without consuming anything.
    ///
    /// # Panics
    /// The services refuse.
    pub async fn prepare(&self, partitions: i32) {
        let mut migration = self.start("consumer", &["migrate"], &[]);
        let status = patiently("the migration", migration.wait()).await.expect("an end");
        assert!(status.success(), "{:#?}", migration.log());
        let kafka = Kafka { brokers: self.brokers.clone(), partitions, ..Kafka::default() };
        let topics = [self.topic.as_str(), &self.dead_letter_topic()];
        patiently("the topics", ensure_topics(&kafka, "tests", &topics, &ClientEvents::default()))
            .await
            .expect("topics");
    }

    /// Writes records into the topic of the results, in this order within each partition.
    ///
    /// # Panics
    /// One is not acknowledged.
    pub async fn publish(&self, records: Vec<Plain>) {
        self.publish_to(self.topic.clone(), records, Vec::new()).await;
    }

    /// Writes records into the dead-letter topic as if a consumer had done it.
    ///
    /// # Panics
    /// One is not acknowledged.
    pub async fn publish_dead(&self, records: Vec<Plain>) {
        let headers = [("topic", self.topic.as_str()), ("partition", "0"), ("offset", "7"), ("reason", "a test")];
        let headers = headers.map(|(name, value)| (format!("dead-letter.{name}"), value.to_owned()));
        self.publish_to(self.dead_letter_topic(), records, headers.to_vec()).await;
    }

    async fn publish_to(&self, topic: String, records: Vec<Plain>, headers: Vec<(String, String)>) {
        let brokers = self.brokers.clone();
        let send = move || {
            let mut config = ClientConfig::new();
            // The brokers decide what is too large.
            config.set("bootstrap.servers", brokers).set("message.max.bytes", "10000000");
            // In the order that they are given in.
            config.set("enable.idempotence", "true");
            let producer: BaseProducer = config.create().expect("a producer");
            for (key, payload) in &records {
                let add =
                    |all: OwnedHeaders, (key, value): &(String, String)| all.insert(Header { key, value: Some(value) });
                let mut record = BaseRecord::<[u8], [u8]>::to(&topic);
                record.headers = Some(headers.iter().fold(OwnedHeaders::new(), add));
                record.key = key.as_deref();
                record.payload = payload.as_deref();
                producer.send(record).expect("room for a record");
            }
            producer.flush(std::time::Duration::from_secs(30)).expect("all acknowledged");
        };
        tokio::task::spawn_blocking(send).await.expect("all sent");
    }

    /// Waits until the offsets of so many records have moved.
    ///
    /// # Panics
    /// They do not within the tests' patience.
    pub async fn until_moved(&self, records: i64) {
        until("the offsets' move", async || self.next_offsets().await.values().sum::<i64>() >= records).await;
    }

    /// The next offset of each partition, as Postgres has it.
    pub async fn next_offsets(&self) -> BTreeMap<i32, i64> {
        let rows = self.query("SELECT partition, next_offset FROM consumer_offsets").await;
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}
