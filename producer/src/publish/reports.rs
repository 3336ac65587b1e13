//! Delivery reports, on the client's thread.

use std::sync::mpsc::SyncSender;

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientContext, Message};
use shared::kafka::ClientEvents;

/// What became of the message of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The brokers have it.
    Delivered(u64),
    /// They will never take it.
    Refused(u64),
    /// The client gave it back.
    Returned(u64),
    /// The brokers do not take it as it is now, with its time.
    Untimely(u64),
}

/// Hands the reports on.
pub(super) struct Reports {
    pub(super) events: ClientEvents,
    /// Has room for a report of every message that may be under way.
    pub(super) reports: SyncSender<Report>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, seq: usize) {
        let seq = seq as u64;
        let report = match result {
            Ok(_) => {
                self.events.reached();
                Report::Delivered(seq)
            }
            Err((error, message)) if is_final(error) => {
                let key = message.key().map(String::from_utf8_lossy);
                tracing::error!(%error, target.name = ?key, "kafka refused a result for good");
                Report::Refused(seq)
            }
            Err((error, _)) if is_of_time(error) => {
                tracing::debug!(%error, "result came back from the brokers");
                Report::Untimely(seq)
            }
            Err((error, _)) => {
                tracing::debug!(%error, "result came back from the client");
                Report::Returned(seq)
            }
        };
        // Nobody listens any more when the process is ending; the spool keeps what was not reported.
        let _ = self.reports.try_send(report);
    }
}

/// Errors that no second try will mend.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize)
    )
}

/// Errors that pass when a clock is set right, or with time. In a batch of several records the brokers have but one word for all
/// that is wrong with one of them, and nothing else can be wrong with ours: they have keys, and one client makes them all.
fn is_of_time(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::InvalidTimestamp | RDKafkaErrorCode::InvalidRecord))
}
