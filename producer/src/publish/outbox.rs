//! The loop between the checks, the spool and the Kafka client.

use std::collections::{BTreeSet, VecDeque};
use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Reported, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer as _, ThreadedProducer};
use shared::kafka::{ClientEvents, Kafka};
use shared::message::CheckResult;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::outgoing::Outgoing;
use super::reports::{Report, Reports};
use super::{Summary, client_config};
use crate::heap;
use crate::metrics::Published;
use crate::settings::Publish;
use crate::spool::Spool;

/// Most results of one transaction of the spool.
const GROUP: usize = 1000;
/// How long the first result of a group waits for others. Nobody but a killed process notices it.
const GATHER: Duration = Duration::from_millis(5);
/// How long a wait for results is while reports are expected, and while nothing is.
const BUSY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_millis(200);
/// How many of the newest results are kept in memory, to be sent without a look at the disk.
const FRESH: usize = 5000;
/// So many results in memory are a crowd.
const CROWD: usize = 1000;
/// What a message takes at most as a rule, in bytes.
const PAYLOAD: usize = 1024;
/// How many results are read from the disk at a time.
const READ: usize = 500;
/// How long to wait after the disk refused, or the client gave a message back.
const AGAIN: Duration = Duration::from_secs(1);
/// How long to wait with a new client.
const ANEW: Duration = Duration::from_secs(5);
/// How often it is said that results are being dropped, or not taken.
const REMIND: Duration = Duration::from_secs(10);

/// All that the publishing thread works with.
pub(super) struct Outbox {
    spool: Spool,
    config: ClientConfig,
    producer: ThreadedProducer<Reports>,
    reports: Reported<Report>,
    topic: String,
    topic_exists: Arc<AtomicBool>,
    /// Most messages under way.
    window: usize,
    in_flight: BTreeSet<u64>,
    /// Those of them that the spool had no room for any more: whether they are lost their reports will say.
    adrift: BTreeSet<u64>,
    /// The number of the next result to send.
    cursor: u64,
    /// The newest results without a gap, up to the last one in the spool.
    fresh: VecDeque<(u64, Outgoing)>,
    /// Taken, but refused by the disk so far.
    unspooled: Vec<CheckResult>,
    /// Reported, but not yet removed from the spool.
    done: Vec<u64>,
    /// Not before this moment the disk is tried again.
    disk_rests: Option<Instant>,
    /// Whether that has been said.
    disk_refuses: bool,
    /// Not before this moment the client is tried again.
    client_rests: Option<Instant>,
    reminded: Option<Instant>,
    reminded_of_clock: Option<Instant>,
    /// Whether a crowd of results has been in memory since the heap was last given back.
    crowded: bool,
    summary: Summary,
    published: Arc<Published>,
}

impl Outbox {
    pub(super) fn open(
        kafka: &Kafka,
        publish: &Publish,
        spool: Spool,
        topic_exists: Arc<AtomicBool>,
        events: ClientEvents,
        published: Arc<Published>,
    ) -> anyhow::Result<Self> {
        let (config, window) = (client_config(kafka, publish), publish.max_in_flight);
        let (producer, reports) = client(&config, window, events).context("kafka client")?;
        if !spool.is_empty() {
            tracing::info!(
                spool.results = spool.len(),
                "results of an earlier run wait in the spool; sending them first"
            );
        }
        Ok(Self {
            spool,
            config,
            producer,
            reports,
            topic: kafka.topic.clone(),
            topic_exists,
            window,
            in_flight: BTreeSet::new(),
            adrift: BTreeSet::new(),
            cursor: 0,
            fresh: VecDeque::new(),
            unspooled: Vec::new(),
            done: Vec::new(),
            disk_rests: None,
            disk_refuses: false,
            client_rests: None,
            reminded: None,
            reminded_of_clock: None,
            crowded: false,
            summary: Summary::default(),
            published,
        })
    }

    /// Works until there is nothing more to come and to deliver, or until `give_up`.
    pub(super) fn work(
        mut self,
        mut results: Receiver<CheckResult>,
        runtime: &Handle,
        give_up: &CancellationToken,
    ) -> Summary {
        let mut open = true;
        while !give_up.is_cancelled() && (open || !self.unspooled.is_empty() || !self.spool.is_empty()) {
            open = self.gather(&mut results, runtime, open);
            self.take_reports();
            if is_over(&mut self.disk_rests) {
                self.store();
            }
            if is_over(&mut self.client_rests) {
                self.send_on();
            }
            self.mind_heap();
            self.show();
        }
        // What the checks hand over in the last instants goes to the disk, too.
        results.close();
        while let Ok(result) = results.try_recv() {
            self.unspooled.push(result);
        }
        self.take_reports();
        self.store();
        self.summary.dropped += self.adrift.len() as u64;
        self.summary.spooled = self.spool.len();
        self.summary.lost = self.unspooled.len() as u64;
        self.show();
        self.summary
    }

