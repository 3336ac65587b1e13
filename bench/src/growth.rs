//! What the table costs as it grows: queries of a user, rows of the consumer, and bytes on the disk.
//!
//! The table is filled in the server, a day's table at a time, with results of 1,000 targets at an interval that makes a million
//! rows a day. Flat is what costs the same CPU: the clock on the wall also counts what else the machine does. The consumer's rows are those of tomorrow; they are taken away again after they have been measured.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use rustix::process::Pid;
use tokio::task::JoinSet;

use crate::database::Database;
use crate::figures::{Goal, Line, median};
use crate::ground::{Ground, Plot};
use crate::results::{TARGETS, fill};
use crate::sink::{Run, consume};
use crate::usage::running;

/// How many rows the consumer adds at each size: 200 slots of every target.
const ADDED: usize = 200 * TARGETS;
/// The interval of those.
const ADDED_INTERVAL: u64 = 5000;
/// How much slower than at the first size anything may be.
const FLAT: f64 = 1.2;

/// What a user asks, with the name of a target in place of `$`, and of how many targets.
const QUERIES: [(&str, &str, usize); 3] = [
    (
        "last 100 results of a target",
        "SELECT scheduled_at, state, http_status_code, http_elapsed FROM last_results('$')",
        200,
    ),
    (
        "last result of every target",
        "SELECT target, location, scheduled_at, state, http_elapsed FROM latest_results()",
        20,
    ),
    (
        "uptime and p50, p95, p99 of a target over 24 h",
        "SELECT 100.0 * count(*) FILTER (WHERE state = 'up') / count(*) FILTER (WHERE state IN ('up', 'down')), \
         percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY http_elapsed) \
         FROM check_results WHERE target = '$' AND scheduled_at >= now() - interval '24 hours'",
        200,
    ),
];

/// What was found at one size.
struct Size {
    rows: i64,
    /// Milliseconds until the answer, and of CPU in Postgres, for each of [`QUERIES`].
    queries: Vec<(f64, f64)>,
    added: Run,
    /// Bytes of a row of the consumer's: in the table, in its index.
    bytes: (f64, f64),
}

pub(crate) async fn run(ground: &Ground) -> anyhow::Result<Vec<Line>> {
    let plot = ground.plot(8).await?;
    let database = Database::open(&plot.postgres_url, &plot.name).await?;
    database.is_durable().await?;
    plot.migrate(&plot.postgres_url).await?;
    database.client.batch_execute(DIMENSIONS).await?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let tomorrow = today.tomorrow()?.to_zoned(TimeZone::UTC)?.timestamp().as_millisecond();
    tokio::task::block_in_place(|| fill(&plot.brokers, &plot.topic, ADDED, tomorrow, ADDED_INTERVAL))?;
    fill_days(&database, VecDeque::from([today])).await?;
    let mut sizes = Vec::new();
    let mut filled = 0;
    for days in ground.or_quick(ground.millions.clone(), vec![1, 2]) {
        let wanted = (filled + 1..=days).map(|back| today.checked_sub(i64::from(back).days()));
        fill_days(&database, wanted.collect::<Result<_, _>>()?).await?;
        filled = days;
        sizes.push(measure(ground, &plot, &database, today.tomorrow()?).await?);
    }
    database.remove(ground).await?;
    Ok(lines(&sizes))
}

fn lines(sizes: &[Size]) -> Vec<Line> {
    let Some(first) = sizes.first() else { return Vec::new() };
    let at = |size: &Size| format!("{:.1} million rows", size.rows as f64 / 1e6);
    let mut lines = Vec::new();
    for (index, (what, ..)) in QUERIES.iter().enumerate() {
        for (number, size) in sizes.iter().enumerate() {
            let (took, used) = size.queries[index];
            lines.push(Line::new(format!("{what}, {}", at(size)), "ms", took));
            let line = Line::new("CPU in Postgres for it", "ms", used);
            let beside = || line.clone().beside(at(first), first.queries[index].1).goal(Goal::AtMost(FLAT));
            lines.push(if number == 0 { line } else { beside() });
        }
    }
    for (number, size) in sizes.iter().enumerate() {
        lines.push(Line::new(format!("rows of the consumer, {}", at(size)), "rows/s", size.added.rate));
        let line = Line::new("CPU in Postgres for them", "µs/row", size.added.postgres);
        let beside = || line.clone().beside(at(first), first.added.postgres).goal(Goal::AtMost(FLAT));
        lines.push(if number == 0 { line } else { beside() });
    }
    if let Some(last) = sizes.last() {
        lines.push(Line::new("on the disk, table", "bytes/row", last.bytes.0));
        lines.push(Line::new("on the disk, index", "bytes/row", last.bytes.1));
    }
    lines
}

