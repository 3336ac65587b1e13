//! Rows a second from a filled topic into Postgres, and what bounds them: the same rows by `psql \copy` into the same kind of
//! table, the same topic read into nothing, the same messages decoded and dropped.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use consumer::decode::decode;
use consumer::settings::Settings;
use consumer::source::properties;
use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Pid;
use shared::kafka::Kafka;

use crate::database::Database;
use crate::figures::{Goal, Line, median};
use crate::ground::{Ground, PATIENCE, Plot};
use crate::results::{fill, results};
use crate::usage::cpu;

const INTERVAL: u64 = 60_000;
/// How often Postgres is asked how far the consumer is.
const LOOK: Duration = Duration::from_millis(10);

/// What one run of the consumer has shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Rows a second, from the first that were visible to the last: without the start.
    pub(crate) rate: f64,
    /// CPU of the consumer for a row, in microseconds.
    pub(crate) consumer: f64,
    /// CPU of its sessions in Postgres for a row, in microseconds.
    pub(crate) postgres: f64,
}

/// All rounds of everything.
#[derive(Default)]
struct Rounds {
    one: Vec<Run>,
    eight: Vec<Run>,
    few_known: Vec<Run>,
    all_known: Vec<Run>,
    copy: Vec<f64>,
    read_one: Vec<f64>,
    read_eight: Vec<f64>,
    decode: Vec<f64>,
}

pub(crate) async fn run(ground: &Ground) -> anyhow::Result<Vec<Line>> {
    let rows = ground.or_quick(300_000, 50_000);
    let plots = (ground.plot(1).await?, ground.plot(8).await?);
    // All slots lie on one day, yesterday.
    let first = Timestamp::now().as_second().div_euclid(86_400) * 86_400_000 - 86_400_000;
    for plot in [&plots.0, &plots.1] {
        ground.say(&format!("filling a topic with {rows} results"));
        tokio::task::block_in_place(|| fill(&plot.brokers, &plot.topic, rows, first, INTERVAL))?;
    }
    let payloads = results(rows.min(200_000), first, INTERVAL)
        .map(|result| Ok(serde_json::to_vec(&result?)?))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut rounds = Rounds::default();
    for round in 0..ground.or_quick(6, 1) {
        ground.say(&format!("round {}", round + 1));
        rounds.add(ground, &plots, rows, &payloads).await?;
    }
    Ok(rounds.lines())
}

impl Rounds {
    async fn add(
        &mut self,
        ground: &Ground,
        (one, eight): &(Plot, Plot),
        rows: usize,
        payloads: &[Vec<u8>],
    ) -> anyhow::Result<()> {
        let database = Database::new(ground, &format!("{}_one", one.name)).await?;
        database.is_durable().await?;
        self.one.push(consume_all(one, &database, rows).await?);
        ground.say(&format!("one partition: {:?}", self.one.last()));
        database.remove(ground).await?;

        let database = Database::new(ground, &format!("{}_eight", eight.name)).await?;
        self.eight.push(consume_all(eight, &database, rows).await?);
        ground.say(&format!("eight partitions: {:?}", self.eight.last()));

        let dump = Dump::new(eight, &database).await?;
        let empty = Database::new(ground, &format!("{}_copy", eight.name)).await?;
        dump.prepare(eight, &empty).await?;
        let took = empty.psql(format!("\\copy checks FROM '{}' (FORMAT binary)", dump.all)).await?;
        self.copy.push(rows as f64 / took.as_secs_f64());
        ground.say(&format!("psql \\copy: {:?}", self.copy.last()));
        empty.remove(ground).await?;

        database.client.batch_execute("DELETE FROM consumer_offsets").await?;
        self.all_known.push(consume_all(eight, &database, rows).await?);
        ground.say(&format!("all known: {:?}", self.all_known.last()));
        database.remove(ground).await?;

        let database = Database::new(ground, &format!("{}_few", eight.name)).await?;
        dump.prepare(eight, &database).await?;
        database.psql(format!("\\copy checks FROM '{}' (FORMAT binary)", dump.few)).await?;
        self.few_known.push(consume_all(eight, &database, rows).await?);
        ground.say(&format!("1 % known: {:?}", self.few_known.last()));
        database.remove(ground).await?;

        for (plot, rates) in [(one, &mut self.read_one), (eight, &mut self.read_eight)] {
            rates.push(tokio::task::block_in_place(|| read(plot, rows))?);
        }
        self.decode.push(tokio::task::block_in_place(|| decoding(payloads))?);
        ground.say(&format!(
            "read: {:?} and {:?}, decode: {:?}",
            self.read_one.last(),
            self.read_eight.last(),
            self.decode.last()
        ));
        Ok(())
    }

