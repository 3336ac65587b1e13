//! Results to Kafka. A result is done when the broker's delivery report says so, and not before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as Refusals, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};
use shared::backoff::Backoff;
use shared::kafka::{ClientEvents, Kafka, ensure_topics};
use shared::message::CheckResult;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::settings::Publish;

const CLIENT_ID: &str = "slotwatch-producer";
/// How long to wait when the client's queue is full.
const FULL_WAIT: Duration = Duration::from_millis(50);

/// What became of the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Acknowledged by the brokers.
    pub delivered: u64,
    /// Refused by the brokers for good: too large, for instance.
    pub refused: u64,
    /// Finished, but not acknowledged before the end.
    pub undelivered: u64,
}

/// Publishes results until their channel closes and the last is acknowledged, or until `give_up`.
///
/// # Errors
/// The client cannot be made, which validated settings rule out.
pub async fn run(
    kafka: &Kafka,
    publish: &Publish,
    mut results: Receiver<CheckResult>,
    give_up: CancellationToken,
) -> anyhow::Result<Summary> {
    let wanted = [kafka.topic.as_str()];
    let topics = tokio::select! {
        topics = ensure_topics(kafka, CLIENT_ID, &wanted) => Some(topics),
        () = give_up.cancelled() => None,
    };
    let mut summary = Summary::default();
    if let Some(topics) = topics {
        topics.context("kafka client")?;
        let mut outbox = Outbox::open(kafka, publish)?;
        outbox.drain(&mut results, &give_up).await;
        summary = outbox.summary();
    }
    // What the checks still hand over in the last instants counts, too.
    results.close();
    while results.recv().await.is_some() {
        summary.undelivered += 1;
    }
    Ok(summary)
}

/// The producer's client and the account of what it was given.
struct Outbox {
    producer: ThreadedProducer<Reports>,
    reports: Reports,
    /// Messages that the client gave back, to be sent again.
    returned: Refusals<OwnedMessage>,
    topic: String,
    sent: u64,
    /// Results that were taken but never handed to the client.
    unsent: u64,
}

impl Outbox {
    fn open(kafka: &Kafka, publish: &Publish) -> anyhow::Result<Self> {
        let (back, returned) = sync_channel(publish.max_waiting);
        let reports = Reports { events: ClientEvents::default(), counts: Arc::default(), back };
        let mut config = kafka.client_config(CLIENT_ID);
        let own = [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // Never given up by the client: the results are worth waiting for.
            ("message.timeout.ms", "0"),
            ("partitioner", "murmur2_random"),
            ("compression.type", &publish.compression),
            ("linger.ms", &publish.linger.as_millis().to_string()),
            ("queue.buffering.max.messages", &publish.max_waiting.to_string()),
        ];
        for (key, value) in own {
            if !kafka.options.contains_key(key) {
                config.set(key, value);
            }
        }
        let producer = config.create_with_context(reports.clone()).context("kafka client")?;
        Ok(Self { producer, reports, returned, topic: kafka.topic.clone(), sent: 0, unsent: 0 })
    }

    fn summary(&self) -> Summary {
        let (delivered, refused) = self.reports.counts();
        Summary { delivered, refused, undelivered: self.unsent + (self.sent - delivered - refused) }
    }

    async fn drain(&mut self, results: &mut Receiver<CheckResult>, give_up: &CancellationToken) {
        let mut again = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                biased;
                () = give_up.cancelled() => return,
                _ = again.tick() => self.send_returned(give_up).await,
                result = results.recv() => match result {
                    Some(result) => self.send(&result, give_up).await,
                    None => break,
                },
            }
        }
        // The reports of what is under way; what comes back is sent again.
        while self.reports.done() < self.sent && !give_up.is_cancelled() {
            self.send_returned(give_up).await;
            let producer = self.producer.clone();
            let flushed = tokio::task::spawn_blocking(move || producer.flush(Duration::from_millis(100))).await;
            tracing::trace!(?flushed, "flush");
        }
    }

    async fn send(&mut self, result: &CheckResult, give_up: &CancellationToken) {
        let outgoing = match Outgoing::new(result) {
            Ok(outgoing) => outgoing,
            Err(error) => {
                // No value of the types can cause this; should it come, it is not to pass in silence.
                tracing::error!(%error, target.name = result.meta.target, "result cannot be encoded");
                self.unsent += 1;
                return;
            }
        };
        if self.enqueue(&outgoing, give_up).await {
            self.sent += 1;
        } else {
            self.unsent += 1;
        }
    }

    async fn send_returned(&mut self, give_up: &CancellationToken) {
        while let Ok(message) = self.returned.try_recv() {
            let outgoing = Outgoing::of_returned(message);
            // It is counted as sent already; when this fails, it stays so and ends as undelivered.
            self.enqueue(&outgoing, give_up).await;
        }
    }

    /// Hands a message to the client, waiting for room; false when that was given up.
    async fn enqueue(&self, outgoing: &Outgoing, give_up: &CancellationToken) -> bool {
        let mut backoff = Backoff::new(FULL_WAIT, Duration::from_secs(1));
        loop {
            match self.producer.send(outgoing.record(&self.topic)) {
                Ok(()) => return true,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {}
                Err((error, _)) => tracing::warn!(%error, "kafka client takes no message; trying again"),
            }
            tokio::select! {
                () = give_up.cancelled() => return false,
                () = tokio::time::sleep(backoff.wait()) => {}
            }
        }
    }
}

