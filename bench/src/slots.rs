//! What a producer's run left in its topic, slot by slot, held against what was due.

use std::collections::{BTreeMap, HashSet};

use anyhow::Context as _;
use producer::schedule::Rhythm;
use shared::message::{CheckResult, State};

use crate::ground::Plot;
use crate::mix::{Mix, name};

/// Why a slot is not up: its state and the class of the failure.
pub(crate) type Verdict = String;

/// One result of a target.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    target: String,
    /// Milliseconds of Unix time.
    pub(crate) slot: i64,
    /// Microseconds from the slot to the begin of the check.
    pub(crate) lateness: i64,
    /// Whether the slot passed without a check.
    pub(crate) missed: bool,
    verdict: Verdict,
}

/// All results of a run, which had begun to schedule and ended to at these instants in milliseconds of Unix time.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) bounds: (i64, i64),
    pub(crate) done: Vec<Done>,
}

impl Run {
    /// Reads the topic.
    pub(crate) async fn read(plot: &Plot, bounds: (i64, i64)) -> anyhow::Result<Self> {
        let (brokers, topic) = (plot.brokers.clone(), plot.topic.clone());
        let done = tokio::task::spawn_blocking(move || {
            let mut done = Vec::new();
            tests::each_record(&brokers, &topic, |record| {
                done.push(serde_json::from_slice(&record.payload).map(|result: CheckResult| Done::of(&result)));
            });
            done.into_iter().collect::<Result<_, _>>()
        });
        Ok(Self { bounds, done: done.await?.context("a result that cannot be read")? })
    }

    /// Every slot that was due has one result, and there are no others.
    pub(crate) fn hold_complete(&self, mix: &Mix) -> anyhow::Result<()> {
        let (started, stopped) = self.bounds;
        let mut results: HashSet<(&str, i64)> = HashSet::with_capacity(self.done.len());
        for done in &self.done {
            anyhow::ensure!(
                results.insert((&done.target, done.slot)),
                "two results of {} at {}",
                done.target,
                done.slot
            );
        }
        let mut due = 0;
        for (n, interval) in mix.targets() {
            let name = name(n);
            let rhythm = Rhythm::new(&name, interval);
            for slot in rhythm.between(rhythm.latest(started), stopped) {
                anyhow::ensure!(results.contains(&(name.as_str(), slot)), "no result of {name} at {slot}");
                due += 1;
            }
        }
        anyhow::ensure!(due == results.len(), "{due} slots were due, and {} have a result", results.len());
        Ok(())
    }

    /// When the last slot from before the start was checked, in milliseconds of Unix time.
    pub(crate) fn caught_up_at(&self) -> i64 {
        let behind = self.done.iter().filter(|done| done.slot <= self.bounds.0);
        behind.map(|done| done.slot + done.lateness / 1000).max().unwrap_or(self.bounds.0)
    }

    /// Slots that came due after the start.
    pub(crate) fn regular(&self) -> impl Iterator<Item = &Done> {
        self.done.iter().filter(|done| done.slot > self.bounds.0)
    }

    /// How many slots that came due after the start have which verdict.
    pub(crate) fn verdicts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        self.regular().for_each(|done| *counts.entry(done.verdict.as_str()).or_default() += 1);
        counts
    }
}

impl Done {
    fn of(result: &CheckResult) -> Self {
        Self {
            target: result.meta.target.clone(),
            slot: result.meta.scheduled_at.as_millis(),
            lateness: result.meta.lateness,
            missed: result.outcome.state == State::Missed,
            verdict: tests::verdict(result),
        }
    }
}

/// Lateness of the checks among these slots in milliseconds, sorted.
pub(crate) fn lateness<'a>(slots: impl Iterator<Item = &'a Done>) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "285 years fit")]
    let mut millis: Vec<f64> = slots.filter(|done| !done.missed).map(|done| done.lateness as f64 / 1000.0).collect();
    millis.sort_by(f64::total_cmp);
    millis
}
