//! `consumer status`: how far Postgres is behind Kafka and how fast it goes, partition by partition, and what the table holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use shared::harmless::harmless;
use shared::kafka::ClientEvents;
use shared::output::print;
use tokio_util::sync::CancellationToken;

use crate::position::{Inquiry, Watermarks};
use crate::settings::Settings;
use crate::store::{DayTable, Progress, Store, Topic};

/// How long is looked for what is said of a second.
const WINDOW: Duration = Duration::from_secs(2);
/// Days that are shown one by one.
const DAYS: usize = 7;

/// How it is shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Status {
    topic: String,
    partitions: Vec<Partition>,
    days: Vec<DayTable>,
    /// As it is written in the settings; empty for ever.
    retention: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Partition {
    partition: i32,
    /// Records that Kafka has and Postgres has not.
    lag: i64,
    /// Records that came a second, and that were stored.
    arrived_per_second: f64,
    stored_per_second: f64,
    /// When something was last stored.
    stored_at: Option<Timestamp>,
    /// Whether a consumer that is connected to Postgres has it.
    owned: bool,
}

/// Both sides of the topic at one moment.
struct Look {
    at: Instant,
    kafka: Vec<(i32, Watermarks)>,
    postgres: BTreeMap<i32, Progress>,
}

/// Looks twice, and prints what it has seen.
///
/// # Errors
/// Kafka or Postgres does not answer, or the stop came before.
pub async fn run(settings: &Settings, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let status = stop.run_until_cancelled(status(settings)).await.context("stopped before there was an answer")??;
    let text = if options.json { serde_json::to_string(&status)? } else { show(&status) };
    print(text + "\n")?;
    Ok(())
}

async fn status(settings: &Settings) -> anyhow::Result<Status> {
    let name = &settings.kafka.topic;
    let client = settings.kafka.client_config("consumer-status").create_with_context(ClientEvents::default())?;
    let inquiry = Inquiry::new(client, name);
    let cluster = inquiry.cluster().await.context("kafka does not answer")?;
    let partitions = inquiry.partitions().await.context("kafka does not say which partitions the topic has")?;
    anyhow::ensure!(!partitions.is_empty(), "kafka has no topic `{name}`");
    let topic = Topic { cluster, name: name.clone() };
    let mut postgres = settings.postgres.clone();
    postgres.migrate = false;
    let mut store = Store::new(postgres);
    let first = look(&inquiry, &mut store, &topic, &partitions).await?;
    tokio::time::sleep(WINDOW).await;
    let second = look(&inquiry, &mut store, &topic, &partitions).await?;
    Ok(Status {
        topic: name.clone(),
        partitions: compare(&first, &second),
        days: store.days().await?,
        retention: settings.postgres.retention.into(),
    })
}

async fn look(inquiry: &Inquiry, store: &mut Store, topic: &Topic, partitions: &[i32]) -> anyhow::Result<Look> {
    let postgres = store.progress(topic).await?;
    // Asked after Postgres: what Postgres has was in Kafka before.
    let kafka = inquiry.watermarks(partitions.to_vec()).await.context("kafka does not say which offsets it has")?;
    let postgres = postgres.into_iter().map(|progress| (progress.partition, progress)).collect();
    Ok(Look { at: Instant::now(), kafka, postgres })
}

fn compare(first: &Look, second: &Look) -> Vec<Partition> {
    let seconds = (second.at - first.at).as_secs_f64().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_precision_loss, reason = "nobody stores 2^53 records in two seconds")]
    let rate = |before: i64, after: i64| ((after - before) as f64 / seconds * 10.0).round() / 10.0;
    let before: BTreeMap<i32, i64> = first.kafka.iter().map(|(partition, marks)| (*partition, marks.high)).collect();
    let compare = |(partition, kafka): &(i32, Watermarks)| {
        let progress = second.postgres.get(partition);
        // What nobody has stored anything of begins where Kafka does.
        let next = |progress: Option<&Progress>| progress.map_or(kafka.low, |progress| progress.next.max(kafka.low));
        Partition {
            partition: *partition,
            lag: kafka.records_from(next(progress)),
            arrived_per_second: rate(before.get(partition).copied().unwrap_or(kafka.high), kafka.high),
            stored_per_second: rate(next(first.postgres.get(partition)), next(progress)),
            stored_at: progress.map(|progress| progress.moved_at),
            owned: progress.is_some_and(|progress| progress.owned),
        }
    };
    second.kafka.iter().map(compare).collect()
}