/// A message as it goes to Kafka.
struct Outgoing {
    key: Vec<u8>,
    payload: Vec<u8>,
    headers: OwnedHeaders,
    timestamp: i64,
}

impl Outgoing {
    fn new(result: &CheckResult) -> serde_json::Result<Self> {
        Ok(Self {
            key: result.meta.target.clone().into_bytes(),
            payload: serde_json::to_vec(result)?,
            headers: headers(result),
            timestamp: result.meta.scheduled_at.as_millis() + result.meta.lateness / 1000,
        })
    }

    fn of_returned(message: OwnedMessage) -> Self {
        Self {
            key: message.key().unwrap_or_default().to_vec(),
            payload: message.payload().unwrap_or_default().to_vec(),
            timestamp: message.timestamp().to_millis().unwrap_or_default(),
            headers: message.headers().cloned().unwrap_or_default(),
        }
    }

    fn record<'a>(&'a self, topic: &'a str) -> BaseRecord<'a, [u8], [u8]> {
        BaseRecord::to(topic)
            .key(&self.key[..])
            .payload(&self.payload[..])
            .headers(self.headers.clone())
            .timestamp(self.timestamp)
    }
}

/// CloudEvents attributes in Kafka's binary content mode, so that a router need not open the message.
fn headers(result: &CheckResult) -> OwnedHeaders {
    let meta = &result.meta;
    let source = format!("/locations/{}", utf8_percent_encode(&meta.location, NON_ALPHANUMERIC));
    let pairs = [
        ("content-type", "application/json".to_owned()),
        ("ce_specversion", "1.0".to_owned()),
        ("ce_type", format!("slotwatch.check-result.v{}", meta.version)),
        ("ce_source", source),
        ("ce_id", meta.id.to_string()),
        ("ce_time", meta.scheduled_at.to_string()),
    ];
    pairs.iter().fold(OwnedHeaders::new_with_capacity(pairs.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}

/// Takes the delivery reports, on the client's thread.
#[derive(Clone)]
struct Reports {
    events: ClientEvents,
    counts: Arc<Counts>,
    back: SyncSender<OwnedMessage>,
}

#[derive(Default)]
struct Counts {
    delivered: AtomicU64,
    refused: AtomicU64,
}

impl Reports {
    fn counts(&self) -> (u64, u64) {
        (self.counts.delivered.load(Ordering::Acquire), self.counts.refused.load(Ordering::Acquire))
    }

    fn done(&self) -> u64 {
        let (delivered, refused) = self.counts();
        delivered + refused
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.counts.delivered.fetch_add(1, Ordering::AcqRel);
                self.events.reached();
            }
            Err((error, message)) if is_final(error) => {
                self.counts.refused.fetch_add(1, Ordering::AcqRel);
                let key = message.key().map(String::from_utf8_lossy);
                tracing::error!(%error, target.name = ?key, "kafka refused a result for good");
            }
            Err((error, message)) => {
                tracing::debug!(%error, "result came back from the client");
                // The channel holds as many as the client can; while the process is ending nobody may listen.
                let _ = self.back.try_send(message.detach());
            }
        }
    }
}

/// Errors that no second try will mend.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
                | RDKafkaErrorCode::InvalidMessageSize
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTimestamp
        )
    )
}
