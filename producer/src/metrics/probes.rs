//! The last result of each target, under the names that blackbox_exporter has for it, so that its dashboards and alerts work.
//!
//! A slot that was missed or unmeasured says nothing of the site: until the next result the target has no samples then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::admin::{Collector, DescriptorEncoder, MetricType, Metrics};
use shared::message::{CheckResult, FailureClass, State};

use crate::targets::Target;

/// The last result of each target that is checked now.
#[derive(Clone, Debug, Default)]
pub struct Probes(Arc<Mutex<BTreeMap<String, Option<CheckResult>>>>);

impl Probes {
    /// Shows itself in these metrics.
    pub fn new(metrics: &mut Metrics) -> Self {
        let probes = Self::default();
        metrics.collect(Box::new(probes.clone()));
        probes
    }

    /// Takes a result in. The last check of a target may end after that has gone.
    pub fn note(&self, result: &CheckResult) {
        if let Some(last) = self.lock().get_mut(&result.meta.target) {
            *last = matches!(result.outcome.state, State::Up | State::Down).then(|| result.clone());
        }
    }

    /// From now on, only these targets are checked.
    pub fn keep(&self, targets: &[Arc<Target>]) {
        let mut results = self.lock();
        let mut before = std::mem::take(&mut *results);
        let last = |target: &Arc<Target>| (target.name.clone(), before.remove(&target.name).flatten());
        *results = targets.iter().map(last).collect();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<CheckResult>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gauge of each target: name, help, value.
type Gauge = (&'static str, &'static str, fn(&CheckResult) -> Option<f64>);

const GAUGES: [Gauge; 11] = [
    ("probe_success", "Whether the target was up", |result| Some(flag(result.outcome.state == State::Up))),
    ("probe_duration_seconds", "How long the lookup and the request took", |result| {
        Some(seconds(result.dns.elapsed).unwrap_or_default() + seconds(result.http.elapsed).unwrap_or_default())
    }),
    ("probe_dns_lookup_time_seconds", "How long the lookup took", |result| seconds(result.dns.elapsed)),
    ("probe_http_status_code", "The status code of the last response", |result| result.http.status_code.map(f64::from)),
    ("probe_http_redirects", "How many redirects were followed", |result| Some(f64::from(result.http.redirects))),
    ("probe_http_uncompressed_body_length", "Size of the body that was read", |result| {
        #[expect(clippy::cast_precision_loss, reason = "bodies are bounded")]
        result.http.body_bytes.map(|bytes| bytes as f64)
    }),
    ("probe_http_ssl", "Whether TLS was used", |result| Some(flag(result.http.schema == "https"))),
    ("probe_http_version", "The version of HTTP that the server answered in", |result| {
        result.http.version.as_deref()?.strip_prefix("HTTP/")?.parse().ok()
    }),
    ("probe_failed_due_to_regex", "Whether the target was down since its pattern was not found", |result| {
        let failure = result.outcome.failure.as_ref();
        Some(flag(failure.is_some_and(|failure| failure.class == FailureClass::Content)))
    }),
    ("probe_ssl_earliest_cert_expiry", "End of validity of the certificate that was shown, in Unix time", |result| {
        #[expect(clippy::cast_precision_loss, reason = "seconds of any calendar fit")]
        result.http.certificate_expires_at.map(|at| at.as_second() as f64)
    }),
    ("probe_ip_protocol", "Whether the address was one of IPv4 or IPv6", |result| {
        result.dns.ip.as_ref().map(|ip| if ip.contains(':') { 6.0 } else { 4.0 })
    }),
];

/// A phase as blackbox_exporter calls it, and how long it took in microseconds.
type Phase = (&'static str, fn(&CheckResult) -> Option<u64>);

const PHASES: [Phase; 5] = [
    ("resolve", |result| result.dns.elapsed),
    ("connect", |result| result.http.phases.connect),
    ("tls", |result| result.http.phases.tls),
    ("processing", |result| result.http.phases.first_byte),
    ("transfer", |result| result.http.phases.transfer),
];

impl Collector for Probes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let targets = self.lock();
        let results = || targets.iter().filter_map(|(target, last)| Some((target, last.as_ref()?)));
        for (name, help, value) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (target, value) in results().filter_map(|(target, result)| Some((target, value(result)?))) {
                metric.encode_family(&[("target", target)])?.encode_gauge(&value)?;
            }
        }
        let help = "How long each phase took";
        let mut metric = encoder.encode_descriptor("probe_http_duration_seconds", help, None, MetricType::Gauge)?;
        for (target, result) in results() {
            for (phase, value) in PHASES {
                if let Some(value) = seconds(value(result)) {
                    metric.encode_family(&[("target", target.as_str()), ("phase", phase)])?.encode_gauge(&value)?;
                }
            }
        }
        Ok(())
    }
}

fn seconds(micros: Option<u64>) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "285 years fit")]
    micros.map(|micros| micros as f64 / 1e6)
}

fn flag(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jiff::Timestamp;
    use shared::config::{Environment, load};
    use shared::message::Slot;

    use super::*;
    use crate::result::Identity;
    use crate::settings::Settings;
    use crate::targets::load_targets;

    /// The last check of a target that has gone ends when nobody wants to see it any more.
    #[test]
    fn only_targets_that_are_checked_are_shown() {
        let environment = Environment::from_pairs([("SITE_URL", "http://example.com/")]);
        let targets = load_targets(&load::<Settings>(None::<&Path>, &environment).unwrap()).unwrap();
        let slot = Slot::from_millis(0).unwrap();
        let identity = Identity { target: &targets[0], location: "here", slot };
        let mut down = identity.not_checked(Timestamp::now(), State::Down, FailureClass::Timeout, String::new());
        let probes = Probes::default();
        let shown = || probes.lock().values().flatten().count();
        probes.note(&down);
        assert_eq!(shown(), 0, "nobody has said that it is scheduled");
        probes.keep(&targets);
        probes.note(&down);
        probes.keep(&targets);
        assert_eq!(shown(), 1);
        probes.keep(&[]);
        probes.note(&down);
        assert_eq!(shown(), 0);
        probes.keep(&targets);
        probes.note(&down);
        down.outcome.state = State::Missed;
        probes.note(&down);
        assert_eq!(shown(), 0);
    }
}
