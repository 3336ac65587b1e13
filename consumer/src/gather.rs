//! From chunks of records to batches: the loop around [`crate::decode`] and [`crate::batch`]. Rows are also encoded for the store
//! here, while it is busy with the batch before.

use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::decode::decode;
use crate::record::Record;
use crate::settings::{Consume, Retention};
use crate::source::Event;
use crate::store::{Known, Move};

/// What is to be done in Postgres.
#[derive(Debug)]
pub enum Work {
    /// Find out where to read these partitions.
    Claim {
        /// The epoch that began with them.
        epoch: u64,
        /// All partitions that are ours.
        partitions: Vec<i32>,
    },
    /// Find that out once more, if it is still this epoch: the topic is another, or speaks of more partitions.
    Again {
        /// The epoch in which that was seen.
        epoch: u64,
    },
    /// Step over offsets that no record has.
    Skip {
        /// The epoch in which that was seen.
        epoch: u64,
        /// From what Postgres waits for to where the next record can be.
        gaps: Vec<Move>,
    },
    /// Store this.
    Store(Box<Batch>),
}

/// Gathers until the source ends; then hands on what is left. Ends early when nobody takes the work.
pub async fn gather(
    mut events: mpsc::Receiver<Event>,
    work: mpsc::Sender<Work>,
    limits: Consume,
    retention: Retention,
    known: Known,
) {
    let mut batch = Batch::new(0);
    loop {
        let patience = batch.patience(&limits, Instant::now());
        let room = !batch.is_full(&limits);
        tokio::select! {
            event = events.recv(), if room => match event {
                Some(Event::Records { epoch, records }) if epoch == batch.epoch => take(&mut batch, records, retention, &known),
                // Read under an assignment that is over, or that was told to be void.
                Some(Event::Records { epoch, records }) if epoch > batch.epoch => {
                    batch = Batch::new(epoch);
                    take(&mut batch, records, retention, &known);
                }
                Some(Event::Records { .. }) => {}
                Some(Event::Assigned { epoch, partitions }) => {
                    batch = Batch::new(epoch);
                    if work.send(Work::Claim { epoch, partitions }).await.is_err() {
                        return;
                    }
                }
                Some(Event::Revoked) => batch = Batch::new(batch.epoch),
                None => break,
            },
            // A batch whose time has come still grows while the one before is being stored.
            permit = ready(&work, patience) => match permit {
                Ok(permit) => {
                    let next = Batch::new(batch.epoch);
                    batch.ahead.seal();
                    permit.send(Work::Store(Box::new(std::mem::replace(&mut batch, next))));
                }
                Err(_) => return,
            },
        }
    }
    if !batch.is_empty() {
        batch.ahead.seal();
        // Fails only when nobody is left to store it; it will be read again.
        let _ = work.send(Work::Store(Box::new(batch))).await;
    }
}

fn take(batch: &mut Batch, records: Vec<Record>, retention: Retention, known: &Known) {
    let rows = batch.rows.len();
    let now = Instant::now();
    let wall = Timestamp::now();
    let (oldest, days) = retention.oldest(wall);
    for record in records {
        let decoded = decode(record.payload.as_deref(), wall).and_then(|row| row.since(oldest, days));
        batch.push(record, decoded, now);
    }
    known.encode(&batch.rows[rows..], &mut batch.ahead);
}

/// Resolves when the batch is due and there is someone to take it.
async fn ready(
    work: &mpsc::Sender<Work>,
    patience: Option<std::time::Duration>,
) -> Result<mpsc::Permit<'_, Work>, mpsc::error::SendError<()>> {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
    work.reserve().await
}
