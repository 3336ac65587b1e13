//! The days of `checks`: one table a UTC day, named `checks_20261121`, made ahead and when a batch needs one, and dropped when all in it
//! is older than is wanted.
//!
//! That a table cannot be made is never the fault of a row: it is told apart from all that a row may be refused for.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connect::{Session, within};
use super::error::StoreError;
use super::settings::Retention;

/// How many days after today have their table already.
const AHEAD: i64 = 3;
/// Days that are older than so many have a table made only while there are fewer tables than [`MOST`].
const RECENT: i64 = 7;
/// Whoever looks at all days takes two locks for each, and Postgres has room for 6,400 unless it is told otherwise.
const MOST: i64 = 1000;
const SECONDS_OF_DAY: i64 = 86_400;
/// How often old days are looked for.
const DROP_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// When it is tried again to drop one that somebody reads, or to make one ahead.
const AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// How many tables there are.
const COUNT: &str = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'checks'::regclass";
/// The conditions of partitions that may have this day: its own, and those that somebody else has made.
const CONDITIONS: &str = "SELECT pg_get_partition_constraintdef(c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
    WHERE i.inhparent = 'checks'::regclass AND (c.relname = $1 OR c.relname !~ '^checks_\\d{8}$')";

/// Why a day has no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDay {
    /// It cannot be made now, for this reason.
    Unmade(String),
    /// There are too many already to make one for so long ago.
    TooMany,
}

impl std::fmt::Display for NoDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unmade(why) => f.write_str(why),
            Self::TooMany => write!(
                f,
                "more than {RECENT} days ago, for which no table is made where there are {MOST} days' tables already (set \
                 postgres.retention, or make it by hand: `SELECT make_day('2026-11-21')`)"
            ),
        }
    }
}

/// Days without a table, and why.
pub type NoDays = BTreeMap<Date, NoDay>;

/// The UTC day of an instant.
pub fn day_of(at: Timestamp) -> Date {
    date(day(at))
}

/// The days that are known to have a table, counted from 1970.
#[derive(Debug, Default)]
pub(super) struct Days {
    known: HashSet<i64>,
    /// When days to come are made, and the day for which all are there.
    ahead_at: Timestamp,
    today: Option<i64>,
    /// What stands in the way of a day to come.
    obstacle: Option<String>,
    /// When old days are looked for again.
    drop_at: Timestamp,
}

impl Days {
    /// Forgets what is known, and says whether that was anything.
    pub(super) fn forget(&mut self) -> bool {
        self.today = None;
        self.ahead_at = Timestamp::UNIX_EPOCH;
        !std::mem::take(&mut self.known).is_empty()
    }

    /// Whether a day to come could not be made.
    pub(super) fn is_obstructed(&self) -> bool {
        self.obstacle.is_some()
    }

    /// Makes the tables of these instants, and of the days to come. Returns those of the instants that have none.
    pub(super) async fn ensure(
        &mut self,
        session: &Session,
        instants: impl Iterator<Item = Timestamp>,
        now: Timestamp,
        limit: Duration,
    ) -> Result<NoDays, StoreError> {
        let mut missing = NoDays::new();
        for day in self.unknown(instants) {
            match self.make(session, day, now, limit).await? {
                None => _ = self.known.insert(day),
                Some(why) => _ = missing.insert(date(day), why),
            }
        }
        self.ensure_ahead(session, now, limit).await?;
        Ok(missing)
    }

    /// The days of these instants that are not known to have a table.
    fn unknown(&self, instants: impl Iterator<Item = Timestamp>) -> BTreeSet<i64> {
        let mut last = None;
        let mut other = |day: &i64| last.replace(*day) != Some(*day);
        instants.map(day).filter(|day| other(day) && !self.known.contains(day)).collect()
    }