    /// The crowd of a start, or of an outage that is over, leaves a large heap behind.
    fn mind_heap(&mut self) {
        let waiting = self.fresh.len() + self.in_flight.len();
        if waiting >= CROWD {
            self.crowded = true;
        } else if waiting < CROWD / 4 && take(&mut self.crowded) {
            heap::give_back();
        }
    }

    /// Lets others see how it stands.
    fn show(&self) {
        let reachable = self.topic_exists.load(Ordering::Acquire) && self.producer.context().events.is_reachable();
        let Published { delivered, refused, dropped, spooled, spooled_bytes, unspooled, in_flight, .. } =
            &*self.published;
        for (shown, number) in [
            (delivered, self.summary.delivered),
            (refused, self.summary.refused),
            (dropped, self.summary.dropped),
            (spooled, self.spool.len()),
            (spooled_bytes, self.spool.bytes()),
            (unspooled, self.unspooled.len() as u64),
            (in_flight, self.in_flight.len() as u64),
        ] {
            shown.store(number, Ordering::Relaxed);
        }
        self.published.reachable.store(reachable, Ordering::Relaxed);
    }

    /// Takes what has come, and waits a little if nothing has. Returns whether more can come.
    fn gather(&mut self, results: &mut Receiver<CheckResult>, runtime: &Handle, open: bool) -> bool {
        let pause = if self.in_flight.is_empty() { IDLE } else { BUSY };
        // While the disk refuses, results wait in their channel, and when that is full, checks wait.
        if !open || !self.unspooled.is_empty() {
            thread::sleep(BUSY);
            return open;
        }
        let taken = &mut self.unspooled;
        let first = runtime.block_on(async { tokio::time::timeout(pause, results.recv_many(taken, GROUP)).await });
        match first {
            Ok(0) => return false,
            Ok(count) if count < GROUP => {
                thread::sleep(GATHER);
                while taken.len() < GROUP
                    && let Ok(result) = results.try_recv()
                {
                    taken.push(result);
                }
            }
            Ok(_) | Err(_) => {}
        }
        true
    }

