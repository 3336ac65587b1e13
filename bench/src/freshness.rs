//! From the end of a check to its row: how old a result is when a reader of the table can see it.
//!
//! A batch's transaction gives its rows and its offsets the same time, that of its begin. Who sees it among the offsets sees the
//! rows, so a poller that notes when it saw which time knows for every row an instant at which it was visible for certain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use local::process::Process;
use local::site::{Behaviour, Response, Site};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::figures::{Goal, Line, quantile};
use crate::ground::{Ground, PATIENCE, Plot};
use crate::results::{Sender, TARGETS, result};
use crate::sink::stored;

/// How often the poller looks. A row may have been visible so much earlier than it says.
const LOOK: Duration = Duration::from_millis(5);
/// What is not measured at the begin: partitions are made, and names are new.
const WARM: Duration = Duration::from_secs(3);

/// What the poller saw: instants in microseconds of Unix time at which batches up to a begin were visible.
type Seen = Vec<(i64, i64)>;

pub(crate) async fn run(ground: &Ground) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for rate in [10, 1000, 5000] {
        ground.say(&format!("{rate} results a second"));
        let plot = ground.plot(8).await?;
        let database = Database::open(&plot.postgres_url, &plot.name).await?;
        database.is_durable().await?;
        let mut consumer = plot.start("consumer", &[])?;
        tokio::time::timeout(PATIENCE, consumer.says("partitions assigned")).await??;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut poller = JoinSet::new();
        poller.spawn(poll(Database::open(&plot.postgres_url, &plot.name).await?, stopped.clone()));
        let begin = Timestamp::now().as_microsecond() + micros(WARM);
        let seconds = WARM + Duration::from_secs(ground.or_quick(40, 5));
        let how = if rate < 5000 { checked(&plot, rate, seconds).await? } else { sent(&plot, rate, seconds).await? };
        settled(&plot, &database).await?;
        tests::stop(consumer).await;
        // It looks once more.
        stopped.store(true, Ordering::Relaxed);
        let seen = poller.join_next().await.context("no poller")???;
        lines.extend(report(&database, rate, how, begin, &seen).await?);
        database.remove(ground).await?;
    }
    Ok(lines)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// A real producer and a real website.
async fn checked(plot: &Plot, rate: usize, time: Duration) -> anyhow::Result<&'static str> {
    let site = Site::start(Behaviour::Respond(Response::ok("up and running"))).await?;
    let targets = (0..rate)
        .map(|target| format!("[[targets]]\nname = \"shop-{target:04}\"\nurl = \"{}\"\n", site.url("127.0.0.1")));
    let text = format!("[defaults]\ninterval = \"1s\"\n{}", targets.collect::<String>());
    let file = plot.file("targets.toml", &text)?;
    let producer: Process = plot.start("producer", &[("SCHEDULE_TARGETS_FILE", &file)])?;
    tokio::time::sleep(time).await;
    tests::stop(producer).await;
    Ok("checks of a local website")
}

/// Results made up on time and published with the producer's settings, but for the spool.
async fn sent(plot: &Plot, rate: usize, time: Duration) -> anyhow::Result<&'static str> {
    let sender = Sender::new(&plot.brokers, &plot.topic)?;
    let sending = move || {
        let began = Instant::now();
        for index in 0.. {
            let due = Duration::from_secs_f64(index as f64 / rate as f64);
            if due > time {
                break;
            }
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            let now = Timestamp::now();
            let mut result = result(index % TARGETS, now.as_millisecond(), 200)?;
            #[expect(clippy::cast_precision_loss, reason = "microseconds fit")]
            let start = now.as_microsecond() as f64 / 1e6;
            result.http.start = Some(start);
            result.http.elapsed = Some(0);
            sender.send(&result)?;
        }
        sender.flush()
    };
    tokio::task::spawn_blocking(sending).await??;
    Ok("made up on time, sent with the producer's settings")
}

/// Notes which batches are visible, until told to stop.
async fn poll(database: Database, stopped: Arc<AtomicBool>) -> anyhow::Result<Seen> {
    let question = "SELECT (extract(epoch FROM max(updated_at)) * 1e6)::bigint FROM consumer_offsets";
    let statement = database.client.prepare(question).await?;
    let mut seen = Seen::new();
    loop {
        let last = stopped.load(Ordering::Relaxed);
        let batch: Option<i64> = database.client.query_one(&statement, &[]).await?.get(0);
        let at = Timestamp::now().as_microsecond();
        if let Some(batch) = batch.filter(|batch| seen.last().is_none_or(|(_, last)| batch > last)) {
            seen.push((at, batch));
        }
        if last {
            return Ok(seen);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until the whole topic is stored.
async fn settled(plot: &Plot, database: &Database) -> anyhow::Result<()> {
    let records = tokio::task::block_in_place(|| records(plot))?;
    let began = Instant::now();
    while stored(database).await? < records {
        anyhow::ensure!(began.elapsed() < PATIENCE, "not all results came");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// How many records the topic has.
fn records(plot: &Plot) -> anyhow::Result<i64> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &plot.brokers).create()?;
    let metadata = client.fetch_metadata(Some(&plot.topic), PATIENCE)?;
    let mut records = 0;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = client.fetch_watermarks(&plot.topic, partition.id(), PATIENCE)?;
        records += high - low;
    }
    Ok(records)
}

async fn report(database: &Database, rate: usize, how: &str, begin: i64, seen: &Seen) -> anyhow::Result<Vec<Line>> {
    let rows = database
        .client
        .query(
            "SELECT (extract(epoch FROM http_start) * 1e6)::bigint + http_elapsed, (extract(epoch FROM stored_at) * 1e6)::bigint \
             FROM checks WHERE http_start IS NOT NULL",
            &[],
        )
        .await?;
    let mut ages = Vec::new();
    let mut batches = std::collections::BTreeMap::<i64, u32>::new();
    for row in rows {
        let (ended, stored): (i64, i64) = (row.get(0), row.get(1));
        if ended < begin {
            continue;
        }
        *batches.entry(stored).or_default() += 1;
        let found = seen.partition_point(|(_, batch)| *batch < stored);
        let (visible, _) = seen.get(found).context("a batch that nobody saw")?;
        #[expect(clippy::cast_precision_loss, reason = "microseconds fit")]
        ages.push((visible - ended) as f64 / 1e3);
    }
    anyhow::ensure!(!ages.is_empty(), "no results");
    ages.sort_by(f64::total_cmp);
    let per_batch = ages.len() as f64 / batches.len() as f64;
    let line = |what: &str, unit, figure| Line::new(format!("{what}, {rate} results/s"), unit, figure);
    let mut rows = line("rows of a batch on average", "rows", per_batch);
    if rate >= 1000 {
        rows = rows.goal(Goal::AtLeast(10.0));
    }
    Ok(vec![
        Line::new(format!("end of check to visible row, p50, {rate} results/s ({how})"), "ms", quantile(&ages, 0.5)),
        line("the same, p99", "ms", quantile(&ages, 0.99)).goal(Goal::AtMost(1000.0)),
        rows,
    ])
}
