//! Makes batches durable: first what cannot be stored, in the dead letters, then rows and offsets, in Postgres; then Kafka hears
//! of it. Trouble is waited out here, while the source keeps our place in the group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::claim::claim;
use crate::dead_letter::DeadLetters;
use crate::dead_letter::limit::{Exceeded, InARow};
use crate::dead_letter::standstill::Standstill;
use crate::decode::{Cause, Refusal, Row};
use crate::gather::Work;
use crate::held::{Held, unmade};
use crate::metrics::{Claim, Meter};
use crate::patience::{Patience, Trouble};
use crate::position::Inquiry;
use crate::record::Counts;
use crate::settings::Consume;
use crate::source::{Command, Epoch};
use crate::store::{Move, NoDay, NoDays, Store, StoreError, Topic, day_of};

/// A producer that has gone mad must not flood the log as well.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

/// All that makes a batch durable.
pub struct Persist {
    /// Postgres.
    pub store: Store,
    /// Kafka, for what Postgres cannot have.
    pub dead_letters: DeadLetters,
    /// How many records in a row went there.
    pub in_a_row: InARow,
    /// Where an earlier process ended because they were too many.
    pub standstill: Standstill,
    /// Kafka, for what offsets it has.
    pub inquiry: Inquiry,
    /// Whose offsets are moved.
    pub topic: Topic,
    /// How to read.
    pub consume: Consume,
    /// The present epoch.
    pub epoch: Epoch,
    /// The source's ear.
    pub commands: mpsc::Sender<Command>,
    /// What became of the records.
    pub counts: Arc<Counts>,
    /// How batches fared.
    pub meter: Meter,
    /// Whether trouble is still worth waiting out.
    pub stop: CancellationToken,
    /// When a line of the log last spoke of dead letters.
    pub said_buried: Option<Instant>,
    /// Partitions that wait for the table of a day.
    pub held: Held,
    /// The last batch, being freed.
    pub freeing: JoinSet<()>,
}

/// The partitions of an epoch, and the next offset in Postgres of those that are read.
#[derive(Debug, Default)]
struct Owned {
    epoch: u64,
    partitions: Vec<i32>,
    next: BTreeMap<i32, i64>,
}

/// Why an attempt to store a batch came to nothing.
enum Halt {
    /// It is waited out.
    Trouble(Trouble),
    /// It is given up.
    Exceeded(Exceeded),
}

impl<T: Into<Trouble>> From<T> for Halt {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

impl From<Exceeded> for Halt {
    fn from(exceeded: Exceeded) -> Self {
        Self::Exceeded(exceeded)
    }
}

/// Works until no work comes any more. The source hears that by the end of its commands.
///
/// # Errors
/// Too many records in a row cannot be stored.
pub async fn persist(mut persist: Persist, mut work: mpsc::Receiver<Work>) -> Result<(), Exceeded> {
    let mut owned = Owned::default();
    let mut patience = Patience::default();
    loop {
        let work = tokio::select! {
            work = work.recv() => work,
            () = persist.held.due() => {
                if let Some(epoch) = persist.look_again(&owned).await {
                    owned = persist.claim(epoch, owned.partitions, &mut patience).await;
                }
                continue;
            }
        };
        match work {
            None => return Ok(()),
            Some(Work::Claim { epoch, partitions }) => owned = persist.claim(epoch, partitions, &mut patience).await,
            Some(Work::Again { epoch }) if epoch == owned.epoch => {
                if let Some(epoch) = persist.epoch.advance_from(epoch) {
                    owned = persist.claim(epoch, owned.partitions, &mut patience).await;
                }
            }
            Some(Work::Skip { epoch, gaps }) if epoch == owned.epoch => persist.skip(&mut owned, &gaps).await,
            // Something else has happened since.
            Some(Work::Again { .. } | Work::Skip { .. }) => {}
            Some(Work::Store(batch)) => {
                if let Some(epoch) = persist.store(*batch, &mut owned, &mut patience).await? {
                    owned = persist.claim(epoch, owned.partitions, &mut patience).await;
                }
            }
        }
    }
}

impl Persist {
    /// Finds out where to read partitions, and has them read.
    async fn claim(&mut self, epoch: u64, partitions: Vec<i32>, patience: &mut Patience) -> Owned {
        self.held.retain(&partitions);
        while self.epoch.now() == epoch && !self.stop.is_cancelled() {
            let from = self.consume.from;
            match claim(&mut self.store, &self.inquiry, &self.topic, from, &partitions).await {
                Ok((offsets, claim)) => {
                    patience.over();
                    let offsets = offsets.into_iter().filter(|(partition, _)| !self.held.has(*partition)).collect();
                    // Fails only when the source has ended, and then nothing comes of it.
                    let _ = self.commands.send(Command::Assign { epoch, offsets }).await;
                    let next = claim.next.clone();
                    self.counts.progress.claimed(Claim { epoch, ..claim });
                    return Owned { epoch, partitions, next };
                }
                Err(trouble) => {
                    if !self.wait(patience, &trouble, epoch).await {
                        break;
                    }
                }
            }
        }
        Owned { epoch, partitions, next: BTreeMap::new() }
    }

