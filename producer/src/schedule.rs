//! When checks are due: absolute slots, without a clock of its own.
//!
//! A target's slots are the instants `n * interval + phase` of Unix time, where the phase is derived from the target's name. So
//! targets are spread evenly, and restarts and replicas agree without talking.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
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
    /// The same of a slot from before this process began, unless another replica had the target then.
    LeftBehind,
}

/// The slots to come, and those that are left from before the start.
#[derive(Debug)]
pub struct Schedule {
    rhythms: Vec<Rhythm>,
    /// The next slot of every target, soonest first.
    coming: BinaryHeap<Reverse<(i64, usize)>>,
    /// Slots from before the start, or from before a target came to us, that wait for room: those first whose next slot comes first.
    behind: VecDeque<(i64, usize)>,
}

impl Schedule {
    /// A schedule that begins with the latest slot of each target, so that nobody waits an interval for a first result.
    pub fn new(rhythms: Vec<Rhythm>, now: i64) -> Self {
        let new = vec![None; rhythms.len()];
        let mut schedule = Self { rhythms: Vec::new(), coming: BinaryHeap::new(), behind: VecDeque::new() };
        schedule.change(rhythms, &new, now);
        schedule
    }

    /// Goes over to other targets. For each of them `kept` says which one it was so far, if its rhythm is the same: that one goes on
    /// where it is. The others begin with their latest slot, as at the start.
    pub fn change(&mut self, rhythms: Vec<Rhythm>, kept: &[Option<usize>], now: i64) {
        let mut coming = vec![None; self.rhythms.len()];
        for Reverse((slot, target)) in self.coming.drain() {
            coming[target] = Some(slot);
        }
        let mut behind = vec![None; self.rhythms.len()];
        for (slot, target) in self.behind.drain(..) {
            behind[target] = Some(slot);
        }
        let (mut next, mut waiting) = (Vec::with_capacity(rhythms.len()), Vec::new());
        for (target, rhythm) in rhythms.iter().enumerate() {
            let (first, before) = match kept.get(target).copied().flatten() {
                Some(old) => (coming[old], behind[old]),
                None => (None, Some(rhythm.latest(now))),
            };
            next.push(Reverse((first.unwrap_or(rhythm.latest(now) + rhythm.interval), target)));
            waiting.extend(before.map(|slot| (slot, target)));
        }
        waiting.sort_unstable_by_key(|(slot, target)| (slot + rhythms[*target].interval, *target));
        *self = Self { rhythms, coming: next.into(), behind: waiting.into() };
    }

    /// Schedules the first slot after `now` of each target, when the clock was set back.
    pub fn resume_after(&mut self, now: i64) {
        let first = |(target, rhythm): (usize, &Rhythm)| Reverse((rhythm.latest(now) + rhythm.interval, target));
        self.coming = self.rhythms.iter().enumerate().map(first).collect();
    }

    /// When the next slot is due, in milliseconds of Unix time.
    pub fn next_at(&self) -> Option<i64> {
        self.coming.peek().map(|Reverse((slot, _))| *slot)
    }

    /// Takes the next slot that is due at `now`, or one from before the start that is too late by now; `None` when there is none.
    pub fn pop(&mut self, now: i64) -> Option<Due> {
        let Some(mut next) = self.coming.peek_mut().filter(|next| next.0.0 <= now) else {
            let (slot, target) = *self.behind.front()?;
            return if slot + self.rhythms[target].interval <= now { self.abandon() } else { None };
        };
        let Reverse((slot, target)) = *next;
        let rhythm = self.rhythms[target];
        // After hours of sleep only the last of them is filled.
        let slot = slot.max(rhythm.latest(now - CATCH_UP_MILLIS));
        let following = slot + rhythm.interval;
        *next = Reverse((following, target));
        let action = if following <= now { Action::Missed } else { Action::Check };
        Slot::from_millis(slot).map(|slot| Due { target, slot, action })
    }

    /// Whether slots from before the start wait for room.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Takes a slot from before the start, when there is room for it.
    pub fn catch_up(&mut self) -> Option<Due> {
        self.take_behind(Action::CatchUp)
    }

    /// Takes a slot from before the start that never found room, when there will be no more.
    pub fn abandon(&mut self) -> Option<Due> {
        self.take_behind(Action::LeftBehind)
    }

    fn take_behind(&mut self, action: Action) -> Option<Due> {
        let (slot, target) = self.behind.pop_front()?;
        if self.behind.is_empty() {
            // The crowd of a start takes as much room as it will hardly ever need again.
            self.behind = VecDeque::new();
        }
        Slot::from_millis(slot).map(|slot| Due { target, slot, action })
    }
}

#[cfg(test)]
mod tests;
