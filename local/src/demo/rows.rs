//! The demo's questions to Postgres: all that it shows, it reads from there.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio_postgres::{Client, Error, NoTls, Row};

use super::account::Slot;

/// A row of `check_results`, as far as the demo shows it.
#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) target: String,
    pub(super) scheduled_at: SystemTime,
    pub(super) state: String,
    pub(super) status: Option<i32>,
    /// Microseconds: dns, connect, tls, first byte, transfer.
    pub(super) phases: [Option<i64>; 5],
    /// Microseconds from the end of the check until its row was written.
    pub(super) lag: i64,
    pub(super) reason: String,
}

/// A connection, and the location whose rows belong to this demo.
pub(super) struct Rows {
    client: Client,
    location: String,
    _connection: tokio::task::JoinSet<()>,
}

const COLUMNS: &str = "target, scheduled_at, state, http_status_code::int,
    dns_elapsed::bigint, connect_elapsed::bigint, tls_elapsed::bigint, first_byte_elapsed::bigint, transfer_elapsed::bigint,
    greatest(0, (extract(epoch FROM stored_at - scheduled_at) * 1e6)::bigint - lateness
        - coalesce(dns_elapsed, 0) - coalesce(http_elapsed, 0))::bigint AS lag,
    coalesce(failure_class || ': ' || failure_detail, CASE WHEN http_regex_found THEN 'regex found' ELSE '' END) AS reason";

impl Rows {
    pub(super) async fn connect(url: &str, location: &str) -> Result<Self, Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            // A lost connection shows in the next query.
            let _ = connection.await;
        });
        Ok(Self { client, location: location.to_owned(), _connection: task })
    }

    /// The latest check of each target. Before the consumer has made its tables there is none.
    pub(super) async fn latest(&self) -> Result<Vec<Check>, Error> {
        let query = format!(
            "SELECT DISTINCT ON (target) {COLUMNS} FROM check_results
             WHERE location = $1 AND scheduled_at > now() - interval '15 minutes' ORDER BY target, scheduled_at DESC"
        );
        self.checks(&query).await
    }

    /// The checks of the last seconds, oldest first.
    pub(super) async fn recent(&self, window: Duration) -> Result<Vec<Check>, Error> {
        let seconds = window.as_secs();
        let query = format!(
            "SELECT {COLUMNS} FROM check_results
             WHERE location = $1 AND scheduled_at > now() - interval '{seconds} seconds' ORDER BY stored_at, scheduled_at"
        );
        self.checks(&query).await
    }

    /// How many rows there are in each state.
    pub(super) async fn counts(&self) -> Result<Vec<(String, i64)>, Error> {
        if !self.has_tables().await? {
            return Ok(Vec::new());
        }
        let query = "SELECT state, count(*) FROM check_results WHERE location = $1 GROUP BY state ORDER BY state DESC";
        let rows = self.client.query(query, &[&self.location]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The slots of all rows.
    pub(super) async fn slots(&self) -> Result<BTreeSet<Slot>, Error> {
        if !self.has_tables().await? {
            return Ok(BTreeSet::new());
        }
        let query =
            "SELECT target, (extract(epoch FROM scheduled_at) * 1000)::bigint FROM check_results WHERE location = $1";
        let rows = self.client.query(query, &[&self.location]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn checks(&self, query: &str) -> Result<Vec<Check>, Error> {
        if !self.has_tables().await? {
            return Ok(Vec::new());
        }
        Ok(self.client.query(query, &[&self.location]).await?.iter().map(check).collect())
    }

    async fn has_tables(&self) -> Result<bool, Error> {
        let row = self.client.query_one("SELECT to_regclass('check_results') IS NOT NULL", &[]).await?;
        Ok(row.get(0))
    }
}

fn check(row: &Row) -> Check {
    Check {
        target: row.get(0),
        scheduled_at: row.get(1),
        state: row.get(2),
        status: row.get(3),
        phases: [row.get(4), row.get(5), row.get(6), row.get(7), row.get(8)],
        lag: row.get("lag"),
        reason: row.get("reason"),
    }
}
