//! Finished results on disk, from before Kafka is told of them until a broker has acknowledged them.
//!
//! An SQLite database in WAL mode with one table, `results(seq, payload)`: the message as JSON, under a number that grows. What was
//! appended survives the death of this process, however it dies. The database is synced at checkpoints only, so when the *machine*
//! crashes it stays sound but may lose what was appended in the last seconds, and may know results again that were delivered.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Another process has it open.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// The disk, or what is on it.
    #[error("spool {path}: {reason}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: rusqlite::Error,
    },
    /// A folder cannot be made, or a file not moved.
    #[error("spool {path}: {reason}")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
}

/// The only table, word for word as SQLite remembers it.
const TABLE: &str = "CREATE TABLE results (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL)";

/// A bounded queue on disk, the only reader and writer of its file.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    connection: Connection,
    max_bytes: u64,
    /// The number of the next result.
    next: u64,
    count: u64,
    bytes: u64,
}

impl Spool {
    /// Opens the spool in this file, or makes it. A file that is damaged or no spool is moved aside, loudly.
    ///
    /// # Errors
    /// Another process has it open, or the disk refuses.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        if let Some(folder) = path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|reason| SpoolError::Io { path: folder.to_owned(), reason })?;
        }
        match Self::try_open(path, max_bytes) {
            Err(SpoolError::Database { reason, .. }) if is_damaged(&reason) => {
                move_aside(path, &reason)?;
                Self::try_open(path, max_bytes)
            }
            opened => opened,
        }
    }

    fn try_open(path: &Path, max_bytes: u64) -> Result<Self, SpoolError> {
        let fault = |reason: rusqlite::Error| match reason.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SpoolError::InUse(path.to_owned()),
            _ => SpoolError::Database { path: path.to_owned(), reason },
        };
        keep_private(path);
        let connection = connect(path).map_err(fault)?;
        let query = "SELECT count(*), coalesce(sum(length(CAST(payload AS BLOB))), 0), coalesce(max(seq), 0) + 1,
                            coalesce(min(seq), 0) FROM results";
        let (count, bytes, next, first): (_, _, _, u64) = connection
            .query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .map_err(fault)?;
        tracing::debug!(spool.path = %path.display(), spool.results = count, spool.first = first, "spool opened");
        Ok(Self { path: path.to_owned(), connection, max_bytes, next, count, bytes })
    }

    /// How many results wait.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes of messages wait.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number that the next result gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Appends results, numbered from [`Self::next`] on, and removes delivered ones, in one transaction. What then exceeds the
    /// bound is dropped, oldest first; returns the numbers of those. A file that turns out to be damaged is moved aside, and
    /// the results are appended to a new one.
    ///
    /// # Errors
    /// The disk refuses. Nothing has changed then.
    pub fn update(&mut self, append: &[Vec<u8>], delivered: &[u64]) -> Result<Vec<u64>, SpoolError> {
        let mut updated = self.try_update(append, delivered);
        if let Err(reason) = &updated
            && is_damaged(reason)
        {
            self.start_over(reason)?;
            updated = self.try_update(append, delivered);
        }
        updated.map_err(|reason| SpoolError::Database { path: self.path.clone(), reason })
    }

    fn try_update(&mut self, append: &[Vec<u8>], delivered: &[u64]) -> rusqlite::Result<Vec<u64>> {
        let (mut count, mut bytes, mut next) = (self.count, self.bytes, self.next);
        let mut dropped = Vec::new();
        let transaction = self.connection.transaction()?;
        {
            let mut remove = transaction
                .prepare_cached("DELETE FROM results WHERE seq = ? RETURNING seq, length(CAST(payload AS BLOB))")?;
            for seq in delivered {
                // One that was dropped meanwhile is gone already.
                if let Some((_, length)) = remove.query_row([seq], removed).optional()? {
                    bytes = bytes.saturating_sub(length);
                    count = count.saturating_sub(1);
                }
            }
            let mut insert = transaction.prepare_cached("INSERT INTO results (seq, payload) VALUES (?, ?)")?;
            for payload in append {
                insert.execute(params![next, payload])?;
                next += 1;
                count += 1;
                bytes += payload.len() as u64;
            }
            let oldest = "DELETE FROM results WHERE seq = (SELECT min(seq) FROM results)
                          RETURNING seq, length(CAST(payload AS BLOB))";
            let mut oldest = transaction.prepare_cached(oldest)?;
            while bytes > self.max_bytes
                && let Some((seq, length)) = oldest.query_row([], removed).optional()?
            {
                bytes = bytes.saturating_sub(length);
                count = count.saturating_sub(1);
                dropped.push(seq);
            }
        }
        transaction.commit()?;
        (self.count, self.bytes, self.next) = (count, bytes, next);
        Ok(dropped)
    }

    /// The oldest results with numbers in `from..until`, at most `limit`. A file that turns out to be damaged is moved aside.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn read(&mut self, from: u64, until: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, SpoolError> {
        match self.try_read(from, until, limit) {
            Err(reason) if is_damaged(&reason) => self.start_over(&reason).map(|()| Vec::new()),
            read => read.map_err(|reason| SpoolError::Database { path: self.path.clone(), reason }),
        }
    }

    fn try_read(&self, from: u64, until: u64, limit: usize) -> rusqlite::Result<Vec<(u64, Vec<u8>)>> {
        // The column takes text and numbers, too, which somebody else must have put there.
        let query = "SELECT seq, CAST(payload AS BLOB) FROM results WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?";
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement.query_map(params![from, until, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// Goes on with an empty file in place of a damaged one; numbers are not used again.
    fn start_over(&mut self, reason: &rusqlite::Error) -> Result<(), SpoolError> {
        move_aside(&self.path, reason)?;
        tracing::error!(results.lost = self.count, "as many results as waited in it are lost, but for the newest");
        let next = self.next;
        *self = Self::try_open(&self.path, self.max_bytes)?;
        self.next = self.next.max(next);
        Ok(())
    }
}

/// Makes the file for its owner only, whatever the umask is; SQLite gives its log the same mode. What is wrong with it
/// SQLite will say. It is not opened here when it is there: to close it again would lift the locks of whoever has it
/// open in this process.
fn keep_private(path: &Path) {
    let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    for path in [path.to_owned(), log_of(path)] {
        // One of before, or another's: then it is as private as that one wants it.
        if path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o077 != 0) {
            let _ = fs::set_permissions(&path, Permissions::from_mode(0o600));
        }
    }
}

/// Where SQLite writes first.
fn log_of(path: &Path) -> PathBuf {
    PathBuf::from([path.as_os_str(), OsStr::new("-wal")].join(OsStr::new("")))
}

/// The database, with its table made or found to be ours.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = NORMAL;",
    )?;
    let tables = "SELECT coalesce(group_concat(sql, ';'), '') FROM sqlite_schema";
    match connection.query_row(tables, [], |row| row.get::<_, String>(0))?.as_str() {
        TABLE => {}
        "" => connection.execute_batch(TABLE)?,
        other => return Err(rusqlite::Error::InvalidColumnName(other.to_owned())),
    }
    Ok(connection)
}

fn removed(row: &Row<'_>) -> rusqlite::Result<(u64, u64)> {
    Ok((row.get(0)?, row.get(1)?))
}

/// Moves the database away, and its log with it, which would be no good for a new one.
fn move_aside(path: &Path, error: &rusqlite::Error) -> Result<(), SpoolError> {
    let aside = path.with_extension("damaged");
    tracing::error!(spool.path = %path.display(), moved.path = %aside.display(), %error,
        "the spool is damaged; it is moved aside, and what waited in it is not sent");
    let moves = [(path.to_owned(), aside.clone()), (log_of(path), log_of(&aside))];
    for (from, to) in moves {
        match fs::rename(&from, to) {
            Err(reason) if reason.kind() != ErrorKind::NotFound => return Err(SpoolError::Io { path: from, reason }),
            _ => {}
        }
    }
    Ok(())
}

/// Whether the trouble is what stands in the file: garbage, another's tables, values that no spool has.
fn is_damaged(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::ConstraintViolation | ErrorCode::Unknown
        ),
        None => true,
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
