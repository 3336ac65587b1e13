//! Polls Kafka, on a thread of its own and without pause, so that the group never has reason to believe us dead.
//!
//! - The group decides which partitions are ours; Postgres knows where to read. An assignment is therefore accepted at once
//!   with no partitions to fetch, announced as [`Event::Assigned`], and fetched from once [`Command::Assign`] brings offsets.
//! - Every change of what is assigned begins a new *epoch*. Records carry the epoch that they were read under; whoever holds
//!   records of an epoch that is over drops them, for they will be read again, here or elsewhere.
//! - When those behind are busy for longer than [`PATIENCE`], partitions are paused and polling goes on.

mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use shared::kafka::ClientEvents;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::record::{Counts, Record};
use crate::settings::Settings;
use crate::store::OLDEST;
use client::{Client, fetch, fetch_none};

pub use client::{check_options, properties};

/// How long one poll waits for a record, which is also how late a command can be served.
const POLL: Duration = Duration::from_millis(20);
/// How long a chunk waits for room before partitions are paused. Pausing throws away what librdkafka has fetched ahead.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long brokers that hand out the partitions themselves may take for it before it is said.
const HANDING_OUT: Duration = Duration::from_secs(30);
const CHUNK_RECORDS: usize = 500;
const CHUNK_BYTES: usize = 1024 * 1024;
const CHUNKS: usize = 8;
const COMMANDS: usize = 64;

/// What the source has to say.
#[derive(Debug)]
pub enum Event {
    /// These partitions are ours; where to read them is wanted.
    Assigned {
        /// The epoch that begins.
        epoch: u64,
        /// All partitions that are ours now.
        partitions: Vec<i32>,
    },
    /// No partition is ours any more.
    Revoked,
    /// Records in the order of their partitions.
    Records {
        /// The epoch that they were read under.
        epoch: u64,
        /// At least one.
        records: Vec<Record>,
    },
}

/// What the source is told.
#[derive(Debug)]
pub enum Command {
    /// Read these partitions from these offsets.
    Assign {
        /// The epoch that this answers.
        epoch: u64,
        /// Partitions and the offset of the first record of each.
        offsets: Vec<(i32, i64)>,
    },
    /// Let Kafka know how far we are.
    Commit {
        /// Partitions and next offsets.
        offsets: Vec<(i32, i64)>,
    },
}

/// The number of the present assignment, shared by all who hold records.
#[derive(Clone, Debug, Default)]
pub struct Epoch(Arc<AtomicU64>);