fn show(status: &Status) -> String {
    let mut partitions = table(["partition", "lag", "arrived/s", "stored/s", "last stored", "owned"], 4);
    for of in &status.partitions {
        let stored_at = of.stored_at.map_or_else(|| "never".to_owned(), |at| format!("{at:.0}"));
        partitions.add_row([
            of.partition.to_string(),
            of.lag.to_string(),
            format!("{:.1}", of.arrived_per_second),
            format!("{:.1}", of.stored_per_second),
            stored_at,
            if of.owned { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let sum = |of: fn(&Partition) -> f64| status.partitions.iter().map(of).sum::<f64>();
    let lag: i64 = status.partitions.iter().map(|partition| partition.lag).sum();
    partitions.add_row([
        "all".to_owned(),
        lag.to_string(),
        format!("{:.1}", sum(|of| of.arrived_per_second)),
        format!("{:.1}", sum(|of| of.stored_per_second)),
    ]);
    let mut days = table(["day's table", "rows, about", "size"], 3);
    for day in status.days.iter().rev().take(DAYS) {
        let rows = day.rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
        days.add_row([harmless(&day.table).into_owned(), rows, size(day.bytes)]);
    }
    let oldest = status.days.first().map_or("none".into(), |day| harmless(&day.table));
    let bytes = status.days.iter().map(|day| day.bytes).sum();
    let kept = if status.retention.is_empty() { "for ever" } else { &status.retention };
    format!(
        "{partitions}\n\n{days}\n\n{} tables, the oldest {oldest}; {} in all; results are kept {kept}",
        status.days.len(),
        size(bytes)
    )
}

/// A table whose columns, from the second to this one, are numbers.
fn table<const N: usize>(header: [&str; N], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for column in table.column_iter_mut().take(numbers).skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn size(bytes: i64) -> String {
    const MEGABYTE: i64 = 1_000_000;
    match bytes {
        0..MEGABYTE => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / MEGABYTE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: Instant, kafka: [(i64, i64); 3], postgres: &[(i32, i64)]) -> Look {
        let progress = |(partition, next): &(i32, i64)| {
            let moved_at = Timestamp::UNIX_EPOCH;
            let owned = *partition == 0;
            (*partition, Progress { partition: *partition, next: *next, topic_id: None, moved_at, owned })
        };
        let kafka = (0..).zip(kafka.map(|(low, high)| Watermarks { low, high })).collect();
        Look { at, kafka, postgres: postgres.iter().map(progress).collect() }
    }

    #[test]
    fn compares_two_looks() {
        let start = Instant::now();
        // Going on; standing still far behind what Kafka has left; never touched.
        let first = look(start, [(0, 100), (50, 90), (7, 9)], &[(0, 80), (1, 10)]);
        let second = look(start + Duration::from_secs(2), [(0, 120), (50, 90), (7, 9)], &[(0, 120), (1, 10)]);
        let partitions = compare(&first, &second);
        let seen: Vec<_> = partitions
            .iter()
            .map(|of| (of.lag, of.arrived_per_second, of.stored_per_second, of.stored_at.is_some(), of.owned))
            .collect();
        assert_eq!(seen, [(0, 10.0, 20.0, true, true), (40, 0.0, 0.0, true, false), (2, 0.0, 0.0, false, false)]);
        let day = DayTable { table: "checks_20261121".to_owned(), rows: None, bytes: 2_500_000 };
        let status = Status { topic: "checks".to_owned(), partitions, days: vec![day], retention: "90d".to_owned() };
        let text = show(&status);
        let all = text.lines().find(|line| line.trim_start().starts_with("all")).unwrap();
        assert_eq!(all.split_whitespace().collect::<Vec<_>>(), ["all", "42", "10.0", "20.0"]);
        assert!(text.contains("1 tables, the oldest checks_20261121; 2 MB in all; results are kept 90d"), "{text}");
    }
}
