//! The whole system: services, the network between them and ours, websites, and who makes each part suffer.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use local::kafka::Kafka;
use local::postgres::Postgres;
use local::site::{Behaviour, Response, Site};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use url::Url;

use super::fault::{CONSUMERS, Fault, Kind, LINKS};
use super::kept::Kept;
use super::{INTERVAL, LOCATION, TIMEOUT, TOPIC};
use crate::{Link, Proxy};

/// What one piece waits on a slow link.
const SLOW: Duration = Duration::from_millis(20);

/// All that our processes need.
pub(super) struct System {
    pub(super) kafka: Kafka,
    pub(super) postgres: Postgres,
    /// The database's URL, past all relays.
    pub(super) database: String,
    /// The brokers' address, past all relays.
    pub(super) brokers: String,
    pub(super) links: Vec<Arc<Proxy>>,
    /// The names of all targets.
    pub(super) targets: Vec<String>,
    targets_file: PathBuf,
    pub(super) sites: Vec<Site>,
}

impl System {
    pub(super) async fn start(folder: &Path, targets: usize) -> anyhow::Result<Self> {
        let mut links = Vec::new();
        for _ in 0..LINKS {
            links.push(Arc::new(Proxy::unconnected().await?));
        }
        let relays: Vec<_> = links[..=CONSUMERS].iter().map(|link| link.addr()).collect();
        let (kafka, postgres) = block_in_place(|| {
            std::thread::scope(|scope| {
                let postgres = scope.spawn(|| Postgres::start(None));
                (Kafka::start_behind(None, &relays), postgres.join())
            })
        });
        let (kafka, postgres) = (kafka?, postgres.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        for link in &links[..=CONSUMERS] {
            link.lead_to(kafka.behind(link.addr()).context("a listener for each relay")?);
        }
        let database = postgres.create_database("chaos")?;
        let address = Url::parse(&database)?.socket_addrs(|| None)?;
        for link in &links[CONSUMERS + 1..LINKS - 1] {
            link.lead_to(*address.first().context("an address of Postgres")?);
        }
        let sites = sites().await?;
        let far = &links[LINKS - 1];
        far.lead_to(sites.first().context("a website")?.addr());
        let mut urls: Vec<String> = sites.iter().map(|site| site.url("127.0.0.1")).collect();
        urls.push(format!("http://{}/", far.addr()));
        let targets: Vec<String> = (0..targets).map(|number| format!("target-{number:04}")).collect();
        let targets_file = folder.join("targets.toml");
        std::fs::write(&targets_file, targets_toml(&targets, &urls)?)?;
        let brokers = kafka.brokers().to_owned();
        Ok(Self { kafka, postgres, database, brokers, links, targets, targets_file, sites })
    }

    pub(super) fn producer(&self, binaries: &Path, folder: &Path) -> Kept {
        let variables = vec![
            ("KAFKA_BROKERS", self.links[0].addr().to_string()),
            ("KAFKA_TOPIC", TOPIC.to_owned()),
            ("SCHEDULE_LOCATION", LOCATION.to_owned()),
            ("SCHEDULE_TARGETS_FILE", self.targets_file.display().to_string()),
            ("SPOOL_FILE", folder.join("spool.sqlite").display().to_string()),
            ("STOP_GRACE", "5s".to_owned()),
        ];
        Kept { name: "producer", program: binaries.join("producer"), variables, folder: folder.to_owned() }
    }

    pub(super) fn consumer(&self, number: usize, binaries: &Path, folder: &Path) -> anyhow::Result<Kept> {
        let mut url = Url::parse(&self.database)?;
        // Only a URL without a host has no port to set.
        let _ = url.set_port(Some(self.links[1 + CONSUMERS + number].addr().port()));
        let variables = vec![
            ("KAFKA_BROKERS", self.links[1 + number].addr().to_string()),
            ("KAFKA_TOPIC", TOPIC.to_owned()),
            ("POSTGRES_URL", url.to_string()),
            // A stalled link is noticed within the run.
            ("POSTGRES_TIMEOUT", "10s".to_owned()),
            // Few enough for partitions to be paused while batches wait.
            ("CONSUME_BATCH_ROWS", "100".to_owned()),
            ("STOP_GRACE", "5s".to_owned()),
        ];
        let name = ["consumer-a", "consumer-b"][number];
        Ok(Kept { name, program: binaries.join("consumer"), variables, folder: folder.to_owned() })
    }
}

/// Websites of every kind that is quick to answer.
async fn sites() -> std::io::Result<Vec<Site>> {
    let well = || Behaviour::from(Response::ok("all is well"));
    let slow = Response::ok("all is well").slow(Duration::from_millis(150), Duration::from_millis(150));
    let flaky =
        Behaviour::Flaky { every: 3, failure: Box::new(Response::broken().into()), otherwise: Box::new(well()) };
    let characters =
        [well(), well(), well(), slow.into(), flaky, Response::broken().into(), Behaviour::ResetBeforeHead];
    let mut sites = Vec::new();
    for character in characters {
        sites.push(Site::start(character).await?);
    }
    Ok(sites)
}

fn targets_toml(names: &[String], urls: &[String]) -> anyhow::Result<String> {
    let mut text = format!("[defaults]\ninterval = '{}s'\ntimeout = '{}s'\n", INTERVAL.as_secs(), TIMEOUT.as_secs());
    for (name, url) in names.iter().zip(urls.iter().cycle()) {
        writeln!(text, "[[targets]]\nname = '{name}'\nurl = '{url}'")?;
    }
    Ok(text)
}

/// A service that suffers.
pub(super) enum Server {
    Kafka(Box<Kafka>),
    Postgres(Box<Postgres>),
}

impl Server {
    /// Makes it suffer until no faults come any more; returns it well.
    pub(super) async fn suffer(mut self, mut faults: mpsc::Receiver<Fault>) -> anyhow::Result<Self> {
        while let Some(Fault { kind, lasts, .. }) = faults.recv().await {
            block_in_place(|| self.strike(kind))?;
            tokio::time::sleep(lasts).await;
            block_in_place(|| self.mend(kind))?;
        }
        Ok(self)
    }

