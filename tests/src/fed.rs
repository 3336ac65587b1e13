//! A consumer that is fed by hand, and the account of what it was fed with.

use std::collections::BTreeSet;

use local::process::Process;
use serde_json::Value;

use crate::{NEW_YEAR, Slot, World, messages, patiently, stop};

const TARGETS: usize = 10;
const SLOTS: i64 = 20;

/// A consumer in its world, and what it owes.
pub struct Fed {
    /// Where it runs.
    pub world: World,
    /// The process.
    pub consumer: Process,
    due: BTreeSet<Slot>,
    rounds: i64,
}

impl Fed {
    /// Starts a consumer; the topics are there.
    ///
    /// # Panics
    /// It cannot be started.
    pub async fn new(world: World, variables: &[(&'static str, &str)]) -> Self {
        world.make_topics().await;
        let consumer = world.start("consumer", &[], variables);
        Self { world, consumer, due: BTreeSet::new(), rounds: 0 }
    }

    /// With something stored, so that its sessions stand.
    ///
    /// # Panics
    /// It is not stored.
    pub async fn settled(mut self) -> Self {
        self.feed().await;
        self.is_stored().await;
        self
    }

    /// Waits until the consumer says something.
    ///
    /// # Panics
    /// It does not.
    pub async fn says(&mut self, text: &str) {
        if let Err(error) = patiently(text, self.consumer.says(text)).await {
            panic!("{error}");
        }
    }

    /// Puts 200 results more into the topic.
    pub async fn feed(&mut self) {
        let sent = messages("fed", TARGETS, SLOTS, NEW_YEAR + self.rounds * SLOTS * 1000);
        self.world.send(&sent).await;
        self.due.extend(sent.due);
        self.rounds += 1;
    }

    /// Waits until all is stored, once, and nothing else.
    ///
    /// # Panics
    /// It is not.
    pub async fn is_stored(&self) {
        self.world.accounts_for(&self.due).await;
    }

    /// Something that the test has sent itself is due, too.
    pub fn owes(&mut self, slot: Slot) {
        self.due.insert(slot);
    }

    /// What was fed is no longer due: someone else has lost it, and the consumer has said so.
    pub fn write_off(&mut self) {
        self.due.clear();
    }

    /// Feeds once more, ends the consumer, and holds that it has complained of these things, in this order, each once.
    ///
    /// # Panics
    /// Something is missing, or was said that should not be.
    pub async fn ends_well(self, complaints: &[&str]) {
        self.ends_having_said(complaints, &[]).await;
    }

    /// The same, where it depends on chance whether some other things are said as well.
    ///
    /// # Panics
    /// Something is missing, or was said that should not be.
    pub async fn ends_having_said(mut self, complaints: &[&str], perhaps: &[&str]) {
        self.feed().await;
        self.is_stored().await;
        self.consumer = stop(self.consumer).await;
        self.is_stored().await;
        let mut said = self::complaints(&self.consumer);
        said.retain(|line| !perhaps.iter().any(|text| line.contains(text)));
        let each =
            said.len() == complaints.len() && said.iter().zip(complaints).all(|(line, text)| line.contains(text));
        assert!(each, "expected {complaints:?}, said {said:#?} in {:#?}", self.consumer.log());
    }
}

/// The lines of a process that ask for attention.
pub fn complaints(process: &Process) -> Vec<String> {
    let asks = |line: &String| {
        let line = serde_json::from_str::<Value>(line).unwrap_or_default();
        ["WARN", "ERROR"].iter().any(|level| line["level"] == *level)
    };
    process.log().into_iter().filter(asks).collect()
}
