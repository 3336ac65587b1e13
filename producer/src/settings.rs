//! The producer's settings: `config/producer.toml` shows every key at its default.

use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use shared::admin::Admin;
use shared::config::{Fault, Number, Settings as Checked, check_numbers, duration, number};
use shared::kafka::{Kafka, check_topic};
use shared::lifecycle::Stop;
use shared::masked;
use shared::telemetry::Log;
use url::Url;

/// All sections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The single target, when there is no targets file.
    pub site: Site,
    /// When checks run.
    pub schedule: Schedule,
    /// With whom the targets are shared.
    pub replicas: Replicas,
    /// How names are resolved.
    pub dns: Dns,
    /// How sites are asked.
    pub probe: Probe,
    /// Where the results go.
    pub kafka: Kafka,
    /// How the results go there.
    pub publish: Publish,
    /// Where they wait.
    pub spool: Spool,
    /// Where it can be asked how it is.
    pub admin: Admin,
    /// What it answers.
    pub metrics: Metrics,
    /// How the process ends.
    pub stop: Stop,
    /// What it says.
    pub log: Log,
}

/// The `[site]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// The URL to check.
    #[serde(serialize_with = "without_secrets")]
    pub url: String,
    /// The target's name; empty for the URL's host.
    pub name: String,
    /// A pattern that the body must match; empty for none.
    pub regex: String,
    /// The deadline of a check.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// The time between two checks.
    #[serde(with = "duration")]
    pub interval: Duration,
}

/// The `[schedule]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// The file that lists the targets; empty for the single target of `[site]`.
    pub targets_file: String,
    /// Where this producer runs, as it stands in every result.
    pub location: String,
    /// How many checks may run at the same time.
    pub max_concurrent: usize,
}

/// The `[replicas]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Replicas {
    /// Whether the producers of a location share its targets.
    pub enabled: bool,
    /// The topic whose partitions are the shards.
    pub topic: String,
    /// Shards when the topic is created.
    pub shards: i32,
    /// The consumer group of the replicas; empty for one named after the location.
    pub group: String,
    /// The name by which a replica is known again after a restart; empty for none.
    pub instance: String,
    /// How long a replica may be silent before others take over its shards.
    #[serde(with = "duration")]
    pub session_timeout: Duration,
}

impl Replicas {
    /// The consumer group of the replicas of a location.
    pub fn group(&self, location: &str) -> String {
        if self.group.is_empty() { format!("slotwatch-producer-{location}") } else { self.group.clone() }
    }

    /// The time between two heartbeats. They bring word of changes, so this is how long a change takes to get about.
    pub fn heartbeat(&self) -> Duration {
        self.session_timeout / 10
    }

    /// How long a replica goes on with shards that have moved to another.
    pub fn handover(&self) -> Duration {
        3 * self.heartbeat()
    }

    fn validate(&self) -> Result<(), Fault> {
        check_topic("replicas.topic", &self.topic)?;
        if !(Duration::from_secs(1)..=Duration::from_secs(1800)).contains(&self.session_timeout) {
            return Err(Fault::new("replicas.session_timeout", "expected a time from 1s to 30m, as the brokers allow"));
        }
        // The rule of the brokers.
        check_topic("replicas.instance", if self.instance.is_empty() { "none" } else { &self.instance })
    }
}

/// The `[dns]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Name servers as `address` or `address:port`; none for those of `/etc/resolv.conf`.
    pub servers: Vec<String>,
    /// Which family of addresses to use.
    pub prefer: Family,
    /// How long to wait for one name server before the next one is asked, or the same again.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Whether names with a dot are also tried with the search domains of `/etc/resolv.conf`.
    pub search: bool,
}

/// Which family of addresses to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4 where there is one, else IPv6.
    Ipv4,
    /// IPv6 where there is one, else IPv4.
    Ipv6,
    /// IPv4 only.
    Ipv4Only,
    /// IPv6 only.
    Ipv6Only,
}

/// The `[probe]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    /// What we call ourselves; a target's own header wins.
    pub user_agent: String,
    /// How much of a body is read, decompressed, in bytes.
    pub max_body_bytes: usize,
    /// How much memory the checks under way may take together, for bodies above all, in bytes.
    pub max_memory_bytes: usize,
    /// How many redirects are followed.
    pub max_redirects: u32,
    /// Whether private, loopback, link-local and other special addresses may be checked.
    pub allow_private: bool,
    /// Networks, or single addresses, that may be checked although they are private.
    pub allow_networks: Vec<String>,
    /// Ports that may be connected to; none for all.
    pub allow_ports: Vec<u16>,
    /// Further CA certificates in PEM, beside the system's; empty for none.
    pub ca_file: String,
    /// Whether a chain that was verified is known again for an hour; if not, every handshake verifies it in full.
    pub remember_chains: bool,
}

/// The `[publish]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// `none`, `gzip`, `snappy`, `lz4` or `zstd`.
    pub compression: String,
    /// How long a result may wait for others to share a request with.
    #[serde(with = "duration")]
    pub linger: Duration,
    /// How many results may be under way to the brokers at the same time.
    pub max_in_flight: usize,
}