impl Epoch {
    /// The present epoch.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Ends the present epoch and begins the next.
    pub fn advance(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Ends an epoch that is known to be void, unless something else has ended it already.
    pub fn advance_from(&self, epoch: u64) -> Option<u64> {
        self.0.compare_exchange(epoch, epoch + 1, Ordering::SeqCst, Ordering::SeqCst).ok().map(|_| epoch + 1)
    }
}

/// The other ends of the source's thread.
#[derive(Debug)]
pub struct Source {
    /// What it reads. Ends when the process shall stop.
    pub events: mpsc::Receiver<Event>,
    /// What it is told. When all senders are gone it leaves the group and ends.
    pub commands: mpsc::Sender<Command>,
    /// The present epoch.
    pub epoch: Epoch,
    /// Resolves when the thread has left the group and ended.
    pub done: oneshot::Receiver<Result<(), KafkaError>>,
}

/// Subscribes, and starts the thread.
///
/// # Errors
/// The client or the thread cannot be made.
pub fn start(
    settings: &Settings,
    events: ClientEvents,
    counts: Arc<Counts>,
    stop: CancellationToken,
) -> anyhow::Result<Source> {
    let (events_in, events_out) = mpsc::channel(CHUNKS);
    let (commands, commands_out) = mpsc::channel(COMMANDS);
    let (done_in, done) = oneshot::channel();
    let epoch = Epoch::default();
    let consumer = client::consumer(settings, events, epoch.clone())?;
    let poller = Poller {
        consumer,
        topic: settings.kafka.topic.clone(),
        events: Some(events_in),
        commands: commands_out,
        counts,
        stop,
        runtime: Handle::current(),
        ours: Vec::new(),
        waits_since: Some(Instant::now()),
        assigned: Vec::new(),
        epoch: 0,
        waiting: None,
        paused: false,
    };
    std::thread::Builder::new().name("kafka-poll".to_owned()).spawn(move || {
        // Nobody listens any more when the process gave up waiting.
        let _ = done_in.send(poller.run());
    })?;
    Ok(Source { events: events_out, commands, epoch, done })
}

struct Poller {
    consumer: BaseConsumer<Client>,
    topic: String,
    /// `None` once the process shall stop.
    events: Option<mpsc::Sender<Event>>,
    commands: mpsc::Receiver<Command>,
    counts: Arc<Counts>,
    stop: CancellationToken,
    runtime: Handle,
    /// What the group has given us.
    ours: Vec<i32>,
    /// Since when partitions are waited for that the brokers hand out themselves.
    waits_since: Option<Instant>,
    /// What of ours is fetched now, and under which epoch.
    assigned: Vec<i32>,
    epoch: u64,
    /// What has found no room yet.
    waiting: Option<Event>,
    paused: bool,
}

impl Poller {
    fn run(mut self) -> Result<(), KafkaError> {
        while self.serve_commands() {
            if self.stop.is_cancelled() && self.events.is_some() {
                self.stop_reading();
            }
            self.poll()?;
            self.mind_protocol();
            self.hand_on();
        }
        // Dropping the consumer waits for commits under way and leaves the group.
        Ok(())
    }

    /// Ends reading. What was read and not handed on will be read again; commits are still served.
    fn stop_reading(&mut self) {
        self.events = None;
        self.waiting = None;
        self.assigned.clear();
        if let Err(error) = fetch_none(&self.consumer, |_| true) {
            tracing::debug!(%error, "unassign failed");
        }
    }

    /// Returns false when nobody is left to give commands.
    fn serve_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Assign { epoch, offsets }) => self.assign(epoch, offsets),
                Ok(Command::Commit { offsets }) => self.commit(&offsets),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn assign(&mut self, epoch: u64, offsets: Vec<(i32, i64)>) {
        if epoch != self.consumer.context().epoch().now() || self.events.is_none() {
            return;
        }
        let list = self.list(&offsets);
        // The client keeps a pause beyond the assignment in which it was made. It is told before the new one, since it forgets, when told,
        // what it has fetched and not handed out.
        if let Err(error) = self.consumer.resume(&list) {
            tracing::debug!(%error, "no partition of these was ours before");
        }
        if let Err(error) = fetch(&self.consumer, &list) {
            // The group is about to take the partitions away: another assignment follows.
            tracing::debug!(%error, "assign failed");
            return;
        }
        self.assigned = offsets.into_iter().map(|(partition, _)| partition).collect();
        self.epoch = epoch;
        self.waiting = None;
        self.paused = false;
    }

    fn commit(&self, offsets: &[(i32, i64)]) {
        if let Err(error) = self.consumer.commit(&self.list(offsets), CommitMode::Async) {
            tracing::debug!(%error, "offsets were not committed to kafka");
        }
    }