    /// Steps over offsets that no record has. What fails is found again at the next look.
    async fn skip(&mut self, owned: &mut Owned, gaps: &[Move]) {
        let still = |gap: &&Move| owned.next.get(&gap.partition) == Some(&gap.from);
        let gaps: Vec<Move> = gaps.iter().filter(still).copied().collect();
        if gaps.is_empty() {
            return;
        }
        match self.store.set_offsets(&self.topic, None, &gaps).await {
            Ok(()) => {
                let next: Vec<(i32, i64)> = gaps.iter().map(|gap| (gap.partition, gap.to)).collect();
                owned.next.extend(next.iter().copied());
                self.counts.progress.next(&owned.next);
                self.commit(next).await;
            }
            Err(error) => tracing::debug!(%error, "offsets without records were not stepped over"),
        }
    }

    /// Tries the days that are waited for. Returns the epoch that has begun when some partitions go on.
    async fn look_again(&mut self, owned: &Owned) -> Option<u64> {
        let noon = |day: jiff::civil::Date| day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok();
        let instants: Vec<Timestamp> = self.held.days().filter_map(noon).map(|noon| noon.timestamp()).collect();
        let found = self.store.make_days(instants.into_iter(), Timestamp::now()).await;
        let released = match found {
            Ok(missing) => {
                if !missing.is_empty() {
                    self.meter.days();
                }
                self.held.release(&missing)
            }
            Err(error) => {
                tracing::debug!(%error, "days cannot be tried again");
                self.held.later();
                false
            }
        };
        self.count_days();
        if released { self.epoch.advance_from(owned.epoch) } else { None }
    }

    fn count_days(&self) {
        let held: BTreeSet<_> = self.held.days().collect();
        let ahead = u64::from(self.store.lacks_day_ahead());
        self.counts.days_unmade.store(held.len() as u64 + ahead, Ordering::Relaxed);
    }

    /// Stores a batch. Returns the epoch that has begun when the offsets must be looked up again.
    async fn store(
        &mut self,
        mut batch: Batch,
        owned: &mut Owned,
        patience: &mut Patience,
    ) -> Result<Option<u64>, Exceeded> {
        let Some(mut steps) = moves(&batch, owned) else {
            tracing::debug!(records = batch.len(), "records of a former assignment are dropped");
            return Ok(None);
        };
        let (began, records, mut is_whole) = (Instant::now(), batch.len(), true);
        while self.epoch.now() == batch.epoch {
            let attempted = self.attempt(&mut batch, &steps).await;
            self.count_days();
            let trouble = match attempted {
                Ok(()) => {
                    patience.over();
                    self.in_a_row.done(&batch);
                    owned.next.extend(&batch.next);
                    self.counts.progress.next(&owned.next);
                    self.meter.stored(&batch, records, began.elapsed());
                    let epoch = batch.epoch;
                    self.commit(batch.next.iter().map(|(partition, next)| (*partition, *next)).collect()).await;
                    self.free(batch).await;
                    // What was cut off is read again when its day is there; what is being read of its partition now, too.
                    return Ok(if is_whole { None } else { self.epoch.advance_from(epoch) });
                }
                Err(Halt::Trouble(Trouble::Store(StoreError::NoDays(days)))) => {
                    refuse(&mut batch, &days);
                    let days = unmade(days);
                    if !days.is_empty() {
                        self.held.hold(batch.cut(&days), &days);
                        self.meter.days();
                        is_whole = false;
                        steps = moves(&batch, owned).unwrap_or_default();
                    }
                    continue;
                }
                Err(Halt::Trouble(Trouble::Store(StoreError::Stale))) => {
                    tracing::info!("offsets have moved meanwhile; reading on from where postgres is");
                    return Ok(self.epoch.advance_from(batch.epoch));
                }
                Err(Halt::Trouble(trouble)) => trouble,
                Err(Halt::Exceeded(exceeded)) => {
                    self.standstill.set(&steps, self.in_a_row.count()).await;
                    return Err(exceeded);
                }
            };
            if !self.wait(patience, &trouble, batch.epoch).await {
                tracing::info!(records = batch.len(), "records are left unstored; they will be read again");
                // So will those behind them: storing these would move the offsets over the gap.
                *owned = Owned::default();
                return Ok(None);
            }
        }
        Ok(None)
    }