    /// Makes the days to come. Nothing needs them yet: what stands in the way of that is said, and stands in the way of nothing else.
    async fn ensure_ahead(&mut self, session: &Session, now: Timestamp, limit: Duration) -> Result<(), StoreError> {
        let today = day(now);
        if self.today == Some(today) || now < self.ahead_at {
            return Ok(());
        }
        for day in (today..=today + AHEAD).filter(|day| !self.known.contains(day)).collect::<Vec<_>>() {
            if let Some(NoDay::Unmade(why)) = self.make(session, day, now, limit).await? {
                let (day, why) = (date(day), Some(why));
                if self.obstacle != why {
                    tracing::error!(%day, why, "the table of a day to come cannot be made; its results will wait for it");
                }
                self.obstacle = why;
                self.ahead_at = now + AGAIN;
                return Ok(());
            }
            self.known.insert(day);
        }
        if self.obstacle.take().is_some() {
            tracing::info!("the tables of the days to come are there");
        }
        self.today = Some(today);
        Ok(())
    }

    /// Makes the table of a day, unless there is one. Fails when nothing can be said of any day.
    async fn make(
        &self,
        session: &Session,
        day: i64,
        now: Timestamp,
        limit: Duration,
    ) -> Result<Option<NoDay>, StoreError> {
        let (client, date) = (&session.client, date(day));
        let made = session.transact(async {
            if day < self::day(now) - RECENT && !covered(client, date).await? {
                let tables: i64 = client.query_typed_one(COUNT, &[]).await?.get(0);
                if tables >= MOST {
                    return Ok(Some(NoDay::TooMany));
                }
            }
            client.query_typed("SELECT make_day($1)", &[(&date, Type::DATE)]).await?;
            let taken =
                || NoDay::Unmade(format!("`{}` is no partition of `checks`, and no other covers the day", table(date)));
            Ok((!covered(client, date).await?).then(taken))
        });
        match within(limit, made).await {
            Err(error) if error.is_of_the_server() => Err(error),
            Err(error) => Ok(Some(NoDay::Unmade(error.to_string()))),
            made => made,
        }
    }

    /// Drops the days that end before what is retained begins. What stands in the way of that is said, and stands in the way of nothing else.
    pub(super) async fn retain(&mut self, client: &Client, retention: Retention, now: Timestamp) {
        let Some(days) = retention.days().filter(|_| now >= self.drop_at) else { return };
        let before = date(day(now) - i64::from(days));
        self.drop_at = now + DROP_EVERY;
        loop {
            match client
                .query_typed_one("SELECT drop_oldest_day($1)", &[(&before, Type::DATE)])
                .await
                .map(|row| row.get(0))
            {
                Ok(Some::<String>(table)) => tracing::info!(table, "a day older than postgres.retention was dropped"),
                Ok(None) => return,
                Err(error) => {
                    self.drop_at = now + AGAIN;
                    let error = StoreError::from(error);
                    tracing::warn!(%error, "days older than postgres.retention cannot be dropped; trying again");
                    return;
                }
            }
        }
    }
}

/// Whether a partition takes what belongs to a day, be it the day's own or somebody else's.
async fn covered(client: &Client, day: Date) -> Result<bool, StoreError> {
    let conditions = client.query_typed(CONDITIONS, &[(&table(day), Type::TEXT)]).await?;
    let conditions: Vec<String> = conditions.iter().filter_map(|row| row.get(0)).map(|text: String| text).collect();
    if conditions.is_empty() {
        return Ok(false);
    }
    let ends = format!("('{day} 00:00:00+00'::timestamptz), ('{day} 23:59:59.999999+00')");
    let query = format!("SELECT bool_and({}) FROM (VALUES {ends}) of_day (scheduled_at)", conditions.join(" OR "));
    Ok(client.query_typed_one(&query, &[]).await?.get(0))
}

fn table(day: Date) -> String {
    day.strftime("checks_%Y%m%d").to_string()
}

fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS_OF_DAY)
}

fn date(day: i64) -> Date {
    let at = Timestamp::from_second(day.saturating_mul(SECONDS_OF_DAY)).unwrap_or(Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).date()
}
