//! What the consumer tells of itself on its admin port.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use shared::admin::{Counter, Gauge, Histogram, Metrics};

use crate::batch::Batch;
use crate::decode::{Cause, Refusal};
use crate::patience::Trouble;
use crate::position::Watermarks;
use crate::record::{Counts, Record};
use crate::store::StoreError;

const RECORDS: [f64; 9] = [1.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];

/// What is counted where batches are stored.
#[derive(Clone, Debug)]
pub struct Meter {
    batch_records: Histogram,
    batch_duration: Histogram,
    delay: Histogram,
    /// For each of [`Cause::ALL`].
    dead_lettered: [Counter; Cause::ALL.len()],
    /// Postgres, Postgres saying no, Kafka.
    troubles: [Counter; 3],
    last_write: Gauge,
    /// The timestamp of the newest record that is stored, in milliseconds; the start where none was.
    newest: Gauge,
}

impl Meter {
    /// Counts in these metrics, which also show the counts that there are.
    pub fn new(metrics: &mut Metrics, counts: &Arc<Counts>) -> Self {
        type Of = fn(&Counts) -> &AtomicU64;
        let counters: [(&str, &str, Of); 3] = [
            ("records_read", "Records read from Kafka", |counts| &counts.read),
            ("rows_stored", "Rows stored", |counts| &counts.stored),
            ("rows_duplicate", "Records whose slot was stored before", |counts| &counts.duplicates),
        ];
        for (name, help, of) in counters {
            let counts = counts.clone();
            metrics.counted(name, help, move || Counts::get(of(&counts)));
        }
        let topics = counts.clone();
        metrics.measured("topics_missing", "Topics of ours that Kafka has no longer", move || {
            float(Counts::get(&topics.topics_missing))
        });
        let progress = counts.clone();
        metrics.measured("partitions_owned", "Partitions that the group has given us", move || {
            float(progress.progress.owned())
        });
        let progress = counts.clone();
        metrics.measured(
            "records_lag",
            "Records of our partitions that Kafka has and Postgres has not; known anew every few seconds",
            move || float(progress.progress.lag()),
        );
        let days = counts.clone();
        metrics.measured(
            "days_unmade",
            "Days whose tables are wanted and cannot be made; results of the present ones wait",
            move || float(Counts::get(&days.days_unmade)),
        );
        let newest = Gauge::default();
        newest.set(Timestamp::now().as_millisecond());
        let (progress, reading) = (counts.clone(), newest.clone());
        metrics.measured(
            "lag_seconds",
            "Age of the newest record that is stored, while there are others behind it; else 0",
            move || if progress.progress.lag() == 0 { 0.0 } else { seconds_since(reading.get()) },
        );
        let last_write = Gauge::default();
        let reading = last_write.clone();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of Unix time fit")]
        metrics.measured(
            "last_write_timestamp_seconds",
            "When a batch was last stored, in Unix time; 0 when none was yet",
            move || reading.get() as f64 / 1e3,
        );
        Self {
            batch_records: metrics.histogram("batch_records", "Records of a batch", &RECORDS),
            batch_duration: metrics.histogram(
                "batch_duration_seconds",
                "How long a batch took to be stored, from the first try on",
                &SECONDS,
            ),
            delay: metrics.histogram(
                "storing_delay_seconds",
                "From the timestamp of the oldest record of a batch until the batch was stored",
                &SECONDS,
            ),
            dead_lettered: metrics.counters(
                "records_dead_lettered",
                "Records that went to the dead letters, by what was wrong with them",
                "cause",
                Cause::ALL.map(Cause::as_str),
            ),
            troubles: metrics.counters(
                "troubles",
                "Tries that have failed and were waited out",
                "kind",
                ["postgres", "denied", "kafka"],
            ),
            last_write,
            newest,
        }
    }

    /// Counts a batch of so many records that was stored just now.
    pub fn stored(&self, batch: &Batch, records: usize, took: Duration) {
        let now = Timestamp::now().as_millisecond();
        self.last_write.set(now);
        self.batch_records.observe(records as f64);
        self.batch_duration.observe(took.as_secs_f64());
        let timestamps = || batch.records.iter().filter_map(|record| record.timestamp);
        if let (Some(oldest), Some(newest)) = (timestamps().min(), timestamps().max()) {
            self.delay.observe(seconds_since(oldest));
            self.newest.set(newest);
        }
    }