    fn poll(&mut self) -> Result<(), KafkaError> {
        // With something to hand on, and room to be expected soon, what lies in librdkafka's queue lies well.
        let full = self.waiting.is_some() && !self.paused;
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut wait = POLL;
        while !full && records.len() < CHUNK_RECORDS && bytes < CHUNK_BYTES {
            match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    let record = record(&message);
                    bytes += record.bytes();
                    records.push(record);
                }
                Some(Err(error)) => {
                    self.complaint(error)?;
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        if !records.is_empty() {
            self.consumer.context().reached();
        }
        match self.consumer.context().take_change() {
            // What was read before it is void.
            Some(change) => {
                self.assigned.clear();
                self.ours = match &change {
                    Event::Assigned { partitions, .. } => partitions.clone(),
                    Event::Revoked | Event::Records { .. } => Vec::new(),
                };
                self.counts.progress.owns(self.ours.len());
                self.waiting = self.events.is_some().then_some(change);
            }
            None => self.keep(records),
        }
        Ok(())
    }

    fn keep(&mut self, mut records: Vec<Record>) {
        if records.is_empty() || self.events.is_none() {
            return;
        }
        Counts::add(&self.counts.read, records.len() as u64);
        match &mut self.waiting {
            Some(Event::Records { records: waiting, .. }) => waiting.append(&mut records),
            _ => self.waiting = Some(Event::Records { epoch: self.epoch, records }),
        }
    }

    /// Hands on what waits. Where there is no room for long, partitions are paused until there is.
    fn hand_on(&mut self) {
        let (Some(events), Some(event)) = (self.events.clone(), self.waiting.take()) else { return };
        let patience = if self.paused { Duration::ZERO } else { PATIENCE };
        let permit = self.runtime.block_on(async { tokio::time::timeout(patience, events.reserve()).await });
        match permit {
            Ok(Ok(permit)) => {
                permit.send(event);
                self.resume();
            }
            // The one behind has ended, by a fault that it reports itself.
            Ok(Err(_)) => self.stop_reading(),
            Err(_) => {
                self.waiting = Some(event);
                self.pause();
            }
        }
    }

    /// Brokers that do not know the protocol that was asked for never say so.
    fn mind_protocol(&mut self) {
        let context = self.consumer.context();
        if !self.ours.is_empty() || !context.is_incremental {
            self.waits_since = None;
        } else if self.waits_since.is_some_and(|since| since.elapsed() > HANDING_OUT) && context.is_reachable() {
            tracing::warn!(
                "the group has given us no partition yet: either it has more members than partitions, or the brokers do not know \
                 `group.protocol = consumer`, which takes Kafka 4.0; leave the option out for older ones"
            );
            self.waits_since = None;
        }
    }

    fn pause(&mut self) {
        if !self.paused && !self.assigned.is_empty() {
            tracing::debug!("partitions are paused: the batches before are not stored yet");
            self.paused = self.consumer.pause(&self.assigned_list()).is_ok();
        }
    }

    fn resume(&mut self) {
        if self.paused {
            self.paused = false;
            if let Err(error) = self.consumer.resume(&self.assigned_list()) {
                tracing::warn!(%error, "partitions cannot be resumed");
            }
        }
    }

    /// What poll reports besides records; the client has said it already. Only what cannot heal is returned.
    fn complaint(&mut self, error: KafkaError) -> Result<(), KafkaError> {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            return Err(error);
        }
        // A partition has no record at the offset that we want: what Postgres knows is to be compared with what Kafka has.
        // This is said of each partition; the first is enough.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) && !self.assigned.is_empty() {
            self.assigned.clear();
            let partitions = self.ours.clone();
            let epoch = self.consumer.context().epoch().advance();
            self.consumer.context().change(Event::Assigned { epoch, partitions });
        }
        Ok(())
    }

    fn list(&self, offsets: &[(i32, i64)]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            // Fails for offsets that are no offsets.
            let offset = if *offset == OLDEST { Offset::Beginning } else { Offset::Offset(*offset) };
            if let Err(error) = list.add_partition_offset(&self.topic, *partition, offset) {
                tracing::error!(%error, kafka.partition = partition, kafka.offset = ?offset, "offset is unusable");
            }
        }
        list
    }

    fn assigned_list(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(self.assigned.len());
        for partition in &self.assigned {
            list.add_partition(&self.topic, *partition);
        }
        list
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    Record {
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
    }
}
