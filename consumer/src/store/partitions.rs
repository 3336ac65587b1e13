//! The days of `checks`: one table a UTC day, named `checks_20261121`, made ahead and when a batch needs one, and dropped when all in it
//! is older than is wanted.

use std::collections::{BTreeSet, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::error::StoreError;
use super::settings::Retention;

/// How many days after today have their table already.
const AHEAD: i64 = 3;
const SECONDS_OF_DAY: i64 = 86_400;
/// How often old days are looked for.
const DROP_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// When it is tried again to drop one that somebody reads.
const DROP_AGAIN: SignedDuration = SignedDuration::from_mins(1);

/// The days that are known to have a table, counted from 1970.
#[derive(Debug, Default)]
pub(super) struct Days {
    known: HashSet<i64>,
    today: Option<i64>,
    /// When old days are looked for again.
    drop_at: Timestamp,
}

impl Days {
    /// Forgets what is known, and says whether that was anything.
    pub(super) fn forget(&mut self) -> bool {
        self.today = None;
        !std::mem::take(&mut self.known).is_empty()
    }

    /// Makes sure that these instants have their tables, and the days to come.
    pub(super) async fn ensure(
        &mut self,
        client: &Client,
        instants: impl Iterator<Item = Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let today = day(now);
        let mut wanted: BTreeSet<i64> = BTreeSet::new();
        if self.today != Some(today) {
            wanted.extend(today..=today + AHEAD);
        }
        wanted.extend(instants.map(day).filter(|day| !self.known.contains(day)));
        for day in wanted {
            if !self.known.contains(&day) {
                client.query_typed("SELECT make_day($1)", &[(&date(day), Type::DATE)]).await?;
                self.known.insert(day);
            }
        }
        self.today = Some(today);
        Ok(())
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
                    self.drop_at = now + DROP_AGAIN;
                    let error = StoreError::from(error);
                    tracing::warn!(%error, "days older than postgres.retention cannot be dropped; trying again");
                    return;
                }
            }
        }
    }
}

fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS_OF_DAY)
}

fn date(day: i64) -> Date {
    let at = Timestamp::from_second(day.saturating_mul(SECONDS_OF_DAY)).unwrap_or(Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).date()
}
