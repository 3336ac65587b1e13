//! What the table costs as it grows: queries of a user, rows of the consumer, and bytes on the disk.
//!
//! The table is filled in the server, a day's table at a time, with results of 1,000 targets at an interval that makes a million
//! rows a day. A small table stands beside the one that grows, and is asked in turn with it. Flat is what costs the same CPU: the
//! clock on the wall also counts what else the machine does. The consumer's rows are those of tomorrow; they are taken away again
//! when they have been measured.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
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
    ("uptime and p50, p95, p99 of a target over 24 h", "SELECT * FROM uptime('$')", 200),
];

/// A table, and what was found in it.
struct Table {
    database: Database,
    /// Its session in Postgres.
    backend: Pid,
    rows: i64,
    /// Milliseconds until the answer, and of CPU in Postgres, for each of [`QUERIES`].
    queries: Vec<(f64, f64)>,
    added: Option<Run>,
    /// Bytes of a row of the consumer's: in the table, in its index.
    bytes: (f64, f64),
}

pub(crate) async fn run(ground: &Ground) -> anyhow::Result<Vec<Line>> {
    let plot = ground.plot(8).await?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let tomorrow = today.tomorrow()?.to_zoned(TimeZone::UTC)?.timestamp().as_millisecond();
    tokio::task::block_in_place(|| fill(&plot.brokers, &plot.topic, ADDED, tomorrow, ADDED_INTERVAL))?;
    let sizes = ground.or_quick(ground.millions.clone(), vec![1, 2]);
    let (first, others) = sizes.split_first().context("no size")?;
    // Both are there at the same time, and asked in turn, so that whatever else the machine does strikes both.
    let mut small = Table::new(ground, &plot, "small", today).await?;
    let mut large = Table::new(ground, &plot, "large", today).await?;
    small.fill(today, 1..=*first).await?;
    let mut lines = Vec::new();
    let mut filled = 0;
    for days in others {
        large.fill(today, filled + 1..=*days).await?;
        filled = *days;
        ground.say(&format!("{days} days are filled"));
        ask(&mut small, &mut large).await?;
        for table in [&mut small, &mut large] {
            table.add(&plot, today.tomorrow()?).await?;
        }
        lines.extend(compared(&small, &large));
    }
    lines.push(Line::new("on the disk, table", "bytes/row", large.bytes.0));
    lines.push(Line::new("on the disk, index", "bytes/row", large.bytes.1));
    small.database.remove(ground).await?;
    large.database.remove(ground).await?;
    Ok(lines)
}

fn compared(small: &Table, large: &Table) -> Vec<Line> {
    let at = |table: &Table| format!("{:.1} million rows", table.rows as f64 / 1e6);
    let mut lines = Vec::new();
    for (index, (what, ..)) in QUERIES.iter().enumerate() {
        let ((took, used), (theirs_took, theirs_used)) = (large.queries[index], small.queries[index]);
        lines.push(Line::new(format!("{what}, {}", at(large)), "ms", took).beside(at(small), theirs_took));
        let used = Line::new("CPU in Postgres for it", "ms", used).beside(at(small), theirs_used);
        lines.push(used.goal(Goal::AtMost(FLAT)));
    }
    if let (Some(ours), Some(theirs)) = (large.added, small.added) {
        let rate = Line::new(format!("rows of the consumer, {}", at(large)), "rows/s", ours.rate);
        lines.push(rate.beside(at(small), theirs.rate));
        let used = Line::new("CPU in Postgres for them", "µs/row", ours.postgres).beside(at(small), theirs.postgres);
        lines.push(used.goal(Goal::AtMost(FLAT)));
    }
    lines
}

/// Asks both tables the same, in turn.
async fn ask(small: &mut Table, large: &mut Table) -> anyhow::Result<()> {
    for table in [&mut *small, &mut *large] {
        table.rows = table.database.number("SELECT count(*) FROM checks").await?;
        table.queries.clear();
    }
    for (what, query, targets) in QUERIES {
        // The first round brings what it needs into memory.
        for round in 0..2 {
            let mut found = [(Vec::new(), Duration::ZERO), (Vec::new(), Duration::ZERO)];
            for target in (0..TARGETS).step_by(TARGETS / targets) {
                for (table, (took, used)) in [&*small, &*large].into_iter().zip(&mut found) {
                    let (began, before) = (Instant::now(), running(table.backend)?);
                    let query = query.replace('$', &format!("shop-{target:04}"));
                    let answer = table.database.client.simple_query(&query).await?;
                    took.push(began.elapsed().as_secs_f64() * 1e3);
                    *used += running(table.backend)? - before;
                    anyhow::ensure!(answer.len() > 1, "{what}: no answer");
                }
            }
            if round == 1 {
                for (table, (took, used)) in [&mut *small, &mut *large].into_iter().zip(found) {
                    table.queries.push((median(took), used.as_secs_f64() * 1e3 / targets as f64));
                }
            }
        }
    }
    Ok(())
}

impl Table {
    /// With the rows of today, up to now.
    async fn new(ground: &Ground, plot: &Plot, name: &str, today: Date) -> anyhow::Result<Self> {
        let database = Database::new(ground, &format!("{}_{name}", plot.name)).await?;
        database.is_durable().await?;
        plot.migrate(&database.url).await?;
        database.client.batch_execute(DIMENSIONS).await?;
        let backend = i32::try_from(database.number("SELECT pg_backend_pid()::bigint").await?)?;
        let backend = Pid::from_raw(backend).context("no process")?;
        let mut table = Self { database, backend, rows: 0, queries: Vec::new(), added: None, bytes: (0.0, 0.0) };
        table.fill(today, 0..=0).await?;
        Ok(table)
    }

    /// Lets the consumer add its rows, and takes them away.
    async fn add(&mut self, plot: &Plot, tomorrow: Date) -> anyhow::Result<()> {
        let database = &self.database;
        database.client.batch_execute("DELETE FROM consumer_offsets").await?;
        self.added = Some(consume(plot, database, ADDED).await?);
        let table = format!("checks_{}", tomorrow.strftime("%Y%m%d"));
        #[expect(clippy::cast_precision_loss, reason = "bytes of some rows")]
        let of_row = |bytes: i64| bytes as f64 / ADDED as f64;
        let heap = database.number(&format!("SELECT pg_relation_size('{table}')")).await?;
        let index = database.number(&format!("SELECT pg_indexes_size('{table}')")).await?;
        database.client.batch_execute(&format!("TRUNCATE {table}")).await?;
        self.bytes = (of_row(heap), of_row(index));
        Ok(())
    }

    /// Fills days, counted back from today.
    async fn fill(&mut self, today: Date, back: RangeInclusive<u16>) -> anyhow::Result<()> {
        let days = back.map(|back| today.checked_sub(i64::from(back).days()));
        fill_days(&self.database, days.collect::<Result<_, _>>()?).await
    }
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
