//! What is stored in one transaction: rows, the records that they came from, and the next offset of every partition.
//! Pure: the clock is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::civil::Date;

use crate::decode::{Cause, Refusal, Row};
use crate::record::Record;
use crate::settings::Consume;
use crate::store::{Ahead, NoDays, day_of};

/// Each day that a transaction writes to takes locks, of which there are so many.
const MOST_DAYS: usize = 50;
const SECONDS_OF_DAY: i64 = 86_400;

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
    /// How many of those have gone to the dead letters already, but for what is only too old.
    pub buried: usize,
    /// The rows as the store wants them, as far as that could be said ahead.
    pub ahead: Ahead,
    /// The offset after the last record of each partition.
    pub next: BTreeMap<i32, i64>,
    bytes: usize,
    since: Option<Instant>,
    /// The days of the rows, counted from 1970, and that of the last one.
    days: BTreeSet<i64>,
    day: i64,
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
            days: BTreeSet::new(),
            day: i64::MIN,
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
                let day = row.scheduled_at.as_second().div_euclid(SECONDS_OF_DAY);
                if day != std::mem::replace(&mut self.day, day) {
                    self.days.insert(day);
                }
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

    /// How many cannot be stored, but for what is only too old: that says nothing of whether others can be.
    pub fn unfit(&self) -> usize {
        self.refused.iter().filter(|(_, refusal)| refusal.cause != Cause::TooOld).count()
    }

    /// Whether no further record should be added.
    pub fn is_full(&self, limits: &Consume) -> bool {
        self.len() >= limits.batch_rows || self.bytes >= limits.batch_bytes || self.days.len() >= MOST_DAYS
    }

    /// How long it may still wait for more; `None` when there is nothing that waits.
    pub fn patience(&self, limits: &Consume, now: Instant) -> Option<Duration> {
        let since = self.since?;
        if self.is_full(limits) {
            return Some(Duration::ZERO);
        }
        Some(limits.batch_age.saturating_sub(now.saturating_duration_since(since)))
    }

    /// Takes out what must wait for the days of some rows: of each partition all that begins with the first of these, so that its
    /// offset does not move beyond. Returns where each begins, and its day.
    pub fn cut(&mut self, days: &NoDays) -> BTreeMap<i32, (i64, Date)> {
        let mut begins: BTreeMap<i32, (i64, Date)> = BTreeMap::new();
        for (row, record) in self.rows.iter().zip(&self.records) {
            let day = day_of(row.scheduled_at);
            if days.contains_key(&day) {
                let begin = begins.entry(record.partition).or_insert((record.offset, day));
                *begin = (*begin).min((record.offset, day));
            }
        }
        self.ahead = Ahead::default();
        let stays = |record: &Record| begins.get(&record.partition).is_none_or(|(begin, _)| record.offset < *begin);
        let rows = std::mem::take(&mut self.rows).into_iter().zip(std::mem::take(&mut self.records));
        (self.rows, self.records) = rows.filter(|(_, record)| stays(record)).unzip();
        self.refused.retain(|(record, _)| stays(record));
        self.next.extend(begins.iter().map(|(partition, (begin, _))| (*partition, *begin)));
        begins
    }

    /// Takes rows out, by ascending index, with the reasons for it.
    pub fn refuse(&mut self, refusals: Vec<(usize, Refusal)>) {
        if refusals.is_empty() {
            return;
        }
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
        Err(Refusal::new(Cause::NotJson, "no row"))
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
    fn what_is_cut_begins_with_the_first_row_of_its_day() {
        let golden = include_bytes!("../../shared/schema/golden/up.json");
        let row = |day: &str| {
            let mut row = crate::decode::decode(Some(golden), "2026-11-21T05:00:10Z".parse().unwrap()).unwrap();
            row.scheduled_at = format!("2026-11-{day}T23:59:59.999Z").parse().unwrap();
            row
        };
        let mut batch = Batch::new(1);
        let days = [(0, 5, "20"), (1, 1, "21"), (0, 6, "21"), (0, 8, "22"), (0, 9, "20"), (1, 2, "20"), (2, 7, "22")];
        for (partition, offset, day) in days {
            batch.push(record(partition, offset, 1), Ok(row(day)), Instant::now());
        }
        batch.push(record(0, 7, 1), refused(), Instant::now());
        batch.push(record(1, 3, 1), refused(), Instant::now());
        let missing = [(Date::constant(2026, 11, 21), crate::store::NoDay::TooMany)];
        let cut = batch.cut(&NoDays::from(missing));
        let day = Date::constant(2026, 11, 21);
        assert_eq!(cut, BTreeMap::from([(0, (6, day)), (1, (1, day))]));
        assert_eq!(batch.next, BTreeMap::from([(0, 6), (1, 1), (2, 8)]));
        let left: Vec<(i32, i64)> = batch.records.iter().map(|record| (record.partition, record.offset)).collect();
        assert_eq!((left, batch.rows.len(), batch.refused.len()), (vec![(0, 5), (2, 7)], 2, 0));
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
