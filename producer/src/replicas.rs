//! Membership of the replicas that share the targets of a location: a consumer group of Kafka's, on a topic without records whose
//! partitions are the shards. Kafka's coordinator sees who lives, and its protocol decides who has which shard.
//!
//! - The assignment is cooperative and sticky: who stays keeps what it has.
//! - What moves is nobody's for the moment of its move, so its former owner goes on with it for a little longer: two results for a
//!   slot have the same key and cost nothing, none would be a gap.
//! - A replica that Kafka has lost sight of goes on with the shards that it had, until Kafka gives it others: whether anybody else
//!   has them it cannot know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use shared::kafka::{ClientEvents, Kafka, ensure_topics};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;
use crate::shards::Shards;

const CLIENT_ID: &str = "slotwatch-replica";
/// How long one poll waits, which is also how late a stop is noticed.
const POLL: Duration = Duration::from_millis(100);
/// How long the brokers may take to say how many shards there are, before they are asked again. Meanwhile nothing is polled, and the group
/// waits for us.
const PATIENCE: Duration = Duration::from_millis(500);

/// Options that replicas cannot have, and what can be set instead.
pub(crate) const RESERVED: [(&str, &str); 8] = [
    ("group.id", "set replicas.group instead"),
    ("group.instance.id", "set replicas.instance instead"),
    ("session.timeout.ms", "set replicas.session_timeout instead"),
    ("heartbeat.interval.ms", "it follows from replicas.session_timeout"),
    ("group.protocol", "replicas share by the classic protocol; leave it out"),
    ("partition.assignment.strategy", "replicas share cooperatively; leave it out"),
    ("enable.auto.commit", "replicas commit nothing; leave it out"),
    ("enable.auto.offset.store", "replicas commit nothing; leave it out"),
];

/// What is asked of librdkafka; sharing rests on these.
fn properties(Settings { kafka, replicas, schedule, .. }: &Settings) -> ClientConfig {
    let mut config = kafka.client_config(CLIENT_ID);
    config
        .set("group.id", replicas.group(&schedule.location))
        .set("group.protocol", "classic")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", replicas.session_timeout.as_millis().to_string())
        .set("heartbeat.interval.ms", replicas.heartbeat().as_millis().to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false");
    if !replicas.instance.is_empty() {
        config.set("group.instance.id", &replicas.instance);
    }
    config
}

/// Joins the group, and tells `shards` which are ours, until `stop`; then leaves it, unless that takes until `give_up`.
///
/// # Errors
/// Another replica has the same `replicas.instance`, or the client or the thread cannot be made, which validated settings rule out.
pub async fn run(
    settings: &Settings,
    shards: watch::Sender<Shards>,
    stop: CancellationToken,
    give_up: CancellationToken,
) -> anyhow::Result<()> {
    let Settings { kafka, replicas, .. } = settings;
    let events = ClientEvents::default();
    let topic = Kafka { partitions: replicas.shards, ..kafka.clone() };
    let Some(ensured) = stop.run_until_cancelled(ensure_topics(&topic, CLIENT_ID, &[&replicas.topic], &events)).await
    else {
        return Ok(());
    };
    ensured?;
    let member = Member { events, shards, handover: replicas.handover(), group: Mutex::default() };
    let consumer: BaseConsumer<Member> = properties(settings).create_with_context(member)?;
    consumer.subscribe(&[&replicas.topic])?;
    let (done_in, done) = oneshot::channel();
    let topic = replicas.topic.clone();
    thread::Builder::new().name("replica".to_owned()).spawn(move || {
        let ended = poll(&consumer, &topic, &stop);
        // Leaves the group, so that the others need not wait for the end of our session.
        drop(consumer);
        // Nobody waits for it any more when the process gives up.
        let _ = done_in.send(ended);
    })?;
    match give_up.run_until_cancelled(done).await {
        Some(ended) => ended.context("the membership's thread has died")?,
        None => Ok(()),
    }
}

fn poll(consumer: &BaseConsumer<Member>, topic: &str, stop: &CancellationToken) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        consumer.context().hand_over();
        if let Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) = consumer.poll(POLL) {
            return Err(error)
                .context("this replica is no member any more; has another one the same replicas.instance?");
        }
        let member = consumer.context();
        if member.group().asks {
            // Partitions may have been added since: all replicas must count the same.
            match consumer.fetch_metadata(Some(topic), PATIENCE) {
                Ok(metadata) => {
                    // A broker that does not know the topic yet, or has lost its leaders, is asked again.
                    let topic = metadata.topics().iter().find(|topic| topic.error().is_none());
                    let count = topic.and_then(|topic| i32::try_from(topic.partitions().len()).ok());
                    if let Some(count) = count.filter(|count| *count > 0) {
                        member.count(count);
                    }
                }
                Err(error) => tracing::debug!(%error, "the number of shards is not known yet"),
            }
        }
    }
    Ok(())
}

