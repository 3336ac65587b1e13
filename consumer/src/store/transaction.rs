//! The transaction of a batch, in four round trips: begin, offsets, the begin of the copy, and at last the rows together with the
//! commit. Postgres waits during each, and may be far away.

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt as _;
use tokio_postgres::{Client, CopyInSink, Statement};

use super::copy;
use super::error::StoreError;
use super::offsets::{self, Move, Topic};

const STAGE: &str = "CREATE TEMPORARY TABLE staged_checks (LIKE checks INCLUDING DEFAULTS) ON COMMIT DELETE ROWS";

/// Where rows are copied to, prepared on a connection.
#[derive(Clone)]
pub(super) struct Way {
    advance: Statement,
    copy: Statement,
    /// From the temporary table on; `None` where they are copied straight into theirs.
    merge: Option<Statement>,
}

impl Way {
    /// Straight into the table: fails where a slot is there already.
    pub(super) async fn direct(client: &Client) -> Result<Self, StoreError> {
        let copy = client.prepare(&copy::statement("checks")).await?;
        Ok(Self { advance: client.prepare(offsets::ADVANCE).await?, copy, merge: None })
    }

    /// Through a temporary table, which is made: leaves out what is there already.
    pub(super) async fn staged(client: &Client) -> Result<Self, StoreError> {
        client.batch_execute(STAGE).await?;
        let copy = client.prepare(&copy::statement("staged_checks")).await?;
        let merge = client.prepare(&copy::merge("staged_checks", "checks")).await?;
        Ok(Self { advance: client.prepare(offsets::ADVANCE).await?, copy, merge: Some(merge) })
    }

    /// Moves the offsets and stores rows; returns how many rows were new.
    pub(super) async fn store(
        &self,
        client: &Client,
        topic: &Topic,
        moves: &[Move],
        data: Bytes,
    ) -> Result<u64, StoreError> {
        // Waited for: an UPDATE that follows a BEGIN which someone has cancelled would stand without its rows.
        client.batch_execute("BEGIN").await?;
        let moved = offsets::advance(client, &self.advance, topic, moves).await;
        self.fill(client, moved, data, "COMMIT").await
    }

    /// Does the same with rows alone, and takes it back.
    pub(super) async fn rehearse(&self, client: &Client, data: Bytes) -> Result<(), StoreError> {
        client.batch_execute("BEGIN").await?;
        self.fill(client, Ok(()), data, "ROLLBACK").await.map(drop)
    }

    /// Copies, unless something went wrong before, and ends the transaction in any case.
    async fn fill(
        &self,
        client: &Client,
        before: Result<(), StoreError>,
        data: Bytes,
        end: &str,
    ) -> Result<u64, StoreError> {
        let begun = match before {
            Ok(()) => client.copy_in(&self.copy).await.map_err(StoreError::from),
            Err(error) => Err(error),
        };
        let sink = match begun {
            Ok(sink) => sink,
            Err(error) => {
                // When this fails, so will the next transaction.
                let _ = client.batch_execute("ROLLBACK").await;
                return Err(error);
            }
        };
        // What has failed is rolled back by a commit, too.
        let (copied, merged, ended) =
            tokio::join!(biased; send(sink, data), self.merge(client), client.batch_execute(end));
        let copied = copied?;
        let merged = merged?;
        ended?;
        Ok(merged.unwrap_or(copied))
    }

    async fn merge(&self, client: &Client) -> Result<Option<u64>, StoreError> {
        match &self.merge {
            Some(merge) => Ok(Some(client.execute(merge, &[]).await?)),
            None => Ok(None),
        }
    }
}

async fn send(sink: CopyInSink<Bytes>, data: Bytes) -> Result<u64, StoreError> {
    let mut sink = pin!(sink);
    sink.send(data).await?;
    Ok(sink.finish().await?)
}
