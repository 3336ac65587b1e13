//! What was due by the schedule's own arithmetic, against what stands in Postgres. Nobody's counters are asked.

use std::collections::BTreeSet;

use producer::schedule::Rhythm;
use producer::targets::Target;

/// A target's name and a slot in milliseconds of Unix time.
pub(super) type Slot = (String, i64);

/// The comparison of two sets of slots.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) due: usize,
    pub(super) stored: usize,
    /// Due, but not stored.
    pub(super) missing: Vec<Slot>,
    /// Stored, but never due.
    pub(super) unexpected: Vec<Slot>,
}

/// The slots that a producer owes that started and stopped scheduling at these instants: those in between, and for each target
/// the last one before the start.
pub(super) fn due<'a>(targets: impl IntoIterator<Item = &'a Target>, started: i64, stopped: i64) -> BTreeSet<Slot> {
    let slots = |target: &'a Target| {
        let rhythm = Rhythm::new(&target.name, target.interval);
        rhythm.between(rhythm.latest(started), stopped).map(|slot| (target.name.clone(), slot))
    };
    targets.into_iter().flat_map(slots).collect()
}

impl Account {
    pub(super) fn new(due: &BTreeSet<Slot>, stored: &BTreeSet<Slot>) -> Self {
        Self {
            due: due.len(),
            stored: stored.len(),
            missing: due.difference(stored).cloned().collect(),
            unexpected: stored.difference(due).cloned().collect(),
        }
    }

    pub(super) fn adds_up(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(instants: &[i64]) -> BTreeSet<Slot> {
        instants.iter().map(|instant| ("a".to_owned(), *instant)).collect()
    }

    #[test]
    fn tells_missing_from_unexpected() {
        let account = Account::new(&slots(&[1, 2, 3]), &slots(&[2, 3, 4]));
        assert_eq!((account.due, account.stored), (3, 3));
        assert_eq!(account.missing, [("a".to_owned(), 1)]);
        assert_eq!(account.unexpected, [("a".to_owned(), 4)]);
        assert!(!account.adds_up());
        assert!(Account::new(&slots(&[1, 2]), &slots(&[1, 2])).adds_up());
    }
}
