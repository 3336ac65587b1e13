//! How long to wait out trouble, and what to say of it: once when it begins, once when its cause has changed, once when it is over.

use std::time::Duration;

use shared::backoff::Backoff;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::StoreError;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// What needs a person need not be tried often: some servers lock out who does.
const SLOW: Duration = Duration::from_secs(30);
/// While a server restarts, the same outage has many messages; one that still stands then is another matter.
const SETTLED: Duration = Duration::from_secs(30);
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
    /// Kafka, where waiting alone does not help.
    #[error("{0}")]
    Refused(String),
}

/// Waits between tries, and says once what for, and once that it is over.
#[derive(Debug)]
pub struct Patience {
    backoff: Backoff,
    said: Option<Said>,
}

/// What was said last.
#[derive(Debug)]
struct Said {
    kind: Kind,
    text: String,
    at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Denied,
    Postgres,
    Kafka,
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
        let (kind, wait) = match trouble {
            Trouble::Store(StoreError::Denied(_) | StoreError::Suspect(_)) | Trouble::Refused(_) => {
                (Kind::Denied, SLOW)
            }
            Trouble::Store(_) => (Kind::Postgres, self.backoff.wait()),
            Trouble::Kafka(_) => (Kind::Kafka, self.backoff.wait()),
        };
        let text = trouble.to_string();
        if !self.is_news(kind, &text, Instant::now()) {
            tracing::debug!("{text}");
            return wait;
        }
        match kind {
            Kind::Denied => tracing::error!(retry_seconds = wait.as_secs(), "{text}"),
            Kind::Postgres | Kind::Kafka => tracing::warn!("{text}; waiting until it is over"),
        }
        wait
    }

    fn is_news(&mut self, kind: Kind, text: &str, now: Instant) -> bool {
        let news = self.said.as_ref().is_none_or(|said| {
            let settled = kind == Kind::Denied || now.duration_since(said.at) >= SETTLED;
            said.kind != kind || said.text != text && settled
        });
        if news {
            self.said = Some(Said { kind, text: text.to_owned(), at: now });
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_said_and_nothing_twice() {
        let mut patience = Patience::default();
        let begin = Instant::now();
        let table = [
            (0, Kind::Postgres, "connection reset", true),
            (1, Kind::Postgres, "starting up", false),
            (20, Kind::Postgres, "connection refused", false),
            (31, Kind::Postgres, "connection reset", false),
            (32, Kind::Postgres, "read-only", true),
            (33, Kind::Postgres, "read-only", false),
            (90, Kind::Postgres, "read-only", false),
            (91, Kind::Denied, "wrong password", true),
            (121, Kind::Denied, "wrong password", false),
            (151, Kind::Denied, "missing rights", true),
            (152, Kind::Kafka, "no answer", true),
        ];
        for (seconds, kind, text, news) in table {
            let now = begin + Duration::from_secs(seconds);
            assert_eq!(patience.is_news(kind, text, now), news, "{text} after {seconds} s");
        }
        patience.over();
        assert!(patience.is_news(Kind::Kafka, "no answer", begin + Duration::from_secs(153)));
    }
}
