use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use local::Services;
use local::postgres::Postgres;
use local::process::{Process, binaries};
use local::services::Options;
use local::site::Site;
use shared::kafka::{ClientEvents, Kafka, ensure_topics};
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Row};

use crate::{Record, Sent, Slot, read_topic, send};

/// How long anything may take that is awaited.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How often one looks whether it has come; to look without a pause would starve those that are awaited.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// The consumers' sessions in a world's database, for a query to go on from.
pub const SESSIONS: &str =
    "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'slotwatch-consumer'";
const PARTITIONS: i32 = 2;

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
    /// The database, and the begin of all other names here.
    pub name: String,
    /// The topic of the results.
    pub topic: String,
    /// Where Kafka is.
    pub brokers: String,
    /// The database of this world.
    pub postgres_url: String,
    /// Made anew when the server has closed it, and the task that drives it.
    connection: Mutex<Option<(Client, JoinSet<()>)>>,
    folder: TempDir,
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
        let services = tokio::task::spawn_blocking(|| &*SERVICES).await.expect("services");
        Self::on(services.kafka.brokers(), &services.postgres).await
    }

    /// A new world on these services, for tests that do harm to one of them.
    ///
    /// # Panics
    /// The services cannot be used.
    pub async fn on(brokers: &str, postgres: &Postgres) -> Self {
        // Other test programs use the same services, and process ids come round again.
        let name = format!("t{:016x}", fastrand::u64(..));
        let postgres_url = tokio::task::block_in_place(|| postgres.create_database(&name)).expect("a database");
        Self {
            topic: format!("{name}.checks"),
            name,
            brokers: brokers.to_owned(),
            postgres_url,
            connection: Mutex::default(),
            folder: tempfile::tempdir().expect("a folder"),
        }
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
            ("KAFKA_PARTITIONS", PARTITIONS.to_string()),
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

    /// Runs a command of a binary in this world whose output nobody reads, as `head` does that has seen enough.
    ///
    /// # Panics
    /// It does not exit with 0.
    pub async fn run_unread(&self, name: &str, arguments: &[&str], more: &[(&'static str, &str)]) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = tokio::process::Command::new(binary(name));
        command.args(arguments).envs(self.variables()).envs(more.iter().copied());
        command.stdout(writer).stderr(Stdio::piped()).kill_on_drop(true);
        let output = patiently("the command", command.spawn().expect("a process").wait_with_output());
        let output = output.await.expect("its end");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes the world's topics, for tests that start no producer.
    ///
    /// # Panics
    /// Kafka refuses.
    pub async fn make_topics(&self) {
        let kafka = Kafka { brokers: self.brokers.clone(), partitions: PARTITIONS, ..Kafka::default() };
        let topics = [self.topic.as_str(), &self.dead_letter_topic()];
        patiently("making topics", ensure_topics(&kafka, "tests", &topics, &ClientEvents::default()))
            .await
            .expect("topics");
    }

    /// Puts records into the world's topic.
    ///
    /// # Panics
    /// Kafka does not take them.
    pub async fn send(&self, sent: &Sent) {
        let (brokers, topic, records) = (self.brokers.clone(), self.topic.clone(), sent.records.clone());
        let sending = tokio::task::spawn_blocking(move || send(&brokers, &topic, &records));
        patiently("sending", sending).await.expect("records");
    }

    /// What the world's dead-letter topic has.
    ///
    /// # Panics
    /// It cannot be read.
    pub async fn dead_letters(&self) -> Vec<Record> {
        let (brokers, topic) = (self.brokers.clone(), self.dead_letter_topic());
        let reading = tokio::task::spawn_blocking(move || read_topic(&brokers, &topic));
        patiently("reading the dead letters", reading).await.expect("dead letters")
    }

    /// Waits until all that is due is stored, and holds that nothing else is, and nothing twice.
    ///
    /// # Panics
    /// It is not within the tests' patience; the message names a slot of each kind.
    pub async fn accounts_for(&self, due: &BTreeSet<Slot>) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut slots = self.slots().await;
        while !due.is_subset(&slots) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
            slots = self.slots().await;
        }
        let (lost, alien) = (due.difference(&slots), slots.difference(due));
        let (lost, alien) = (lost.collect::<Vec<_>>(), alien.collect::<Vec<_>>());
        assert!(
            lost.is_empty() && alien.is_empty(),
            "{} of {} due are not stored, such as {:?}; {} are not due, such as {:?}",
            lost.len(),
            due.len(),
            lost.first(),
            alien.len(),
            alien.first()
        );
        let rows: i64 = self.query("SELECT count(*) FROM check_results").await[0].get(0);
        assert_eq!(usize::try_from(rows), Ok(due.len()), "rows");
    }

    /// How many records of the world's topic are stored, by the offsets in Postgres.
    pub async fn offsets(&self) -> i64 {
        if !self.has_tables().await {
            return 0;
        }
        self.query("SELECT coalesce(sum(greatest(next_offset, 0)), 0)::bigint FROM consumer_offsets").await[0].get(0)
    }

    /// Runs a query in the world's database.
    ///
    /// # Panics
    /// The query is wrong.
    pub async fn query(&self, query: &str) -> Vec<Row> {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_none_or(|(client, _)| client.is_closed()) {
            *connection = Some(self.connect().await);
        }
        let (client, _) = connection.as_ref().expect("a connection");
        client.query(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}"))
    }

    /// A connection of its own to the world's database, for tests that stand in the way there; it lasts as long as its driver.
    ///
    /// # Panics
    /// There is none to be had.
    pub async fn connect(&self) -> (Client, JoinSet<()>) {
        self.connect_to(&self.name).await
    }

    /// The same to another database of the server.
    ///
    /// # Panics
    /// There is none to be had.
    pub async fn connect_to(&self, database: &str) -> (Client, JoinSet<()>) {
        let mut config: tokio_postgres::Config = self.postgres_url.parse().expect("a URL");
        config.dbname(database);
        let (client, connection) = config.connect(NoTls).await.expect("a connection");
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // A lost connection shows in the next query.
            let _ = connection.await;
        });
        (client, driver)
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

/// Looks until it is so.
///
/// # Panics
/// It is not within the tests' patience.
pub async fn until(what: &str, so: impl AsyncFn() -> bool) {
    patiently(what, async {
        while !so().await {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

/// Waits until a site has been asked so many times.
///
/// # Panics
/// It is not within the tests' patience.
pub async fn until_hit(site: &Site, times: u64) {
    until("the checks", async || site.hits() >= times).await;
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
