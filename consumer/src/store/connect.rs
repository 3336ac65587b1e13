//! One connection, its driver, and how long it may take to answer.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::error::StoreError;
use super::settings::Postgres;
use super::tls;
use super::transaction::Way;

/// How long we wait for a lock before we look who holds it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection. Dropping it closes it.
pub(super) struct Session {
    pub(super) client: Client,
    way: Option<Way>,
    /// The partitions that this session owns, as the offsets' table says.
    pub(super) claimed: HashSet<i32>,
    _driver: JoinSet<()>,
}

pub(super) async fn connect(settings: &Postgres) -> Result<Session, StoreError> {
    let address = settings.address().map_err(|fault| StoreError::Denied(fault.message))?;
    let tls = tls::connector(address.sslmode, &address.root_certificate).map_err(StoreError::Denied)?;
    within(settings.connect_timeout, async {
        let (client, connection) = address.config.connect(tls).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to postgres ended");
            }
        });
        let session = Session { client, way: None, claimed: HashSet::new(), _driver: driver };
        session.client.batch_execute(&session_settings(settings)).await?;
        Ok(session)
    })
    .await
}

impl Session {
    pub(super) async fn way(&mut self) -> Result<Way, StoreError> {
        match &self.way {
            Some(way) => Ok(way.clone()),
            None => Ok(self.way.insert(Way::prepare(&self.client).await?).clone()),
        }
    }
}

/// What the server shall do when we stop answering: a consumer that is frozen in the middle of a transaction must not
/// hold its locks for ever. Transactions see what others have committed since they began, whatever the database's default is; and
/// plans are made for the days that a batch has, where one for all batches would lock all days.
fn session_settings(settings: &Postgres) -> String {
    let timeout = settings.timeout.as_millis();
    format!(
        "SET statement_timeout = {timeout}; \
         SET idle_in_transaction_session_timeout = {timeout}; \
         SET lock_timeout = {}; \
         SET default_transaction_isolation = 'read committed'; \
         SET plan_cache_mode = force_custom_plan; \
         SET jit = off; \
         SET tcp_keepalives_idle = 10; \
         SET tcp_keepalives_interval = 5; \
         SET tcp_keepalives_count = 3; \
         SET timezone = 'UTC'",
        LOCK_TIMEOUT.as_millis().min(timeout)
    )
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(StoreError::timeout(limit)))
}
