//! A result as a Kafka record: key, headers, payload. Its timestamp is when it is sent and not when the check was: a backlog of days
//! must not fall to the topic's retention before anyone has read it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use shared::message::CheckResult;

use super::reports::Reports;

/// A message as it goes to Kafka.
pub(super) struct Outgoing {
    key: Vec<u8>,
    payload: Vec<u8>,
    /// Handed to the client with the record, which frees them with it.
    headers: Option<OwnedHeaders>,
}

impl Outgoing {
    /// A result and the JSON that it was spooled as.
    pub(super) fn new(result: &CheckResult, payload: Vec<u8>) -> Self {
        Self { key: result.meta.target.clone().into_bytes(), payload, headers: Some(headers(result)) }
    }

    /// What an earlier process, perhaps of another version, left in the spool.
    pub(super) fn of_spooled(payload: Vec<u8>) -> serde_json::Result<Self> {
        let result: CheckResult = serde_json::from_slice(&payload)?;
        Ok(Self::new(&result, payload))
    }

    /// Hands the record to the client; `seq` comes back with its delivery report. After a refusal it can be tried again.
    pub(super) fn send(
        &mut self,
        producer: &ThreadedProducer<Reports>,
        topic: &str,
        seq: usize,
    ) -> Result<(), KafkaError> {
        let mut record = BaseRecord::with_opaque_to(topic, seq).key(&self.key[..]).payload(&self.payload[..]);
        record.headers = self.headers.take();
        producer.send(record).map_err(|(error, record)| {
            self.headers = record.headers;
            error
        })
    }
}

/// CloudEvents attributes in Kafka's binary content mode, so that a router need not open the message.
pub fn headers(result: &CheckResult) -> OwnedHeaders {
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