    fn take_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            let (Report::Delivered(seq) | Report::Refused(seq) | Report::Returned(seq) | Report::Untimely(seq)) =
                report;
            self.in_flight.remove(&seq);
            let adrift = self.adrift.remove(&seq);
            match report {
                Report::Delivered(_) => self.summary.delivered += 1,
                Report::Refused(_) => self.summary.refused += 1,
                Report::Returned(_) | Report::Untimely(_) if adrift => {
                    self.summary.dropped += 1;
                    continue;
                }
                Report::Returned(_) | Report::Untimely(_) => {
                    if report == Report::Untimely(seq) {
                        self.mind_clock();
                    }
                    self.cursor = self.cursor.min(seq);
                    self.client_rests = Some(Instant::now() + AGAIN);
                    continue;
                }
            }
            self.done.push(seq);
        }
    }

    /// A clock will be set right, or time will pass: the results wait for that.
    fn mind_clock(&mut self) {
        if self.reminded_of_clock.is_none_or(|last| last.elapsed() >= REMIND) {
            tracing::error!(
                "kafka finds the time of results too far from its own and takes none; are the clocks right?"
            );
            self.reminded_of_clock = Some(Instant::now());
        }
    }

    /// To the disk with what is new, and off it with what is done.
    fn store(&mut self) {
        if self.unspooled.is_empty() && self.done.is_empty() {
            return;
        }
        let payloads: Vec<Vec<u8>> = self.unspooled.iter().map(json).collect();
        let first = self.spool.next();
        match self.spool.update(&payloads, &self.done) {
            Ok(dropped) => {
                if take(&mut self.disk_refuses) {
                    tracing::info!("results are spooled again");
                }
                self.done.clear();
                let results = self.unspooled.drain(..).zip(payloads);
                let fresh =
                    (first..).zip(results).map(|(seq, (result, payload))| (seq, Outgoing::new(&result, payload)));
                self.fresh.extend(fresh);
                // Those that go are read from the disk when their turn comes.
                self.fresh.drain(..self.fresh.len().saturating_sub(FRESH));
                self.forget(&dropped);
            }
            Err(error) => {
                if !self.disk_refuses {
                    tracing::error!(%error, "results cannot be spooled; trying again until they can");
                }
                self.disk_refuses = true;
                self.disk_rests = Some(Instant::now() + AGAIN);
            }
        }
    }

    /// Sees to what the spool has dropped: it is not sent, unless the client has it already.
    fn forget(&mut self, dropped: &[u64]) {
        let Some(last) = dropped.last().copied() else { return };
        let in_memory = self.fresh.partition_point(|(seq, _)| *seq <= last);
        self.fresh.drain(..in_memory);
        self.cursor = self.cursor.max(last + 1);
        let (adrift, gone): (Vec<u64>, Vec<u64>) = dropped.iter().partition(|seq| self.in_flight.contains(seq));
        self.adrift.extend(adrift);
        self.summary.dropped += gone.len() as u64;
        if self.reminded.is_none_or(|last| last.elapsed() >= REMIND) {
            tracing::error!(
                results.dropped = self.summary.dropped,
                "the spool is full; the oldest results are dropped"
            );
            self.reminded = Some(Instant::now());
        }
    }

    /// Hands the client as many of the next results as may be under way.
    fn send_on(&mut self) {
        while self.topic_exists.load(Ordering::Acquire) && self.in_flight.len() < self.window {
            let in_memory = self.fresh.front().map_or(self.spool.next(), |(seq, _)| *seq);
            let went_on = if self.cursor < in_memory { self.send_from_disk(in_memory) } else { self.send_fresh() };
            if !went_on {
                return;
            }
        }
    }

    fn send_fresh(&mut self) -> bool {
        let Some((seq, mut outgoing)) = self.fresh.pop_front() else { return false };
        if seq < self.cursor || self.send(seq, &mut outgoing) {
            return true;
        }
        self.fresh.push_front((seq, outgoing));
        false
    }

    /// Sends results with numbers below `until`, which are not in memory.
    fn send_from_disk(&mut self, until: u64) -> bool {
        let limit = READ.min(self.window - self.in_flight.len());
        let rows = match self.spool.read(self.cursor, until, limit) {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "spooled results cannot be read; trying again");
                self.client_rests = Some(Instant::now() + AGAIN);
                return false;
            }
        };
        if rows.is_empty() {
            self.cursor = until;
        }
        for (seq, payload) in rows {
            match Outgoing::of_spooled(payload) {
                Ok(mut outgoing) => {
                    if !self.send(seq, &mut outgoing) {
                        return false;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "a spooled result is unreadable; it is given up");
                    self.summary.refused += 1;
                    self.done.push(seq);
                    self.cursor = seq + 1;
                }
            }
        }
        true
    }

    /// Hands one message to the client, unless it is under way; false when the client takes none now.
    fn send(&mut self, seq: u64, outgoing: &mut Outgoing) -> bool {
        if !self.in_flight.contains(&seq) {
            // Numbers fit: a spool does not live to see 2^63 results.
            match outgoing.send(&self.producer, &self.topic, usize::try_from(seq).unwrap_or_default()) {
                Ok(()) => {
                    self.in_flight.insert(seq);
                }
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) => return false,
                Err(KafkaError::MessageProduction(RDKafkaErrorCode::Fatal)) => {
                    self.begin_anew();
                    return false;
                }
                Err(error) => {
                    tracing::warn!(%error, "the kafka client takes no message; trying again");
                    self.client_rests = Some(Instant::now() + AGAIN);
                    return false;
                }
            }
        }
        self.cursor = seq + 1;
        true
    }

    /// Goes on with another client, where brokers have said to this one what it can never recover from, such as that they have lost what
    /// they had acknowledged, or that it may not write exactly once. What it had under way is sent again.
    fn begin_anew(&mut self) {
        let reason = self.producer.client().fatal_error().map(|(_, reason)| reason);
        tracing::error!(error = reason, "the kafka client has given up; going on with a new one");
        match client(&self.config, self.window, self.producer.context().events.clone()) {
            Ok((producer, reports)) => {
                // The old one says at its end what has become of what it had.
                self.producer = producer;
                self.take_reports();
                self.reports = reports;
                self.summary.dropped += take(&mut self.adrift).len() as u64;
                if let Some(first) = take(&mut self.in_flight).first() {
                    self.cursor = self.cursor.min(*first);
                }
            }
            Err(error) => tracing::error!(%error, "no new kafka client can be made; trying again"),
        }
        self.client_rests = Some(Instant::now() + ANEW);
    }
}

/// A client, and the reports of what becomes of so many messages.
fn client(
    config: &ClientConfig,
    window: usize,
    events: ClientEvents,
) -> Result<(ThreadedProducer<Reports>, Reported<Report>), KafkaError> {
    let (report, reports) = sync_channel(window);
    Ok((config.create_with_context(Reports { events, reports: report })?, reports))
}

/// The message, in a buffer that has room for most from the begin.
fn json(result: &CheckResult) -> Vec<u8> {
    let mut payload = Vec::with_capacity(PAYLOAD);
    // These types have no value that JSON cannot express.
    let _ = serde_json::to_writer(&mut payload, result);
    payload
}

/// Whether a rest is over, or there was none.
fn is_over(rest: &mut Option<Instant>) -> bool {
    if rest.is_some_and(|until| Instant::now() < until) {
        return false;
    }
    *rest = None;
    true
}
