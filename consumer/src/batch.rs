//! What is stored in one transaction: rows, the records that they came from, and the next offset of every partition.
//! Pure: the clock is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::decode::{Refusal, Row};
use crate::record::Record;
use crate::settings::Consume;
use crate::store::Ahead;

/// Decoded records of one epoch, waiting to be stored together.
#[derive(Debug)]
pub struct Batch {
    /// The assignment that the records were read under.
    pub epoch: u64,
    /// Rows, each with its record at the same index of `records`.
    pub rows: Vec<Row>,
    /// The records of the rows.
    pub records: Vec<Record>,
    /// Records that are no rows, and why.
    pub refused: Vec<(Record, Refusal)>,
    /// How many of those have gone to the dead letters already.
    pub buried: usize,
    /// The rows as the store wants them, as far as that could be said ahead.
    pub ahead: Ahead,
    /// The offset after the last record of each partition.
    pub next: BTreeMap<i32, i64>,
    bytes: usize,
    since: Option<Instant>,
}

impl Batch {
    /// An empty batch.
    pub fn new(epoch: u64) -> Self {
        let next = BTreeMap::new();
        Self {
            epoch,
            rows: Vec::new(),
            records: Vec::new(),
            refused: Vec::new(),
            buried: 0,
            ahead: Ahead::default(),
            next,
            bytes: 0,
            since: None,
        }
    }

    /// Adds a record and what it decoded to.
    pub fn push(&mut self, record: Record, decoded: Result<Row, Refusal>, now: Instant) {
        self.since.get_or_insert(now);
        self.bytes += record.bytes();
        let next = self.next.entry(record.partition).or_default();
        *next = (*next).max(record.offset + 1);
        match decoded {
            Ok(row) => {
                self.rows.push(row);
                self.records.push(record);
            }
            Err(refusal) => self.refused.push((record, refusal)),
        }
    }

    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.rows.len() + self.refused.len()
    }

    /// Whether no further record should be added.
    pub fn is_full(&self, limits: &Consume) -> bool {
        self.len() >= limits.batch_rows || self.bytes >= limits.batch_bytes
    }

    /// How long it may still wait for more; `None` when there is nothing that waits.
    pub fn patience(&self, limits: &Consume, now: Instant) -> Option<Duration> {
        let since = self.since?;
        if self.is_full(limits) {
            return Some(Duration::ZERO);
        }
        Some(limits.batch_age.saturating_sub(now.saturating_duration_since(since)))
    }

    /// Takes rows out, by ascending index, with the reasons for it.
    pub fn refuse(&mut self, refusals: Vec<(usize, Refusal)>) {
        self.ahead = Ahead::default();
        for (index, refusal) in refusals.into_iter().rev() {
            self.rows.remove(index);
            self.refused.push((self.records.remove(index), refusal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Consume {
        Consume { batch_rows: 3, batch_bytes: 100, batch_age: Duration::from_millis(200), ..Consume::default() }
    }

    fn record(partition: i32, offset: i64, bytes: usize) -> Record {
        Record { partition, offset, timestamp: None, key: None, payload: Some(vec![b'x'; bytes].into()) }
    }

    fn refused() -> Result<Row, Refusal> {
        Err(Refusal::new(crate::decode::Cause::NotJson, "no row"))
    }

    #[test]
    fn is_due_by_rows_by_bytes_or_by_age() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        // Sizes of the records that arrive at once, how much later we look, and the patience that is left.
        let table: [(&[usize], u64, Option<Duration>); 6] = [
            (&[], 900, None),
            (&[1], 0, Some(ms(200))),
            (&[1, 1], 150, Some(ms(50))),
            (&[1], 200, Some(ms(0))),
            (&[1, 1, 1], 0, Some(ms(0))),
            (&[100], 0, Some(ms(0))),
        ];
        for (sizes, later, expected) in table {
            let mut batch = Batch::new(1);
            for (offset, size) in (0..).zip(sizes) {
                batch.push(record(0, offset, *size), refused(), start);
            }
            assert_eq!(batch.patience(&limits(), start + ms(later)), expected, "{sizes:?} after {later} ms");
        }
    }

    #[test]
    fn age_counts_from_the_first_record() {
        let start = Instant::now();
        let mut batch = Batch::new(1);
        batch.push(record(0, 1, 1), refused(), start);
        batch.push(record(0, 2, 1), refused(), start + Duration::from_millis(150));
        assert_eq!(batch.patience(&limits(), start + Duration::from_millis(190)), Some(Duration::from_millis(10)));
    }

    #[test]
    fn the_next_offsets_are_the_greatest_of_each_partition() {
        let mut batch = Batch::new(1);
        for (partition, offset) in [(0, 5), (1, 7), (0, 6), (1, 3), (0, 9)] {
            batch.push(record(partition, offset, 1), refused(), Instant::now());
        }
        assert_eq!(batch.next, BTreeMap::from([(0, 10), (1, 8)]));
    }
}
