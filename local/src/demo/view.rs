//! How the demo looks: a table that is drawn anew on a terminal, a line a check elsewhere. Pure.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::rows::Check;

/// What is shown at one moment.
pub(super) struct Snapshot<'a> {
    pub(super) running: Duration,
    pub(super) now: SystemTime,
    pub(super) targets: usize,
    pub(super) latest: &'a [Check],
    pub(super) recent: &'a [Check],
    pub(super) counts: &'a [(String, i64)],
    pub(super) width: u16,
}

/// The screen, line by line.
pub(super) fn screen(snapshot: &Snapshot<'_>) -> String {
    let mut text = format!(
        "Slotwatch demo: {} targets, running {} s. Everything below is read from Postgres. Ctrl-C ends it.\n\n",
        snapshot.targets,
        snapshot.running.as_secs(),
    );
    if snapshot.latest.is_empty() {
        text.push_str("waiting for the first rows\n");
        return text;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}\n", table(snapshot));
    let _ = writeln!(text, "{}", totals(snapshot.counts));
    let _ = writeln!(text, "{}", lag(snapshot.recent));
    text
}

fn table(snapshot: &Snapshot<'_>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(snapshot.width);
    table.enforce_styling();
    table.set_header(["target", "state", "status", "dns", "connect", "tls", "first byte", "transfer", "ago", "reason"]);
    for check in snapshot.latest {
        let color = match check.state.as_str() {
            "up" => Color::Green,
            "down" => Color::Red,
            _ => Color::Yellow,
        };
        let ago = snapshot.now.duration_since(check.scheduled_at).unwrap_or_default();
        let mut row = vec![Cell::new(&check.target), Cell::new(&check.state).fg(color), Cell::new(status(check))];
        row.extend(check.phases.map(|phase| Cell::new(millis(phase))));
        row.push(Cell::new(format!("{} s", ago.as_secs())));
        row.push(Cell::new(shortened(&check.reason, 60)));
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(2).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One check on a line of its own.
pub(super) fn line(check: &Check) -> String {
    let names = ["dns", "connect", "tls", "first byte", "transfer"];
    let phases =
        names.iter().zip(check.phases).filter_map(|(name, phase)| phase.map(|_| format!("{name} {}", millis(phase))));
    let phases: Vec<String> = phases.collect();
    format!("{:<20} {:<10} {:>3}  {}  {}", check.target, check.state, status(check), phases.join(", "), check.reason)
        .trim_end()
        .to_owned()
}

/// How many rows stand in each state.
pub(super) fn totals(counts: &[(String, i64)]) -> String {
    let stored: i64 = counts.iter().map(|(_, count)| count).sum();
    let states: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!("rows: {stored} ({})", states.join(", "))
}

/// How long the recent checks took from their end to their row.
fn lag(recent: &[Check]) -> String {
    let mut lags: Vec<i64> = recent.iter().map(|check| check.lag).collect();
    lags.sort_unstable();
    let Some(longest) = lags.last() else { return String::new() };
    let median = lags[lags.len() / 2];
    format!(
        "lag, check finished to row stored, last minute: median {}, longest {}",
        millis(Some(median)),
        millis(Some(*longest))
    )
}

fn status(check: &Check) -> String {
    check.status.map_or_else(|| "-".to_owned(), |status| status.to_string())
}

fn millis(micros: Option<i64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |micros| format!("{}.{} ms", micros / 1000, micros % 1000 / 100))
}

fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
