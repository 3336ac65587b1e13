//! Faults of what is in the topic: records that are no results, and results that are there already.

use std::time::Duration;

use fastrand::Rng;
use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::TOPIC;
use super::fault::{Fault, Kind};

/// While Kafka does not answer, these faults do not happen.
const WITHIN: Duration = Duration::from_secs(3);
const ECHOES: usize = 100;
const POISON: [&[u8]; 6] = [
    b"not JSON",
    b"\xff\xfe\x00",
    b"{}",
    b"[1, 2, 3]",
    br#"{"meta":{"version":1},"outcome":null}"#,
    br#"{"dns":{"start":-1},"http":{"start":"yesterday","url":"http://x/"}}"#,
];

/// Writes into the topic what nobody should, until no faults come any more.
pub(super) async fn pollute(brokers: String, seed: u64, mut faults: mpsc::Receiver<Fault>) {
    let mut rng = Rng::with_seed(seed);
    while let Some(Fault { kind, .. }) = faults.recv().await {
        let records = match kind {
            Kind::Poison => POISON.iter().map(|payload| (None, payload.to_vec())).collect(),
            _ => block_in_place(|| some_of(&brokers, &mut rng)).unwrap_or_default(),
        };
        block_in_place(|| write(&brokers, &records));
    }
}

type Pair = (Option<Vec<u8>>, Vec<u8>);

/// Results from somewhere in the topic; none when Kafka does not answer.
fn some_of(brokers: &str, rng: &mut Rng) -> Option<Vec<Pair>> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "echo").create().ok()?;
    let partitions = consumer.fetch_metadata(Some(TOPIC), WITHIN).ok()?.topics().first()?.partitions().len();
    let partition = i32::try_from(rng.usize(0..partitions.max(1))).ok()?;
    let (low, high) = consumer.fetch_watermarks(TOPIC, partition, WITHIN).ok()?;
    if low == high {
        return None;
    }
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(TOPIC, partition, Offset::Offset(rng.i64(low..high))).ok()?;
    consumer.assign(&assignment).ok()?;
    let mut pairs = Vec::new();
    while pairs.len() < ECHOES
        && let Some(Ok(message)) = consumer.poll(WITHIN)
    {
        pairs.push((message.key().map(<[u8]>::to_vec), message.payload().unwrap_or_default().to_vec()));
        if message.offset() + 1 >= high {
            break;
        }
    }
    Some(pairs)
}

/// What Kafka does not take in time is not written: the account goes by what is in the topic in the end.
fn write(brokers: &str, records: &[Pair]) {
    let timeout = WITHIN.as_millis().to_string();
    let client = ClientConfig::new().set("bootstrap.servers", brokers).set("message.timeout.ms", timeout).create();
    let Ok(producer) = client else { return };
    let producer: BaseProducer = producer;
    for (key, payload) in records {
        let record = BaseRecord::<[u8], [u8]>::to(TOPIC).payload(payload);
        // A full queue is as good as a broker that takes nothing.
        let _ = producer.send(match key {
            Some(key) => record.key(key),
            None => record,
        });
    }
    let _ = producer.flush(WITHIN);
}
