use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// Turns librdkafka's chatter into one line when the brokers are lost and one when they are back.
#[derive(Clone, Debug, Default)]
pub struct ClientEvents {
    unreachable: Arc<AtomicBool>,
}

impl ClientEvents {
    /// To be called when something succeeded that needs a broker.
    pub fn reached(&self) {
        // A load is cheaper than a swap, and this is called for every message.
        if self.unreachable.load(Ordering::Relaxed) && self.unreachable.swap(false, Ordering::Relaxed) {
            tracing::info!("kafka is reachable again");
        }
    }

    /// Whether no broker was lost since one was last reached.
    pub fn is_reachable(&self) -> bool {
        !self.unreachable.load(Ordering::Relaxed)
    }

    /// To be called when no broker answers: says so, but once until [`Self::reached`].
    pub fn lost(&self, reason: &str) {
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = reason, "kafka is unreachable; trying again until it answers");
        }
    }

    /// To be called when brokers answer and do not let us in, which needs a person: says so, but once until [`Self::reached`].
    fn refused(&self, reason: &str) {
        if !self.unreachable.swap(true, Ordering::Relaxed) {
            tracing::error!(error = reason, "kafka does not let us in; trying again until it does");
        }
    }
}

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(kafka.facility = facility, "{message}");
            }
            _ => tracing::debug!(kafka.facility = facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.lost(reason),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => self.refused(reason),
            // One broker of several, or a name that does not resolve yet: all-brokers-down follows if it matters.
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut,
            ) => {
                tracing::debug!(%error, reason, "kafka connection trouble");
            }
            // Only those who ask for it are told that a partition ends here.
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            _ => tracing::warn!(%error, reason, "kafka client error"),
        }
    }
}

impl ConsumerContext for ClientEvents {}

impl ProducerContext for ClientEvents {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}
