//! One connection, its driver, and how long it may take to answer.
//!
//! A pooler such as PgBouncer may stand between, and give every transaction another session. So nothing is asked of a session but its
//! transactions: settings last as long as one, and statements have no names outside of one.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::error::StoreError;
use super::settings::Postgres;
use super::tls;
use super::version;

/// How long we wait for a lock before we look who holds it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection. Dropping it closes it.
pub(super) struct Session {
    pub(super) client: Client,
    /// Begins a transaction.
    begin: String,
    /// The partitions that this session owns, as the offsets' table says.
    pub(super) claimed: HashSet<i32>,
    _driver: JoinSet<()>,
}

pub(super) async fn connect(settings: &Postgres) -> Result<Session, StoreError> {
    let address = settings.address().map_err(|fault| StoreError::Denied(fault.message))?;
    let tls = tls::connector(address.sslmode, &address.root_certificate).map_err(StoreError::Denied)?;
    within(settings.connect_timeout, async {
        let (client, connection) = address.config.connect(tls).await?;
        version::check(connection.parameter("server_version"))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to postgres ended");
            }
        });
        Ok(Session { client, begin: begin(settings), claimed: HashSet::new(), _driver: driver })
    })
    .await
}

impl Session {
    /// Begins a transaction, with our settings for it. Waited for: what follows a BEGIN that someone has cancelled would stand alone.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let begun = self.client.batch_execute(&self.begin).await;
        if begun.is_err() {
            self.roll_back().await;
        }
        Ok(begun?)
    }

    /// Takes a transaction back.
    pub(super) async fn roll_back(&self) {
        // When this fails, so will the next transaction.
        let _ = self.client.batch_execute("ROLLBACK").await;
    }

    /// Does something in a transaction of its own.
    pub(super) async fn transact<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.begin().await?;
        match work.await {
            Ok(done) => {
                self.client.batch_execute("COMMIT").await?;
                Ok(done)
            }
            Err(error) => {
                self.roll_back().await;
                Err(error)
            }
        }
    }
}

/// What the server shall do when we stop answering: a consumer that is frozen in the middle of a transaction must not
/// hold its locks for ever. Transactions see what others have committed since they began, whatever the database's default is.
fn begin(settings: &Postgres) -> String {
    let timeout = settings.timeout.as_millis();
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; \
         SET LOCAL statement_timeout = {timeout}; \
         SET LOCAL idle_in_transaction_session_timeout = {timeout}; \
         SET LOCAL lock_timeout = {}; \
         SET LOCAL jit = off; \
         SET LOCAL tcp_keepalives_idle = 10; \
         SET LOCAL tcp_keepalives_interval = 5; \
         SET LOCAL tcp_keepalives_count = 3; \
         SET LOCAL timezone = 'UTC'",
        LOCK_TIMEOUT.as_millis().min(timeout)
    )
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(StoreError::timeout(limit)))
}
