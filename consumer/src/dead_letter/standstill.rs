//! Where a consumer ended because nothing could be stored any more, remembered for the next process.
//!
//! It is a matter of a mark and no more: where it cannot be set or read, the next process only has the whole limit again.

use std::collections::BTreeMap;

use shared::kafka::ClientEvents;

use super::limit::counted;
use super::marks::{Mark, Marks};
use crate::settings::Settings;
use crate::store::Move;

/// The mark of the group `<consume.group>.standstill`.
pub struct Standstill {
    settings: Settings,
    /// Asked once, for the first batch that has something to give up.
    asked: bool,
}

impl Standstill {
    /// Connects when it is first needed, which it hardly ever is.
    pub fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), asked: false }
    }

    /// How many records in a row an earlier process had counted that ended where these moves begin. To be asked about the first of
    /// them; answers 0 from then on.
    pub async fn count_at(&mut self, moves: &[Move]) -> usize {
        if std::mem::replace(&mut self.asked, true) || self.settings.consume.dead_letter_limit == 0 {
            return 0;
        }
        let partitions: Vec<i32> = moves.iter().map(|step| step.partition).collect();
        let read = self.with_marks(move |marks| marks.read(partitions)).await;
        counted(&read.unwrap_or_default(), moves.iter().map(|step| (step.partition, step.from)))
    }

    /// Remembers where these moves begin, and how many were counted before them.
    pub async fn set(&self, moves: &[Move], count: usize) {
        let mark = |step: &Move| (step.partition, Mark { offset: step.from, text: count.to_string() });
        let marks: BTreeMap<i32, Mark> = moves.iter().map(mark).collect();
        self.with_marks(move |client| client.write(&marks)).await;
    }

    async fn with_marks<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Marks) -> Result<T, rdkafka::error::KafkaError> + Send + 'static,
    ) -> Option<T> {
        let settings = self.settings.clone();
        let work = move || {
            let topic = &settings.kafka.topic;
            work(&Marks::new(&settings, "standstill", topic, &ClientEvents::default())?)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                tracing::warn!(%error, "where all is poison cannot be remembered in kafka");
                None
            }
            Err(_) => None,
        }
    }
}
