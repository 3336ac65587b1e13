//! When everything is poison it is not the records that are bad but the whole: the wrong topic, messages of a later version, a
//! table that takes none of them. Then the consumer ends rather than move everything to the dead letters. Pure.
//!
//! Counted are records in a row over all partitions that this consumer has, for a single bad key may have a partition to itself. A
//! batch that stores anything begins anew, and a batch that would exceed the limit is left where it is, as a whole.
//!
//! A consumer that an orchestrator starts again must not move another limit's worth each time. So it leaves a mark where it ended,
//! with its count, and a consumer that begins there goes on counting from that.

use std::collections::BTreeMap;

use super::marks::Mark;
use crate::batch::Batch;
use crate::decode::Refusal;
use crate::record::Record;

/// Too many records in a row that cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{count} records in a row cannot be stored, more than consume.dead_letter_limit = {limit}; the last of them is partition \
     {partition} offset {offset} of topic `{topic}`: {reason}. Those beyond the limit stay where they are, to be read again: \
     mend the cause (is it the right topic? are the writers newer? has a table a constraint?) and start again, or set \
     consume.dead_letter_limit = 0 to move all of them to the dead letters"
)]
pub struct Exceeded {
    count: usize,
    limit: usize,
    topic: String,
    partition: i32,
    offset: i64,
    reason: Refusal,
}

/// Counts records in a row that cannot be stored.
#[derive(Clone, Debug, Default)]
pub struct InARow {
    limit: usize,
    count: usize,
}

impl InARow {
    /// Nothing is counted yet. A limit of 0 is none.
    pub fn new(limit: usize) -> Self {
        Self { limit, count: 0 }
    }

    /// How many were counted.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Goes on with the count of an earlier process.
    pub fn resume(&mut self, count: usize) {
        self.count = count;
    }

    /// Whether the batch would exceed the limit if none of it could be stored.
    pub fn may_exceed(&self, batch: &Batch) -> bool {
        self.limit > 0 && self.count_with(batch) > self.limit
    }

    fn count_with(&self, batch: &Batch) -> usize {
        self.count + batch.rows.len() + batch.unfit() + batch.buried
    }

    /// Looks at a batch of which no row is left.
    ///
    /// # Errors
    /// It exceeds the limit.
    pub fn check(&self, topic: &str, batch: &Batch) -> Result<(), Exceeded> {
        let last: Option<&(Record, Refusal)> = batch.refused.last();
        match last {
            Some((record, reason)) if batch.rows.is_empty() && self.may_exceed(batch) => Err(Exceeded {
                count: self.count_with(batch),
                limit: self.limit,
                topic: topic.to_owned(),
                partition: record.partition,
                offset: record.offset,
                reason: reason.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Counts a batch that is done.
    pub fn done(&mut self, batch: &Batch) {
        self.count = if batch.rows.is_empty() { self.count.saturating_add(batch.buried) } else { 0 };
    }
}

/// The count of an earlier process that left its marks where a batch begins; 0 where it did not.
pub fn counted(marks: &BTreeMap<i32, Mark>, from: impl IntoIterator<Item = (i32, i64)>) -> usize {
    let here = |(partition, offset): (i32, i64)| marks.get(&partition).filter(|mark| mark.offset == offset);
    from.into_iter().filter_map(here).filter_map(|mark| mark.text.parse().ok()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::decode::{Row, decode};

    fn good() -> Row {
        let golden = include_bytes!("../../../shared/schema/golden/up.json");
        decode(Some(golden), "2026-11-21T05:00:10Z".parse().unwrap()).unwrap()
    }

    /// A batch with a record a letter: `x` cannot be stored, `o` can.
    fn batch(records: &str) -> Batch {
        let mut batch = Batch::new(1);
        for (offset, record) in (0..).zip(records.chars()) {
            let decoded =
                if record == 'o' { Ok(good()) } else { Err(Refusal::new(crate::decode::Cause::NotJson, "poison")) };
            let record = Record { partition: 0, offset, timestamp: None, key: None, payload: None };
            batch.push(record, decoded, Instant::now());
        }
        batch
    }

    /// The index of the batch that is refused, if any.
    fn stopped(limit: usize, batches: &str) -> Option<usize> {
        let mut run = InARow::new(limit);
        batches.split(' ').position(|records| {
            let mut batch = batch(records);
            let exceeded = run.check("checks", &batch).is_err();
            batch.buried = batch.refused.len();
            batch.refused.clear();
            run.done(&batch);
            exceeded
        })
    }

    #[test]
    fn only_poison_and_nothing_else_reaches_the_limit() {
        let table = [
            (3, "xxx", None),
            (3, "xxxx", Some(0)),
            (3, "xxx x", Some(1)),
            (3, "xx x x", Some(2)),
            (3, "xx o xx x", None),
            (3, "xxo xxx", None),
            (3, "xxxxxxxxo xxxxxxo", None),
            (0, "xxxxxxxxx xxxxxxxxxxxx", None),
            (1, "x o x o x o", None),
        ];
        for (limit, batches, expected) in table {
            assert_eq!(stopped(limit, batches), expected, "{batches} with {limit}");
        }
    }

    #[test]
    fn who_begins_at_the_mark_counts_on() {
        let mark = |offset, text: &str| Mark { offset, text: text.to_owned() };
        let marks = BTreeMap::from([(0, mark(7, "98")), (1, mark(3, "99")), (2, mark(1, "many"))]);
        assert_eq!(counted(&marks, [(0, 7), (1, 3)]), 99);
        assert_eq!(counted(&marks, [(0, 8), (1, 2), (2, 1), (3, 3)]), 0);
        let mut run = InARow::new(100);
        run.resume(99);
        assert!(run.check("checks", &batch("x")).is_ok());
        assert!(run.check("checks", &batch("xx")).is_err());
        assert!(run.check("checks", &batch("xxo")).is_ok());
    }
}