    async fn attempt(&mut self, batch: &mut Batch, moves: &[Move]) -> Result<(), Halt> {
        let now = Timestamp::now();
        if !batch.rows.is_empty() {
            let days = self.store.make_days(batch.rows.iter().map(|row| row.scheduled_at), now).await?;
            if !days.is_empty() {
                return Err(StoreError::NoDays(days).into());
            }
        }
        self.spare(batch, moves, now).await?;
        self.bury(batch).await?;
        let stored = match self.store.write(&batch.rows, &batch.ahead, &self.topic, moves, now).await {
            Err(error) if error.may_be_of_a_row() => {
                let refused = self.store.refused(&batch.rows, now).await?;
                if refused.is_empty() {
                    return Err(StoreError::Unavailable(error.to_string()).into());
                }
                batch.refuse(refused);
                self.count_on(moves).await;
                self.in_a_row.check(&self.topic.name, batch)?;
                self.bury(batch).await?;
                self.store.write(&batch.rows, &batch.ahead, &self.topic, moves, now).await?
            }
            stored => stored?,
        };
        Counts::add(&self.counts.stored, stored.rows);
        Counts::add(&self.counts.duplicates, stored.duplicates);
        tracing::debug!(rows.stored = stored.rows, rows.duplicate = stored.duplicates, "batch stored");
        Ok(())
    }

    /// Ends all before the first dead letter of a batch that would exceed the limit. Rows are tried out for that, so that nothing of
    /// the batch has gone when Postgres takes none of them.
    async fn spare(&mut self, batch: &mut Batch, moves: &[Move], now: Timestamp) -> Result<(), Halt> {
        if batch.refused.is_empty() {
            return Ok(());
        }
        self.count_on(moves).await;
        if !batch.rows.is_empty() && self.in_a_row.may_exceed(batch) {
            let refused = self.store.refused(&batch.rows, now).await?;
            batch.refuse(refused);
        }
        self.in_a_row.check(&self.topic.name, batch)?;
        Ok(())
    }

    /// Goes on with the count of an earlier process, before the first record of this one is given up.
    async fn count_on(&mut self, moves: &[Move]) {
        if self.in_a_row.count() == 0 {
            self.in_a_row.resume(self.standstill.count_at(moves).await);
        }
    }

    /// Publishes what is no row. Afterwards the batch has nothing of it any more.
    async fn bury(&mut self, batch: &mut Batch) -> Result<(), Trouble> {
        let Some((record, refusal)) = batch.refused.first() else { return Ok(()) };
        if let Err(error) = self.dead_letters.publish(&batch.refused).await {
            let text = format!("dead letters are not acknowledged: {error}");
            return Err(match self.dead_letters.remedy(&error) {
                Some(remedy) => Trouble::Refused(format!("{text}: {remedy}")),
                None => Trouble::Kafka(text),
            });
        }
        Counts::add(&self.counts.dead_lettered, batch.refused.len() as u64);
        self.meter.buried(&batch.refused);
        if self.said_buried.is_none_or(|said| said.elapsed() >= BETWEEN_LINES) {
            tracing::warn!(
                records.dead_lettered = Counts::get(&self.counts.dead_lettered),
                kafka.partition = record.partition,
                kafka.offset = record.offset,
                reason = %refusal,
                "records went to the dead letters; here is one of them"
            );
            self.said_buried = Some(Instant::now());
        }
        batch.buried += batch.unfit();
        batch.refused.clear();
        Ok(())
    }

    async fn commit(&self, offsets: Vec<(i32, i64)>) {
        if self.consume.commit {
            // Fails only when the source has ended.
            let _ = self.commands.send(Command::Commit { offsets }).await;
        }
    }

    /// Thousands of texts take as long to be freed as Postgres would wait for the next batch meanwhile.
    async fn free(&mut self, batch: Batch) {
        self.freeing.join_next().await;
        self.freeing.spawn_blocking(move || drop(batch));
    }

    /// Waits before the next try; false when there shall be none.
    async fn wait(&self, patience: &mut Patience, trouble: &Trouble, epoch: u64) -> bool {
        self.meter.trouble(trouble);
        let over = || self.epoch.now() != epoch;
        patience.wait(trouble, over, &self.stop).await && !self.stop.is_cancelled()
    }
}

/// Takes out the rows of days that are so long ago that there are too many tables for them.
fn refuse(batch: &mut Batch, days: &NoDays) {
    let too_many = |(index, row): (usize, &Row)| {
        let day = day_of(row.scheduled_at);
        let why = days.get(&day).filter(|why| **why == NoDay::TooMany)?;
        Some((index, Refusal::new(Cause::TooOld, format!("meta.scheduled_at is out of range: {day} is {why}"))))
    };
    let refused = batch.rows.iter().enumerate().filter_map(too_many).collect();
    batch.refuse(refused);
}

/// The moves of a batch; `None` for one of an epoch that is not ours.
fn moves(batch: &Batch, owned: &Owned) -> Option<Vec<Move>> {
    if batch.epoch != owned.epoch {
        return None;
    }
    let step = |(partition, to): (&i32, &i64)| {
        Some(Move { partition: *partition, from: *owned.next.get(partition)?, to: *to })
    };
    batch.next.iter().map(step).collect()
}
