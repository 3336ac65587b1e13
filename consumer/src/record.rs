//! A record as it lies in Kafka, kept until its fate is durable, and the counts of those fates.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::metrics::Progress;

/// One record of the topic, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The partition that it was read from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Its timestamp in milliseconds of Unix time.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` for a tombstone.
    pub payload: Option<Bytes>,
}

impl Record {
    /// About how much memory it holds.
    pub fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.payload.as_ref().map_or(0, Bytes::len)
    }
}

/// What became of the records of this process.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records read from Kafka.
    pub read: AtomicU64,
    /// Rows stored.
    pub stored: AtomicU64,
    /// Records whose slot was stored before.
    pub duplicates: AtomicU64,
    /// Records that went to the dead letters.
    pub dead_lettered: AtomicU64,
    /// How many of our topics Kafka did not have at the last look.
    pub topics_missing: AtomicU64,
    /// Days whose tables are wanted and cannot be made.
    pub days_unmade: AtomicU64,
    /// How far Postgres is behind Kafka.
    pub progress: Progress,
}

impl Counts {
    /// Adds to one of the counts.
    pub fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    /// The present value of one of the counts.
    pub fn get(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }
}
