//! One check: DNS, then HTTP on a fresh connection to the address just resolved, all under one deadline.
//!
//! Nothing here judges. A probe returns the evidence, and how the exchange ended. The phase that a failure struck is known because
//! every phase is entered by code of ours: see [`trace`].

mod body;
mod client;
mod exchange;
mod guard;
mod ours;
mod redirect;
mod resolver;
mod tls;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shared::config::Fault;
use shared::message::{Dns, Failure, FailureClass, Http, Phase};
use tokio::time::Instant;

use crate::settings::Settings;
use crate::targets::Target;
use guard::Guard;
use resolver::Resolver;
use trace::Trace;

/// An end that comes so long after the deadline shows that this process did not run.
const STALLED: Duration = Duration::from_secs(1);

/// What probes of all targets share.
#[derive(Debug)]
pub struct Probe {
    client: reqwest::Client,
    resolver: Resolver,
    guard: Guard,
    max_body_bytes: usize,
    max_redirects: u32,
}

/// What a probe saw.
#[derive(Debug)]
pub struct Evidence {
    /// The lookup of the target's own host.
    pub dns: Dns,
    /// The request, and as much of the answer as came.
    pub http: Http,
    /// The body of the last response, as much of it as was read; empty for a target without a pattern.
    pub body: Vec<u8>,
    /// Whether the body went on after the bound.
    pub body_cut: bool,
    /// Whether the exchange came to its end.
    pub end: Result<(), Broken>,
}

/// Why an exchange did not come to its end.
#[derive(Debug)]
pub enum Broken {
    /// The site, or the way to it.
    Theirs(Failure),
    /// This machine, or its name servers.
    Ours(Failure),
}

impl Broken {
    fn theirs(class: FailureClass, phase: Phase, detail: impl ToString) -> Self {
        Self::Theirs(Failure { class, phase: Some(phase), detail: detail.to_string() })
    }

    fn ours(class: FailureClass, phase: Phase, detail: impl ToString) -> Self {
        Self::Ours(Failure { class, phase: Some(phase), detail: detail.to_string() })
    }
}

impl Probe {
    /// A probe as configured.
    ///
    /// # Errors
    /// A name server or a CA file that cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let probe = &settings.probe;
        Ok(Self {
            client: client::client(probe)?,
            resolver: Resolver::new(&settings.dns)?,
            guard: Guard::new(probe.allow_private, &probe.allow_networks)?,
            max_body_bytes: probe.max_body_bytes,
            max_redirects: probe.max_redirects,
        })
    }

    /// Probes a target once. Ends at the target's deadline at the latest.
    pub async fn check(&self, target: &Target) -> Evidence {
        let mut check = Check::begin(target);
        let deadline = check.deadline;
        let end = tokio::time::timeout_at(deadline, self.follow(target, &mut check)).await;
        let end = end.unwrap_or_else(|_| Err(check.timed_out(target.timeout)));
        let overdue = deadline.elapsed();
        let end = if overdue < STALLED { end } else { Err(check.stalled(overdue)) };
        check.finish(end)
    }
}

/// One wall-clock reading a check; all else is monotonic, so that a stepped clock cannot make a duration negative.
#[derive(Clone, Copy, Debug)]
struct Clock {
    began: Instant,
    began_at: Timestamp,
}

impl Clock {
    fn unix_seconds(self, instant: Instant) -> f64 {
        let at = self.began_at.as_microsecond() + i64::try_from(micros(instant - self.began)).unwrap_or_default();
        // Exact to the microsecond until the year 2255.
        at as f64 / 1e6
    }
}

/// A check under way: what is known so far survives a deadline.
struct Check {
    clock: Clock,
    dns: Dns,
    http: Http,
    body: Vec<u8>,
    body_cut: bool,
    /// When all must be over.
    deadline: Instant,
    /// When the request of the first hop began.
    http_began: Option<Instant>,
    /// The hop that is under way.
    trace: Arc<Trace>,
    /// When that hop's request began, if it is not the first.
    last_hop_began: Option<Instant>,
}

impl Check {
    fn begin(target: &Target) -> Self {
        let began = Instant::now();
        Self {
            clock: Clock { began, began_at: Timestamp::now() },
            dns: Dns::default(),
            http: target.unasked(),
            body: Vec::new(),
            body_cut: false,
            deadline: began + target.timeout,
            http_began: None,
            trace: Arc::new(Trace::default()),
            last_hop_began: None,
        }
    }

    /// The deadline struck outside of a lookup, which ends by itself when it comes.
    fn timed_out(&self, timeout: Duration) -> Broken {
        let phase = self.trace.phase();
        let waited = match phase {
            Phase::Dns => "waiting for a name server",
            Phase::Connect => "waiting for the connection",
            Phase::Tls => "in the TLS handshake",
            Phase::FirstByte => "waiting for the response",
            Phase::Transfer => "reading the body",
        };
        Broken::theirs(FailureClass::Timeout, phase, format!("deadline of {timeout:?} ran out {waited}"))
    }

    /// Frozen or starved, we cannot know how the site would have done.
    fn stalled(&self, overdue: Duration) -> Broken {
        let detail = format!("this process did not run, and saw the deadline only {overdue:.1?} after it");
        Broken::ours(FailureClass::Resources, self.trace.phase(), detail)
    }

    fn finish(mut self, end: Result<(), Broken>) -> Evidence {
        let now = Instant::now();
        if let Some(began) = self.http_began {
            self.http.start = Some(self.clock.unix_seconds(began));
            self.http.elapsed = Some(micros(now - began));
            self.http.phases = self.trace.phases(now);
            self.http.phases.redirect = self.last_hop_began.map(|last| micros(last - began));
            self.http.certificate_expires_at = self.trace.certificate_expires_at();
        }
        Evidence { dns: self.dns, http: self.http, body: self.body, body_cut: self.body_cut, end }
    }
}

/// A duration as it stands in messages.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
