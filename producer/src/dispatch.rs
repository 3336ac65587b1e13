//! The head of the pipeline: takes slots as they come due and runs each check in a task of its own.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shared::message::{CheckResult, FailureClass, State};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alarm::Alarm;
use crate::judge::judge;
use crate::metrics::Checks;
use crate::probe::Probe;
use crate::result::Identity;
use crate::roster::Change;
use crate::schedule::{Action, Due, Rhythm, Schedule};
use crate::targets::Target;

/// The wall clock is looked at this often at least: a sleep does not notice that it was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How many times as long as the runtime took to come round a slot from before the start waits for its turn.
const RESTS: u32 = 3;
/// Why a slot is late.
const TOO_LATE: &str = "its next slot came before it could start";
/// A step back of the wall clock by more than this is noticed, in milliseconds.
const STEP_BACK_MILLIS: i64 = 1000;

/// What every check needs.
#[derive(Clone, Debug)]
pub struct Checker {
    /// Asks the sites.
    pub probe: Arc<Probe>,
    /// Where this producer runs.
    pub location: Arc<str>,
    /// Where results go; a full queue holds the checks up.
    pub results: Sender<CheckResult>,
    /// Counted here.
    pub counts: Checks,
    /// How long this process must be silent for other replicas to check its targets; `None` where nobody shares them.
    pub heirs_after: Option<Duration>,
    /// Cancelled when checks that still run are to be given up.
    pub give_up: CancellationToken,
}

/// What was done from start to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Slots that came due.
    pub due: u64,
    /// Those of them that had no time or no room when they were taken.
    pub missed: u64,
}

/// Runs the schedule of these targets, and of those that they change to, until `stop`; then waits for the checks that run. The result
/// channel closes when the last has ended.
pub async fn run(
    targets: Vec<Arc<Target>>,
    changes: Receiver<Change>,
    max_concurrent: usize,
    checker: Checker,
    stop: CancellationToken,
) -> Tally {
    // A task, so that a worker that sees the alarm goes on with the slot and the check: whoever blocks on us has a thread of its own,
    // which would have to be woken first.
    let head = TaskTracker::new().spawn(schedule(targets, changes, max_concurrent, checker, stop));
    head.await.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

async fn schedule(
    targets: Vec<Arc<Target>>,
    mut changes: Receiver<Change>,
    max_concurrent: usize,
    checker: Checker,
    stop: CancellationToken,
) -> Tally {
    if stop.is_cancelled() {
        // Whoever is told to stop before the first slot owes none.
        return Tally::default();
    }
    let mut last = now_millis();
    let mut schedule = Schedule::new(rhythms(&targets), last);
    tracing::info!(schedule.started_at_ms = last, targets.count = targets.len(), "scheduling started");
    checker.counts.scheduled(&targets);
    let mut head = Head {
        targets,
        room: Room::new(max_concurrent),
        checker,
        tasks: TaskTracker::new(),
        tally: Tally::default(),
        others: 0..0,
    };
    let (alarm, mut stopping, mut pending) = (Alarm::new(), false, None);
    loop {
        let mut now = now_millis();
        if now < last - STEP_BACK_MILLIS {
            tracing::warn!(clock.step_ms = now - last, "the clock was set back; scheduling anew");
            schedule.resume_after(now);
        }
        head.note_absence(last, now);
        while let Some(due) = schedule.pop(now) {
            head.take(due).await;
            // That may have waited for room. From the stop on time stands still, or there might be no end of what is due.
            if !stopping {
                stopping = stop.is_cancelled();
                let before = now;
                now = now.max(now_millis());
                // A process may freeze anywhere.
                head.note_absence(before, now);
            }
        }
        last = now;
        // Of the targets that go, all is taken that was due before.
        if let Some(Change { targets, kept }) = pending.take() {
            schedule.change(rhythms(&targets), &kept, last);
            head.change(targets, &kept, last);
        }
        let pause = schedule.next_at().map_or(LONGEST_SLEEP, |next| millis_until(next).min(LONGEST_SLEEP));
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(change) = changes.recv() => pending = Some(change),
            place = head.room.behind(), if schedule.is_behind() => {
                if let Some(due) = schedule.catch_up() {
                    head.start(due, place);
                }
                // What is ready to run goes on first. The longer that takes, the longer is the rest: the crowd of the start must not make
                // others late.
                let began = Instant::now();
                tokio::task::yield_now().await;
                head.room.rest = Instant::now() + RESTS * began.elapsed();
            }
            () = alarm.wait(pause) => {}
        }
    }
    tracing::info!(schedule.stopped_at_ms = last, checks.running = head.tasks.len(), "scheduling stopped");
    while let Some(due) = schedule.abandon() {
        let detail = "the producer was told to stop before there was room for it";
        head.miss(due, FailureClass::Stopped, detail.to_owned()).await;
    }
    head.end().await
}

/// Decides what becomes of a slot.
struct Head {
    targets: Vec<Arc<Target>>,
    room: Room,
    checker: Checker,
    tasks: TaskTracker,
    tally: Tally,
    /// The time in which others had our targets, since this process was asleep.
    others: Range<i64>,
}

impl Head {
    fn change(&mut self, targets: Vec<Arc<Target>>, kept: &[Option<usize>], now: i64) {
        let kept = kept.iter().flatten().count();
        let (gone, new) = (self.targets.len() - kept, targets.len() - kept);
        self.checker.counts.scheduled(&targets);
        tracing::info!(
            schedule.changed_at_ms = now,
            targets.count = targets.len(),
            targets.new = new,
            targets.gone = gone,
            "the schedule has changed"
        );
        self.targets = targets;
    }