    /// Counts records that went to the dead letters.
    pub fn buried(&self, refusals: &[(Record, Refusal)]) {
        for (_, refusal) in refusals {
            self.dead_lettered[refusal.cause as usize].inc();
        }
    }

    /// Counts a try that failed for want of a day's table.
    pub fn days(&self) {
        self.troubles[1].inc();
    }

    /// Counts a try that failed.
    pub fn trouble(&self, trouble: &Trouble) {
        let [postgres, denied, kafka] = &self.troubles;
        match trouble {
            Trouble::Store(StoreError::Denied(_) | StoreError::Suspect(_)) | Trouble::Refused(_) => denied.inc(),
            Trouble::Store(_) => postgres.inc(),
            Trouble::Kafka(_) => kafka.inc(),
        };
    }
}

/// How far Postgres is behind Kafka.
#[derive(Debug, Default)]
pub struct Progress {
    owned: AtomicU64,
    offsets: Mutex<Offsets>,
}

/// What was found out of the partitions that are ours, when they were claimed last.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    /// The epoch that they are read under.
    pub epoch: u64,
    /// The id of the topic.
    pub topic_id: Option<String>,
    /// What Postgres waits for.
    pub next: BTreeMap<i32, i64>,
    /// Those that Kafka did not speak of.
    pub silent: Vec<i32>,
}

#[derive(Debug, Default)]
struct Offsets {
    kafka: BTreeMap<i32, Watermarks>,
    claim: Claim,
}

impl Progress {
    /// So many partitions are ours now. Which they are is said by [`Self::claimed`].
    pub fn owns(&self, partitions: usize) {
        self.owned.store(partitions as u64, Ordering::Relaxed);
        self.with(|offsets| offsets.claim = Claim::default());
    }

    /// These are ours, and so far they are stored.
    pub fn claimed(&self, claim: Claim) {
        self.with(|offsets| offsets.claim = claim);
    }

    /// What was claimed last, and how far it is stored by now.
    pub fn claim(&self) -> Claim {
        self.with(|offsets| offsets.claim.clone())
    }

    /// What Kafka has of partitions.
    pub fn kafka_has(&self, found: impl IntoIterator<Item = (i32, Watermarks)>) {
        self.with(|offsets| offsets.kafka.extend(found));
    }

    /// The next offsets in Postgres of all partitions that are ours.
    pub fn next(&self, offsets: &BTreeMap<i32, i64>) {
        self.with(|ours| ours.claim.next.clone_from(offsets));
    }

    fn owned(&self) -> u64 {
        self.owned.load(Ordering::Relaxed)
    }

    fn lag(&self) -> u64 {
        self.with(|Offsets { kafka, claim: Claim { next, .. } }| {
            let lag = |(partition, next): (&i32, &i64)| kafka.get(partition).map_or(0, |has| has.records_from(*next));
            next.iter().map(lag).sum::<i64>().unsigned_abs()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Offsets) -> T) -> T {
        work(&mut self.offsets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Since so many milliseconds of Unix time.
fn seconds_since(millis: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit")]
    let seconds = (Timestamp::now().as_millisecond() - millis).max(0) as f64 / 1e3;
    seconds
}

#[expect(clippy::cast_precision_loss, reason = "what is beyond 2^53 is not looked at to the last digit")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::OLDEST;

    #[test]
    fn the_lag_is_that_of_our_partitions() {
        let progress = Progress::default();
        progress.owns(2);
        let full = |high| Watermarks { low: 0, high };
        progress.kafka_has([(0, full(10)), (1, full(7)), (2, full(100))]);
        assert_eq!(progress.lag(), 0, "nobody has said which partitions are ours");
        progress.next(&BTreeMap::from([(0, 4), (1, 7)]));
        assert_eq!((progress.owned(), progress.lag()), (2, 6));
        // Stored, but not yet in the client's last look at the ends.
        progress.next(&BTreeMap::from([(0, 10), (1, 9)]));
        assert_eq!(progress.lag(), 0);
        // What Kafka has deleted is not waited for, nor is anything where nothing was ever.
        progress.kafka_has([(0, Watermarks { low: 12, high: 15 }), (1, full(0))]);
        progress.next(&BTreeMap::from([(0, 10), (1, OLDEST)]));
        assert_eq!(progress.lag(), 3);
        progress.owns(0);
        assert_eq!((progress.owned(), progress.lag()), (0, 0));
    }
}
