//! One check: DNS, then HTTP on a fresh connection to the address just resolved, all under one deadline.
//!
//! Nothing here judges. A probe returns the evidence, and how the exchange ended. The phase that a failure struck is known because
//! every phase is entered by code of ours: see [`trace`].

mod addresses;
mod body;
mod client;
mod connection;
mod cookies;
mod exchange;
mod frames;
mod guard;
mod memory;
mod opening;
mod ours;
mod reach;
mod redirect;
mod resolver;
mod searchers;
mod tls;
mod trace;
mod wire;
mod words;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shared::config::Fault;
use shared::message::{Dns, FailedAddress, Failure, FailureClass, Http, Phase};
use tokio::time::Instant;

use crate::pattern::Pattern;
use crate::settings::Settings;
use crate::targets::Target;
use body::Text;
use client::Client;
use guard::Guard;
use memory::{Memory, Share};
use resolver::Resolver;
use searchers::Searchers;
use trace::Trace;

/// An end that comes so long after the deadline shows that this process did not run.
const STALLED: Duration = Duration::from_secs(1);

/// What probes of all targets share.
#[derive(Debug)]
pub struct Probe {
    client: Client,
    resolver: Resolver,
    guard: Guard,
    searchers: Searchers,
    memory: Arc<Memory>,
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
    /// Whether the body went on after the bound.
    pub body_cut: bool,
    /// A coding of the body that we do not know, so that it stayed as it was.
    pub undecoded: Option<String>,
    /// Whether the exchange came to its end.
    pub end: Result<(), Broken>,
    /// Why nobody knows whether the body has the pattern, where that is our fault.
    pub unsearched: Option<Failure>,
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
            client: Client::new(probe)?,
            resolver: Resolver::new(&settings.dns)?,
            guard: Guard::new(probe.allow_private, &probe.allow_networks, &probe.allow_ports)?,
            searchers: Searchers::new(),
            memory: Arc::new(Memory::new(probe.max_memory_bytes)),
            max_body_bytes: probe.max_body_bytes,
            max_redirects: probe.max_redirects,
        })
    }

    /// Probes a target once. Ends at the target's deadline at the latest.
    pub async fn check(&self, target: &Target) -> Evidence {
        let mut check = Check::begin(target, self);
        let deadline = check.deadline;
        let end = tokio::time::timeout_at(deadline, self.follow(target, &mut check)).await;
        let end = end.unwrap_or_else(|_| Err(check.timed_out(target.timeout)));
        let overdue = deadline.elapsed();
        let end = if overdue < STALLED { end } else { Err(check.stalled(overdue)) };
        let (mut evidence, text) = check.finish(end);
        if let Some(pattern) = target.regex.as_ref().filter(|_| evidence.http.body_bytes.is_some()) {
            self.search(pattern, text, (target.timeout, deadline), &mut evidence).await;
        }
        evidence
    }

    /// Searches a body for the pattern: here if that is cheap, else on threads for it until the deadline.
    async fn search(
        &self,
        pattern: &Arc<Pattern>,
        mut text: Text,
        (timeout, deadline): (Duration, Instant),
        evidence: &mut Evidence,
    ) {
        let bytes = text.bytes().len();
        let found = match pattern.search_at_once(text.bytes()) {
            Some(found) => Some(found),
            None => {
                if let Err(Broken::Ours(failure) | Broken::Theirs(failure)) = text.share().grow(pattern.search_bytes())
                {
                    evidence.unsearched = Some(failure);
                    return;
                }
                self.searchers.search(pattern, text, deadline).await
            }
        };
        // Not found in a body that broke off says nothing about the whole one; found in it does.
        evidence.http.regex_found = found.filter(|found| *found || evidence.end.is_ok());
        if found.is_none() {
            let text = pattern.as_str();
            let detail = format!(
                "deadline of {timeout:?} ran out while we searched the {bytes} bytes of the body for regex {text:?}, which \
                 takes long on this page or beside other searches"
            );
            evidence.unsearched = Some(Failure { class: FailureClass::Resources, phase: None, detail });
        }
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
    text: Text,
    body_cut: bool,
    undecoded: Option<String>,
    /// When all must be over.
    deadline: Instant,
    /// When the request of the first hop began.
    http_began: Option<Instant>,
    /// The addresses of the hop under way that did not connect.
    misses: Vec<FailedAddress>,
    /// The hop that is under way.
    trace: Arc<Trace>,
    /// When that hop's request began, if it is not the first.
    last_hop_began: Option<Instant>,
}

impl Check {
    fn begin(target: &Target, probe: &Probe) -> Self {
        let began = Instant::now();
        Self {
            clock: Clock { began, began_at: Timestamp::now() },
            dns: Dns::default(),
            http: target.unasked(),
            text: Text::new(Share::of(&probe.memory), probe.max_body_bytes),
            body_cut: false,
            undecoded: None,
            deadline: began + target.timeout,
            http_began: None,
            misses: Vec::new(),
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
        let before = match phase {
            Phase::Connect if !self.misses.is_empty() => format!("; before that {}", reach::in_words(&self.misses)),
            _ => String::new(),
        };
        Broken::theirs(FailureClass::Timeout, phase, format!("deadline of {timeout:?} ran out {waited}{before}"))
    }

    /// Frozen or starved, we cannot know how the site would have done.
    fn stalled(&self, overdue: Duration) -> Broken {
        let detail = format!("this process did not run, and saw the deadline only {overdue:.1?} after it");
        Broken::ours(FailureClass::Resources, self.trace.phase(), detail)
    }

    fn finish(mut self, end: Result<(), Broken>) -> (Evidence, Text) {
        let now = Instant::now();
        if let Some(began) = self.http_began {
            self.http.start = Some(self.clock.unix_seconds(began));
            self.http.elapsed = Some(micros(now - began));
            self.http.phases = self.trace.phases(now);
            self.http.phases.redirect = self.last_hop_began.map(|last| micros(last - began));
            self.http.certificate_expires_at = self.trace.certificate_expires_at();
        }
        let Self { dns, http, text, body_cut, undecoded, .. } = self;
        (Evidence { dns, http, body_cut, undecoded, end, unsearched: None }, text)
    }
}

/// A duration as it stands in messages.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
