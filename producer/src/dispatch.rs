//! The head of the pipeline: takes slots as they come due and runs each check in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shared::message::{CheckResult, FailureClass, State};
use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::judge::judge;
use crate::metrics::Checks;
use crate::probe::Probe;
use crate::result::Identity;
use crate::schedule::{Action, Due, Rhythm, Schedule};
use crate::targets::Target;

/// The wall clock is looked at this often at least: a sleep does not notice that it was set.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long a catch-up slot waits that found no room, in milliseconds.
const CATCH_UP_RETRY_MILLIS: i64 = 100;
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
    /// Cancelled when checks that still run are to be given up.
    pub give_up: CancellationToken,
}

/// What was done from start to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Slots that came due.
    pub due: u64,
    /// Those of them that no check was started for.
    pub missed: u64,
}

/// Runs the schedule until `stop`, then waits for the checks that run. The result channel closes when the last has ended.
pub async fn run(targets: Vec<Arc<Target>>, max_concurrent: usize, checker: Checker, stop: CancellationToken) -> Tally {
    if stop.is_cancelled() {
        // Whoever is told to stop before the first slot owes none.
        return Tally::default();
    }
    let rhythms = targets.iter().map(|target| Rhythm::new(&target.name, target.interval)).collect();
    let mut last = now_millis();
    let mut schedule = Schedule::new(rhythms, last);
    tracing::info!(schedule.started_at_ms = last, targets.count = targets.len(), "scheduling started");
    let room = Arc::new(Semaphore::new(max_concurrent));
    let tasks = TaskTracker::new();
    let mut tally = Tally::default();
    loop {
        let now = now_millis();
        if now < last - STEP_BACK_MILLIS {
            tracing::warn!(clock.step_ms = now - last, "the clock was set back; scheduling anew");
            schedule.resume_after(now);
        }
        last = now;
        while let Some(due) = schedule.pop(now) {
            let target = &targets[due.target];
            match (due.action, room.clone().try_acquire_owned()) {
                (Action::CatchUp, Err(_)) => {
                    schedule.postpone(due, now + CATCH_UP_RETRY_MILLIS);
                    continue;
                }
                (Action::Missed, _) => {
                    tally.missed += 1;
                    let detail = "its next slot came before it could start".to_owned();
                    checker.miss(target, due, FailureClass::Late, detail).await;
                }
                (Action::Check, Err(_)) => {
                    tally.missed += 1;
                    let detail = format!("{max_concurrent} checks were running already");
                    checker.miss(target, due, FailureClass::Overload, detail).await;
                }
                (Action::Check | Action::CatchUp, Ok(permit)) => {
                    tasks.spawn(checker.clone().check(target.clone(), due, permit));
                }
            }
            tally.due += 1;
        }
        let pause = schedule.next_at().map_or(LONGEST_SLEEP, |next| millis_until(next).min(LONGEST_SLEEP));
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    tracing::info!(schedule.stopped_at_ms = last, checks.running = tasks.len(), "scheduling stopped");
    while let Some(due) = schedule.abandon() {
        tally.due += 1;
        tally.missed += 1;
        let detail = "the producer was told to stop before there was room for it".to_owned();
        checker.miss(&targets[due.target], due, FailureClass::Stopped, detail).await;
    }
    tasks.close();
    drop(checker);
    tasks.wait().await;
    tally
}

impl Checker {
    async fn check(self, target: Arc<Target>, due: Due, permit: OwnedSemaphorePermit) {
        let started_at = Timestamp::now();
        self.counts.running.inc();
        let identity = Identity { target: &target, location: &self.location, slot: due.slot };
        let result = tokio::select! {
            mut evidence = self.probe.check(&target) => {
                let outcome = judge(&target, &mut evidence);
                identity.checked(started_at, evidence.dns, evidence.http, outcome)
            }
            () = self.give_up.cancelled() => {
                let detail = "the producer was told to stop before the check ended".to_owned();
                identity.not_checked(started_at, State::Unmeasured, FailureClass::Stopped, detail)
            }
        };
        self.counts.running.dec();
        self.send(result).await;
        // Not before the result has found room: else checks without end could wait for it.
        drop(permit);
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
mod tests {
    use shared::admin::Metrics;
    use shared::config::{Environment, load};

    use super::*;
    use crate::settings::Settings;
    use crate::targets::load_targets;

    #[tokio::test]
    async fn who_is_told_to_stop_before_the_first_slot_owes_none() {
        let loaded = load::<Settings>(None, &Environment::from_pairs([("SITE_URL", "http://127.0.0.1/")])).unwrap();
        let targets = load_targets(&loaded).unwrap();
        let (results, mut received) = tokio::sync::mpsc::channel(1);
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let probe = Arc::new(Probe::new(&loaded.settings).unwrap());
        stop.cancel();
        let counts = Checks::new(&mut Metrics::new("producer", "0"));
        let checker = Checker { probe, location: "here".into(), results, counts, give_up };
        let tally = run(targets, 1, checker, stop).await;
        assert_eq!(tally, Tally::default());
        assert_eq!(received.recv().await, None);
    }
}
