//! Partitions that wait at a record whose day cannot be given a table: nothing behind it may be stored, since that would move the
//! offset over it. The others go on.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::civil::Date;
use shared::backoff::Backoff;
use tokio::time::Instant;

use crate::store::{NoDay, NoDays};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// What comes again after so long is another matter.
const FORGOTTEN: Duration = Duration::from_secs(300);

/// Which partitions wait, and for what.
#[derive(Debug)]
pub struct Held {
    /// The offset where each waits, and the day that it waits for.
    partitions: BTreeMap<i32, (i64, Date)>,
    /// When the days are tried again.
    at: Instant,
    backoff: Backoff,
    said: NoDays,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            partitions: BTreeMap::new(),
            at: Instant::now(),
            backoff: Backoff::new(FIRST, LONGEST),
            said: NoDays::new(),
        }
    }
}

impl Held {
    /// Lets partitions wait from here on, and says why where that has not been said.
    pub fn hold(&mut self, begins: BTreeMap<i32, (i64, Date)>, days: &NoDays) {
        if self.at.elapsed() > FORGOTTEN {
            self.backoff.reset();
            self.said.clear();
        }
        for (partition, (offset, day)) in &begins {
            let Some(why) = days.get(day).filter(|why| self.said.get(day) != Some(*why)) else { continue };
            tracing::error!(
                kafka.partition = partition,
                kafka.offset = offset,
                %day,
                "results wait for the table of their day, which cannot be made: {why}; it is tried again, and their partition waits \
                 from here on until it is there"
            );
            self.said.insert(*day, why.clone());
        }
        self.partitions.extend(begins);
        self.later();
    }

    /// Whether a partition waits.
    pub fn has(&self, partition: i32) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// The days that are waited for, each once for each partition.
    pub fn days(&self) -> impl Iterator<Item = Date> {
        self.partitions.values().map(|(_, day)| *day)
    }

    /// Only these partitions are ours.
    pub fn retain(&mut self, partitions: &[i32]) {
        self.partitions.retain(|partition, _| partitions.contains(partition));
    }

    /// Resolves when the days are to be tried again.
    pub async fn due(&self) {
        if self.partitions.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.at).await;
    }

    /// Lets those go on whose day is no longer missing; says whether there are any.
    pub fn release(&mut self, missing: &NoDays) -> bool {
        let before = self.partitions.len();
        self.partitions.retain(|_, (_, day)| missing.contains_key(day));
        let some = self.partitions.len() < before;
        if some {
            tracing::info!(
                partitions.waiting = self.partitions.len(),
                "the table of a day is there; its results are read again"
            );
        }
        if !some || !self.partitions.is_empty() {
            self.later();
        }
        some
    }

    /// Tries again after a while.
    pub fn later(&mut self) {
        self.at = Instant::now() + self.backoff.wait();
    }
}

/// Days that cannot be made now; the others among these never will.
pub fn unmade(days: NoDays) -> NoDays {
    days.into_iter().filter(|(_, why)| matches!(why, NoDay::Unmade(_))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Date = Date::constant(2026, 11, 21);
    const OTHER: Date = Date::constant(2026, 11, 22);

    fn missing(days: &[Date]) -> NoDays {
        days.iter().map(|day| (*day, NoDay::Unmade("why".to_owned()))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn each_partition_waits_for_its_own_day() {
        let mut held = Held::default();
        held.hold(BTreeMap::from([(0, (7, ONE)), (1, (3, OTHER))]), &missing(&[ONE, OTHER]));
        assert!(held.has(0) && held.has(1) && !held.has(2));
        assert!(!held.release(&missing(&[ONE, OTHER])));
        assert!(held.release(&missing(&[OTHER])));
        assert!(!held.has(0) && held.has(1));
        held.retain(&[0, 2]);
        assert_eq!(held.days().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_again_and_again_is_tried_ever_more_rarely() {
        let mut held = Held::default();
        let begin = Instant::now();
        for seconds in [1, 3, 7] {
            held.hold(BTreeMap::from([(0, (7, ONE))]), &missing(&[ONE]));
            held.due().await;
            assert_eq!(begin.elapsed().as_secs(), seconds);
            held.release(&missing(&[]));
        }
    }
}
