//! The tests' own look into topics.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{World, until};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Who changes topics in a world.
///
/// # Panics
/// The address of the brokers is none.
pub fn admin(world: &World) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &world.brokers).create().expect("a client")
}

/// Deletes a topic, and waits until the brokers have forgotten it.
///
/// # Panics
/// They do not.
pub async fn delete_topic(world: &World, name: &str) {
    let admin = admin(world);
    admin.delete_topics(&[name], &AdminOptions::new()).await.expect("an answer");
    until("the end of the topic", async || {
        let metadata = tokio::task::block_in_place(|| admin.inner().fetch_metadata(None, TIMEOUT));
        metadata.expect("metadata").topics().iter().all(|topic| topic.name() != name)
    })
    .await;
}

/// A record as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub partition: i32,
    /// And at which offset.
    pub offset: i64,
    /// Its key, if any.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub payload: Vec<u8>,
    /// Its headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// The text of the first header of this name.
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}

/// Everything that stands in a topic now. Blocks.
///
/// # Panics
/// The topic cannot be read.
pub fn read_topic(brokers: &str, topic: &str) -> Vec<Record> {
    let mut records = Vec::new();
    each_record(brokers, topic, |record| records.push(record));
    records
}

/// Looks at each record that stands in a topic now. Blocks.
///
/// # Panics
/// The topic cannot be read.
pub fn each_record(brokers: &str, topic: &str, mut look: impl FnMut(Record)) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).expect("metadata");
    let partitions = metadata.topics()[0].partitions().len();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..i32::try_from(partitions).unwrap_or(0) {
        let (low, high) = consumer.fetch_watermarks(topic, partition, TIMEOUT).expect("watermarks");
        left += high - low;
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&assignment).expect("an assignment");
    while left > 0 {
        let message = consumer.poll(TIMEOUT).expect("a record within the time").expect("no error");
        left -= 1;
        let headers = message.headers().map(|headers| {
            headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
        });
        look(Record {
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().unwrap_or_default().to_vec(),
            headers: headers.unwrap_or_default(),
        });
    }
}

/// Writes records into a topic and waits until they stand there. Blocks.
///
/// # Panics
/// A record is not acknowledged.
pub fn send<K: AsRef<str>, V: AsRef<[u8]>>(brokers: &str, topic: &str, records: &[(K, V)]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a producer");
    for (key, payload) in records {
        let headers = OwnedHeaders::new().insert(Header { key: "test", value: Some("yes") });
        let record = BaseRecord::to(topic).key(key.as_ref()).payload(payload.as_ref()).headers(headers);
        producer.send(record).expect("room for a record");
    }
    producer.flush(TIMEOUT).expect("all acknowledged");
}
