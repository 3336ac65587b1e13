//! Offsets that no record has: those of the marks that end transactions, of records of transactions that were given up, and of what
//! compaction has removed. They are never read, so who waits for the record before the end would wait for ever, and be behind for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::Message as _;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use shared::kafka::ClientEvents;

use crate::position::{Inquiry, Look};
use crate::settings::Settings;
use crate::store::{Move, OLDEST};

const POLL: Duration = Duration::from_millis(100);
/// How long brokers have to send a record, or to say that there is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks for gaps before the ends of partitions.
pub struct Gaps {
    inquiry: Inquiry,
    config: ClientConfig,
    topic: String,
    events: ClientEvents,
    /// What Postgres waited for at the last look.
    last: BTreeMap<i32, i64>,
    /// Offsets from which on there are records.
    full: BTreeMap<i32, i64>,
}

impl Gaps {
    /// Looks by a client of its own, which is there only while there is something to look for.
    pub fn new(settings: &Settings, inquiry: Inquiry, events: ClientEvents) -> Self {
        let mut config = settings.kafka.client_config("consumer-gaps");
        config
            // Nobody joins it.
            .set("group.id", format!("{}.gaps", settings.consume.group))
            .set("group.protocol", "classic")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("fetch.message.max.bytes", "65536");
        let topic = settings.kafka.topic.clone();
        Self { inquiry, config, topic, events, last: BTreeMap::new(), full: BTreeMap::new() }
    }

    /// Where Postgres has waited for the same offset since the last look, and there is no record from there up to the end.
    pub async fn find(&mut self, next: &BTreeMap<i32, i64>, look: &Look) -> Vec<Move> {
        let suspicious = |(partition, next): &(&i32, &i64)| {
            let rests = self.last.get(partition) == Some(next) && self.full.get(partition) != Some(next);
            let end = look.watermarks.get(partition);
            rests && **next != OLDEST && end.is_some_and(|end| (end.low..end.high).contains(next))
        };
        let asked: BTreeMap<i32, i64> = next.iter().filter(suspicious).map(|(key, value)| (*key, *value)).collect();
        self.last.clone_from(next);
        if asked.is_empty() {
            return Vec::new();
        }
        let (config, topic, events, from) =
            (self.config.clone(), self.topic.clone(), self.events.clone(), asked.clone());
        let probed = tokio::task::spawn_blocking(move || probe(&config, &topic, events, &from)).await;
        let Ok(Ok((empty, full))) = probed else { return Vec::new() };
        self.full.extend(full.iter().filter_map(|partition| asked.get_key_value(partition)));
        if empty.is_empty() {
            return Vec::new();
        }
        // Who has taken over from a leader may not yet know how far that one had come.
        let Some(after) = self.inquiry.look(Some(empty.iter().copied().collect())).await else { return Vec::new() };
        gaps(&asked, &empty, look, &after)
    }
}

/// The gaps up to the ends of before, where nothing but the end has changed since.
fn gaps(asked: &BTreeMap<i32, i64>, empty: &BTreeSet<i32>, before: &Look, after: &Look) -> Vec<Move> {
    let gap = |partition: &i32| {
        let (from, to) = (*asked.get(partition)?, before.watermarks.get(partition)?.high);
        let same = before.id == after.id && before.partitions.get(partition) == after.partitions.get(partition);
        (same && after.watermarks.get(partition)?.high >= to).then_some(Move { partition: *partition, from, to })
    };
    empty.iter().filter_map(gap).collect()
}

/// Partitions that end before a record comes, and those where one comes. Blocks.
fn probe(
    config: &ClientConfig,
    topic: &str,
    events: ClientEvents,
    from: &BTreeMap<i32, i64>,
) -> KafkaResult<(BTreeSet<i32>, BTreeSet<i32>)> {
    let consumer: BaseConsumer<ClientEvents> = config.create_with_context(events)?;
    let mut list = TopicPartitionList::with_capacity(from.len());
    for (partition, offset) in from {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    consumer.assign(&list)?;
    let (mut empty, mut full) = (BTreeSet::new(), BTreeSet::new());
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE && empty.len() + full.len() < from.len() {
        match consumer.poll(POLL) {
            Some(Ok(record)) if !empty.contains(&record.partition()) => {
                full.insert(record.partition());
            }
            Some(Err(KafkaError::PartitionEOF(partition))) if !full.contains(&partition) => {
                empty.insert(partition);
            }
            // Trouble is said by the client.
            _ => {}
        }
    }
    Ok((empty, full))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Watermarks;

    /// What was found empty is stepped over up to the end that was known before, by the same leader of the same topic.
    #[test]
    fn only_what_cannot_hold_a_record_is_a_gap() {
        let look = |id: &str, leader, high| Look {
            id: Some(id.to_owned()),
            partitions: BTreeMap::from([(0, Some(leader))]),
            watermarks: BTreeMap::from([(0, Watermarks { low: 0, high })]),
        };
        let (asked, empty) = (BTreeMap::from([(0, 10)]), BTreeSet::from([0]));
        let before = look("a", 1, 12);
        let gap = vec![Move { partition: 0, from: 10, to: 12 }];
        let table = [
            (look("a", 1, 12), gap.clone()),
            (look("a", 1, 99), gap),
            (look("a", 1, 11), vec![]),
            (look("a", 2, 12), vec![]),
            (look("b", 1, 12), vec![]),
            (Look::default(), vec![]),
        ];
        for (after, expected) in table {
            assert_eq!(gaps(&asked, &empty, &before, &after), expected, "{after:?}");
        }
        assert_eq!(gaps(&asked, &BTreeSet::new(), &before, &before), vec![]);
    }
}
