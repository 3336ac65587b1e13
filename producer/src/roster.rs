//! Which of the configured targets are checked here now: those of the targets file as it was read last, and of these, where replicas
//! share them, those in our shards.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use crate::shards::Shards;
use crate::targets::Target;

/// Other targets for the schedule.
#[derive(Debug)]
pub struct Change {
    /// All of them.
    pub targets: Vec<Arc<Target>>,
    /// For each, the index that it had among those before, if its slots are the same.
    pub kept: Vec<Option<usize>>,
}

impl Change {
    /// How targets follow upon others.
    pub fn between(before: &[Arc<Target>], targets: Vec<Arc<Target>>) -> Self {
        let known: HashMap<_, _> =
            before.iter().enumerate().map(|(index, target)| ((&target.name, target.interval), index)).collect();
        let kept = targets.iter().map(|target| known.get(&(&target.name, target.interval)).copied()).collect();
        Self { targets, kept }
    }
}

/// Follows the targets file and the shards, from what was configured and what was scheduled at the start. Ends when nothing can change
/// any more.
pub async fn follow(
    mut all: Vec<Arc<Target>>,
    mut before: Vec<Arc<Target>>,
    mut reloaded: mpsc::Receiver<Vec<Arc<Target>>>,
    mut shards: watch::Receiver<Shards>,
    changes: mpsc::Sender<Change>,
) {
    loop {
        tokio::select! {
            Some(targets) = reloaded.recv() => all = targets,
            Ok(()) = shards.changed() => {}
            else => return,
        }
        let owned = shards.borrow_and_update().clone();
        // A hundred thousand names are hashed in some ten milliseconds, for which no check must wait.
        let compared = spawn_blocking(move || {
            let change = Change::between(&before, owned.select(&all));
            (all, change)
        });
        let (configured, change) = compared.await.unwrap_or_else(|died| resume_unwind(died.into_panic()));
        (all, before) = (configured, change.targets.clone());
        if changes.send(change).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
