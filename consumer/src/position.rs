//! Where to read a partition: what Postgres knows, held against what Kafka has. Pure but for [`Inquiry`], which asks Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, Producer as _};
use shared::kafka::{ClientEvents, describe};

use crate::settings::From;
use crate::store::OLDEST;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The offsets that a partition has now: the first, and the one that the next record will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first record that retention has left.
    pub low: i64,
    /// The offset that the next record will get.
    pub high: i64,
}

impl Watermarks {
    /// How many records there are from this offset on. Those that retention has taken are none.
    pub fn records_from(self, next: i64) -> i64 {
        (self.high - next.max(self.low)).max(0)
    }
}

/// Something that an operator should know about a partition's begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Kafka has deleted records before they were stored: so many.
    Lost(i64),
    /// It is another topic of the same name, or it has fewer records than were stored.
    Recreated,
}

/// The offset to read from, given the next offset that Postgres expects of the topic as it is now.
pub fn position(stored: i64, kafka: Watermarks) -> (i64, Option<Notice>) {
    if stored > kafka.high {
        // What had been stored before is recognized by its key. Which record is the oldest Kafka knows best when it is read.
        (OLDEST, Some(Notice::Recreated))
    } else if stored < kafka.low && stored != OLDEST {
        (kafka.low, Some(Notice::Lost(kafka.low - stored)))
    } else {
        (stored, None)
    }
}

/// The offset that a partition begins with that Postgres knows nothing about.
pub fn first(from: From, kafka: Watermarks) -> i64 {
    match from {
        From::Beginning => kafka.low,
        From::End => kafka.high,
    }
}

/// A topic as Kafka has it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The id that it was given when it was made; `None` where the brokers give none.
    pub id: Option<String>,
    /// All of its partitions, and who leads each, if anybody does.
    pub partitions: BTreeMap<i32, Option<i32>>,
    /// What those have that were asked for and have answered.
    pub watermarks: BTreeMap<i32, Watermarks>,
}

impl Look {
    /// Whether offsets that are known of a topic of this id mean nothing here.
    pub fn is_another(&self, id: Option<&str>) -> bool {
        matches!((self.id.as_deref(), id), (Some(now), Some(then)) if now != then)
    }
}

/// Asks Kafka through a client that is there anyway.
#[derive(Clone)]
pub struct Inquiry {
    client: FutureProducer<ClientEvents>,
    topic: String,
}

impl Inquiry {
    /// Asks about a topic.
    pub fn new(client: FutureProducer<ClientEvents>, topic: &str) -> Self {
        Self { client, topic: topic.to_owned() }
    }

    /// The id of the cluster: the offsets of another cluster's topic of the same name mean nothing. `None` when it does not answer.
    pub async fn cluster(&self) -> Option<String> {
        let client = self.client.clone();
        tokio::task::spawn_blocking(move || client.client().fetch_cluster_id(REQUEST_TIMEOUT)).await.ok().flatten()
    }

    /// The topic's partitions, none where there is no such topic. `None` when Kafka does not answer.
    pub async fn partitions(&self) -> Option<Vec<i32>> {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        // To ask for a topic by name would let brokers create it with their own defaults.
        let asked = tokio::task::spawn_blocking(move || client.client().fetch_metadata(None, REQUEST_TIMEOUT));
        let metadata = asked.await.ok()?.ok()?;
        let found = metadata.topics().iter().filter(|found| found.name() == topic);
        Some(found.flat_map(|found| found.partitions()).map(|partition| partition.id()).collect())
    }

    /// The topic, and what these of its partitions have; all, if none are named. `None` when Kafka does not answer, or has no such
    /// topic.
    pub async fn look(&self, wanted: Option<Vec<i32>>) -> Option<Look> {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        match tokio::task::spawn_blocking(move || look(client.client(), &topic, wanted.as_deref())).await.ok()? {
            Ok(look) => look,
            Err(error) => {
                tracing::debug!(%error, "kafka did not say what the topic is");
                None
            }
        }
    }

