//! `producer --once`: every target once, for people and scripts; needs no Kafka.

use std::sync::Arc;

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use shared::harmless::harmless;
use shared::message::{CheckResult, State};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::judge::judge;
use crate::probe::Probe;
use crate::result::Identity;
use crate::schedule::Rhythm;
use crate::targets::Target;
use shared::message::Slot;

/// Checks every target once, at most `max_concurrent` at a time; results in the order of the targets.
pub async fn run(
    targets: &[Arc<Target>],
    location: &str,
    max_concurrent: usize,
    probe: Arc<Probe>,
) -> Vec<CheckResult> {
    let location: Arc<str> = location.into();
    let room = Arc::new(Semaphore::new(max_concurrent));
    let mut checks = JoinSet::new();
    for (index, target) in targets.iter().cloned().enumerate() {
        let (probe, location, room) = (probe.clone(), location.clone(), room.clone());
        checks.spawn(async move {
            let _permit = room.acquire_owned().await;
            (index, check(&target, &location, &probe).await)
        });
    }
    let mut results: Vec<(usize, CheckResult)> = checks.join_all().await;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

async fn check(target: &Target, location: &str, probe: &Probe) -> CheckResult {
    let started_at = Timestamp::now();
    let latest = Rhythm::new(&target.name, target.interval).latest(started_at.as_millisecond());
    let slot = Slot::from_millis(latest).unwrap_or_else(|| unreachable!("the present has a calendar"));
    let evidence = probe.check(target).await;
    let outcome = judge(target, &evidence);
    Identity { target, location, slot }.checked(started_at, evidence.dns, evidence.http, outcome)
}

/// Whether anything is not up: then the process exits with 1.
pub fn any_down(results: &[CheckResult]) -> bool {
    results.iter().any(|result| result.outcome.state != State::Up)
}

/// The results as a table, durations in milliseconds.
pub fn table(results: &[CheckResult]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let durations = ["dns ms", "connect ms", "tls ms", "first byte ms", "transfer ms", "total ms"];
    let header = ["target", "state", "status"].into_iter().chain(durations).chain(["reason"]);
    table.set_header(header);
    for result in results {
        let phases = &result.http.phases;
        let total = match (result.dns.elapsed, result.http.elapsed) {
            (None, None) => None,
            (dns, http) => Some(dns.unwrap_or_default() + http.unwrap_or_default()),
        };
        let times = [result.dns.elapsed, phases.connect, phases.tls, phases.first_byte, phases.transfer, total];
        let status = result.http.status_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let mut row =
            vec![harmless(&result.meta.target).into_owned(), result.outcome.state.as_str().to_owned(), status];
        row.extend(times.map(millis));
        row.push(harmless(&why(result)).into_owned());
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(2).take(1 + durations.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Why a target is not up, or what is worth knowing of one that is.
fn why(result: &CheckResult) -> String {
    match &result.outcome.failure {
        Some(failure) => format!("{}: {}", failure.class.as_str(), failure.detail),
        None => match result.http.regex_found {
            Some(true) => "regex found".to_owned(),
            _ => String::new(),
        },
    }
}

fn millis(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |micros| format!("{}.{:01}", micros / 1000, micros % 1000 / 100))
}
