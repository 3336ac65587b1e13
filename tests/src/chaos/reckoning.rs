//! What was due, held against what is stored, what is in the topic, and what went to the dead letters.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use producer::schedule::Rhythm;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use super::kept::Life;
use super::{INTERVAL, TOPIC, UNFINISHED};
use crate::{Record, Slot, each_record};

/// The names of what is shown of a list that should be empty.
const SHOWN: usize = 10;

/// The account of a run.
#[derive(Debug, Default)]
pub struct Account {
    /// Slots that the producer owed, and of those whose check was under way when it was killed, the ones that it finished.
    pub due: usize,
    /// Slots that are stored.
    pub stored: usize,
    /// Stored slots that are marked as missed.
    pub missed: usize,
    /// Slots that were due, or in the topic, and are not stored.
    pub lost: Vec<Slot>,
    /// Rows beyond the first of a slot.
    pub doubled: usize,
    /// Slots whose check was under way when the producer was killed, and that are not stored.
    pub cut_short: usize,
    /// Slots that are stored and never were due.
    pub invented: Vec<Slot>,
    /// Records of the topic that are no results.
    pub poison: usize,
    /// Those of them that are in the dead letters.
    pub dead_lettered: usize,
}

impl Account {
    /// Whether every promise was kept.
    pub fn adds_up(&self) -> bool {
        self.lost.is_empty() && self.doubled == 0 && self.invented.is_empty() && self.poison == self.dead_lettered
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, stored, missed, lost, doubled, cut_short, invented, poison, dead_lettered } = self;
        write!(
            f,
            "due {due}, stored {stored}, missed {missed}, lost {}, doubled {doubled}, dead-lettered {dead_lettered} of {poison}",
            lost.len()
        )?;
        write!(f, " (cut short by kill -9: {cut_short}, stored without being due: {})", invented.len())?;
        for (what, slots) in [("lost", lost), ("stored without being due", invented)] {
            for (target, slot) in slots.iter().take(SHOWN) {
                write!(f, "\n{what}: {target} at {slot}")?;
            }
        }
        Ok(())
    }
}

/// The slots that a producer owes: for certain, and those of which nobody can say whether their check had ended when it was
/// killed.
#[derive(Debug, Default)]
pub(super) struct Owed {
    certain: HashSet<Slot>,
    perhaps: HashSet<Slot>,
}

impl Owed {
    pub(super) fn of(lives: &[Life], targets: &[String]) -> Self {
        let mut owed = Self::default();
        let unfinished = i64::try_from(UNFINISHED.as_millis()).unwrap_or(i64::MAX);
        for life in lives {
            let (started, certain_until, ended) = match *life {
                Life { started: Some(started), stopped: Some(stopped), .. } => (started, stopped, stopped),
                Life { started: Some(started), killed: Some((lived, gone)), .. } => (started, lived - unfinished, gone),
                _ => continue,
            };
            for target in targets {
                let rhythm = Rhythm::new(target, INTERVAL);
                for slot in rhythm.between(rhythm.latest(started), ended) {
                    // A slot that was due before the start is checked at the start.
                    let certain = slot.max(started) <= certain_until;
                    let set = if certain { &mut owed.certain } else { &mut owed.perhaps };
                    set.insert((target.clone(), slot));
                }
            }
        }
        owed
    }
}

/// Asks Postgres, again and again.
pub(super) struct Rows {
    client: Client,
    _connection: JoinSet<()>,
}

impl Rows {
    pub(super) async fn connect(url: &str) -> Result<Self, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            // A lost connection shows in the next query.
            let _ = connection.await;
        });
        Ok(Self { client, _connection: task })
    }

    /// How many rows there are.
    pub(super) async fn count(&self) -> Result<i64, tokio_postgres::Error> {
        let exists = "SELECT to_regclass('checks') IS NOT NULL";
        if !self.client.query_one(exists, &[]).await?.get::<_, bool>(0) {
            return Ok(0);
        }
        Ok(self.client.query_one("SELECT count(*) FROM checks", &[]).await?.get(0))
    }

    /// Every row's slot and state.
    async fn all(&self) -> Result<Vec<(Slot, String)>, tokio_postgres::Error> {
        let query = "SELECT target, (extract(epoch FROM scheduled_at) * 1000)::bigint, state FROM check_results";
        let rows = self.client.query(query, &[]).await?;
        Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
    }

    /// Holds what is owed against what is there.
    pub(super) async fn reckon(&self, owed: &Owed, brokers: &str) -> Result<Account, tokio_postgres::Error> {
        let topic = tokio::task::block_in_place(|| Topic::read(brokers));
        let rows = self.all().await?;
        let stored: HashSet<&Slot> = rows.iter().map(|(slot, _)| slot).collect();
        let lost: BTreeSet<&Slot> =
            owed.certain.iter().chain(&topic.slots).filter(|slot| !stored.contains(slot)).collect();
        let known = |slot: &&Slot| owed.certain.contains(*slot) || owed.perhaps.contains(*slot);
        let (finished, cut_short): (Vec<_>, Vec<_>) =
            owed.perhaps.difference(&owed.certain).partition(|slot| stored.contains(slot));
        Ok(Account {
            due: owed.certain.len() + finished.len(),
            stored: stored.len(),
            missed: rows.iter().filter(|(_, state)| state == "missed").count(),
            doubled: rows.len() - stored.len(),
            cut_short: cut_short.len(),
            invented: stored.iter().copied().filter(|slot| !known(slot)).cloned().collect(),
            lost: lost.into_iter().cloned().collect(),
            poison: topic.poison.len(),
            dead_lettered: topic.poison.intersection(&topic.buried).count(),
        })
    }
}

/// What Kafka has.
#[derive(Default)]
struct Topic {
    slots: HashSet<Slot>,
    /// Partition and offset of what is no result.
    poison: HashSet<(i64, i64)>,
    /// The same of every dead letter.
    buried: HashSet<(i64, i64)>,
}

impl Topic {
    fn read(brokers: &str) -> Self {
        let mut topic = Self::default();
        each_record(brokers, TOPIC, |record| match slot(&record) {
            Some(slot) => drop(topic.slots.insert(slot)),
            None => drop(topic.poison.insert((record.partition.into(), record.offset))),
        });
        each_record(brokers, &format!("{TOPIC}.dead-letter"), |letter| {
            let number = |name: &str| letter.header(name).and_then(|text| text.parse().ok());
            let origin = (number("dead-letter.partition"), number("dead-letter.offset"));
            if let (Some(partition), Some(offset)) = origin {
                topic.buried.insert((partition, offset));
            }
        });
        topic
    }
}

/// The slot of a result, read apart from the product's own types.
fn slot(record: &Record) -> Option<Slot> {
    let message: Value = serde_json::from_slice(&record.payload).ok()?;
    let meta = message.get("meta")?;
    let at: jiff::Timestamp = meta.get("scheduled_at")?.as_str()?.parse().ok()?;
    Some((meta.get("target")?.as_str()?.to_owned(), at.as_millisecond()))
}
