//! Offsets that are remembered in Kafka itself: those of a consumer group that nobody ever joins.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use shared::kafka::ClientEvents;

use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How long trouble may last.
const PATIENCE: Duration = Duration::from_secs(15);
const BETWEEN: Duration = Duration::from_millis(200);

/// A next offset, and a short text beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The next offset.
    pub offset: i64,
    /// What is said about it; the brokers take up to 4,096 bytes.
    pub text: String,
}

/// The offsets of one group for one topic. All calls block.
pub struct Marks {
    /// The client, which can also read.
    pub client: BaseConsumer<ClientEvents>,
    topic: String,
}

impl Marks {
    /// The marks of `<consume.group>.<suffix>` in a topic.
    ///
    /// # Errors
    /// The client cannot be made, which validated settings rule out.
    pub fn new(settings: &Settings, suffix: &str, topic: &str, events: &ClientEvents) -> Result<Self, KafkaError> {
        let mut config = settings.kafka.client_config("consumer-marks");
        config
            .set("group.id", format!("{}.{suffix}", settings.consume.group))
            .set("group.protocol", "classic")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100");
        Ok(Self { client: config.create_with_context(events.clone())?, topic: topic.to_owned() })
    }

    /// The marks of these partitions; those that were never set are left out.
    ///
    /// # Errors
    /// Kafka does not say.
    pub fn read(&self, partitions: impl IntoIterator<Item = i32>) -> Result<BTreeMap<i32, Mark>, KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition);
        }
        let committed = persistently(|| self.client.committed_offsets(list.clone(), TIMEOUT))?;
        let mark = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), Mark { offset, text: element.metadata().to_owned() })),
            _ => None,
        };
        Ok(committed.elements().iter().filter_map(mark).collect())
    }

    /// Sets marks, and waits until Kafka has them.
    ///
    /// # Errors
    /// Kafka does not take them.
    pub fn write(&self, marks: &BTreeMap<i32, Mark>) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, mark) in marks {
            let mut element = list.add_partition(&self.topic, *partition);
            element.set_offset(Offset::Offset(mark.offset))?;
            element.set_metadata(&mark.text);
        }
        persistently(|| self.client.commit(&list, CommitMode::Sync))
    }
}

/// A group's coordinator is found anew when the brokers change, and for the first group of all its topic is made.
fn persistently<T>(work: impl Fn() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let begun = Instant::now();
    loop {
        match work() {
            Err(_) if begun.elapsed() < PATIENCE => std::thread::sleep(BETWEEN),
            done => return done,
        }
    }
}
