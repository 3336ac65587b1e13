//! `local demo`: the whole pipeline on this machine, as its users run it, and a view of what arrives in Postgres.

mod account;
mod rows;
mod view;
mod websites;

use std::collections::HashSet;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use local::Services;
use local::process::{Process, binaries};
use local::services::Options;
use producer::settings::Settings;
use producer::targets::{Target, load_targets};
use rustix::process::Signal;
use shared::config::{Environment, load};
use tokio_util::sync::CancellationToken;

use account::{Account, due};
use rows::Rows;
use view::Snapshot;
use websites::Websites;

const REFRESH: Duration = Duration::from_millis(500);
/// What the view calls recent.
const RECENT: Duration = Duration::from_secs(60);
/// How long results may take to arrive after the producer has ended.
const SETTLE: Duration = Duration::from_secs(30);

/// Runs until `stop`, or for `seconds`; the exit code says whether every slot that was due is stored.
pub(crate) fn run(urls: &[&str], seconds: Option<u64>, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    eprintln!("starting Kafka and Postgres");
    let services = Services::start(&Options { embedded_without_java: true, ..Options::default() })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let account = runtime.block_on(watch(&services, urls, seconds, stop))?;
    drop(services);
    report(&account);
    Ok(if account.adds_up() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn watch(
    services: &Services,
    urls: &[&str],
    seconds: Option<u64>,
    stop: CancellationToken,
) -> anyhow::Result<Account> {
    let websites = if urls.is_empty() { Websites::start().await? } else { Websites::of_urls(urls)? };
    let targets = targets_of(&websites.targets_file())?;
    // Given services may hold rows of earlier demos.
    let location = format!("demo-{}", jiff::Timestamp::now().as_second());
    let rows = Rows::connect(&services.postgres.url(), &location).await.context("connecting to Postgres")?;

    let mut pipeline = Pipeline::start(services, &websites, &location)?;
    let limit = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let watched = look(&rows, targets.len(), limit, &stop, &mut pipeline).await;
    let bounds = pipeline.stop_producer().await;
    watched?;
    let (started, stopped) = bounds?;

    let due = due(targets.iter().map(AsRef::as_ref), started, stopped);
    let deadline = Instant::now() + SETTLE;
    let mut stored = rows.slots().await?;
    while !due.is_subset(&stored) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stored = rows.slots().await?;
    }
    pipeline.stop_consumer().await?;
    println!("{}", view::totals(&rows.counts().await?));
    let account = Account::new(&due, &stored);
    if !account.adds_up() {
        println!("{}", pipeline.complaints().join("\n"));
    }
    Ok(account)
}

/// Shows what arrives until it is time to end.
async fn look(
    rows: &Rows,
    targets: usize,
    limit: Option<Instant>,
    stop: &CancellationToken,
    pipeline: &mut Pipeline,
) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    if terminal {
        print!("\x1b[2J");
    }
    let began = Instant::now();
    let mut shown = HashSet::new();
    let mut tick = tokio::time::interval(REFRESH);
    while limit.is_none_or(|limit| Instant::now() < limit) {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
            ended = pipeline.ended() => bail!("{ended}"),
        }
        let recent = rows.recent(RECENT).await?;
        if terminal {
            let (latest, counts) = (rows.latest().await?, rows.counts().await?);
            let (running, now) = (began.elapsed(), SystemTime::now());
            let width = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(160, |size| size.ws_col);
            draw(&view::screen(&Snapshot {
                running,
                now,
                targets,
                latest: &latest,
                recent: &recent,
                counts: &counts,
                width,
            }))?;
        } else {
            for check in recent.iter().filter(|check| shown.insert((check.target.clone(), check.scheduled_at))) {
                println!("{}", view::line(check));
            }
        }
    }
    // What follows the last screen, or the echo of a Ctrl-C, begins a line of its own.
    println!();
    Ok(())
}

/// Draws over what was there, without the flicker of clearing first.
fn draw(screen: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "\x1b[H{}\x1b[J", screen.replace('\n', "\x1b[K\r\n"))?;
    out.flush()
}

/// Producer and consumer as their users run them.
struct Pipeline {
    producer: Process,
    consumer: Process,
}

impl Pipeline {
    fn start(services: &Services, websites: &Websites, location: &str) -> anyhow::Result<Self> {
        let folder = binaries()?;
        let start = |name: &str, variables: Vec<(&'static str, String)>| {
            let program = folder.join(name);
            Process::start(&program, &[], variables).with_context(|| format!("starting {}", program.display()))
        };
        let brokers = || ("KAFKA_BROKERS", services.kafka.brokers().to_owned());
        let consumer = start("consumer", vec![brokers(), ("POSTGRES_URL", services.postgres.url())])?;
        let mut variables = websites.variables();
        variables.extend([brokers(), ("SCHEDULE_LOCATION", location.to_owned())]);
        let producer = start("producer", variables)?;
        Ok(Self { producer, consumer })
    }

    /// Waits until one of them ends, which neither should; in words.
    async fn ended(&mut self) -> String {
        let (name, status, process) = tokio::select! {
            status = self.producer.wait() => ("producer", status, &self.producer),
            status = self.consumer.wait() => ("consumer", status, &self.consumer),
        };
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("the {name} ended by itself ({status}):\n{}", process.log().join("\n"))
    }

    /// Stops the producer; when it started and stopped scheduling, in milliseconds of Unix time.
    async fn stop_producer(&mut self) -> anyhow::Result<(i64, i64)> {
        self.producer.signal(Signal::INT)?;
        let status = self.producer.wait().await?;
        let log = self.producer.log();
        let field = |name: &str| {
            let lines = log.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            lines.filter_map(|line| line.get(name)?.as_i64()).next()
        };
        match (status.success(), field("schedule.started_at_ms"), field("schedule.stopped_at_ms")) {
            (true, Some(started), Some(stopped)) => Ok((started, stopped)),
            _ => bail!("the producer did not end well ({status}):\n{}", log.join("\n")),
        }
    }

    /// What the two logged at `warn` and above.
    fn complaints(&self) -> Vec<String> {
        let lines = [&self.producer, &self.consumer].into_iter().flat_map(Process::log);
        lines.filter(|line| !line.contains(r#""level":"INFO""#)).collect()
    }

    async fn stop_consumer(&mut self) -> anyhow::Result<()> {
        self.consumer.signal(Signal::INT)?;
        let status = self.consumer.wait().await?;
        if !status.success() {
            bail!("the consumer did not end well ({status}):\n{}", self.consumer.log().join("\n"));
        }
        Ok(())
    }
}

fn targets_of(file: &Path) -> anyhow::Result<Vec<Arc<Target>>> {
    let file = file.to_str().context("a path that is not Unicode")?;
    let settings = load::<Settings>(None, &Environment::from_pairs([("SCHEDULE_TARGETS_FILE", file)]))?;
    Ok(load_targets(&settings)?)
}

fn report(account: &Account) {
    println!("checks due: {}, stored: {}, missing: {}", account.due, account.stored, account.missing.len());
    for (target, slot) in account.missing.iter().take(20) {
        println!("missing: {target} at {slot}");
    }
    for (target, slot) in account.unexpected.iter().take(20) {
        println!("stored but never due: {target} at {slot}");
    }
}