    /// The watermarks of these partitions. `None` when Kafka does not answer.
    pub async fn watermarks(&self, partitions: Vec<i32>) -> Option<Vec<(i32, Watermarks)>> {
        let (client, topic) = (self.client.clone(), self.topic.clone());
        let ask = move |partition| {
            client
                .client()
                .fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)
                .map(|(low, high)| (partition, Watermarks { low, high }))
        };
        let asked = tokio::task::spawn_blocking(move || partitions.into_iter().map(ask).collect::<Result<Vec<_>, _>>());
        match asked.await.ok()? {
            Ok(watermarks) => Some(watermarks),
            Err(error) => {
                tracing::debug!(%error, "kafka did not say which offsets it has");
                None
            }
        }
    }
}

fn look(client: &Client<impl ClientContext>, topic: &str, wanted: Option<&[i32]>) -> KafkaResult<Option<Look>> {
    let Some(found) = describe(client, topic, REQUEST_TIMEOUT)? else { return Ok(None) };
    let mut look = Look { id: found.id, partitions: found.partitions.into_iter().collect(), ..Look::default() };
    // To wait for one that is silent once is enough.
    let mut silent = BTreeSet::new();
    for (partition, leader) in &look.partitions {
        let Some(leader) = leader.filter(|leader| !silent.contains(leader)) else { continue };
        if wanted.is_some_and(|wanted| !wanted.contains(partition)) {
            continue;
        }
        match watermarks(client, topic, *partition) {
            Ok(found) => {
                look.watermarks.insert(*partition, found);
            }
            Err(error) => {
                tracing::debug!(%error, kafka.partition = partition, "kafka did not say which offsets it has");
                silent.insert(leader);
            }
        }
    }
    Ok(Some(look))
}

/// Asks again where the client has not heard yet that there is such a partition.
fn watermarks(client: &Client<impl ClientContext>, topic: &str, partition: i32) -> KafkaResult<Watermarks> {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    let ask = || {
        let (low, high) = client.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
        Ok(Watermarks { low, high })
    };
    let is_news = |error: &KafkaError| {
        error
            .rdkafka_error_code()
            .is_some_and(|code| [UnknownPartition, UnknownTopic, UnknownTopicOrPartition].contains(&code))
    };
    match ask() {
        Err(error) if is_news(&error) => {
            client.fetch_metadata(None, REQUEST_TIMEOUT)?;
            ask()
        }
        asked => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let kafka = |low, high| Watermarks { low, high };
        let table = [
            (0, kafka(0, 0), (0, None)),
            (0, kafka(0, 9), (0, None)),
            (7, kafka(0, 9), (7, None)),
            (9, kafka(0, 9), (9, None)),
            (10, kafka(0, 9), (OLDEST, Some(Notice::Recreated))),
            (10, kafka(3, 9), (OLDEST, Some(Notice::Recreated))),
            (2, kafka(5, 9), (5, Some(Notice::Lost(3)))),
            (0, kafka(5, 9), (5, Some(Notice::Lost(5)))),
            (OLDEST, kafka(5, 9), (OLDEST, None)),
            (OLDEST, kafka(0, 9), (OLDEST, None)),
        ];
        for (stored, watermarks, expected) in table {
            assert_eq!(position(stored, watermarks), expected, "{stored} in {watermarks:?}");
        }
        let id = |id: Option<&str>| id.map(str::to_owned);
        let table = [
            (Some("a"), Some("a"), false),
            (Some("b"), Some("a"), true),
            // Known since now, and not known any more.
            (Some("a"), None, false),
            (None, Some("a"), false),
        ];
        for (now, then, expected) in table {
            assert_eq!(Look { id: id(now), ..Look::default() }.is_another(then), expected, "{now:?} after {then:?}");
        }
        assert_eq!(first(From::Beginning, kafka(3, 9)), 3);
        assert_eq!(first(From::End, kafka(3, 9)), 9);
    }
}
