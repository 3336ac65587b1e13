//! The account of a producer's run, by the schedule's arithmetic and by its log.

use std::collections::BTreeSet;
use std::time::Duration;

use local::process::Process;
use producer::schedule::Rhythm;
use rustix::process::Signal;
use serde_json::Value;
use shared::message::CheckResult;
use tokio::time::Instant;

use crate::patiently;
use crate::world::{LOOK, PATIENCE};

/// A target's name and a slot in milliseconds of Unix time.
pub type Slot = (String, i64);

/// This moment in milliseconds of Unix time.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// The value of a field in the first line of a log that has it.
///
/// # Panics
/// No line has it.
pub fn logged(process: &Process, field: &str) -> i64 {
    let lines = process.log();
    let mut values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()?.get(field)?.as_i64());
    values.next().unwrap_or_else(|| panic!("no {field} in {lines:#?}"))
}

/// How many lines of a log have this text.
pub fn said(log: &[String], text: &str) -> usize {
    log.iter().filter(|line| line.contains(text)).count()
}

/// Looks at a process' log until it satisfies.
///
/// # Panics
/// It does not within the tests' patience.
pub async fn until_log(process: &Process, what: &str, satisfied: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = process.log();
        if satisfied(&log) {
            return;
        }
        assert!(Instant::now() < deadline, "never {what}: {log:#?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// The slots that a producer owes that has stopped.
///
/// # Panics
/// Its log does not say when it started and stopped.
pub fn due(producer: &Process, names: &[&str], interval: Duration) -> BTreeSet<Slot> {
    let bounds = (logged(producer, "schedule.started_at_ms"), logged(producer, "schedule.stopped_at_ms"));
    due_between(bounds, names, interval)
}

/// The slots between two instants, and for each target the last one before.
pub fn due_between((started, stopped): (i64, i64), names: &[&str], interval: Duration) -> BTreeSet<Slot> {
    let slots = |name: &&str| {
        let (name, rhythm) = ((*name).to_owned(), Rhythm::new(name, interval));
        rhythm.between(rhythm.latest(started), stopped).map(move |slot| (name.clone(), slot))
    };
    names.iter().flat_map(slots).collect()
}

/// Asks a process to stop, and sees it end well.
///
/// # Panics
/// It does not.
pub async fn stop(mut process: Process) -> Process {
    process.signal(Signal::TERM).expect("a signal");
    let status = patiently("stopping", process.wait()).await.expect("an end");
    assert!(status.success(), "{status}: {:#?}", process.log());
    process
}

/// Whether the producer found that it did not run when the check's deadline came, which says nothing of the site.
pub fn stalled(result: &CheckResult) -> bool {
    result.outcome.failure.as_ref().is_some_and(|failure| failure.detail.starts_with("this process did not run"))
}

/// Checks, and once more, three times at most, while this machine stands still at a deadline.
pub async fn awake(check: impl AsyncFn() -> Vec<CheckResult>) -> Vec<CheckResult> {
    let mut results = check().await;
    for _ in 0..3 {
        if results.iter().any(stalled) {
            results = check().await;
        }
    }
    results
}

/// A result as `state class phase`, as in `down tls tls`.
pub fn verdict(result: &CheckResult) -> String {
    let mut words = vec![result.outcome.state.as_str().to_owned()];
    if let Some(failure) = &result.outcome.failure {
        words.push(failure.class.as_str().to_owned());
        words.extend(failure.phase.map(|phase| phase.as_str().to_owned()));
    }
    words.join(" ")
}
