//! The whole system under load while everything that can fail fails, at moments that a seed decides; then the account.
//!
//! A producer checks some hundred targets a second, two consumers store what it publishes. Each of their connections to Kafka and
//! Postgres passes a relay. Whatever a fault ends is started again. In the end the system may settle, and every slot that was due
//! must be stored, once.

mod fault;
mod kept;
mod pollute;
mod reckoning;
mod system;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use local::site::Site;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use fault::{CONSUMERS, Fault, Faults, Part};
use kept::Life;
use pollute::pollute;
use reckoning::{Owed, Rows};
use system::{Server, System, disturb};

use crate::Proxy;

pub use fault::names;
pub use reckoning::Account;

const TOPIC: &str = "checks";
const LOCATION: &str = "chaos";
const INTERVAL: Duration = Duration::from_secs(1);
/// The deadline of a check.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Checks of slots that are older than this have ended, and their results are on disk: the deadline, and what a busy machine adds.
const UNFINISHED: Duration = Duration::from_secs(6);
/// How long the system may take to settle.
const SETTLE: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(500);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where our binaries are.
    pub binaries: PathBuf,
    /// How long faults are made.
    pub lasts: Duration,
    /// What decides about faults and their moments.
    pub seed: u64,
    /// Which faults are made.
    pub faults: Vec<&'static str>,
    /// How many targets are checked each second.
    pub targets: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// How often each fault was made, and how long it lasted in all.
    pub made: BTreeMap<&'static str, (u32, Duration)>,
    /// The account.
    pub account: Account,
}

impl Report {
    /// The faults as a table, one a line.
    pub fn table(&self) -> String {
        let mut table = format!("{:<18}{:>6}{:>10}\n", "fault", "made", "seconds");
        for (name, (count, lasted)) in &self.made {
            // Writing to a string does not fail.
            let _ = writeln!(table, "{name:<18}{count:>6}{:>10.1}", lasted.as_secs_f32());
        }
        table
    }
}

/// Runs the plan, or until `stop`; `progress` is told now and then how it stands. Logs are left in `folder`.
///
/// # Errors
/// The system cannot be started, a process ended by itself or not when it was asked to, or the system did not settle.
pub async fn run(
    plan: &Plan,
    folder: &Path,
    stop: &CancellationToken,
    mut progress: impl FnMut(&str),
) -> anyhow::Result<Report> {
    let system = System::start(folder, plan.targets).await?;
    let (brokers, database, targets) = (system.brokers.clone(), system.database.clone(), system.targets.clone());
    let mut stage = Stage::set(system, plan, folder)?;
    let made = stage.play(plan, stop, &mut progress).await?;
    progress("no more faults; the producer delivers what it has");
    let (lives, servers) = stage.end_of_faults().await?;
    let owed = Owed::of(&lives, &targets);
    let rows = Rows::connect(&database).await?;
    let account = settle(&rows, &owed, &brokers, &mut progress).await?;
    stage.end().await?;
    drop(servers);
    Ok(Report { made, account })
}

/// Looks at the account until it adds up, or nothing more is to be expected.
async fn settle(rows: &Rows, owed: &Owed, brokers: &str, progress: &mut impl FnMut(&str)) -> anyhow::Result<Account> {
    let deadline = Instant::now() + SETTLE;
    let mut count = -1;
    loop {
        let now = rows.count().await?;
        // Reading the whole topic takes a while, so this is done when rows have stopped coming.
        if now == count {
            let account = rows.reckon(owed, brokers).await?;
            if account.adds_up() || Instant::now() > deadline {
                return Ok(account);
            }
        }
        count = now;
        progress(&format!("settling: {count} rows"));
        tokio::time::sleep(LOOK).await;
    }
}

/// Everything that runs, and the way to each part.
struct Stage {
    ways: Vec<(Part, mpsc::Sender<Fault>)>,
    producer: JoinSet<anyhow::Result<Vec<Life>>>,
    consumers: JoinSet<anyhow::Result<Vec<Life>>>,
    servers: JoinSet<anyhow::Result<Server>>,
    others: JoinSet<()>,
    /// Kept until the end, like the websites.
    _links: Vec<Arc<Proxy>>,
    _sites: Vec<Site>,
}