    /// Whoever did not look at the clock for so long was asleep, and others have had its targets, until it has joined them again.
    fn note_absence(&mut self, before: i64, now: i64) {
        let Some(heirs_after) = self.checker.heirs_after else { return };
        let heirs_after = i64::try_from(heirs_after.as_millis()).unwrap_or(i64::MAX);
        if now.saturating_sub(before) > heirs_after {
            self.others = before + heirs_after..now + heirs_after;
        }
    }

    /// A slot that is due, or was.
    async fn take(&mut self, due: Due) {
        if matches!(due.action, Action::Missed | Action::LeftBehind) {
            self.miss(due, FailureClass::Late, TOO_LATE.to_owned()).await;
        } else if let Some(place) = self.room.now() {
            self.start(due, place);
        } else {
            let detail = format!("{} checks were running already", self.room.size);
            self.miss(due, FailureClass::Overload, detail).await;
        }
    }

    fn start(&mut self, due: Due, place: Place) {
        self.tally.due += 1;
        self.tasks.spawn(self.checker.clone().check(self.targets[due.target].clone(), due, place));
    }

    async fn miss(&mut self, due: Due, class: FailureClass, detail: String) {
        let slept = due.action == Action::Missed && self.others.contains(&due.slot.as_millis());
        if slept || self.checker.was_anothers(due.action) {
            // Where somebody else had the target, his check may still be under way, and is to count.
            return;
        }
        self.tally.due += 1;
        self.tally.missed += 1;
        self.checker.miss(&self.targets[due.target], due, class, detail).await;
    }

    /// Waits for the checks that run.
    async fn end(self) -> Tally {
        self.tasks.close();
        drop(self.checker);
        self.tasks.wait().await;
        self.tally
    }
}

/// How many checks may run at the same time, and how many of them may be for slots from before the start: the rest of the room is for
/// what comes due meanwhile.
struct Room {
    size: usize,
    all: Arc<Semaphore>,
    behind: Arc<Semaphore>,
    /// Not before this moment one more of these begins.
    rest: Instant,
    alarm: Alarm,
}

/// A running check's place in the room, given back when this is dropped.
#[derive(Debug)]
struct Place(#[expect(dead_code, reason = "held for its drop")] [Option<OwnedSemaphorePermit>; 2]);

impl Room {
    fn new(size: usize) -> Self {
        let behind = Arc::new(Semaphore::new((size / 2).max(1)));
        Self { size, all: Arc::new(Semaphore::new(size)), behind, rest: Instant::now(), alarm: Alarm::new() }
    }

    /// A place for a slot that is due now, if there is one.
    fn now(&self) -> Option<Place> {
        self.all.clone().try_acquire_owned().ok().map(|permit| Place([Some(permit), None]))
    }

    /// A place for a slot from before the start, as soon as there is one after the rest.
    async fn behind(&self) -> Place {
        self.alarm.wait(self.rest.saturating_duration_since(Instant::now())).await;
        // They are never closed.
        let behind = self.behind.clone().acquire_owned().await.ok();
        Place([self.all.clone().acquire_owned().await.ok(), behind])
    }
}

impl Checker {
    async fn check(self, target: Arc<Target>, due: Due, place: Place) {
        let started_at = Timestamp::now();
        let identity = Identity { target: &target, location: &self.location, slot: due.slot };
        let next_at = due.slot.as_millis() + i64::try_from(target.interval.as_millis()).unwrap_or(i64::MAX / 2);
        // The runtime may have been busy since the slot was taken.
        let too_late = started_at.as_millisecond() >= next_at;
        if too_late && self.was_anothers(due.action) {
            return;
        }
        self.counts.running.inc();
        let result = if too_late {
            identity.not_checked(started_at, State::Missed, FailureClass::Late, TOO_LATE.to_owned())
        } else {
            tokio::select! {
                biased;
                evidence = self.probe.check(&target) => {
                    let outcome = judge(&target, &evidence);
                    identity.checked(started_at, evidence.dns, evidence.http, outcome)
                }
                () = self.give_up.cancelled() => {
                    let detail = "the producer was told to stop before the check ended".to_owned();
                    identity.not_checked(started_at, State::Unmeasured, FailureClass::Stopped, detail)
                }
            }
        };
        self.counts.running.dec();
        self.send(result).await;
        // Not before the result has found room: else checks without end could wait for it.
        drop(place);
    }

    /// Whether another replica may have had the target when a slot was due of which this is to become.
    fn was_anothers(&self, action: Action) -> bool {
        self.heirs_after.is_some() && matches!(action, Action::CatchUp | Action::LeftBehind)
    }

    async fn miss(&self, target: &Target, due: Due, class: FailureClass, detail: String) {
        let identity = Identity { target, location: &self.location, slot: due.slot };
        self.send(identity.not_checked(Timestamp::now(), State::Missed, class, detail)).await;
    }

    async fn send(&self, result: CheckResult) {
        self.counts.count(&result);
        // The publisher takes results until the last sender is gone, or until the end of the grace.
        if self.results.send(result).await.is_err() {
            self.counts.lost.inc();
            tracing::error!("a result came after the end of the grace and is lost");
        }
    }
}

fn rhythms(targets: &[Arc<Target>]) -> Vec<Rhythm> {
    targets.iter().map(|target| Rhythm::new(&target.name, target.interval)).collect()
}

fn now_millis() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Until just after an instant, so that a wake-up does not come a fraction of a millisecond too early.
fn millis_until(instant: i64) -> Duration {
    let micros = instant * 1000 - Timestamp::now().as_microsecond();
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

/// When checks are given up after a stop: what is left of the grace is for delivering the results.
pub fn give_up_at(stopped: Instant, grace: Duration) -> Instant {
    let delivery = (grace / 4).min(Duration::from_secs(5));
    stopped + (grace - delivery)
}

#[cfg(test)]
mod tests;
