//! The transaction of a batch, in four round trips: begin, offsets, the begin of the copy, and at last the rows together with the
//! commit. Postgres waits during each, and may be far away. Where slots may be there already, it is asked which after the second.

use std::collections::HashSet;
use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, CopyInSink, Statement};

use super::connect::Session;
use super::copy::{self, Key, Slot};
use super::error::StoreError;
use super::offsets::{self, Move, Topic};

/// Which of these keys are in `checks`, by position. By index for each of them, since the OFFSET keeps it a subquery, and within these
/// bounds, so that other days' tables are not looked into.
const KNOWN: &str = "SELECT array_agg(position) FROM \
    unnest($1::integer[], $2::integer[], $3::timestamptz[]) WITH ORDINALITY \
    AS wanted (target_id, location_id, scheduled_at, position) \
    WHERE EXISTS (SELECT FROM checks WHERE target_id = wanted.target_id AND location_id = wanted.location_id \
    AND scheduled_at = wanted.scheduled_at AND scheduled_at BETWEEN $4 AND $5 OFFSET 0)";

/// Which rows of a batch are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// All, which fails where a slot is there already.
    All,
    /// Those whose slots are not there yet, each once. It takes one round trip more.
    New,
}

impl Session {
    /// Moves the offsets and stores rows; returns how many those were.
    pub(super) async fn store(
        &self,
        topic: &Topic,
        moves: &[Move],
        data: Bytes,
        copied: Copied,
    ) -> Result<u64, StoreError> {
        self.begin().await?;
        // Sent one behind the other, so that they take one round trip.
        let copy = copy::statement();
        let (moved, copy) =
            tokio::join!(biased; offsets::advance(&self.client, topic, moves), self.client.prepare(&copy));
        let data = match moved {
            Ok(()) if copied == Copied::New => self.unknown(&data).await,
            moved => moved.map(|()| data),
        };
        let stored = self.fill(data, copy, "COMMIT").await;
        if copied == Copied::New { stored.map_err(contended) } else { stored }
    }

    /// Does the same with new rows alone, and takes it back. What would be looked at by the commit is looked at before.
    pub(super) async fn rehearse(&self, data: Bytes) -> Result<(), StoreError> {
        self.begin().await?;
        let data = self.unknown(&data).await;
        let copy = self.client.prepare(&copy::statement()).await;
        let tried = self.fill(data, copy, "SET CONSTRAINTS ALL IMMEDIATE").await;
        self.roll_back().await;
        tried.map(drop).map_err(contended)
    }

    /// The rows whose slots are not there yet, each once.
    async fn unknown(&self, data: &Bytes) -> Result<Bytes, StoreError> {
        let keys = copy::keys(data);
        let mut taken = known(&self.client, &keys).await?;
        Ok(copy::retain(data, |key| taken.insert(key)))
    }

    /// Copies, unless something went wrong before, and ends the transaction in any case.
    async fn fill(
        &self,
        data: Result<Bytes, StoreError>,
        copy: Result<Statement, tokio_postgres::Error>,
        end: &str,
    ) -> Result<u64, StoreError> {
        let begun = match (data, copy) {
            (Ok(data), Ok(copy)) => self.client.copy_in(&copy).await.map(|sink| (sink, data)).map_err(StoreError::from),
            (Err(error), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
        };
        let (sink, data) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                self.roll_back().await;
                return Err(error);
            }
        };
        // What has failed is rolled back by a commit, too.
        let (copied, ended) = tokio::join!(biased; send(sink, data), self.client.batch_execute(end));
        let copied = copied?;
        ended?;
        Ok(copied)
    }
}

/// What it means that slots were there when they were copied, which were new when Postgres was asked.
fn contended(error: StoreError) -> StoreError {
    match error {
        StoreError::Duplicate => {
            StoreError::Unavailable("another session stores the same slots at the same time".to_owned())
        }
        other => other,
    }
}

/// Those of the keys that are in the table.
async fn known(client: &Client, keys: &[Key]) -> Result<HashSet<Key>, StoreError> {
    let slots: Vec<Slot> = keys.iter().map(|key| key.slot).collect();
    let (Some(first), Some(last)) = (slots.iter().min(), slots.iter().max()) else { return Ok(HashSet::new()) };
    let targets: Vec<i32> = keys.iter().map(|key| key.target).collect();
    let locations: Vec<i32> = keys.iter().map(|key| key.location).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&targets, Type::INT4_ARRAY),
        (&locations, Type::INT4_ARRAY),
        (&slots, Type::TIMESTAMPTZ_ARRAY),
        (first, Type::TIMESTAMPTZ),
        (last, Type::TIMESTAMPTZ),
    ];
    let found = client.query_typed_one(KNOWN, &parameters).await?;
    let positions: Option<Vec<i64>> = found.get(0);
    // They count from one.
    Ok(positions.into_iter().flatten().map(|position| keys[position as usize - 1]).collect())
}

async fn send(sink: CopyInSink<Bytes>, data: Bytes) -> Result<u64, StoreError> {
    let mut sink = pin!(sink);
    sink.send(data).await?;
    Ok(sink.finish().await?)
}
