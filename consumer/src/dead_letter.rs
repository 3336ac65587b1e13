//! Records that cannot be stored go to a topic of their own, byte for byte, and are acknowledged there before their offset moves.
//!
//! Headers, all text: `dead-letter.topic`, `dead-letter.partition`, `dead-letter.offset`, `dead-letter.timestamp` (milliseconds of
//! Unix time, where the record had one), `dead-letter.reason`. Where the brokers took no record of that size, its begin is kept, with
//! `dead-letter.truncated` (the size that it had) and `dead-letter.sha256` (of its whole value); where they take none without a key,
//! it has one that follows from where it came from, with `dead-letter.keyless`. The headers that a record came with are not kept:
//! copying them would cost every record.

pub mod limit;
pub mod marks;
pub mod standstill;

pub mod done;
pub mod letter;
pub mod reader;
pub mod show;
pub mod tool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// What is left of a record that the brokers find too large, and of its key and its reason at least.
const SIZES: [usize; 6] = [256 * 1024, 64 * 1024, 16 * 1024, 4 * 1024, 512, 0];
const SHORT_KEY: usize = 64;
const REASON: usize = 1000;
const LARGEST_MESSAGE: &str = "1000000000";

/// Publishes to the dead-letter topic.
#[derive(Clone)]
pub struct DeadLetters {
    producer: FutureProducer<ClientEvents>,
    events: ClientEvents,
    topic: String,
    source: String,
    /// Whether the topic was found to take no record without a key, as one that is compacted.
    want_keys: Arc<AtomicBool>,
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
            want_keys: Arc::default(),
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
        let form = Form { most: None, has_key: self.want_keys.load(Ordering::Relaxed) };
        let sent = letters.iter().map(|(record, refusal)| self.send(record, refusal, form));
        for ((record, refusal), sent) in letters.iter().zip(join_all(sent).await) {
            match sent {
                Err(error) if is_unfit(&error) => self.fit(record, refusal, form).await?,
                sent => sent?,
            }
        }
        Ok(())
    }

    /// Sends a record in the first form that the brokers take: whole, in case it was refused for its neighbours; with a key; with ever
    /// less of it.
    async fn fit(&self, record: &Record, refusal: &Refusal, mut form: Form) -> Result<(), KafkaError> {
        loop {
            let Err(error) = self.send(record, refusal, form).await else { break };
            form = form.after(&error, record).ok_or(error)?;
        }
        if form.has_key && record.key.is_none() {
            self.want_keys.store(true, Ordering::Relaxed);
        }
        if form.most.is_some() {
            tracing::error!(
                kafka.partition = record.partition,
                kafka.offset = record.offset,
                size_bytes = record.bytes(),
                kept_bytes = form.most,
                "the brokers find a dead letter too large; its begin is kept"
            );
        }
        Ok(())
    }

    async fn send(&self, record: &Record, refusal: &Refusal, form: Form) -> Result<(), KafkaError> {
        let place = format!("{}/{}/{}", self.source, record.partition, record.offset);
        let mut reason = refusal.to_string();
        let mut headers = OwnedHeaders::new()
            .insert(header("dead-letter.topic", &self.source))
            .insert(header("dead-letter.partition", &record.partition.to_string()))
            .insert(header("dead-letter.offset", &record.offset.to_string()));
        if let Some(timestamp) = record.timestamp {
            headers = headers.insert(header("dead-letter.timestamp", &timestamp.to_string()));
        }
        let mut message = FutureRecord::<[u8], [u8]>::to(&self.topic);
        (message.key, message.payload) = (record.key.as_deref(), record.payload.as_deref());
        if let Some(most) = form.most {
            reason.truncate(reason.floor_char_boundary(REASON.min(most.max(REASON / 4))));
            let whole = openssl::sha::sha256(message.payload.unwrap_or_default());
            let digest: String = whole.iter().map(|byte| format!("{byte:02x}")).collect();
            headers = headers
                .insert(header("dead-letter.truncated", &record.bytes().to_string()))
                .insert(header("dead-letter.sha256", &digest));
            message.key = message.key.map(|key| begin(key, most.max(SHORT_KEY)));
            message.payload = message.payload.map(|payload| begin(payload, most));
        }
        if form.has_key && message.key.is_none() {
            message.key = Some(place.as_bytes());
            headers = headers.insert(header("dead-letter.keyless", "true"));
        }
        let message = message.headers(headers.insert(header("dead-letter.reason", &reason)));
        match self.producer.send(message, DELIVERY).await {
            Ok(_) => {
                self.events.reached();
                Ok(())
            }
            Err((error, _)) => Err(error),
        }
    }

    /// What a person can do about an error, if waiting alone will not help.
    pub fn remedy(&self, error: &KafkaError) -> Option<String> {
        use RDKafkaErrorCode as Code;
        let refused = [Code::TopicAuthorizationFailed, Code::ClusterAuthorizationFailed, Code::PolicyViolation];
        let lasts = is_unfit(error) || error.rdkafka_error_code().is_some_and(|code| refused.contains(&code));
        let remedy = || {
            format!(
                "have topic `{}` take them (its sizes, rights and other settings), or set consume.dead_letter_topic to one that does; all \
                 that is behind them waits",
                self.topic
            )
        };
        lasts.then(remedy)
    }
}