    fn lines(self) -> Vec<Line> {
        let [copy, read_one, read_eight, decode] = [self.copy, self.read_one, self.read_eight, self.decode].map(median);
        let smallest = |read| {
            let limits = [("psql \\copy of the same rows", copy), ("reading into nothing", read), ("decoding", decode)];
            let (name, limit) = limits.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
            (format!("smallest limit: {name}"), limit)
        };
        let ways = [
            ("one partition", self.one, read_one, 0.8),
            ("eight partitions", self.eight, read_eight, 0.8),
            ("eight, 1 % of the slots stored before", self.few_known, read_eight, 0.4),
            ("eight, all slots stored before", self.all_known, read_eight, 0.4),
        ];
        let mut lines = Vec::new();
        for (what, runs, read, goal) in &ways {
            let (name, limit) = smallest(*read);
            let rate = median(runs.iter().map(|run| run.rate).collect());
            lines.push(Line::new(*what, "rows/s", rate).beside(name, limit).goal(Goal::AtLeast(*goal)));
        }
        for (what, figure) in [
            ("psql \\copy (FORMAT binary), one transaction", copy),
            ("one partition read into nothing", read_one),
            ("eight partitions read into nothing", read_eight),
            ("decoding on one thread", decode),
        ] {
            lines.push(Line::new(what, "rows/s", figure));
        }
        for (what, runs, ..) in &ways {
            let consumer = median(runs.iter().map(|run| run.consumer).collect());
            let postgres = median(runs.iter().map(|run| run.postgres).collect());
            lines.push(Line::new(format!("CPU of the consumer, {what}"), "µs/row", consumer));
            lines.push(Line::new(format!("CPU of its session in Postgres, {what}"), "µs/row", postgres));
        }
        lines
    }
}

/// Lets it fill a table, and holds that it did.
async fn consume_all(plot: &Plot, database: &Database, rows: usize) -> anyhow::Result<Run> {
    let run = consume(plot, database, rows).await?;
    let there = database.number("SELECT count(*) FROM checks").await?;
    anyhow::ensure!(there == rows as i64, "{there} rows of {rows}");
    Ok(run)
}

/// Lets the real consumer, as shipped, store a whole topic.
pub(crate) async fn consume(plot: &Plot, database: &Database, rows: usize) -> anyhow::Result<Run> {
    let consumer = plot.start("consumer", &[("POSTGRES_URL", &database.url)])?;
    let pid = consumer.pid().context("no process")?;
    let started = Instant::now();
    let begin = loop {
        anyhow::ensure!(started.elapsed() < PATIENCE, "nothing came: {}", consumer.log().join("\n"));
        let sample = Sample::take(database, pid).await?;
        if let Some(sample) = sample.filter(|sample| sample.stored > 0) {
            break sample;
        }
        tokio::time::sleep(LOOK).await;
    };
    let end = loop {
        anyhow::ensure!(started.elapsed() < PATIENCE, "not all came: {}", consumer.log().join("\n"));
        let stored = stored(database).await?;
        if stored == rows as i64 {
            break Sample::take(database, pid).await?.context("its session is gone")?;
        }
        tokio::time::sleep(LOOK).await;
    };
    tests::stop(consumer).await;
    let count = (end.stored - begin.stored) as f64;
    Ok(Run {
        rate: count / (end.at - begin.at).as_secs_f64(),
        consumer: (end.consumer - begin.consumer).as_secs_f64() * 1e6 / count,
        postgres: (end.postgres - begin.postgres).as_secs_f64() * 1e6 / count,
    })
}

