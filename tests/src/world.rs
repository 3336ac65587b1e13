use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use local::Services;
use local::process::{Process, binaries};
use local::services::Options;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Row};

use crate::Slot;

/// How long anything may take that is awaited.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Started once a test program, unless `KAFKA_BROKERS` and `POSTGRES_URL` name services.
static SERVICES: LazyLock<Services> = LazyLock::new(|| match Services::start(&Options::default()) {
    Ok(services) => services,
    Err(error) => panic!("{error}"),
});

/// Our binaries, built once a test program: a bare `cargo test` does not build those of other packages.
static BINARIES: LazyLock<PathBuf> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo).args(["build", "--quiet", "--workspace", "--bins"]).status();
    assert!(built.is_ok_and(|status| status.success()), "the binaries cannot be built");
    binaries().unwrap_or_else(|error| panic!("{error}"))
});

/// The path of one of our binaries.
pub fn binary(name: &str) -> PathBuf {
    BINARIES.join(name)
}

/// A database, topics and a consumer group that no other test has.
pub struct World {
    /// What makes the names unique.
    pub name: String,
    /// The topic of the results.
    pub topic: String,
    /// Where Kafka is.
    pub brokers: String,
    /// The database of this world.
    pub postgres_url: String,
    client: Client,
    folder: TempDir,
    _connection: JoinSet<()>,
}

/// A row as tests compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The target's name.
    pub target: String,
    /// Up, down, missed or unmeasured.
    pub state: String,
    /// The class of the failure.
    pub class: Option<String>,
    /// The phase that it struck.
    pub phase: Option<String>,
    /// Its evidence.
    pub detail: Option<String>,
}

impl World {
    /// A new world on the shared services.
    ///
    /// # Panics
    /// The services cannot be used.
    pub async fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let database = name.clone();
        let (brokers, postgres_url) = tokio::task::spawn_blocking(move || {
            let url = SERVICES.postgres.create_database(&database).expect("a database");
            (SERVICES.kafka.brokers().to_owned(), url)
        })
        .await
        .expect("services");
        let (client, connection) = tokio_postgres::connect(&postgres_url, NoTls).await.expect("a connection");
        let mut task = JoinSet::new();
        task.spawn(async move {
            // A lost connection shows in the next query.
            let _ = connection.await;
        });
        let folder = tempfile::tempdir().expect("a folder");
        Self { topic: format!("{name}.checks"), name, brokers, postgres_url, client, folder, _connection: task }
    }

    /// Writes a file into the world's folder.
    ///
    /// # Panics
    /// The disk is full.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// The variables that both binaries need in this world.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KAFKA_BROKERS", self.brokers.clone()),
            ("KAFKA_TOPIC", self.topic.clone()),
            ("KAFKA_PARTITIONS", "2".to_owned()),
            ("SCHEDULE_LOCATION", self.name.clone()),
            ("CONSUME_GROUP", self.name.clone()),
            ("CONSUME_DEAD_LETTER_TOPIC", self.dead_letter_topic()),
            ("POSTGRES_URL", self.postgres_url.clone()),
            ("SPOOL_FILE", self.folder.path().join("spool.sqlite").display().to_string()),
        ]
    }

    /// Where this world's poison goes.
    pub fn dead_letter_topic(&self) -> String {
        format!("{}.dead-letter", self.topic)
    }

    /// Starts a binary in this world; later variables win.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(&self, name: &str, arguments: &[&str], more: &[(&'static str, &str)]) -> Process {
        let mut variables = self.variables();
        variables.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        Process::start(&binary(name), arguments, variables).expect("a process")
    }

    /// Runs a query in the world's database.
    ///
    /// # Panics
    /// The query is wrong.
    pub async fn query(&self, query: &str) -> Vec<Row> {
        self.client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    /// Whether the consumer has made its tables.
    pub async fn has_tables(&self) -> bool {
        self.query("SELECT to_regclass('check_results') IS NOT NULL").await[0].get(0)
    }

    /// All rows of the view, in order of slot and target.
    pub async fn stored(&self) -> Vec<Stored> {
        if !self.has_tables().await {
            return Vec::new();
        }
        let query = "SELECT target, state, failure_class, failure_phase, failure_detail
                     FROM check_results ORDER BY scheduled_at, target";
        let row = |row: &Row| Stored {
            target: row.get(0),
            state: row.get(1),
            class: row.get(2),
            phase: row.get(3),
            detail: row.get(4),
        };
        self.query(query).await.iter().map(row).collect()
    }

    /// The slots of all rows.
    pub async fn slots(&self) -> BTreeSet<Slot> {
        if !self.has_tables().await {
            return BTreeSet::new();
        }
        let query = "SELECT target, (extract(epoch FROM scheduled_at) * 1000)::bigint FROM check_results";
        self.query(query).await.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// Looks at the rows until they satisfy.
    ///
    /// # Panics
    /// They do not within the tests' patience.
    pub async fn until_stored(&self, what: &str, satisfied: impl Fn(&[Stored]) -> bool) -> Vec<Stored> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let rows = self.stored().await;
            if satisfied(&rows) {
                return rows;
            }
            assert!(tokio::time::Instant::now() < deadline, "never {what}: {rows:#?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Awaits something with the tests' patience.
///
/// # Panics
/// It takes longer.
pub async fn patiently<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}
