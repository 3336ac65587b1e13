//! When checks are due: absolute slots, without a clock of its own.
//!
//! A target's slots are the instants `n * interval + phase` of Unix time, where the phase is derived from the target's name. So
//! targets are spread evenly, and restarts and replicas agree without talking.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use shared::message::Slot;
use uuid::Uuid;

/// The salt of phases. Every other use of a name's hash has a salt of its own, or the two would be correlated.
const PHASE_SALT: Uuid = Uuid::from_u128(0x3f0c_52f6_5c1b_5b0e_9c55_6f0b_7a9d_2e61);

/// No further back than this a gap is filled with missed slots, in milliseconds; what lies before it stays absent.
pub const CATCH_UP_MILLIS: i64 = 3_600_000;

/// The slots of one target, in milliseconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    interval: i64,
    phase: i64,
}

impl Rhythm {
    /// The rhythm of the target of this name.
    pub fn new(name: &str, interval: Duration) -> Self {
        let interval = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let (hash, _) = Uuid::new_v5(&PHASE_SALT, name.as_bytes()).as_u64_pair();
        let phase = i64::try_from(hash % interval.unsigned_abs()).unwrap_or_default();
        Self { interval, phase }
    }

    /// The latest slot at or before `now`.
    pub fn latest(self, now: i64) -> i64 {
        (now - self.phase).div_euclid(self.interval) * self.interval + self.phase
    }

    /// The slots from `first` to `last`, both included.
    pub fn between(self, first: i64, last: i64) -> impl Iterator<Item = i64> {
        let begin = self.latest(first - 1) + self.interval;
        (0..).map(move |n| begin + n * self.interval).take_while(move |slot| *slot <= last)
    }
}

/// A slot whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Index of the target.
    pub target: usize,
    /// The slot.
    pub slot: Slot,
    /// What is to be done about it.
    pub action: Action,
}

/// What is to be done about a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Check now, or record the slot as missed.
    Check,
    /// Check as soon as there is room: the slot was due before this process began.
    CatchUp,
    /// Record it as missed: the target's next slot has come already.
    Missed,
}

/// The next slot of every target, soonest first.
#[derive(Debug)]
pub struct Schedule {
    rhythms: Vec<Rhythm>,
    waiting: BinaryHeap<Reverse<Entry>>,
}

/// Ordered by the instant to wake at, then by target.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    wake: i64,
    target: usize,
    slot: i64,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The slot before the start.
    CatchUp,
    /// One of the endless row; the next one is scheduled when it is taken.
    Regular,
}

impl Schedule {
    /// A schedule that begins with the latest slot of each target, so that nobody waits an interval for a first result.
    pub fn new(rhythms: Vec<Rhythm>, now: i64) -> Self {
        let mut schedule = Self { waiting: BinaryHeap::with_capacity(rhythms.len() * 2), rhythms };
        for (target, rhythm) in schedule.rhythms.iter().enumerate() {
            let slot = rhythm.latest(now);
            schedule.waiting.push(Reverse(Entry { wake: slot, target, slot, kind: Kind::CatchUp }));
        }
        schedule.resume_after(now);
        schedule
    }

    /// Schedules the first slot after `now` of each target: at the start, and when the clock was set back.
    pub fn resume_after(&mut self, now: i64) {
        self.waiting.retain(|Reverse(entry)| entry.kind == Kind::CatchUp);
        for (target, rhythm) in self.rhythms.iter().enumerate() {
            let slot = rhythm.latest(now) + rhythm.interval;
            self.waiting.push(Reverse(Entry { wake: slot, target, slot, kind: Kind::Regular }));
        }
    }

    /// When the next slot is due, in milliseconds of Unix time.
    pub fn next_at(&self) -> Option<i64> {
        self.waiting.peek().map(|Reverse(entry)| entry.wake)
    }

    /// Takes the next slot that is due at `now`; `None` when none is.
    pub fn pop(&mut self, now: i64) -> Option<Due> {
        if self.next_at()? > now {
            return None;
        }
        let Reverse(Entry { target, mut slot, kind, .. }) = self.waiting.pop()?;
        let rhythm = self.rhythms[target];
        if kind == Kind::Regular {
            // After hours of sleep only the last of them is filled.
            slot = slot.max(rhythm.latest(now - CATCH_UP_MILLIS));
            let following = slot + rhythm.interval;
            self.waiting.push(Reverse(Entry { wake: following, target, slot: following, kind: Kind::Regular }));
        }
        let action = match kind {
            _ if slot + rhythm.interval <= now => Action::Missed,
            Kind::CatchUp => Action::CatchUp,
            Kind::Regular => Action::Check,
        };
        Slot::from_millis(slot).map(|slot| Due { target, slot, action })
    }

    /// Puts a catch-up slot back that found no room, to be tried again at `wake`.
    pub fn postpone(&mut self, due: Due, wake: i64) {
        let slot = due.slot.as_millis();
        self.waiting.push(Reverse(Entry { wake, target: due.target, slot, kind: Kind::CatchUp }));
    }

    /// Takes a slot that was due and never found room, when there will be no further tries.
    pub fn abandon(&mut self) -> Option<Due> {
        while let Some(Reverse(entry)) = self.waiting.pop() {
            if entry.kind == Kind::CatchUp
                && let Some(slot) = Slot::from_millis(entry.slot)
            {
                return Some(Due { target: entry.target, slot, action: Action::Missed });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
