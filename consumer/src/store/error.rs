//! What can go wrong with Postgres, sorted by what is to be done about it.

use tokio_postgres::error::SqlState;

use super::columns;
use super::partitions::NoDays;

/// What helps where something is missing.
const MIGRATE: &str = "; `consumer migrate` makes the tables";
/// Where Postgres refuses a row because somebody has told it to: a RAISE, and a policy about rows.
const REFUSING: [&str; 2] = ["exec_stmt_raise", "ExecWithCheckOptions"];
/// Classes that the standard and Postgres have for what is wrong with statements, rights and names.
const STANDARD: [&str; 21] = [
    "02", "03", "07", "0B", "0F", "0L", "0P", "0Z", "24", "28", "2B", "2D", "34", "3B", "3D", "3F", "42", "72", "F0",
    "HV", "01",
];

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
    /// Not this, it seems: code in the database has failed that runs for a row. It is about the row if it lets others pass.
    #[error("{0}")]
    Suspect(String),
    /// A row is there already.
    #[error("a slot is stored already")]
    Duplicate,
    /// No partition for a row. That is about its day, whatever the row has in it.
    #[error("{0}")]
    NoPartition(String),
    /// There are no tables for days that rows are of.
    #[error("there are no tables for {} days", _0.len())]
    NoDays(NoDays),
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
        let mut text = format!("{} ({})", db.message(), code.code());
        // Set where the error came out of a function in the database, as a trigger's.
        let within_code = db.where_().is_some_and(|place| !place.starts_with("COPY "));
        match code.code().get(..2).unwrap_or_default() {
            // A pooler that lets nobody have a transaction.
            _ if db.message().contains("statement pooling mode") => Self::Denied(format!("{text}; {POOL_MODE}")),
            // Someone has written down that this row is not wanted, under whichever code.
            _ if db.routine().is_some_and(|routine| REFUSING.contains(&routine)) => Self::Content(text),
            // An index of somebody else's finding is about something else, and so is one that a trigger has met.
            _ if *code == SqlState::UNIQUE_VIOLATION
                && !within_code
                && db.constraint().is_some_and(|name| name.ends_with("_pkey")) =>
            {
                Self::Duplicate
            }
            _ if *code == SqlState::CHECK_VIOLATION && db.constraint().is_none() && !within_code => {
                Self::NoPartition(text)
            }
            _ if *code == SqlState::LOCK_NOT_AVAILABLE => Self::Locked(text),
            // A column that no consumer of this version writes: the table is at fault, not the row.
            _ if *code == SqlState::NOT_NULL_VIOLATION
                && !within_code
                && !db.column().is_some_and(columns::may_be_null) =>
            {
                Self::Denied(text)
            }
            // Data, integrity, and what functions say of data: about the row, not about the server. Then an index entry or a row
            // that is too large.
            "09" | "20" | "21" | "22" | "23" | "27" | "2F" | "38" | "39" | "44" | "P0" | "54" => Self::Content(text),
            // Connection, transaction rollback, resources, operator, system.
            "08" | "25" | "40" | "53" | "57" | "58" | "XX" => {
                db.hint().into_iter().for_each(|hint| text.push_str(&format!("; {hint}")));
                Self::Unavailable(text)
            }
            _ if within_code => Self::Suspect(text),
            // Statements that were prepared before a table was altered, or that a pooler has thrown away: a new session prepares
            // them anew.
            "0A" | "26" | "55" => Self::Unavailable(text),
            _ if [SqlState::UNDEFINED_TABLE, SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_FUNCTION]
                .contains(code) =>
            {
                Self::Denied(text + MIGRATE)
            }
            class if STANDARD.contains(&class) => Self::Denied(text),
            // A code of somebody's own.
            _ => Self::Suspect(text),
        }
    }
}

impl StoreError {
    /// Whether it may be a single row that is refused, or its day.
    pub fn may_be_of_a_row(&self) -> bool {
        matches!(self, Self::Content(_) | Self::Suspect(_) | Self::NoPartition(_))
    }

    /// Whether it is about the connection or the server as a whole, and not about what was asked of it.
    pub(super) fn is_of_the_server(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Denied(text) => text.ends_with(MIGRATE),
            _ => false,
        }
    }
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
