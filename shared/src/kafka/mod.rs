//! What both processes say to a Kafka client: where the cluster is, how to be let in, and that topics exist.

mod describe;
mod events;
mod options;
mod retention;
mod topics;

use std::collections::BTreeMap;
use std::fs::File;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use serde::{Deserialize, Serialize};

use crate::config::{Fault, Number, Secret, check_numbers};

pub use describe::{Topic, describe};
pub use events::ClientEvents;
pub use retention::warn_of_retention;
pub use topics::{ensure_topics, keep_topics};

/// The `[kafka]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    /// Brokers to begin with: `host:port`, separated by commas. Mandatory.
    pub brokers: String,
    /// The topic of the results.
    pub topic: String,
    /// Whether missing topics are created at start.
    pub create_topics: bool,
    /// Partitions of a topic that is created.
    pub partitions: i32,
    /// Replicas of a topic that is created; -1 leaves it to the brokers.
    pub replication_factor: i32,
    /// How the connection is secured.
    pub security_protocol: SecurityProtocol,
    /// How to authenticate, where the security protocol says SASL.
    pub sasl_mechanism: SaslMechanism,
    /// User name for SASL.
    pub username: String,
    /// Password for SASL.
    pub password: Secret,
    /// CA certificates in PEM that sign the brokers' certificates; empty for the system's.
    pub ca_file: String,
    /// Our certificate in PEM, for mutual TLS.
    pub certificate_file: String,
    /// Its key in PEM.
    pub key_file: String,
    /// The key's password.
    pub key_password: Secret,
    /// Anything else that librdkafka understands; wins over all of the above.
    #[serde(with = "options")]
    pub options: BTreeMap<String, String>,
}

/// How the connection to the brokers is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// Not at all.
    Plaintext,
    /// TLS, mutual if there is a certificate of ours.
    Ssl,
    /// SASL without encryption.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

/// How to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    /// User name and password as they are.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topic: "checks".to_owned(),
            create_topics: true,
            partitions: 8,
            replication_factor: -1,
            security_protocol: SecurityProtocol::Plaintext,
            sasl_mechanism: SaslMechanism::ScramSha512,
            username: String::new(),
            password: Secret::default(),
            ca_file: String::new(),
            certificate_file: String::new(),
            key_file: String::new(),
            key_password: Secret::default(),
            options: BTreeMap::new(),
        }
    }
}

impl SecurityProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    fn is_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl SaslMechanism {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Kafka {
    /// Every number, and what it may be.
    pub fn numbers(&self) -> [Number; 2] {
        [
            ("kafka.partitions", self.partitions.into(), 1..=100_000),
            ("kafka.replication_factor", self.replication_factor.into(), -1..=32_767),
        ]
    }

    /// Checks the section, librdkafka's own verdict on every property included.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), Fault> {
        if self.brokers.trim().is_empty() {
            return Err(Fault::missing("kafka.brokers"));
        }
        check_topic("kafka.topic", &self.topic)?;
        check_numbers(&self.numbers())?;
        if self.replication_factor == 0 {
            return Err(Fault::new("kafka.replication_factor", "must be at least 1, or -1 for the brokers' default"));
        }
        if self.security_protocol.is_sasl() && self.username.is_empty() {
            return Err(Fault::missing("kafka.username"));
        }
        if self.certificate_file.is_empty() != self.key_file.is_empty() {
            return Err(Fault::new("kafka.certificate_file", "certificate_file and key_file go together"));
        }
        let files =
            [("ca_file", &self.ca_file), ("certificate_file", &self.certificate_file), ("key_file", &self.key_file)];
        for (key, path) in files.into_iter().filter(|(_, path)| !path.is_empty()) {
            // librdkafka would only say that the system refuses something.
            File::open(path)
                .map_err(|error| Fault::new(format!("kafka.{key}"), format!("cannot read {path}: {error}")))?;
        }
        // Made for its verdict on the properties and on what the files hold; it has nobody to talk to.
        let mut config = self.client_config("validate");
        for key in ["bootstrap.servers", "metadata.broker.list"] {
            config.remove(key);
        }
        config.create::<BaseProducer>().map(drop).map_err(|error| self.fault(error))
    }

    /// Refuses options that would be overridden: pairs of a name, and what to do instead.
    ///
    /// # Errors
    /// One of them is set.
    pub fn refuse_options(&self, reserved: &[(&str, &str)]) -> Result<(), Fault> {
        match reserved.iter().find(|(key, _)| self.options.contains_key(*key)) {
            Some((key, instead)) => {
                Err(Fault::new(format!("kafka.options.{key}"), format!("cannot be set: {instead}")))
            }
            None => Ok(()),
        }
    }

    fn fault(&self, error: KafkaError) -> Fault {
        match error {
            KafkaError::ClientConfig(_, reason, key, value) if self.options.contains_key(&key) => {
                let value = if options::is_secret(&key) { String::new() } else { format!(" (value {value:?})") };
                Fault::new(format!("kafka.options.{key}"), format!("{}{value}", reason.trim_end_matches('.')))
            }
            // The rest of the error may hold a secret.
            KafkaError::ClientConfig(_, reason, ..) => Fault::new("kafka", reason),
            KafkaError::ClientCreation(reason) => {
                let files = [("ca", "ca_file"), ("certificate", "certificate_file"), ("key", "key_file")];
                let of = |property: &str| reason.contains(&format!("ssl.{property}.location"));
                let file = files.into_iter().find(|(property, _)| of(property));
                Fault::new(file.map_or("kafka".to_owned(), |(_, key)| format!("kafka.{key}")), reason.trim_end())
            }
            error => Fault::new("kafka", error),
        }
    }

    /// The properties that every client of ours begins with.
    pub fn client_config(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client_id)
            .set("security.protocol", self.security_protocol.as_str())
            // Firewalls forget idle connections without a word.
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "5000")
            // New partitions are noticed by looking, which would be every five minutes.
            .set("topic.metadata.refresh.interval.ms", "10000");
        if self.security_protocol.is_sasl() {
            config
                .set("sasl.mechanism", self.sasl_mechanism.as_str())
                .set("sasl.username", &self.username)
                .set("sasl.password", self.password.expose());
        }
        let optional = [
            ("ssl.ca.location", self.ca_file.as_str()),
            ("ssl.certificate.location", &self.certificate_file),
            ("ssl.key.location", &self.key_file),
            ("ssl.key.password", self.key_password.expose()),
        ];
        for (key, value) in optional.into_iter().filter(|(_, value)| !value.is_empty()) {
            config.set(key, value);
        }
        for (key, value) in &self.options {
            config.set(key, value);
        }
        config
    }
}

/// Checks a topic's name by the brokers' rule: up to 249 letters, digits, dots, underscores and hyphens.
///
/// # Errors
/// The name breaks the rule.
pub fn check_topic(key: &str, name: &str) -> Result<(), Fault> {
    let legal = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if legal && !name.is_empty() && name.len() <= 249 && name != "." && name != ".." {
        return Ok(());
    }
    Err(Fault::new(
        key,
        format!("expected a topic's name (letters, digits, `.`, `_`, `-`; at most 249), found {name:?}"),
    ))
}

#[cfg(test)]
mod tests;