async fn measure(ground: &Ground, plot: &Plot, database: &Database, tomorrow: Date) -> anyhow::Result<Size> {
    let rows = database.number("SELECT count(*) FROM checks").await?;
    ground.say(&format!("{rows} rows"));
    let backend = i32::try_from(database.number("SELECT pg_backend_pid()::bigint").await?)?;
    let backend = Pid::from_raw(backend).context("no process")?;
    let mut queries = Vec::new();
    for (what, query, targets) in QUERIES {
        // The first round brings what it needs into memory.
        let (mut took, mut used) = (Vec::new(), Duration::ZERO);
        for round in 0..2 {
            took.clear();
            let before = running(backend)?;
            for target in (0..TARGETS).step_by(TARGETS / targets) {
                let began = Instant::now();
                let answer = database.client.simple_query(&query.replace('$', &format!("shop-{target:04}"))).await?;
                took.push(began.elapsed().as_secs_f64() * 1e3);
                anyhow::ensure!(answer.len() > 1, "{what}: no answer in round {round}");
            }
            used = running(backend)? - before;
        }
        queries.push((median(took), used.as_secs_f64() * 1e3 / targets as f64));
        ground.say(&format!("{what}: {:?} ms", queries.last()));
    }
    database.client.batch_execute("DELETE FROM consumer_offsets").await?;
    let added = consume(plot, database, ADDED).await?;
    let table = format!("checks_{}", tomorrow.strftime("%Y%m%d"));
    #[expect(clippy::cast_precision_loss, reason = "bytes of some rows")]
    let of_row = |bytes: i64| bytes as f64 / ADDED as f64;
    let heap = database.number(&format!("SELECT pg_relation_size('{table}')")).await?;
    let index = database.number(&format!("SELECT pg_indexes_size('{table}')")).await?;
    database.client.batch_execute(&format!("TRUNCATE {table}")).await?;
    ground.say(&format!("added {added:?}"));
    Ok(Size { rows, queries, added, bytes: (of_row(heap), of_row(index)) })
}

/// Fills days up to now, two at a time.
async fn fill_days(database: &Database, days: VecDeque<Date>) -> anyhow::Result<()> {
    let days = Arc::new(Mutex::new(days));
    let mut workers = JoinSet::new();
    for _ in 0..2 {
        let other = Database::open(&database.url, "").await?;
        workers.spawn(fill_some(other, days.clone()));
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(())
}

async fn fill_some(database: Database, days: Arc<Mutex<VecDeque<Date>>>) -> anyhow::Result<()> {
    loop {
        let Some(day) = days.lock().unwrap_or_else(PoisonError::into_inner).pop_front() else { return Ok(()) };
        database.client.batch_execute(&day_of_results(day)?).await?;
        database.client.batch_execute(&format!("VACUUM (ANALYZE) checks_{}", day.strftime("%Y%m%d"))).await?;
    }
}

const DIMENSIONS: &str = "
    INSERT INTO targets (name) SELECT format('shop-%s', to_char(t, 'FM0000')) FROM generate_series(0, 999) t ORDER BY t;
    INSERT INTO locations (name) VALUES ('frankfurt-1');
    INSERT INTO requests (digest, method, url, url_root, schema, host, path, regex, interval_ms)
    SELECT gen_random_uuid(), 'GET', format('https://www.%s.example/checkout?from=monitor', name),
        format('https://www.%s.example', name), 'https', format('www.%s.example', name), '/checkout?from=monitor',
        'Add to (cart|basket)', 86400
    FROM targets ORDER BY id";

/// The table of a day as the consumer would have made it, with its results up to now. Its index is made afterwards, which is
/// quicker.
fn day_of_results(day: Date) -> anyhow::Result<String> {
    let (table, next) = (format!("checks_{}", day.strftime("%Y%m%d")), day.tomorrow()?);
    Ok(format!(
        "SET synchronous_commit = off;
        CREATE TABLE {table} (LIKE checks INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
        INSERT INTO {table} (scheduled_at, stored_at, dns_start, http_start, certificate_expires_at, lateness, body_bytes,
            target_id, location_id, request_id, dns_elapsed, http_elapsed, connect_elapsed, tls_elapsed, first_byte_elapsed,
            transfer_elapsed, state, status_code, redirects, regex_found, id, ip, reason, http_version, failure_class,
            failure_detail)
        SELECT slot, slot + interval '300 ms', slot + interval '1 ms', slot + interval '12 ms', '2027-01-15',
            100 + (random() * 3000)::bigint, 2000 + (random() * 200000)::bigint, target, 1, target,
            400 + (random() * 30000)::integer, connect + tls + first_byte + transfer, connect, tls, first_byte, transfer,
            CASE WHEN up THEN 1 ELSE 2 END, CASE WHEN up THEN 200 ELSE 503 END, 0, up, gen_random_uuid(),
            inet '203.0.113.0' + target % 250, CASE WHEN up THEN 'OK' ELSE 'Service Unavailable' END, 'HTTP/1.1',
            CASE WHEN NOT up THEN 'http_status' END, CASE WHEN NOT up THEN 'status 503' END
        FROM generate_series(0, 999) number
        CROSS JOIN LATERAL (SELECT timestamptz '{day} 00:00:00+00' + number * interval '86400 ms' AS slot) slots
        CROSS JOIN LATERAL generate_series(1, 1000 + 0 * number) target
        CROSS JOIN LATERAL (
            SELECT 5000 + (random() * 35000)::integer AS connect, 10000 + (random() * 80000)::integer AS tls,
                20000 + (random() * 380000)::integer AS first_byte, 100 + (random() * 20000)::integer AS transfer,
                random() + 0 * target < 0.98 AS up
        ) drawn
        WHERE slot < now();
        ALTER TABLE {table} ADD PRIMARY KEY (target_id, location_id, scheduled_at);
        ALTER TABLE checks ATTACH PARTITION {table} FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')"
    ))
}
