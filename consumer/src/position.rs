//! Where to read a partition: what Postgres knows, held against what Kafka has. Pure but for [`Inquiry`], which asks Kafka.

use std::time::Duration;

use rdkafka::producer::{FutureProducer, Producer as _};
use shared::kafka::ClientEvents;

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
    /// Kafka has fewer records than were stored: the topic was deleted and created again, or lost its end.
    Recreated,
}

/// The offset to read from, given the next offset that Postgres expects.
pub fn position(stored: i64, kafka: Watermarks) -> (i64, Option<Notice>) {
    if stored > kafka.high {
        // What had been stored before is recognized by its key.
        (kafka.low, Some(Notice::Recreated))
    } else if stored < kafka.low {
        (kafka.low, (stored != OLDEST).then_some(Notice::Lost(kafka.low - stored)))
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
            (10, kafka(0, 9), (0, Some(Notice::Recreated))),
            (10, kafka(3, 9), (3, Some(Notice::Recreated))),
            (2, kafka(5, 9), (5, Some(Notice::Lost(3)))),
            (0, kafka(5, 9), (5, Some(Notice::Lost(5)))),
            (OLDEST, kafka(5, 9), (5, None)),
            (OLDEST, kafka(0, 9), (0, None)),
        ];
        for (stored, watermarks, expected) in table {
            assert_eq!(position(stored, watermarks), expected, "{stored} in {watermarks:?}");
        }
        assert_eq!(first(From::Beginning, kafka(3, 9)), 3);
        assert_eq!(first(From::End, kafka(3, 9)), 9);
    }
}