impl Stage {
    fn set(system: System, plan: &Plan, folder: &Path) -> anyhow::Result<Self> {
        let mut ways = Vec::new();
        let mut way = |part| {
            let (sender, receiver) = mpsc::channel(1);
            ways.push((part, sender));
            receiver
        };
        let (mut producer, mut consumers) = (JoinSet::new(), JoinSet::new());
        let (mut servers, mut others) = (JoinSet::new(), JoinSet::new());
        producer.spawn(system.producer(&plan.binaries, folder).run(way(Part::Producer)));
        for number in 0..CONSUMERS {
            let consumer = system.consumer(number, &plan.binaries, folder)?;
            consumers.spawn(consumer.run(way(Part::Consumer(number))));
        }
        for (number, link) in system.links.iter().enumerate() {
            others.spawn(disturb(link.clone(), way(Part::Link(number))));
        }
        others.spawn(pollute(system.brokers.clone(), plan.seed, way(Part::Topic)));
        servers.spawn(Server::Kafka(system.kafka.into()).suffer(way(Part::Kafka)));
        servers.spawn(Server::Postgres(system.postgres.into()).suffer(way(Part::Postgres)));
        Ok(Self { ways, producer, consumers, servers, others, _links: system.links, _sites: system.sites })
    }

    /// Makes faults for as long as the plan says; returns which.
    async fn play(
        &mut self,
        plan: &Plan,
        stop: &CancellationToken,
        progress: &mut impl FnMut(&str),
    ) -> anyhow::Result<BTreeMap<&'static str, (u32, Duration)>> {
        let mut made: BTreeMap<_, (u32, Duration)> = BTreeMap::new();
        let began = Instant::now();
        for (wait, name, fault) in Faults::new(plan.seed, &plan.faults) {
            let left = plan.lasts.saturating_sub(began.elapsed());
            tokio::select! {
                () = tokio::time::sleep(wait.min(left)) => {}
                () = stop.cancelled() => break,
                Some(ended) = self.producer.join_next() => return Err(gone(ended.map(drop_ok))),
                Some(ended) = self.consumers.join_next() => return Err(gone(ended.map(drop_ok))),
                Some(ended) = self.servers.join_next() => return Err(gone(ended.map(drop_ok))),
            }
            if began.elapsed() >= plan.lasts {
                break;
            }
            // One that suffers already is left alone.
            let way = self.ways.iter().find(|(part, _)| *part == fault.part);
            if way.is_some_and(|(_, way)| way.try_send(fault).is_ok()) {
                let (count, lasted) = made.entry(name).or_default();
                (*count, *lasted) = (*count + 1, *lasted + fault.lasts);
            }
            let faults: u32 = made.values().map(|(count, _)| count).sum();
            progress(&format!("{} of {} s, {faults} faults", began.elapsed().as_secs(), plan.lasts.as_secs()));
        }
        Ok(made)
    }

    /// Waits until all that suffers but the consumers is well, and the producer has delivered everything.
    async fn end_of_faults(&mut self) -> anyhow::Result<(Vec<Life>, Vec<Server>)> {
        self.ways.retain(|(part, _)| matches!(part, Part::Producer | Part::Consumer(_)));
        while let Some(ended) = self.others.join_next().await {
            ended?;
        }
        let mut servers = Vec::new();
        while let Some(server) = self.servers.join_next().await {
            servers.push(server??);
        }
        self.ways.retain(|(part, _)| matches!(part, Part::Consumer(_)));
        let lives = self.producer.join_next().await.context("a producer")???;
        Ok((lives, servers))
    }

    /// Stops the consumers.
    async fn end(&mut self) -> anyhow::Result<()> {
        self.ways.clear();
        while let Some(ended) = self.consumers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

fn drop_ok<T>(ended: anyhow::Result<T>) -> anyhow::Result<()> {
    ended.map(drop)
}

/// Why something has ended that never does by itself.
fn gone(ended: Result<anyhow::Result<()>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("a part of the system ended by itself"),
        Ok(Err(error)) => error,
        Err(error) => error.into(),
    }
}