    fn strike(&mut self, kind: Kind) -> Result<(), local::Error> {
        match (self, kind) {
            (Self::Kafka(kafka), Kind::Kill) => kafka.kill(),
            (Self::Kafka(kafka), Kind::Stop) => kafka.stop(),
            (Self::Kafka(kafka), _) => kafka.pause(),
            (Self::Postgres(postgres), Kind::Kill) => postgres.kill(),
            (Self::Postgres(postgres), Kind::Stop) => postgres.stop(),
            (Self::Postgres(postgres), _) => postgres.pause(),
        }
    }

    fn mend(&mut self, kind: Kind) -> Result<(), local::Error> {
        match (self, kind) {
            (Self::Kafka(kafka), Kind::Freeze) => kafka.resume(),
            (Self::Kafka(kafka), _) => kafka.start_again(),
            (Self::Postgres(postgres), Kind::Freeze) => postgres.resume(),
            (Self::Postgres(postgres), _) => postgres.start_again(),
        }
    }
}

/// Makes a link suffer until no faults come any more; it is open then.
pub(super) async fn disturb(link: Arc<Proxy>, mut faults: mpsc::Receiver<Fault>) {
    while let Some(Fault { kind, lasts, .. }) = faults.recv().await {
        match kind {
            Kind::Reset => link.reset(),
            Kind::Cut => link.set(Link::Cut),
            Kind::Stall => link.set(Link::Stalled),
            Kind::Deaf => link.set(Link::Deaf),
            _ => link.set(Link::Slow(SLOW)),
        }
        tokio::time::sleep(lasts).await;
        link.heal();
    }
}
