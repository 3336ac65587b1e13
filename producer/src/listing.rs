//! `producer targets`: what is configured and when it is checked next, for people and scripts; needs no Kafka.

use std::sync::Arc;

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use shared::harmless::harmless;
use shared::message::Slot;

use crate::schedule::Rhythm;
use crate::settings::Replicas;
use crate::shards::shard;
use crate::targets::Target;

/// A target as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is asked for, without what may give access.
    pub url: String,
    /// The time between two slots, in milliseconds.
    pub interval: u64,
    /// The next slot; `None` beyond the end of the calendar.
    pub next: Option<Slot>,
    /// The shard that it lies in, where replicas share the targets.
    pub shard: Option<i32>,
}

/// Lists targets, those first whose next slot comes first. Shards are counted as configured: a topic that has other partitions counts itself.
pub fn list<'a>(targets: &'a [Arc<Target>], replicas: &Replicas, now: Timestamp) -> Vec<Listed<'a>> {
    let listed = |target: &'a Arc<Target>| {
        let interval = u64::try_from(target.interval.as_millis()).unwrap_or(u64::MAX);
        let latest = Rhythm::new(&target.name, target.interval).latest(now.as_millisecond());
        Listed {
            name: &target.name,
            url: target.shown_url(),
            interval,
            next: Slot::from_millis(latest.saturating_add_unsigned(interval)),
            shard: replicas.enabled.then(|| shard(&target.name, replicas.shards)).flatten(),
        }
    };
    let mut list: Vec<_> = targets.iter().map(listed).collect();
    list.sort_by_key(|listed| (listed.next.map(|slot| slot.as_millis()), listed.name));
    list
}

/// The list as a table.
pub fn table(list: &[Listed<'_>]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let shared = list.iter().any(|listed| listed.shard.is_some());
    table.set_header(["next slot", "interval", "target", "url"].into_iter().chain(shared.then_some("shard")));
    for listed in list {
        let next = listed.next.map_or_else(|| "never".to_owned(), |slot| slot.to_string());
        let interval = format!("{:#}", jiff::SignedDuration::from_millis(listed.interval.cast_signed()));
        let cells = [next, interval, harmless(listed.name).into_owned(), harmless(&listed.url).into_owned()];
        table.add_row(cells.into_iter().chain(listed.shard.map(|shard| shard.to_string())));
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::targets::tests::try_load;

    #[test]
    fn lists_the_next_slots_in_their_order() {
        let entry = |name| format!("[[targets]]\nname = '{name}'\nurl = 'http://127.0.0.1/'\n");
        let targets = try_load(&["a", "b", "c"].map(entry).concat()).unwrap();
        let now = Timestamp::from_second(1_795_237_200).unwrap();
        let shared = Replicas { enabled: true, ..Replicas::default() };
        for replicas in [Replicas::default(), shared] {
            let list = list(&targets, &replicas, now);
            let nexts: Vec<i64> = list.iter().map(|listed| listed.next.unwrap().as_millis()).collect();
            assert!(nexts.is_sorted());
            for listed in &list {
                let next = listed.next.unwrap().as_millis();
                assert!((1..=60_000).contains(&(next - now.as_millisecond())));
                assert_eq!(Rhythm::new(listed.name, Duration::from_secs(60)).latest(next), next);
                assert_eq!(listed.shard, shard(listed.name, 64).filter(|_| replicas.enabled));
            }
            let text = table(&list).to_string();
            assert_eq!(text.lines().count(), 4, "{text}");
            assert_eq!(text.contains("shard"), replicas.enabled, "{text}");
        }
    }
}
