//! The message on the topic `checks`, version 1: one JSON object a check, keyed by the target's name.
//!
//! It is a superset of the original system's message, whose field names and units stay: `elapsed` is integer microseconds,
//! `start` is float Unix seconds. Readers ignore fields that they do not know and accept failure classes that they do not know.
//! `shared/schema/check-result.v1.json` is generated from these types.

use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// The version of the message that this code writes.
pub const VERSION: u32 = 1;

/// The namespace of result ids: UUIDv5 of the DNS namespace and `check-result.slotwatch`.
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x993e_50f5_3fb7_5ba2_b1cb_5685_f7d5_ea57);

/// The result of one check, or the reason why there was none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CheckResult {
    /// Which check this is.
    pub meta: Meta,
    /// The lookup of the target's own host.
    pub dns: Dns,
    /// The request and its answer.
    pub http: Http,
    /// The verdict.
    pub outcome: Outcome,
}

/// Which check a result belongs to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Meta {
    /// Version of this message.
    pub version: u32,
    /// UUIDv5 of (target, location, scheduled_at): derived, so that a retry or a second replica yields the same id.
    pub id: Uuid,
    /// The target's unique name; also the key of the Kafka record.
    pub target: String,
    /// The host that the target's URL names.
    pub host: String,
    /// Where the producer runs.
    pub location: String,
    /// The slot: the instant that the check was scheduled for.
    pub scheduled_at: Slot,
    /// How long after `scheduled_at` the check started, in microseconds. For a missed slot, when it was given up.
    pub lateness: i64,
    /// The time between two slots of the target when this one was scheduled, in milliseconds. So the slots around this one are
    /// known, whether they have results or not. Absent where nobody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
}

/// The lookup of the target's own host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Dns {
    /// When the lookup began, in Unix seconds; null when there was none, as for a literal address.
    pub start: Option<f64>,
    /// How long the lookup took, in microseconds.
    pub elapsed: Option<u64>,
    /// The address that the check went to.
    pub ip: Option<String>,
    /// Why there is no address.
    pub error: Option<String>,
    /// The addresses that were tried before `ip` and could not be connected to, in the order in which they were tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_addresses: Vec<FailedAddress>,
}

/// An address of a host that could not be connected to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedAddress {
    /// The address.
    pub ip: String,
    /// Why there is no connection to it, for people.
    pub detail: String,
}

/// The request, and as much of the answer as came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Http {
    /// When the request began (after the lookup), in Unix seconds; null when it never did.
    pub start: Option<f64>,
    /// `http` or `https`.
    pub schema: String,
    /// The host that the URL names.
    pub host: String,
    /// Path and query of the URL; null when it has none.
    pub path: Option<String>,
    /// The URL as configured, without user information, and with `***` in place of what may give access.
    pub url: String,
    /// The request's method.
    pub method: String,
    /// The pattern that was searched for in the body.
    pub regex: Option<String>,
    /// The status code of the last response.
    pub status_code: Option<u16>,
    /// The reason phrase as the server sent it.
    pub reason: Option<String>,
    /// From the begin of the request to its end, in microseconds; null when it never began.
    pub elapsed: Option<u64>,
    /// Whether the pattern was found; null when there is none or the body was never read.
    pub regex_found: Option<bool>,
    /// Where the time went.
    #[serde(default)]
    pub phases: Phases,
    /// Size of the body that was read, decompressed, in bytes.
    #[serde(default)]
    pub body_bytes: Option<u64>,
    /// The protocol that the server answered in, such as `HTTP/1.1`.
    #[serde(default)]
    pub version: Option<String>,
    /// How many redirects were followed.
    #[serde(default)]
    pub redirects: u32,
    /// The URL of the last hop, without user information; absent when no redirect was followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_url: Option<String>,
    /// End of validity of the certificate that the last server showed.
    #[serde(default)]
    pub certificate_expires_at: Option<Timestamp>,
}

