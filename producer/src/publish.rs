//! Results to Kafka, by way of the spool: on disk first, then to the brokers in the order they came, and off the disk when a
//! delivery report says that the brokers have them. All of it on a thread of its own, since disks block.

mod outbox;
mod outgoing;
mod reports;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use rdkafka::ClientConfig;
use shared::kafka::{ClientEvents, Kafka, ensure_topics, keep_topics, warn_of_retention};
use shared::message::CheckResult;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::metrics::Published;
use crate::settings::Publish;
use crate::spool::Spool;
use outbox::Outbox;

pub use outgoing::headers;

const CLIENT_ID: &str = "slotwatch-producer";

/// What became of the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Acknowledged by the brokers.
    pub delivered: u64,
    /// Refused by the brokers for good: too large, for instance.
    pub refused: u64,
    /// Dropped because the spool was full.
    pub dropped: u64,
    /// Left in the spool for the next start.
    pub spooled: u64,
    /// Never written to the spool, because the disk refused to the end.
    pub lost: u64,
}

/// The properties of the client that publishes; options of the user's own win.
pub fn client_config(kafka: &Kafka, publish: &Publish) -> ClientConfig {
    let mut config = kafka.client_config(CLIENT_ID);
    let own = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        // Never given up by the client: the results are worth waiting for.
        ("message.timeout.ms", "0"),
        ("partitioner", "murmur2_random"),
        ("compression.type", &publish.compression),
        ("linger.ms", &publish.linger.as_millis().to_string()),
        ("queue.buffering.max.messages", &publish.max_in_flight.to_string()),
    ];
    for (key, value) in own {
        if !kafka.options.contains_key(key) {
            config.set(key, value);
        }
    }
    config
}

/// Spools and publishes results until their channel closes and the last is acknowledged, or until `give_up`.
///
/// # Errors
/// The client or the thread cannot be made, which validated settings rule out.
pub async fn run(
    kafka: &Kafka,
    publish: &Publish,
    spool: Spool,
    results: Receiver<CheckResult>,
    published: Arc<Published>,
    give_up: CancellationToken,
) -> anyhow::Result<Summary> {
    let events = ClientEvents::default();
    let topic_exists = Arc::new(AtomicBool::new(false));
    let outbox = Outbox::open(kafka, publish, spool, topic_exists.clone(), events.clone(), published)?;
    let (done_in, done) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new().name("publish".to_owned()).spawn(move || {
        // Nobody waits for it any more when the process gives up.
        let _ = done_in.send(outbox.work(results, &runtime, &give_up));
    })?;
    let wanted = [kafka.topic.as_str()];
    let topics = async {
        if let Err(error) = ensure_topics(kafka, CLIENT_ID, &wanted, &events).await {
            return error;
        }
        topic_exists.store(true, Ordering::Release);
        warn_of_retention(kafka, CLIENT_ID, &events).await;
        // A result that is delivered says that lost brokers are back. Where there is none to deliver, these looks do.
        keep_topics(kafka, CLIENT_ID, &wanted, &events, |missing| topic_exists.store(missing == 0, Ordering::Release))
            .await
    };
    tokio::select! {
        summary = done => summary.context("the publishing thread has died"),
        error = topics => Err(error).context("kafka client"),
    }
}