/// How far it is, and what it has used.
struct Sample {
    stored: i64,
    at: Instant,
    consumer: Duration,
    postgres: Duration,
}

impl Sample {
    /// `None` before there are tables or a session.
    async fn take(database: &Database, consumer: Pid) -> anyhow::Result<Option<Self>> {
        let Ok(stored) = stored(database).await else { return Ok(None) };
        let at = Instant::now();
        let mut postgres = Duration::ZERO;
        for backend in database.backends().await? {
            postgres += Pid::from_raw(backend).map(cpu).transpose()?.unwrap_or_default();
        }
        Ok(Some(Self { stored, at, consumer: cpu(consumer)?, postgres }))
    }
}

/// How many records are stored.
pub(crate) async fn stored(database: &Database) -> anyhow::Result<i64> {
    database.number("SELECT sum(next_offset)::bigint FROM consumer_offsets").await
}

/// The rows of a database in files.
struct Dump {
    all: String,
    few: String,
    dimensions: [(&'static str, String); 3],
    partitions: String,
}

impl Dump {
    async fn new(plot: &Plot, database: &Database) -> anyhow::Result<Self> {
        let path = |name: &str| plot.folder.path().join(name).display().to_string();
        let dump = Self {
            all: path("all"),
            few: path("few"),
            dimensions: ["targets", "locations", "requests"].map(|table| (table, path(table))),
            partitions: database
                .client
                .query_one(
                    "SELECT string_agg(format('CREATE TABLE IF NOT EXISTS %I PARTITION OF checks %s', relname, \
                     pg_get_expr(relpartbound, oid)), '; ') FROM pg_class WHERE relispartition AND relkind = 'r'",
                    &[],
                )
                .await?
                .get(0),
        };
        database.psql(format!("\\copy (SELECT * FROM checks) TO '{}' (FORMAT binary)", dump.all)).await?;
        let sample = "SELECT * FROM checks TABLESAMPLE BERNOULLI (1)";
        database.psql(format!("\\copy ({sample}) TO '{}' (FORMAT binary)", dump.few)).await?;
        for (table, file) in &dump.dimensions {
            database.psql(format!("\\copy {table} TO '{file}' (FORMAT binary)")).await?;
        }
        Ok(dump)
    }

    /// Makes the same tables, and all that the rows refer to.
    async fn prepare(&self, plot: &Plot, empty: &Database) -> anyhow::Result<()> {
        plot.migrate(&empty.url).await?;
        empty.client.batch_execute(&self.partitions).await?;
        for (table, file) in &self.dimensions {
            empty.psql(format!("\\copy {table} FROM '{file}' (FORMAT binary)")).await?;
        }
        Ok(())
    }
}

/// Reads a whole topic with the consumer's properties and drops what comes; returns records a second from the first one on.
fn read(plot: &Plot, rows: usize) -> anyhow::Result<f64> {
    let kafka = Kafka { brokers: plot.brokers.clone(), topic: plot.topic.clone(), ..Kafka::default() };
    let client: BaseConsumer = properties(&Settings { kafka, ..Settings::default() }).create()?;
    let metadata = client.fetch_metadata(Some(&plot.topic), PATIENCE)?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        list.add_partition_offset(&plot.topic, partition.id(), Offset::Beginning)?;
    }
    client.assign(&list)?;
    let mut began = None;
    for _ in 0..rows {
        let message = client.poll(PATIENCE).context("no record came")??;
        black_box(&message);
        began.get_or_insert_with(Instant::now);
    }
    let took = began.context("nothing to read")?.elapsed();
    Ok((rows - 1) as f64 / took.as_secs_f64())
}

/// Decodes messages one by one and drops the rows; returns messages a second.
fn decoding(payloads: &[Vec<u8>]) -> anyhow::Result<f64> {
    let now = Timestamp::now();
    let began = Instant::now();
    for payload in payloads {
        black_box(decode(Some(black_box(payload)), now)?);
    }
    Ok(payloads.len() as f64 / began.elapsed().as_secs_f64())
}
