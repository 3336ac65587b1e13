//! How replicas divide the targets: every target lies in one of a fixed number of shards, by the hash of its name.

use std::collections::BTreeSet;
use std::sync::Arc;

use shared::admin::Metrics;
use tokio::sync::watch;
use uuid::Uuid;

use crate::targets::Target;

/// The salt of shards. It differs from that of phases: else all targets of a shard would be due in the same part of the interval.
const SHARD_SALT: Uuid = Uuid::from_u128(0xa8d4_1b1e_60a7_5e3d_8f6c_2c94_d1f0_7b35);

/// Which shards are ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shards {
    /// Nobody shares the targets with us.
    All,
    /// Some of those that there are.
    Owned {
        /// Their numbers.
        owned: BTreeSet<i32>,
        /// How many there are.
        of: i32,
    },
}

impl Shards {
    /// None so far.
    pub fn none() -> Self {
        Self::Owned { owned: BTreeSet::new(), of: 0 }
    }

    /// Whether it is known which are ours.
    pub fn are_known(&self) -> bool {
        *self != Self::none()
    }

    /// Shows in these metrics which are ours, where they are shared.
    pub fn show(metrics: &mut Metrics, shards: &watch::Receiver<Self>) {
        if *shards.borrow() == Self::All {
            return;
        }
        let read = |count: fn(&Self) -> usize| {
            let shards = shards.clone();
            #[expect(clippy::cast_precision_loss, reason = "there are thousands at most")]
            move || count(&shards.borrow()) as f64
        };
        metrics.measured("shards_owned", "Shards whose targets are checked here", read(|shards| shards.count().0));
        let all = "Shards that the replicas of the location share, as far as is known here";
        metrics.measured("shards", all, read(|shards| shards.count().1));
    }

    /// How many are ours, and how many there are.
    fn count(&self) -> (usize, usize) {
        match self {
            Self::All => (0, 0),
            Self::Owned { owned, of } => (owned.len(), usize::try_from(*of).unwrap_or_default()),
        }
    }

    /// The targets among these that lie in our shards.
    pub fn select(&self, targets: &[Arc<Target>]) -> Vec<Arc<Target>> {
        match self {
            Self::All => targets.to_vec(),
            Self::Owned { owned, of } => {
                let ours = |target: &&Arc<Target>| shard(&target.name, *of).is_some_and(|shard| owned.contains(&shard));
                targets.iter().filter(ours).cloned().collect()
            }
        }
    }
}

/// The shard of the target of this name; `None` where there are no shards.
pub fn shard(name: &str, of: i32) -> Option<i32> {
    let of = u64::try_from(of).ok().filter(|of| *of > 0)?;
    let (hash, _) = Uuid::new_v5(&SHARD_SALT, name.as_bytes()).as_u64_pair();
    i32::try_from(hash % of).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schedule::Rhythm;

    /// A contract, as phases are: replicas of different versions must agree on it.
    #[test]
    fn shards_do_not_change() {
        let table = [("example", 64), ("a", 64), ("ü", 7)];
        assert_eq!(table.map(|(name, of)| shard(name, of)), [Some(34), Some(2), Some(6)]);
        assert_eq!(shard("example", 0), None);
    }

    /// Every shard has its share of the targets, and its targets are spread over the whole interval.
    #[test]
    fn shards_are_even_in_number_and_in_time() {
        let mut counts = [[0_u32; 6]; 8];
        for n in 0..9_600 {
            let name = format!("target-{n}");
            let phase = Rhythm::new(&name, Duration::from_secs(60)).latest(60_000 - 1);
            let shard = usize::try_from(shard(&name, 8).unwrap()).unwrap();
            counts[shard][usize::try_from(phase / 10_000).unwrap()] += 1;
        }
        assert!(counts.iter().flatten().all(|count| (150..=250).contains(count)), "{counts:?}");
    }
}
