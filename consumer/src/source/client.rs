//! The Kafka client: its properties, and what it does when the group hands out partitions.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use shared::config::Fault;
use shared::kafka::{ClientEvents, Kafka};

use super::{Epoch, Event};
use crate::settings::Settings;

/// Correctness rests on these, so options that say otherwise are refused ([`RESERVED`]).
const OURS: [(&str, &str); 3] =
    [("enable.auto.commit", "false"), ("enable.auto.offset.store", "false"), ("auto.offset.reset", "error")];

/// Options that cannot be set, and what can be instead.
const RESERVED: [(&str, &str); 6] = [
    ("group.id", "set consume.group instead"),
    ("enable.auto.commit", "set consume.commit instead"),
    ("auto.commit.enable", "set consume.commit instead"),
    ("enable.auto.offset.store", "offsets are kept in Postgres; consume.commit says whether Kafka hears of them"),
    ("auto.offset.reset", "set consume.from instead"),
    ("partition.assignment.strategy", "it is always range; leave it out, or set group.protocol to consumer"),
];

/// These are the brokers' to say where they hand out the partitions.
const CLASSIC: [&str; 3] = ["session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type"];

/// These only shape memory and speed, so options win.
const PREFERRED: [(&str, &str); 4] = [
    // Compressed JSON unfolds tenfold, and each partition fetches as much.
    ("fetch.message.max.bytes", "131072"),
    ("queued.max.messages.kbytes", "8192"),
    // How long a full queue rests before it is filled again; by default a second, in which it runs dry.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "250"),
];

/// How the group of the classic protocol works.
const OF_CLASSIC: [(&str, &str); 2] = [
    ("partition.assignment.strategy", "range,roundrobin"),
    // Until it is over, the whole group waits for a member that died.
    ("session.timeout.ms", "10000"),
];

/// Called back from within `poll`, on the thread that polls.
pub(super) struct Client {
    events: ClientEvents,
    epoch: Epoch,
    /// Whether the brokers hand out partitions one by one (KIP-848), rather than a member all of them.
    pub(super) is_incremental: bool,
    /// What the group has given us.
    ours: Mutex<BTreeSet<i32>>,
    /// The last change of the assignment that was not taken yet. A newer one makes an older one void.
    change: Mutex<Option<Event>>,
    /// The last trouble that was spoken of.
    said: Mutex<String>,
}

/// What is asked of librdkafka.
pub fn properties(settings: &Settings) -> ClientConfig {
    let mut config = settings.kafka.client_config("consumer");
    config.set("group.id", &settings.consume.group);
    for (key, value) in OURS {
        config.set(key, value);
    }
    let of_group = if is_incremental(&config) { &[] } else { &OF_CLASSIC[..] };
    for (key, value) in PREFERRED.iter().chain(of_group) {
        if config.get(key).is_none() {
            config.set(*key, *value);
        }
    }
    config
}

/// Checks that no option says what another key says, or what nobody may say.
///
/// # Errors
/// Names the option, and what to set instead.
pub fn check_options(kafka: &Kafka) -> Result<(), Fault> {
    kafka.refuse_options(&RESERVED)?;
    if kafka.options.get("group.protocol").is_some_and(|protocol| protocol == "consumer") {
        kafka.refuse_options(
            &CLASSIC.map(|key| (key, "with group.protocol = consumer the brokers say that; leave it out")),
        )?;
    }
    Ok(())
}

fn is_incremental(config: &ClientConfig) -> bool {
    config.get("group.protocol") == Some("consumer")
}

pub(super) fn consumer(
    settings: &Settings,
    events: ClientEvents,
    epoch: Epoch,
) -> Result<BaseConsumer<Client>, KafkaError> {
    let properties = properties(settings);
    let client = Client {
        events,
        epoch,
        is_incremental: is_incremental(&properties),
        ours: Mutex::default(),
        change: Mutex::default(),
        said: Mutex::default(),
    };
    let consumer: BaseConsumer<Client> = properties.create_with_context(client)?;
    consumer.subscribe(&[&settings.kafka.topic])?;
    Ok(consumer)
}

impl Client {
    /// To be called when something has come from Kafka.
    pub(super) fn reached(&self) {
        self.events.reached();
        lock(&self.said).clear();
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.events.is_reachable()
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

/// Has these partitions fetched, from these offsets, and no others.
pub(super) fn fetch(consumer: &BaseConsumer<Client>, list: &TopicPartitionList) -> KafkaResult<()> {
    if !consumer.context().is_incremental {
        return consumer.assign(list);
    }
    consumer.incremental_unassign(&consumer.assignment()?)?;
    consumer.incremental_assign(list)
}

/// Has none of these partitions fetched.
pub(super) fn fetch_none(consumer: &BaseConsumer<Client>, of: impl Fn(i32) -> bool) -> KafkaResult<()> {
    if !consumer.context().is_incremental {
        return consumer.unassign();
    }
    let mut list = TopicPartitionList::new();
    for element in consumer.assignment()?.elements().iter().filter(|element| of(element.partition())) {
        list.add_partition(element.topic(), element.partition());
    }
    consumer.incremental_unassign(&list)
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
        let mut ours = lock(&self.ours);
        let answered = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::info!(kafka.partitions = ?partitions, "partitions assigned");
                self.reached();
                ours.extend(&partitions);
                self.change(Event::Assigned { epoch, partitions: ours.iter().copied().collect() });
                // Accepted, but not fetched before Postgres has said from where. An unanswered assignment would hold up
                // the whole group for as long as Postgres is away.
                let nothing = TopicPartitionList::new();
                if self.is_incremental { consumer.incremental_assign(&nothing) } else { consumer.assign(&nothing) }
            }
            _ => {
                tracing::info!(kafka.partitions = ?partitions, "partitions revoked");
                ours.retain(|partition| !partitions.contains(partition));
                let left: Vec<i32> = ours.iter().copied().collect();
                self.change(if left.is_empty() { Event::Revoked } else { Event::Assigned { epoch, partitions: left } });
                fetch_none(consumer, |partition| partitions.contains(&partition))
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
