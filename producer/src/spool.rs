//! Finished results on disk, from before Kafka is told of them until a broker has acknowledged them.
//!
//! An SQLite database in WAL mode with one table, `results(seq, payload)`: the message as JSON, under a number that grows. What was
//! appended survives the death of this process, however it dies. The database is synced at checkpoints only, so when the *machine*
//! crashes it stays sound but may lose what was appended in the last seconds, and may know results again that were delivered.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, params};

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
            fs::create_dir_all(folder).map_err(|reason| SpoolError::Io { path: folder.to_owned(), reason })?;
        }
        match Self::try_open(path, max_bytes) {
            Err(SpoolError::Database { reason, .. }) if is_damaged(&reason) => {
                let aside = path.with_extension("damaged");
                tracing::error!(spool.path = %path.display(), moved.path = %aside.display(), error = %reason,
                    "the spool is damaged; it is moved aside, and what waited in it is not sent");
                fs::rename(path, &aside).map_err(|reason| SpoolError::Io { path: path.to_owned(), reason })?;
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
        let connection = Connection::open(path).map_err(fault)?;
        connection
            .execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE;
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = NORMAL;
                 CREATE TABLE IF NOT EXISTS results (seq INTEGER PRIMARY KEY, payload BLOB NOT NULL);",
            )
            .map_err(fault)?;
        let query = "SELECT count(*), coalesce(sum(length(payload)), 0), coalesce(max(seq), 0) + 1 FROM results";
        let (count, bytes, next) =
            connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(fault)?;
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
    /// bound is dropped, oldest first; returns how many that were.
    ///
    /// # Errors
    /// The disk refuses. Nothing has changed then.
    pub fn update(&mut self, append: &[Vec<u8>], delivered: &[u64]) -> Result<u64, SpoolError> {
        self.try_update(append, delivered).map_err(|reason| SpoolError::Database { path: self.path.clone(), reason })
    }

    fn try_update(&mut self, append: &[Vec<u8>], delivered: &[u64]) -> rusqlite::Result<u64> {
        let (mut count, mut bytes, mut next) = (self.count, self.bytes, self.next);
        let mut dropped = 0;
        let transaction = self.connection.transaction()?;
        {
            let mut remove =
                transaction.prepare_cached("DELETE FROM results WHERE seq = ? RETURNING length(payload)")?;
            for seq in delivered {
                let mut removed = remove.query([seq])?;
                // One that was dropped meanwhile is gone already.
                if let Some(row) = removed.next()? {
                    bytes -= row.get::<_, u64>(0)?;
                    count -= 1;
                }
            }
            let mut insert = transaction.prepare_cached("INSERT INTO results (seq, payload) VALUES (?, ?)")?;
            for payload in append {
                insert.execute(params![next, payload])?;
                next += 1;
                count += 1;
                bytes += payload.len() as u64;
            }
            let oldest = "DELETE FROM results WHERE seq = (SELECT min(seq) FROM results) RETURNING length(payload)";
            let mut oldest = transaction.prepare_cached(oldest)?;
            while bytes > self.max_bytes && count > 0 {
                bytes -= oldest.query_row([], |row| row.get::<_, u64>(0))?;
                count -= 1;
                dropped += 1;
            }
        }
        transaction.commit()?;
        (self.count, self.bytes, self.next) = (count, bytes, next);
        Ok(dropped)
    }

    /// The oldest results with numbers in `from..until`, at most `limit`.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn read(&self, from: u64, until: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, SpoolError> {
        self.try_read(from, until, limit).map_err(|reason| SpoolError::Database { path: self.path.clone(), reason })
    }

    fn try_read(&self, from: u64, until: u64, limit: usize) -> rusqlite::Result<Vec<(u64, Vec<u8>)>> {
        let query = "SELECT seq, payload FROM results WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?";
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement.query_map(params![from, until, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

#[cfg(test)]
mod tests;