/// The `[spool]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The file in which results wait until the brokers have them.
    pub file: String,
    /// How many bytes of messages may wait; beyond that the oldest are dropped.
    pub max_bytes: u64,
}

/// The `[metrics]` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Whether each target is shown for itself.
    pub per_target: bool,
}

/// A URL as it may be shown. One that is none yet may hold a password all the same.
fn without_secrets<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let has_none = match Url::parse(text) {
        Ok(url) if url.has_host() => url.username().is_empty() && url.password().is_none(),
        _ => !text.contains('@'),
    };
    serializer.serialize_str(&if has_none { masked::url(text) } else { "<redacted>".to_owned() })
}

impl Default for Site {
    fn default() -> Self {
        Self {
            url: String::new(),
            name: String::new(),
            regex: String::new(),
            timeout: Duration::from_secs(10),
            interval: Duration::from_secs(60),
        }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self { targets_file: String::new(), location: "local".to_owned(), max_concurrent: 1000 }
    }
}

impl Default for Replicas {
    fn default() -> Self {
        Self {
            enabled: false,
            topic: "checks.shards".to_owned(),
            shards: 64,
            group: String::new(),
            instance: String::new(),
            session_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { servers: Vec::new(), prefer: Family::Ipv4, timeout: Duration::from_secs(2), search: false }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            user_agent: concat!("slotwatch/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_body_bytes: 1 << 20,
            max_memory_bytes: 128 << 20,
            max_redirects: 10,
            allow_private: true,
            allow_networks: Vec::new(),
            allow_ports: Vec::new(),
            ca_file: String::new(),
            remember_chains: true,
        }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self { compression: "lz4".to_owned(), linger: Duration::from_millis(100), max_in_flight: 10_000 }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Self { file: "slotwatch-spool.sqlite".to_owned(), max_bytes: 1 << 30 }
    }
}

impl Probe {
    fn validate(&self) -> Result<(), Fault> {
        if self.user_agent.chars().any(|c| c.is_control() || !c.is_ascii()) {
            return Err(Fault::new("probe.user_agent", "expected printable ASCII"));
        }
        // Its text may take three times what it took as bytes, and decoders and buffers want room as well.
        if self.max_memory_bytes / 4 < self.max_body_bytes {
            let expected = format!("must be at least four times probe.max_body_bytes ({})", self.max_body_bytes);
            return Err(Fault::new("probe.max_memory_bytes", expected));
        }
        if self.allow_ports.contains(&0) {
            return Err(Fault::new("probe.allow_ports", "expected numbers from 1 to 65535, found 0"));
        }
        Ok(())
    }
}

impl Settings {
    /// Every number, and what it may be.
    pub fn numbers(&self) -> [Number; 7] {
        let Self { schedule, replicas, probe, publish, spool, .. } = self;
        [
            ("schedule.max_concurrent", number(schedule.max_concurrent), 1..=1_000_000),
            ("replicas.shards", replicas.shards.into(), 1..=10_000),
            ("probe.max_body_bytes", number(probe.max_body_bytes), 1024..=1 << 30),
            ("probe.max_memory_bytes", number(probe.max_memory_bytes), 1 << 20..=1 << 40),
            ("probe.max_redirects", probe.max_redirects.into(), 0..=100),
            ("publish.max_in_flight", number(publish.max_in_flight), 1..=1_000_000),
            ("spool.max_bytes", number(spool.max_bytes), 1 << 20..=1 << 50),
        ]
    }
}

impl Checked for Settings {
    // The Kafka section is checked where Kafka is needed: `--once` is not such a place.
    fn validate(&self) -> Result<(), Fault> {
        self.admin.validate()?;
        self.stop.validate()?;
        self.log.validate()?;
        if self.schedule.location.is_empty() || self.schedule.location.chars().any(char::is_control) {
            return Err(Fault::new("schedule.location", "expected a name without control characters"));
        }
        if self.schedule.location.len() > 200 {
            return Err(Fault::new("schedule.location", "must not be longer than 200 bytes"));
        }
        check_numbers(&self.numbers())?;
        self.probe.validate()?;
        self.replicas.validate()?;
        if self.replicas.enabled {
            self.kafka.refuse_options(&crate::replicas::RESERVED)?;
        }
        if self.dns.timeout.is_zero() {
            return Err(Fault::new("dns.timeout", "must be longer than 0s"));
        }
        if self.publish.linger > Duration::from_secs(900) {
            return Err(Fault::new("publish.linger", "must not be longer than 15m"));
        }
        if self.spool.file.is_empty() {
            return Err(Fault::missing("spool.file"));
        }
        match self.publish.compression.as_str() {
            "none" | "gzip" | "snappy" | "lz4" | "zstd" => Ok(()),
            other => Err(Fault::new(
                "publish.compression",
                format!("expected none, gzip, snappy, lz4 or zstd, found {other:?}"),
            )),
        }
    }
}
