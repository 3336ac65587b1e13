//! Postgres. Nobody else writes SQL.
//!
//! Tables written: `checks` and its days ([`partitions`]), `targets`, `locations`, `requests` ([`dimensions`]),
//! `consumer_offsets` ([`offsets`]), `schema_migrations` ([`migrate`]). They are described in `migrations/`.
//!
//! A batch is one transaction: the offsets move first, which fails at once when they are no longer ours to move, then the rows
//! come by COPY straight into the table. Where a slot is there already, the same batch is tried again
//! without what Postgres knows ([`transaction`]), and so are those after it for as long as there are such slots.

mod ahead;
mod columns;
mod connect;
mod copy;
mod dimensions;
mod error;
mod migrate;
mod offsets;
mod partitions;
pub mod settings;
mod status;
mod tls;
mod transaction;
mod url;
mod version;

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use crate::decode::{Cause, Refusal, Row};
use connect::{Session, within};
use partitions::Days;
use settings::Postgres;
use transaction::Copied;

pub use ahead::Ahead;
pub use dimensions::Known;
pub use error::StoreError;
pub use offsets::{Move, OLDEST, Topic};
pub use partitions::{NoDay, NoDays, day_of};
pub use status::{DayTable, Progress};

/// How many rows were new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Rows that are new.
    pub rows: u64,
    /// Rows whose slot was there before.
    pub duplicates: u64,
}

/// As many rows that are refused in the same way, with none that is not, are enough to say that it is not about them.
const ALIKE: usize = 8;

/// A connection that is made when it is needed, and what is known of the database through it.
pub struct Store {
    settings: Postgres,
    /// Whose offsets these are.
    group: String,
    session: Option<Session>,
    migrated: bool,
    known: Known,
    days: Days,
    /// Whether the last batch had slots that were there already: then the next one will, too.
    repeating: bool,
}

impl Store {
    /// A store that has not connected yet.
    pub fn new(settings: Postgres) -> Self {
        Self::of_group(settings, "")
    }

    /// The same for a consumer group, whose offsets no other may have meanwhile.
    pub fn of_group(settings: Postgres, group: &str) -> Self {
        Self {
            settings,
            group: group.to_owned(),
            session: None,
            migrated: false,
            known: Known::default(),
            days: Days::default(),
            repeating: false,
        }
    }

    /// The ids that it has found out, for those who encode ahead.
    pub fn known(&self) -> Known {
        self.known.clone()
    }

    /// Connects, and brings the tables up to date where that is wanted.
    ///
    /// # Errors
    /// As every method here: see [`StoreError`].
    pub async fn prepare(&mut self) -> Result<(), StoreError> {
        self.session().await.map(drop)
    }

