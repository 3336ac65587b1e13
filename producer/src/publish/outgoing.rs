//! A result as a Kafka record: key, headers, payload. Its timestamp is when it is sent and not when the check was: a backlog of days
//! must not fall to the topic's retention before anyone has read it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use shared::message::CheckResult;

/// A message as it goes to Kafka.
pub(super) struct Outgoing {
    key: Vec<u8>,
    payload: Vec<u8>,
    headers: OwnedHeaders,
}

impl Outgoing {
    /// A result and the JSON that it was spooled as.
    pub(super) fn new(result: &CheckResult, payload: Vec<u8>) -> Self {
        Self { key: result.meta.target.clone().into_bytes(), payload, headers: headers(result) }
    }

    /// What an earlier process, perhaps of another version, left in the spool.
    pub(super) fn of_spooled(payload: Vec<u8>) -> serde_json::Result<Self> {
        let result: CheckResult = serde_json::from_slice(&payload)?;
        Ok(Self::new(&result, payload))
    }

    /// The record; `seq` comes back with its delivery report.
    pub(super) fn record<'a>(&'a self, topic: &'a str, seq: usize) -> BaseRecord<'a, [u8], [u8], usize> {
        BaseRecord::with_opaque_to(topic, seq)
            .key(&self.key[..])
            .payload(&self.payload[..])
            .headers(self.headers.clone())
    }
}

/// CloudEvents attributes in Kafka's binary content mode, so that a router need not open the message.
fn headers(result: &CheckResult) -> OwnedHeaders {
    let meta = &result.meta;
    let source = format!("/locations/{}", utf8_percent_encode(&meta.location, NON_ALPHANUMERIC));
    let pairs = [
        ("content-type", "application/json".to_owned()),
        ("ce_specversion", "1.0".to_owned()),
        ("ce_type", format!("slotwatch.check-result.v{}", meta.version)),
        ("ce_source", source),
        ("ce_id", meta.id.to_string()),
        ("ce_time", meta.scheduled_at.to_string()),
    ];
    pairs.iter().fold(OwnedHeaders::new_with_capacity(pairs.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}