/// Called back from within `poll`, on the thread that polls.
struct Member {
    events: ClientEvents,
    shards: watch::Sender<Shards>,
    /// How long we go on with what has moved.
    handover: Duration,
    group: Mutex<Group>,
}

/// What the group has given us, and what we have not let go of.
#[derive(Default)]
struct Group {
    owned: BTreeSet<i32>,
    /// Ours when Kafka lost sight of us.
    kept: BTreeSet<i32>,
    /// Somebody else's after this moment.
    moving: BTreeMap<i32, Instant>,
    /// How many shards there are; 0 before that is known.
    of: i32,
    /// Whether it has to be asked how many there are.
    asks: bool,
}

impl Group {
    fn assigned(&mut self, shards: &[i32], until: Instant) {
        self.owned.extend(shards);
        // Kafka sees us again; who has got what we kept may not have heard of it yet.
        self.moving.extend(std::mem::take(&mut self.kept).into_iter().map(|shard| (shard, until)));
        self.asks = true;
    }

    fn lost(&mut self, shards: &[i32]) {
        self.owned.retain(|shard| !shards.contains(shard));
        self.kept.extend(shards);
    }

    fn revoked(&mut self, shards: &[i32], until: Instant) {
        self.owned.retain(|shard| !shards.contains(shard));
        self.moving.extend(shards.iter().map(|shard| (*shard, until)));
    }

    /// All whose targets we check, once it is known how many there are.
    fn shards(&self) -> Option<Shards> {
        let owned = self.owned.iter().chain(&self.kept).chain(self.moving.keys()).copied().collect();
        (self.of > 0).then_some(Shards::Owned { owned, of: self.of })
    }
}

impl Member {
    fn group(&self) -> MutexGuard<'_, Group> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, of: i32) {
        let mut group = self.group();
        (group.of, group.asks) = (of, false);
        self.tell(&group);
    }

    /// Lets go of what has moved a while ago.
    fn hand_over(&self) {
        let mut group = self.group();
        let (before, now) = (group.moving.len(), Instant::now());
        group.moving.retain(|_, until| *until > now);
        if group.moving.len() < before {
            self.tell(&group);
        }
    }

    fn tell(&self, group: &Group) {
        if let Some(now) = group.shards() {
            self.shards.send_if_modified(|shards| {
                let changed = *shards != now;
                *shards = now;
                changed
            });
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        let mut group = self.group();
        let until = Instant::now() + self.handover;
        let answered = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.events.reached();
            group.assigned(&partitions, until);
            tracing::info!(shards.gained = ?partitions, shards.owned = group.owned.len(), "shards assigned");
            // There is nothing to be fetched.
            consumer.incremental_assign(list).and_then(|()| consumer.pause(list))
        } else {
            if consumer.assignment_lost() {
                group.lost(&partitions);
                tracing::warn!(shards.kept = ?partitions, "kafka has lost sight of this replica; it goes on with its shards");
            } else {
                group.revoked(&partitions, until);
                tracing::info!(shards.lost = ?partitions, shards.owned = group.owned.len(), "shards revoked");
            }
            consumer.incremental_unassign(list)
        };
        self.tell(&group);
        if let Err(error) = answered {
            tracing::error!(%error, "the group's assignment could not be answered");
        }
    }
}
