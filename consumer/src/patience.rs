//! How long to wait out trouble, and what to say of it: once when it begins, once when it is over.

use std::time::Duration;

use shared::backoff::Backoff;
use tokio_util::sync::CancellationToken;

use crate::store::StoreError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// What needs a person need not be tried often: some servers lock out who does.
const SLOW: Duration = Duration::from_secs(30);
/// How soon a wait notices that it is for nothing.
const GLANCE: Duration = Duration::from_millis(250);

/// What stands in the way of a batch.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Postgres.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka, in words.
    #[error("{0}")]
    Kafka(String),
}

/// Waits between tries, and says once what for, and once that it is over.
#[derive(Debug)]
pub struct Patience {
    backoff: Backoff,
    said: Option<String>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { backoff: Backoff::new(FIRST, LONGEST), said: None }
    }
}

impl Patience {
    /// Waits until the next try is due. False when it is for nothing.
    pub async fn wait(&mut self, trouble: &Trouble, over: impl Fn() -> bool, stop: &CancellationToken) -> bool {
        let mut left = self.say(trouble);
        while !left.is_zero() {
            if over() {
                return false;
            }
            let slice = left.min(GLANCE);
            if stop.run_until_cancelled(tokio::time::sleep(slice)).await.is_none() {
                return false;
            }
            left -= slice;
        }
        !over()
    }

    /// To be called after every success.
    pub fn over(&mut self) {
        if self.said.take().is_some() {
            tracing::info!("records are stored again");
        }
        self.backoff.reset();
    }

    fn say(&mut self, trouble: &Trouble) -> Duration {
        // While a server restarts, the same outage has many messages.
        let (kind, wait) = match trouble {
            Trouble::Store(StoreError::Denied(reason)) => (format!("denied: {reason}"), SLOW),
            Trouble::Store(_) => ("postgres".to_owned(), self.backoff.wait()),
            Trouble::Kafka(_) => ("kafka".to_owned(), self.backoff.wait()),
        };
        if self.said.as_ref() != Some(&kind) {
            match trouble {
                Trouble::Store(StoreError::Denied(_)) => {
                    tracing::error!(retry_seconds = wait.as_secs(), "{trouble}");
                }
                _ => tracing::warn!("{trouble}; waiting until it is over"),
            }
            self.said = Some(kind);
        } else {
            tracing::debug!("{trouble}");
        }
        wait
    }
}
