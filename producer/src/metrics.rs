//! What the producer tells of itself on its admin port.

mod probes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shared::admin::{Counter, Gauge, Histogram, Metrics};
use shared::message::{CheckResult, FailureClass, State};

use crate::targets::Target;

pub use probes::Probes;

/// Upper bounds of lateness, in seconds: a tenth of a millisecond is an idle machine, seconds are one that is overwhelmed.
const LATENESS: [f64; 14] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What is counted where checks are made.
#[derive(Clone, Debug)]
pub struct Checks {
    /// Targets that are scheduled here.
    targets: Gauge,
    /// Checks under way.
    pub running: Gauge,
    /// Up, down, missed, unmeasured.
    states: [Counter; 4],
    /// Overload, late, any other.
    missed: [Counter; 3],
    lateness: Histogram,
    /// Results that came when nobody took them any more.
    pub lost: Counter,
    /// Where each target is shown for itself.
    pub probes: Option<Probes>,
}

impl Checks {
    /// Counts in these metrics.
    pub fn new(metrics: &mut Metrics) -> Self {
        let states = metrics.counters(
            "checks",
            "Slots by what became of them",
            "state",
            [State::Up.as_str(), State::Down.as_str(), State::Missed.as_str(), State::Unmeasured.as_str()],
        );
        let missed = metrics.counters("missed_slots", "Missed slots by reason", "class", ["overload", "late", "other"]);
        let [targets, running] =
            [("targets", "Targets that are scheduled here"), ("checks_running", "Checks under way")]
                .map(|(name, help)| metrics.gauge(name, help));
        Self {
            targets,
            running,
            states,
            missed,
            lateness: metrics.histogram(
                "check_lateness_seconds",
                "How long after its slot a check began; missed slots are not counted here",
                &LATENESS,
            ),
            lost: metrics.counter("results_lost", "Results that could not be handed to the spool before the end"),
            probes: None,
        }
    }

    /// From now on, these targets are scheduled.
    pub fn scheduled(&self, targets: &[Arc<Target>]) {
        self.targets.set(i64::try_from(targets.len()).unwrap_or(i64::MAX));
        if let Some(probes) = &self.probes {
            probes.keep(targets);
        }
    }

    /// Counts a result.
    pub fn count(&self, result: &CheckResult) {
        if let Some(probes) = &self.probes {
            probes.note(result);
        }
        let [up, down, missed, unmeasured] = &self.states;
        match result.outcome.state {
            State::Up => up.inc(),
            State::Down => down.inc(),
            State::Missed => missed.inc(),
            State::Unmeasured => unmeasured.inc(),
        };
        if result.outcome.state == State::Missed {
            let [overload, late, other] = &self.missed;
            match result.outcome.failure.as_ref().map(|failure| &failure.class) {
                Some(FailureClass::Overload) => overload.inc(),
                Some(FailureClass::Late) => late.inc(),
                _ => other.inc(),
            };
        } else {
            #[expect(clippy::cast_precision_loss, reason = "285 years fit")]
            self.lateness.observe(result.meta.lateness as f64 / 1e6);
        }
    }
}

/// What the publishing thread shows of itself; it writes, and whoever asks reads.
#[derive(Debug, Default)]
pub struct Published {
    /// Acknowledged by the brokers.
    pub delivered: AtomicU64,
    /// Refused by the brokers for good.
    pub refused: AtomicU64,
    /// Dropped because the spool was full.
    pub dropped: AtomicU64,
    /// Results in the spool.
    pub spooled: AtomicU64,
    /// Bytes of their messages.
    pub spooled_bytes: AtomicU64,
    /// Taken, but not in the spool yet.
    pub unspooled: AtomicU64,
    /// Handed to the Kafka client, but not reported yet.
    pub in_flight: AtomicU64,
    /// Whether a broker has answered last.
    pub reachable: AtomicBool,
}

impl Published {
    /// Shows itself in these metrics.
    pub fn new(metrics: &mut Metrics, spool_max_bytes: u64) -> Arc<Self> {
        let published = Arc::<Self>::default();
        type Of = fn(&Published) -> &AtomicU64;
        let counters: [(&str, &str, Of); 3] = [
            ("results_delivered", "Results that the brokers have acknowledged", |published| &published.delivered),
            ("results_refused", "Results that the brokers have refused for good", |published| &published.refused),
            ("results_dropped", "Results that were dropped because the spool was full", |published| &published.dropped),
        ];
        for (name, help, of) in counters {
            let published = published.clone();
            metrics.counted(name, help, move || of(&published).load(Ordering::Relaxed));
        }
        let gauges: [(&str, &str, Of); 4] = [
            ("spool_results", "Results in the spool", |published| &published.spooled),
            ("spool_bytes", "Bytes of messages in the spool", |published| &published.spooled_bytes),
            ("results_unspooled", "Results that wait for the disk", |published| &published.unspooled),
            ("results_in_flight", "Results under way to the brokers", |published| &published.in_flight),
        ];
        for (name, help, of) in gauges {
            let published = published.clone();
            metrics.measured(name, help, move || float(of(&published).load(Ordering::Relaxed)));
        }
        metrics
            .measured("spool_max_bytes", "Bytes of messages that the spool may hold", move || float(spool_max_bytes));
        let reading = published.clone();
        metrics.measured("kafka_reachable", "Whether a broker has answered last", move || {
            f64::from(u8::from(reading.reachable.load(Ordering::Relaxed)))
        });
        published
    }
}

#[expect(clippy::cast_precision_loss, reason = "what is beyond 2^53 is not looked at to the last digit")]
fn float(number: u64) -> f64 {
    number as f64
}
