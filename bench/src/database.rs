//! Databases to measure in, and what is asked of them.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::ground::Ground;

/// A database of its own, and a connection to it.
pub(crate) struct Database {
    /// How to get there.
    pub(crate) url: String,
    /// For questions of ours.
    pub(crate) client: Client,
    name: String,
    _driver: JoinSet<()>,
}

impl Database {
    /// A new one without any tables.
    pub(crate) async fn new(ground: &Ground, name: &str) -> anyhow::Result<Self> {
        let url = tokio::task::block_in_place(|| ground.services.postgres.create_database(name))?;
        Self::open(&url, name).await
    }

    /// One that is there.
    pub(crate) async fn open(url: &str, name: &str) -> anyhow::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its end shows where a question remains without an answer.
            let _ = connection.await;
        });
        Ok(Self { url: url.to_owned(), client, name: name.to_owned(), _driver: driver })
    }

    /// Removes it with all that is in it.
    pub(crate) async fn remove(self, ground: &Ground) -> anyhow::Result<()> {
        let other = Self::open(&ground.services.postgres.url(), "postgres").await?;
        other.client.batch_execute(&format!("DROP DATABASE \"{}\" WITH (FORCE)", self.name)).await?;
        Ok(())
    }

    /// A number that it is asked for.
    pub(crate) async fn number(&self, question: &str) -> anyhow::Result<i64> {
        let row = self.client.query_one(question, &[]).await.with_context(|| question.to_owned())?;
        Ok(row.get::<_, Option<i64>>(0).unwrap_or_default())
    }

    /// Refuses to go on where commits would not be durable.
    pub(crate) async fn is_durable(&self) -> anyhow::Result<()> {
        for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
            let value: String = self.client.query_one(&format!("SHOW {setting}"), &[]).await?.get(0);
            anyhow::ensure!(value == "on", "{setting} is {value}: the figures would mean nothing");
        }
        Ok(())
    }

    /// The processes of other sessions of this database.
    pub(crate) async fn backends(&self) -> anyhow::Result<Vec<i32>> {
        let question = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
                        AND backend_type = 'client backend'";
        Ok(self.client.query(question, &[]).await?.iter().map(|row| row.get(0)).collect())
    }

    /// Runs `psql` with a command, and says how long that took.
    pub(crate) async fn psql(&self, command: impl AsRef<OsStr>) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let output = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", &self.url, "--command"])
            .arg(command)
            .stdin(Stdio::null())
            .output()
            .await
            .context("psql cannot be started")?;
        anyhow::ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(began.elapsed())
    }
}
