//! What can go wrong with Postgres, sorted by what is to be done about it.

use tokio_postgres::error::SqlState;

use super::columns;

/// The way out of a pooler that gives every statement another session.
const POOL_MODE: &str =
    "a batch is a transaction: let PgBouncer have pool_mode = transaction, or session, for this database";

/// Why something was not stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not now: connection lost, starting up, shutting down, full, too busy, deadlocked. Waited out.
    #[error("postgres is not available: {0}")]
    Unavailable(String),
    /// Not without a person: wrong password, missing rights, missing tables. Waited out slowly.
    #[error("postgres refuses to work for us: {0}")]
    Denied(String),
    /// Not this: a row has something that Postgres does not take.
    #[error("{0}")]
    Content(String),
    /// A row is there already.
    #[error("a slot is stored already")]
    Duplicate,
    /// No partition for a row, although one had been made.
    #[error("{0}")]
    NoPartition(String),
    /// The offsets are no longer where this consumer left them: another one has taken over, or a commit whose answer was lost
    /// did succeed.
    #[error("the offsets have been moved by another consumer")]
    Stale,
    /// Someone holds the lock that we need.
    #[error("postgres is not available: another session holds a lock for too long ({0})")]
    Locked(String),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let text = causes(&error);
            // The client has no other word for it.
            let refused = ["certificate verify failed", "server does not support TLS"];
            let denied = refused.iter().any(|reason| text.contains(reason));
            return if denied { Self::Denied(text) } else { Self::Unavailable(text) };
        };
        let code = db.code();
        let text = format!("{} ({})", db.message(), code.code());
        match code.code().get(..2).unwrap_or_default() {
            // A pooler that lets nobody have a transaction.
            _ if db.message().contains("statement pooling mode") => Self::Denied(format!("{text}; {POOL_MODE}")),
            // An index of somebody else's finding is about something else.
            _ if *code == SqlState::UNIQUE_VIOLATION && db.constraint().is_some_and(|name| name.ends_with("_pkey")) => {
                Self::Duplicate
            }
            _ if *code == SqlState::CHECK_VIOLATION && db.constraint().is_none() => Self::NoPartition(text),
            _ if *code == SqlState::LOCK_NOT_AVAILABLE => Self::Locked(text),
            // A column that no consumer of this version writes: the table is at fault, not the row.
            _ if *code == SqlState::NOT_NULL_VIOLATION && !db.column().is_some_and(columns::may_be_null) => {
                Self::Denied(text)
            }
            // Data and integrity: about the row, not about the server.
            "22" | "23" => Self::Content(text),
            // An index entry or a row that is too large.
            "54" => Self::Content(text),
            // Connection, transaction rollback, resources, operator, system; and statements that were prepared before a table
            // was altered, or that a pooler has thrown away: a new session prepares them anew.
            "08" | "0A" | "25" | "26" | "40" | "53" | "55" | "57" | "58" | "XX" => Self::Unavailable(text),
            _ if [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_FUNCTION]
                .contains(code) =>
            {
                Self::Denied(format!("{text}; `consumer migrate` makes the tables"))
            }
            _ => Self::Denied(text),
        }
    }
}

impl StoreError {
    /// The client did not hear back in time.
    pub(super) fn timeout(limit: std::time::Duration) -> Self {
        Self::Unavailable(format!("no answer within {limit:?}"))
    }
}

/// The message of an error and of its causes, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        // Some errors tell their causes themselves.
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        next = cause.source();
    }
    text
}
