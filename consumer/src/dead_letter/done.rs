//! Which letters of a partition were sent again: all before an offset, and ranges beyond it where some were left. Pure.
//!
//! As a mark in Kafka it is that offset, and beside it a text of the ranges, relative to it: `3-7,9-12`, ends excluded.

use std::collections::BTreeMap;

use super::marks::Mark;

/// The brokers take 4,096 bytes beside an offset.
const LONGEST: usize = 4000;

/// A set of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    next: i64,
    /// Begin to end of what is done beyond; neither adjacent nor overlapping.
    beyond: BTreeMap<i64, i64>,
}

impl Done {
    /// What a mark says. What is before `low` has been deleted; a mark beyond `high` speaks of a topic that is no more.
    pub fn new(mark: Option<&Mark>, low: i64, high: i64) -> Self {
        let mut done = Self { next: low, beyond: BTreeMap::new() };
        if let Some(mark) = mark.filter(|mark| mark.offset <= high) {
            done.add(0, mark.offset);
            for (begin, end) in mark.text.split(',').filter_map(|range| range.split_once('-')) {
                if let (Ok(begin), Ok(end)) = (begin.parse::<i64>(), end.parse::<i64>()) {
                    done.add(mark.offset.saturating_add(begin), mark.offset.saturating_add(end).min(high));
                }
            }
        }
        done
    }

    /// The first offset that is not done.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether an offset is done.
    pub fn has(&self, offset: i64) -> bool {
        offset < self.next || self.beyond.range(..=offset).next_back().is_some_and(|(_, end)| offset < *end)
    }

    /// Adds a range.
    pub fn add(&mut self, begin: i64, end: i64) {
        let (mut begin, mut end) = (begin, end);
        if begin >= end {
            return;
        }
        self.beyond.retain(|from, to| {
            let touches = *from <= end && begin <= *to;
            if touches {
                begin = begin.min(*from);
                end = end.max(*to);
            }
            !touches
        });
        if begin > self.next {
            self.beyond.insert(begin, end);
            return;
        }
        self.next = self.next.max(end);
        // The others begin beyond a gap, unless the range before was swallowed by the prefix.
        while let Some((from, to)) = self.beyond.pop_first() {
            if from > self.next {
                self.beyond.insert(from, to);
                break;
            }
            self.next = self.next.max(to);
        }
    }

    /// As a mark; `None` when it has more gaps than the brokers take.
    pub fn mark(&self) -> Option<Mark> {
        let range = |(begin, end): (&i64, &i64)| format!("{}-{}", begin - self.next, end - self.next);
        let text = self.beyond.iter().map(range).collect::<Vec<_>>().join(",");
        (text.len() <= LONGEST).then_some(Mark { offset: self.next, text })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn mark(offset: i64, text: &str) -> Mark {
        Mark { offset, text: text.to_owned() }
    }

    #[test]
    fn marks_are_read_as_far_as_they_make_sense() {
        let table = [
            (None, (5, 9), mark(5, "")),
            (Some(mark(7, "")), (5, 9), mark(7, "")),
            (Some(mark(3, "")), (5, 9), mark(5, "")),
            (Some(mark(10, "1-2")), (5, 9), mark(5, "")),
            (Some(mark(5, "1-2,3-9")), (0, 9), mark(5, "1-2,3-4")),
            (Some(mark(5, "1-2,what,-,3-x")), (0, 9), mark(5, "1-2")),
            (Some(mark(0, "1-3,4-6")), (2, 9), mark(3, "1-3")),
        ];
        for (given, (low, high), expected) in table {
            assert_eq!(Done::new(given.as_ref(), low, high).mark(), Some(expected), "{given:?}");
        }
    }

    #[test]
    fn too_many_gaps_are_refused() {
        let mut done = Done::default();
        (0..2000).for_each(|number| done.add(1 + 2 * number, 2 + 2 * number));
        assert_eq!(done.mark(), None);
    }

    proptest! {
        #[test]
        fn it_is_a_set(ranges in prop::collection::vec((0..40_i64, 0..6_i64), 0..12)) {
            let (mut done, mut model) = (Done::default(), BTreeSet::new());
            for (begin, length) in ranges {
                done.add(begin, begin + length);
                model.extend(begin..begin + length);
            }
            let again = Done::new(done.mark().as_ref(), 0, 50);
            for offset in 0..50 {
                prop_assert_eq!(done.has(offset), model.contains(&offset), "{} in {:?}", offset, done);
                prop_assert_eq!(again.has(offset), model.contains(&offset));
            }
            prop_assert!(!done.has(done.next()));
        }
    }
}