    /// Brings the tables up to date; returns how many migrations were missing.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn migrate(&mut self) -> Result<usize, StoreError> {
        let mut session = connect::connect(&self.settings).await?;
        migrate::migrate(&mut session, &self.settings).await
    }

    /// Claims partitions and returns the next offsets that are known of them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn claim(&mut self, topic: &Topic, partitions: &[i32]) -> Result<Vec<(i32, i64)>, StoreError> {
        let (limit, group) = (self.settings.timeout, self.group.clone());
        let session = self.session().await?;
        let claim = offsets::claim(&session.client, topic, &group, partitions);
        let claimed = within(limit, session.transact(claim)).await;
        if let Err(StoreError::Locked(_)) = claimed {
            fence(session, limit, topic, partitions).await;
        }
        session.claimed = claimed.iter().flatten().map(|(partition, _)| *partition).collect();
        self.keep(claimed)
    }

    /// Gives partitions that are new their first offsets, in the topic of this id. They are still to be claimed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin(&mut self, topic: &Topic, id: Option<&str>, offsets: &[(i32, i64)]) -> Result<(), StoreError> {
        let limit = self.settings.timeout;
        let session = self.session().await?;
        let begun = within(limit, session.transact(offsets::begin(&session.client, topic, id, offsets))).await;
        self.keep(begun)
    }

    /// Moves offsets where there is nothing to store between, and notes the topic's id where it is known.
    ///
    /// # Errors
    /// See [`StoreError`]. None has moved then.
    pub async fn set_offsets(&mut self, topic: &Topic, id: Option<&str>, moves: &[Move]) -> Result<(), StoreError> {
        let limit = self.settings.timeout;
        let session = self.session().await?;
        let moved = within(limit, session.transact(offsets::settle(&session.client, topic, id, moves))).await;
        self.keep(moved)
    }

    /// Lets all partitions of a topic begin anew; returns how many were known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rewind(&mut self, topic: &Topic) -> Result<u64, StoreError> {
        let limit = self.settings.timeout;
        let session = self.session().await?;
        let rewound = within(limit, session.transact(offsets::rewind(&session.client, topic))).await;
        self.keep(rewound)
    }

    /// Stores rows and moves offsets, in one transaction. What was encoded ahead saves time if it is of just these rows.
    ///
    /// # Errors
    /// See [`StoreError`]. Nothing is stored then, unless the connection was lost with the answer to the commit: then the offsets
    /// have moved, and the next try is [`StoreError::Stale`].
    pub async fn write(
        &mut self,
        rows: &[Row],
        ahead: &Ahead,
        topic: &Topic,
        moves: &[Move],
        now: Timestamp,
    ) -> Result<Stored, StoreError> {
        let limit = self.settings.timeout;
        self.session().await?;
        let written = match self.write_once(rows, ahead, topic, moves, now).await {
            // Someone has dropped a day that we knew.
            Err(StoreError::NoPartition(_)) if self.days.forget() => {
                self.write_once(rows, ahead, topic, moves, now).await
            }
            written => written,
        };
        if let (Err(StoreError::Locked(_)), Some(session)) = (&written, &self.session) {
            let partitions: Vec<i32> = moves.iter().map(|step| step.partition).collect();
            fence(session, limit, topic, &partitions).await;
        }
        self.keep(written)
    }

    /// Makes the tables that rows need. Returns the days that have none, which [`Self::write`] takes no rows of.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn make_days(
        &mut self,
        instants: impl Iterator<Item = Timestamp>,
        now: Timestamp,
    ) -> Result<NoDays, StoreError> {
        let limit = self.settings.timeout;
        self.session().await?;
        let session = self.session.as_mut().ok_or_else(lost)?;
        let made = self.days.ensure(session, instants, now, limit).await;
        self.keep(made)
    }

    /// Whether a day to come has no table, and could not be given one.
    pub fn lacks_day_ahead(&self) -> bool {
        self.days.is_obstructed()
    }

    /// Finds the rows that Postgres refuses for their content, by index, by trying ever smaller parts and taking them back.
    ///
    /// # Errors
    /// See [`StoreError`]. What seems to be about rows is about none of them when all are refused.
    pub async fn refused(&mut self, rows: &[Row], now: Timestamp) -> Result<Vec<(usize, Refusal)>, StoreError> {
        let limit = self.settings.timeout;
        // A day may have gone, and the next try must go the way that is rehearsed here.
        self.days.forget();
        self.repeating = true;
        let mut days = self.make_days(rows.iter().map(|row| row.scheduled_at), now).await?;
        let (mut refused, mut suspects, mut any_passed) = (Vec::new(), Vec::new(), false);
        // The earlier half is on top, so that what is found ascends.
        let mut parts = Vec::from([(0..rows.len()).collect::<Vec<usize>>()]);
        while let Some(mut part) = parts.pop() {
            part.retain(|index| !days.contains_key(&day_of(rows[*index].scheduled_at)));
            let Some((last, others)) = part.split_last() else { continue };
            self.session().await?;
            let tried = within(limit, self.rehearse(part.iter().map(|index| &rows[*index]))).await;
            match tried {
                Ok(()) => any_passed = true,
                Err(error) if !error.may_be_of_a_row() => return self.keep(Err(error)),
                Err(_) if !others.is_empty() => {
                    let later = part.split_off(part.len() / 2);
                    parts.extend([later, part]);
                }
                Err(StoreError::NoPartition(reason)) => {
                    days.insert(day_of(rows[*last].scheduled_at), NoDay::Unmade(reason));
                }
                Err(error @ StoreError::Suspect(_)) => suspects.push((*last, error)),
                Err(error) => refused.push((*last, refusal(&error))),
            }
            if !any_passed && suspects.len() >= ALIKE {
                break;
            }
        }
        match suspects.first() {
            _ if !days.is_empty() => Err(StoreError::NoDays(days)),
            Some((_, error)) if !any_passed => self.keep(Err(StoreError::Denied(error.to_string()))),
            _ => {
                refused.extend(suspects.iter().map(|(index, error)| (*index, refusal(error))));
                refused.sort_by_key(|(index, _)| *index);
                Ok(refused)
            }
        }
    }

    /// How far the partitions of a topic are stored that are known.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn progress(&mut self, topic: &Topic) -> Result<Vec<Progress>, StoreError> {
        let limit = self.settings.timeout;
        let session = self.session().await?;
        let progress = within(limit, status::progress(&session.client, topic)).await;
        self.keep(progress)
    }

    /// The tables of results, oldest first.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn days(&mut self) -> Result<Vec<DayTable>, StoreError> {
        let limit = self.settings.timeout;
        let session = self.session().await?;
        let days = within(limit, status::days(&session.client)).await;
        self.keep(days)
    }

    async fn write_once(
        &mut self,
        rows: &[Row],
        ahead: &Ahead,
        topic: &Topic,
        moves: &[Move],
        now: Timestamp,
    ) -> Result<Stored, StoreError> {
        let days = self.make_days(rows.iter().map(|row| row.scheduled_at), now).await?;
        if !days.is_empty() {
            return Err(StoreError::NoDays(days));
        }
        let session = self.session.as_mut().ok_or_else(lost)?;
        self.days.retain(&session.client, self.settings.retention, now).await;
        within(self.settings.timeout, self.attempt(rows, ahead, topic, moves)).await
    }

    async fn attempt(
        &mut self,
        rows: &[Row],
        ahead: &Ahead,
        topic: &Topic,
        moves: &[Move],
    ) -> Result<Stored, StoreError> {
        let data = self.encode(rows.iter(), ahead).await?;
        let repeating = self.repeating;
        let group = self.group.clone();
        let session = self.present()?;
        // Else nobody could end this session, should it freeze while it stores them.
        let partitions = moves.iter().map(|step| step.partition);
        let new: Vec<i32> = partitions.filter(|partition| !session.claimed.contains(partition)).collect();
        if !new.is_empty() {
            session.transact(offsets::claim(&session.client, topic, &group, &new)).await?;
            session.claimed.extend(new);
        }
        let count = rows.len() as u64;
        if !repeating {
            match session.store(topic, moves, data.clone(), Copied::All).await {
                Err(StoreError::Duplicate) => {}
                stored => return stored.map(|rows| Stored { rows, duplicates: 0 }),
            }
        }
        let rows = session.store(topic, moves, data, Copied::New).await?;
        self.repeating = rows < count;
        Ok(Stored { rows, duplicates: count - rows })
    }

    async fn rehearse<'a>(&mut self, rows: impl ExactSizeIterator<Item = &'a Row> + Clone) -> Result<(), StoreError> {
        let data = self.encode(rows, &Ahead::default()).await?;
        let session = self.present()?;
        session.rehearse(data).await
    }

    /// Rows with the ids that they refer to.
    async fn encode<'a>(
        &mut self,
        rows: impl ExactSizeIterator<Item = &'a Row> + Clone,
        ahead: &Ahead,
    ) -> Result<Bytes, StoreError> {
        let session = self.session.as_mut().ok_or_else(lost)?;
        let generation = self.known.lock().generation();
        if let Some(data) = ahead.of(rows.len(), generation) {
            return Ok(data);
        }
        let ids = dimensions::resolve(&self.known, session, rows.clone()).await?;
        Ok(copy::encode(rows, &ids))
    }

    fn present(&mut self) -> Result<&mut Session, StoreError> {
        self.session.as_mut().ok_or_else(lost)
    }

    async fn session(&mut self) -> Result<&mut Session, StoreError> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = None;
            let connected = connect::connect(&self.settings).await;
            let mut session = self.keep(connected)?;
            if self.settings.migrate && !self.migrated {
                migrate::migrate(&mut session, &self.settings).await?;
                self.migrated = true;
            }
            // It may be another database behind the same address, restored from yesterday.
            self.known.lock().renew();
            self.days.forget();
            self.session = Some(session);
        }
        self.present()
    }

    /// Gives up a connection of which nobody knows in which state it is.
    fn keep<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Unavailable(_) | StoreError::Denied(_)) = &result {
            self.session = None;
        }
        if let Err(StoreError::Denied(_) | StoreError::Suspect(_)) = &result {
            // Tables may be missing in a database that was restored, or made anew.
            self.migrated = false;
        }
        result
    }
}

fn refusal(error: &StoreError) -> Refusal {
    Refusal::new(Cause::Postgres, format!("postgres refuses the row: {error}"))
}

fn lost() -> StoreError {
    StoreError::Unavailable("the connection is lost".to_owned())
}

async fn fence(session: &Session, limit: Duration, topic: &Topic, partitions: &[i32]) {
    match within(limit, session.transact(offsets::fence(&session.client, topic, partitions))).await {
        Ok(0) => {}
        Ok(ended) => {
            tracing::warn!(postgres.sessions = ended, "ended sessions of former owners that held our partitions");
        }
        Err(error) => tracing::debug!(%error, "sessions of former owners could not be ended"),
    }
}

#[cfg(test)]
mod tests;
