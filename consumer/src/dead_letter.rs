//! Records that cannot be stored go to a topic of their own, byte for byte, and are acknowledged there before their offset moves.
//!
//! Headers, all text: `dead-letter.topic`, `dead-letter.partition`, `dead-letter.offset`, `dead-letter.timestamp` (milliseconds of
//! Unix time, where the record had one), `dead-letter.reason`; and `dead-letter.truncated` with the original size, where the
//! brokers took no record of that size. The headers that a record came with are not kept: copying them would cost every record.

pub mod limit;
pub mod marks;
pub mod standstill;

pub mod done;
pub mod letter;
pub mod reader;
pub mod show;
pub mod tool;

use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use shared::kafka::ClientEvents;

use crate::decode::Refusal;
use crate::record::Record;
use crate::settings::Settings;

/// How long a record may wait for its acknowledgement before the whole is tried again.
const DELIVERY: Duration = Duration::from_secs(30);
/// What is left of a record that the brokers find too large.
const TRUNCATED: usize = 256 * 1024;
const LARGEST_MESSAGE: &str = "1000000000";

/// Publishes to the dead-letter topic.
#[derive(Clone)]
pub struct DeadLetters {
    producer: FutureProducer<ClientEvents>,
    events: ClientEvents,
    topic: String,
    source: String,
}

/// What is kept of a key or a payload that is too large.
fn begin(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(TRUNCATED)]
}

impl DeadLetters {
    /// A publisher; connects when it is first needed.
    ///
    /// # Errors
    /// The client cannot be made, which validated settings rule out.
    pub fn new(settings: &Settings, events: &ClientEvents) -> Result<Self, KafkaError> {
        let mut config = settings.kafka.client_config("consumer-dead-letters");
        // The brokers decide what is too large, by the compressed size.
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("compression.type", "zstd")
            .set("message.max.bytes", LARGEST_MESSAGE)
            // So that no record is refused for its neighbours.
            .set("batch.size", "500000")
            .set("delivery.timeout.ms", DELIVERY.as_millis().to_string());
        let producer = config.create_with_context(events.clone())?;
        Ok(Self {
            producer,
            events: events.clone(),
            topic: settings.dead_letter_topic(),
            source: settings.kafka.topic.clone(),
        })
    }

    /// The topic of the results.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The client, for those who only have a question to Kafka.
    pub fn client(&self) -> &FutureProducer<ClientEvents> {
        &self.producer
    }

    /// Sends a letter back to the topic that it came from, as it was.
    ///
    /// # Errors
    /// Kafka did not take it, or did not say so.
    pub async fn send_back(&self, letter: &letter::Letter) -> Result<(), KafkaError> {
        let mut message = FutureRecord::<[u8], [u8]>::to(&self.source);
        message.key = letter.key.as_deref();
        message.payload = letter.payload.as_deref();
        self.producer.send(message, DELIVERY).await.map(drop).map_err(|(error, _)| error)
    }

    /// Publishes records and waits for their acknowledgement.
    ///
    /// # Errors
    /// Kafka did not take all of them. Those that it took will be there twice when this is called again.
    pub async fn publish(&self, letters: &[(Record, Refusal)]) -> Result<(), KafkaError> {
        let sent = letters.iter().map(|(record, refusal)| self.publish_one(record, refusal));
        join_all(sent).await.into_iter().collect()
    }

    async fn publish_one(&self, record: &Record, refusal: &Refusal) -> Result<(), KafkaError> {
        let whole = (record.key.as_deref(), record.payload.as_deref());
        match self.send(record, refusal, whole, false).await {
            Err(error) if too_large(&error) && record.bytes() > TRUNCATED => {
                let size = record.bytes();
                tracing::error!(
                    kafka.partition = record.partition,
                    kafka.offset = record.offset,
                    size_bytes = size,
                    "the brokers find a dead letter too large; its begin is kept"
                );
                self.send(record, refusal, (whole.0.map(begin), whole.1.map(begin)), true).await
            }
            sent => sent,
        }
    }

    async fn send(
        &self,
        record: &Record,
        refusal: &Refusal,
        (key, payload): (Option<&[u8]>, Option<&[u8]>),
        truncated: bool,
    ) -> Result<(), KafkaError> {
        let mut headers = OwnedHeaders::new()
            .insert(header("dead-letter.topic", &self.source))
            .insert(header("dead-letter.partition", &record.partition.to_string()))
            .insert(header("dead-letter.offset", &record.offset.to_string()))
            .insert(header("dead-letter.reason", &refusal.to_string()));
        if let Some(timestamp) = record.timestamp {
            headers = headers.insert(header("dead-letter.timestamp", &timestamp.to_string()));
        }
        if truncated {
            headers = headers.insert(header("dead-letter.truncated", &record.bytes().to_string()));
        }
        let mut message = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        message.key = key;
        message.payload = payload;
        match self.producer.send(message, DELIVERY).await {
            Ok(_) => {
                self.events.reached();
                Ok(())
            }
            Err((error, _)) => Err(error),
        }
    }
}

fn too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}
