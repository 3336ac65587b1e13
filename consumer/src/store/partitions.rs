//! The days of `checks`: one table a UTC day, named `checks_20261121`, made ahead and when a batch needs one.
//!
//! A day's table is created apart and then attached, which takes a lock that lets other consumers go on writing.

use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::error::StoreError;

/// How many days after today have their table already.
const AHEAD: i64 = 3;
const SECONDS_OF_DAY: i64 = 86_400;
const LOCK: i64 = 0x5107_3a7c_0002;

/// The days that are known to have a table, counted from 1970.
#[derive(Debug, Default)]
pub(super) struct Days {
    known: HashSet<i64>,
    today: Option<i64>,
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
        client: &mut Client,
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
                make(client, day).await?;
                self.known.insert(day);
            }
        }
        self.today = Some(today);
        Ok(())
    }
}

fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS_OF_DAY)
}

fn date(day: i64) -> String {
    let at = Timestamp::from_second(day * SECONDS_OF_DAY).unwrap_or(Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).date().to_string()
}

async fn make(client: &mut Client, day: i64) -> Result<(), StoreError> {
    let (date, next) = (date(day), date(day + 1));
    let name = format!("checks_{}", date.replace('-', ""));
    if exists(client, &name).await? {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let made = transaction
        .batch_execute(&format!(
            "CREATE TABLE {name} (LIKE checks INCLUDING DEFAULTS INCLUDING CONSTRAINTS); \
             ALTER TABLE checks ATTACH PARTITION {name} \
             FOR VALUES FROM ('{date} 00:00:00+00') TO ('{next} 00:00:00+00')"
        ))
        .await;
    match made {
        Ok(()) => {
            transaction.commit().await?;
            tracing::debug!(table = name, "partition made");
            Ok(())
        }
        // Another consumer made it while we waited, or a partition of someone else's making covers the day.
        Err(error) if matches!(error.code(), Some(code) if is_covered(code)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_covered(code: &SqlState) -> bool {
    [SqlState::INVALID_OBJECT_DEFINITION, SqlState::DUPLICATE_TABLE].contains(code)
}

/// A table of that name that was detached on purpose is left alone, too.
async fn exists(client: &Client, name: &str) -> Result<bool, StoreError> {
    Ok(client.query_one_scalar("SELECT to_regclass($1) IS NOT NULL", &[&name]).await?)
}
