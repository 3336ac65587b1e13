//! The Kafka client: its properties, and what it does when the group hands out partitions.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use shared::kafka::ClientEvents;

use super::{Epoch, Event};
use crate::settings::Settings;

/// These only shape memory and speed, so options win.
const PREFERRED: [(&str, &str); 5] = [
    // Compressed JSON unfolds tenfold, and each partition fetches as much.
    ("fetch.message.max.bytes", "131072"),
    ("queued.max.messages.kbytes", "8192"),
    // How long a full queue rests before it is filled again; by default a second, in which it runs dry.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "250"),
    // Until it is over, the whole group waits for a member that died.
    ("session.timeout.ms", "10000"),
];

/// Called back from within `poll`, on the thread that polls.
pub(super) struct Client {
    events: ClientEvents,
    epoch: Epoch,
    /// The last change of the assignment that was not taken yet. A newer one makes an older one void.
    change: Mutex<Option<Event>>,
    /// The last trouble that was spoken of.
    said: Mutex<String>,
}

/// What is asked of librdkafka.
pub fn properties(settings: &Settings) -> ClientConfig {
    let mut config = settings.kafka.client_config("consumer");
    // Correctness rests on these, whatever the options say.
    config
        .set("group.id", &settings.consume.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "range,roundrobin");
    for (key, value) in PREFERRED {
        if config.get(key).is_none() {
            config.set(key, value);
        }
    }
    config
}

pub(super) fn consumer(
    settings: &Settings,
    events: ClientEvents,
    epoch: Epoch,
) -> Result<BaseConsumer<Client>, KafkaError> {
    let client = Client { events, epoch, change: Mutex::default(), said: Mutex::default() };
    let consumer: BaseConsumer<Client> = properties(settings).create_with_context(client)?;
    consumer.subscribe(&[&settings.kafka.topic])?;
    Ok(consumer)
}

impl Client {
    /// To be called when something has come from Kafka.
    pub(super) fn reached(&self) {
        self.events.reached();
        lock(&self.said).clear();
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) fn change(&self, event: Event) {
        *lock(&self.change) = Some(event);
    }

    pub(super) fn take_change(&self) -> Option<Event> {
        lock(&self.change).take()
    }
}

impl ClientContext for Client {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What follows from it is said when the offsets have been compared.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) {
            return;
        }
        let mut said = lock(&self.said);
        if *said != reason {
            reason.clone_into(&mut said);
            self.events.error(error, reason);
        }
    }
}

impl ConsumerContext for Client {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let epoch = self.epoch.advance();
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let answered = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::info!(kafka.partitions = ?partitions, "partitions assigned");
                self.reached();
                self.change(Event::Assigned { epoch, partitions });
                // Accepted, but not fetched before Postgres has said from where. An unanswered assignment would hold up
                // the whole group for as long as Postgres is away.
                consumer.assign(&TopicPartitionList::new())
            }
            _ => {
                tracing::info!(kafka.partitions = ?partitions, "partitions revoked");
                self.change(Event::Revoked);
                consumer.unassign()
            }
        };
        if let Err(error) = answered {
            tracing::error!(%error, "the group's assignment could not be answered");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result {
            Ok(()) => self.reached(),
            // The next commit says the same and more.
            Err(error) => tracing::debug!(%error, "offsets were not committed to kafka"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
