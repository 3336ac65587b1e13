//! What benchmarks stand on: real services, our own binaries of this build, a database and topics for each.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use local::Services;
use local::process::{Process, binaries};
use local::services::Options;
use shared::kafka::{ClientEvents, Kafka, ensure_topics};
use tempfile::TempDir;

/// How long anything may take that is awaited.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Real services, and how thorough to be.
pub(crate) struct Ground {
    /// Kafka and Postgres.
    pub(crate) services: Services,
    /// Whether this is a trial run.
    pub(crate) quick: bool,
    /// The sizes of a table that grows.
    pub(crate) millions: Vec<u16>,
    binaries: PathBuf,
    began: Instant,
}

/// A database, topics and files that no other benchmark has.
pub(crate) struct Plot {
    /// What makes the names unique.
    pub(crate) name: String,
    /// The topic of the results.
    pub(crate) topic: String,
    /// The database.
    pub(crate) postgres_url: String,
    /// For files of its own.
    pub(crate) folder: TempDir,
    /// The cluster.
    pub(crate) brokers: String,
    binaries: PathBuf,
}

impl Ground {
    /// Starts the services, unless `KAFKA_BROKERS` and `POSTGRES_URL` name some.
    pub(crate) fn new(quick: bool, millions: Vec<u16>) -> anyhow::Result<Self> {
        let services = Services::start(&Options::default())?;
        Ok(Self { services, quick, millions, binaries: binaries()?, began: Instant::now() })
    }

    /// Tells on standard error what goes on: these runs take minutes.
    pub(crate) fn say(&self, what: &str) {
        let seconds = self.began.elapsed().as_secs();
        eprintln!("[{:>3}:{:02}] {what}", seconds / 60, seconds % 60);
    }

    /// A full figure, or a small one for a trial run.
    pub(crate) fn or_quick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A new database, and a topic with so many partitions.
    pub(crate) async fn plot(&self, partitions: i32) -> anyhow::Result<Plot> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("b{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let postgres_url = tokio::task::block_in_place(|| self.services.postgres.create_database(&name))?;
        let brokers = self.services.kafka.brokers().to_owned();
        let topic = format!("{name}.checks");
        let kafka = Kafka { brokers: brokers.clone(), partitions, ..Kafka::default() };
        let letters = format!("{topic}.dead-letter");
        let topics = [topic.as_str(), &letters];
        ensure_topics(&kafka, "bench", &topics, &ClientEvents::default()).await?;
        let folder = tempfile::Builder::new().prefix("slotwatch-bench-").tempdir()?;
        Ok(Plot { name, topic, postgres_url, folder, brokers, binaries: self.binaries.clone() })
    }
}

impl Plot {
    /// Writes a file into the plot's folder, and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    }

    fn program(&self, name: &str) -> PathBuf {
        self.binaries.join(name)
    }

    /// Makes the tables in a database.
    pub(crate) async fn migrate(&self, url: &str) -> anyhow::Result<()> {
        let migrate = tokio::process::Command::new(self.program("consumer"))
            .arg("migrate")
            .env("POSTGRES_URL", url)
            .output()
            .await?;
        anyhow::ensure!(migrate.status.success(), "{}", String::from_utf8_lossy(&migrate.stderr));
        Ok(())
    }

    /// Starts one of our binaries on this plot with defaults but for these variables.
    pub(crate) fn start(&self, name: &str, more: &[(&'static str, &str)]) -> anyhow::Result<Process> {
        let mut variables = vec![
            ("KAFKA_BROKERS", self.brokers.clone()),
            ("KAFKA_TOPIC", self.topic.clone()),
            ("SCHEDULE_LOCATION", self.name.clone()),
            ("CONSUME_GROUP", self.name.clone()),
            ("POSTGRES_URL", self.postgres_url.clone()),
            ("SPOOL_FILE", self.folder.path().join("spool.sqlite").display().to_string()),
            ("ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
        ];
        variables.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let program = self.program(name);
        Process::start(&program, &[], variables).with_context(|| format!("cannot start {}", program.display()))
    }
}
