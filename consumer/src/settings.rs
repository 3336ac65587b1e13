//! The consumer's settings: `config/consumer.toml` shows every key at its default.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::admin::Admin;
use shared::config::{Fault, Number, check_numbers, number};
use shared::kafka::{Kafka, check_topic};
use shared::lifecycle::Stop;
use shared::telemetry::Log;

use crate::source::check_options;
pub use crate::store::settings::{Postgres, Retention, SslMode};

/// All sections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the records are.
    pub kafka: Kafka,
    /// How they are read.
    pub consume: Consume,
    /// Where the rows go.
    pub postgres: Postgres,
    /// Where it can be asked how it is.
    pub admin: Admin,
    /// How the process ends.
    pub stop: Stop,
    /// What it says.
    pub log: Log,
}

/// The `[consume]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Consume {
    /// The consumer group.
    pub group: String,
    /// Whether offsets are also committed to Kafka, for tools that watch lag.
    pub commit: bool,
    /// The topic of records that cannot be stored; empty for `<kafka.topic>.dead-letter`.
    pub dead_letter_topic: String,
    /// How many records in a row may go there before the consumer ends instead; 0 for no limit.
    pub dead_letter_limit: usize,
    /// Where a partition begins that Postgres knows nothing about.
    pub from: From,
    /// Most records of a transaction.
    pub batch_rows: usize,
    /// Most bytes of records of a transaction.
    pub batch_bytes: usize,
    /// Longest wait for more records.
    #[serde(with = "shared::config::duration")]
    pub batch_age: Duration,
}

/// Where a partition begins that Postgres knows nothing about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// With its oldest record.
    Beginning,
    /// With the next record that arrives.
    End,
}

impl Default for Consume {
    fn default() -> Self {
        Self {
            group: "slotwatch".to_owned(),
            commit: true,
            dead_letter_topic: String::new(),
            // Two full batches: more than a burst of one bad writer that stands between good records, and soon reached where
            // nothing can be stored at all, as with the wrong topic or messages of a later version.
            dead_letter_limit: 10_000,
            from: From::Beginning,
            batch_rows: 5000,
            batch_bytes: 8 * 1024 * 1024,
            batch_age: Duration::from_millis(200),
        }
    }
}

impl Consume {
    /// Every number, and what it may be.
    pub fn numbers(&self) -> [Number; 3] {
        [
            ("consume.dead_letter_limit", number(self.dead_letter_limit), 0..=1_000_000_000),
            ("consume.batch_rows", number(self.batch_rows), 1..=100_000),
            ("consume.batch_bytes", number(self.batch_bytes), 1024..=256 << 20),
        ]
    }

    fn validate(&self, topic: &str) -> Result<(), Fault> {
        if self.group.trim().is_empty() {
            return Err(Fault::new("consume.group", "must not be empty"));
        }
        if !self.dead_letter_topic.is_empty() {
            check_topic("consume.dead_letter_topic", &self.dead_letter_topic)?;
        }
        if self.dead_letter_topic == topic {
            return Err(Fault::new("consume.dead_letter_topic", "must not be the topic of the results"));
        }
        check_numbers(&self.numbers())?;
        if self.batch_age > Duration::from_secs(60) {
            return Err(Fault::new("consume.batch_age", "must be at most 60s"));
        }
        Ok(())
    }
}

impl Settings {
    /// The topic of records that cannot be stored.
    pub fn dead_letter_topic(&self) -> String {
        match self.consume.dead_letter_topic.as_str() {
            "" => format!("{}.dead-letter", self.kafka.topic),
            topic => topic.to_owned(),
        }
    }
}

impl shared::config::Settings for Settings {
    fn validate(&self) -> Result<(), Fault> {
        self.kafka.validate()?;
        check_options(&self.kafka)?;
        self.consume.validate(&self.kafka.topic)?;
        self.postgres.validate()?;
        self.admin.validate()?;
        self.stop.validate()?;
        self.log.validate()
    }
}

/// What `consumer migrate` needs: the same file, of which only `[postgres]` and `[log]` must be complete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrateSettings(pub Settings);

impl shared::config::Settings for MigrateSettings {
    fn validate(&self) -> Result<(), Fault> {
        self.0.postgres.validate()?;
        self.0.log.validate()
    }
}

/// What `consumer dead-letters` needs: the same file, of which `[postgres]` may be empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeadLetterSettings(pub Settings);

impl shared::config::Settings for DeadLetterSettings {
    fn validate(&self) -> Result<(), Fault> {
        self.0.kafka.validate()?;
        check_options(&self.0.kafka)?;
        self.0.consume.validate(&self.0.kafka.topic)?;
        self.0.log.validate()
    }
}

#[cfg(test)]
mod tests;