/// How much of a record is sent, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    /// At most so many bytes of its value, and about as many of its key; `None` for all.
    most: Option<usize>,
    /// With a key, be it one of our making.
    has_key: bool,
}

impl Form {
    /// The next one to try, if there is any.
    fn after(self, error: &KafkaError, record: &Record) -> Option<Self> {
        if is_too_large(error) {
            let largest = self.most.unwrap_or(usize::MAX).min(record.bytes());
            let most = SIZES.into_iter().find(|size| *size < largest)?;
            return Some(Self { most: Some(most), ..self });
        }
        (is_unfit(error) && !self.has_key && record.key.is_none()).then_some(Self { has_key: true, ..self })
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

/// Whether the brokers find something wrong with a record, or with its neighbours.
fn is_unfit(error: &KafkaError) -> bool {
    let invalid = [RDKafkaErrorCode::InvalidRecord, RDKafkaErrorCode::InvalidDifferentRecord];
    is_too_large(error) || error.rdkafka_error_code().is_some_and(|code| invalid.contains(&code))
}

fn begin(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

fn header<'a>(key: &'a str, value: &'a str) -> Header<'a, &'a str> {
    Header { key, value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_sent_in_ever_less_demanding_forms() {
        let error = KafkaError::MessageProduction;
        let (large, invalid) = (error(RDKafkaErrorCode::MessageSizeTooLarge), error(RDKafkaErrorCode::InvalidRecord));
        let record = |key: Option<&'static [u8]>, size: usize| Record {
            partition: 0,
            offset: 0,
            timestamp: None,
            key: key.map(bytes::Bytes::from_static),
            payload: Some(vec![0; size].into()),
        };
        let form = |most, has_key| Form { most, has_key };
        let table = [
            (record(None, 100_000), form(None, false), &large, Some(form(Some(65_536), false))),
            (record(None, 100_000), form(Some(65_536), true), &large, Some(form(Some(16_384), true))),
            (record(None, 100_000), form(Some(0), true), &large, None),
            (record(None, 500), form(None, false), &large, Some(form(Some(0), false))),
            (record(None, 500), form(None, false), &invalid, Some(form(None, true))),
            (record(None, 500), form(None, true), &invalid, None),
            (record(Some(b"key"), 500), form(None, false), &invalid, None),
        ];
        for (record, form, error, expected) in table {
            assert_eq!(form.after(error, &record), expected, "{form:?} {error}");
        }
    }
}