/// Durations of the request's phases in microseconds, measured on the last hop. A phase that never began is null; one that failed
/// has the time until it failed. They add up to `http.elapsed` but for the instants between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Phases {
    /// All earlier hops and the lookup of the last one, when redirects were followed.
    pub redirect: Option<u64>,
    /// TCP connection.
    pub connect: Option<u64>,
    /// TLS handshake.
    pub tls: Option<u64>,
    /// From the established connection to the response head.
    pub first_byte: Option<u64>,
    /// From the response head to the end of the body.
    pub transfer: Option<u64>,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// What we say of the site.
    pub state: State,
    /// Why it is not up; null when it is.
    pub failure: Option<Failure>,
}

/// What a check says of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It answered as expected.
    Up,
    /// It did not.
    Down,
    /// The slot passed without a check: nothing is known about the site.
    Missed,
    /// The check ran into our own inability: nothing is known about the site.
    Unmeasured,
}

impl State {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Missed => "missed",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// Why a site is not up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The kind of failure.
    pub class: FailureClass,
    /// The phase that it struck; null when it struck none, as a status that was not expected.
    #[serde(default, deserialize_with = "known_phase")]
    pub phase: Option<Phase>,
    /// The evidence, for people.
    pub detail: String,
}

/// The kinds of failure. This list is closed where messages are written and open where they are read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The name could not be resolved.
    Dns,
    /// No TCP connection.
    Connect,
    /// No TLS session, or a certificate that does not hold.
    Tls,
    /// The connection broke, or did not speak HTTP, before the response head was complete.
    Protocol,
    /// The check's deadline ran out.
    Timeout,
    /// Too many redirects, or one that leads nowhere.
    Redirect,
    /// A status that was not expected.
    HttpStatus,
    /// The body is not as expected.
    Content,
    /// The body ended before its promised end.
    PartialResponse,
    /// The address guard refused the address.
    Blocked,
    /// Ours: no descriptors, ports, memory or route on our side.
    Resources,
    /// Ours: no name server answered anything.
    Resolver,
    /// Ours: as many checks as allowed were already running.
    Overload,
    /// Ours: the slot had passed before its check could start.
    Late,
    /// Ours: the producer was told to stop before the check ended.
    Stopped,
    /// A class of a later version.
    #[serde(untagged)]
    Other(String),
}

impl FailureClass {
    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Redirect => "redirect",
            Self::HttpStatus => "http_status",
            Self::Content => "content",
            Self::PartialResponse => "partial_response",
            Self::Blocked => "blocked",
            Self::Resources => "resources",
            Self::Resolver => "resolver",
            Self::Overload => "overload",
            Self::Late => "late",
            Self::Stopped => "stopped",
            Self::Other(name) => name,
        }
    }
}

/// The phases of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Name resolution.
    Dns,
    /// TCP connection.
    Connect,
    /// TLS handshake.
    Tls,
    /// Waiting for the response head.
    FirstByte,
    /// Reading the body.
    Transfer,
}

impl Phase {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
            Self::Transfer => "transfer",
        }
    }
}

/// A phase of a later version is no reason to refuse the message.
fn known_phase<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Phase>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// A scheduled instant of a target: Unix time in milliseconds, on the wire RFC 3339 with exactly three decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(Timestamp);

impl Slot {
    /// The slot at so many milliseconds of Unix time; `None` outside of the years that a calendar can show.
    pub fn from_millis(millis: i64) -> Option<Self> {
        Timestamp::from_millisecond(millis).ok().map(Self)
    }

    /// Milliseconds of Unix time.
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// The same instant as a timestamp.
    pub fn timestamp(self) -> Timestamp {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0)
    }
}

impl Serialize for Slot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let instant = Timestamp::deserialize(deserializer)?;
        Self::from_millis(instant.as_millisecond()).ok_or_else(|| de::Error::custom("scheduled_at is out of range"))
    }
}

impl JsonSchema for Slot {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Slot".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339 in UTC, in whole milliseconds",
        })
    }
}

/// The id of the result of one slot: UUIDv5 of target, location and slot.
pub fn result_id(target: &str, location: &str, scheduled_at: Slot) -> Uuid {
    // Names cannot contain NUL, so no two triples share a text.
    Uuid::new_v5(&ID_NAMESPACE, format!("{target}\0{location}\0{scheduled_at}").as_bytes())
}

/// The JSON Schema of [`CheckResult`], as published in `shared/schema/`.
pub fn schema() -> Schema {
    schemars::schema_for!(CheckResult)
}
