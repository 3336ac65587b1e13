use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// Turns librdkafka's chatter into one line when the brokers are lost and one when they are back.
#[derive(Clone, Debug, Default)]
pub struct ClientEvents(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The worst that was said since a broker was last reached.
    said: AtomicU8,
    /// What went wrong with a connection last.
    trouble: Mutex<String>,
}

const NOTHING: u8 = 0;
const LOST: u8 = 1;
const REFUSED: u8 = 2;

impl ClientEvents {
    /// To be called when something succeeded that needs a broker.
    pub fn reached(&self) {
        // A load is cheaper than a swap, and this is called for every message.
        if !self.is_reachable() && self.0.said.swap(NOTHING, Ordering::Relaxed) != NOTHING {
            tracing::info!("kafka is reachable again");
        }
    }

    /// Whether no broker was lost since one was last reached.
    pub fn is_reachable(&self) -> bool {
        self.0.said.load(Ordering::Relaxed) == NOTHING
    }

    /// To be called when no broker answers: says so, but once until [`Self::reached`].
    pub fn lost(&self, reason: &str) {
        if self.0.said.fetch_max(LOST, Ordering::Relaxed) < LOST {
            let trouble = self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            let cause = (!trouble.is_empty()).then_some(trouble.as_str());
            tracing::warn!(error = reason, cause, "kafka is unreachable; trying again until it answers");
        }
    }

    /// To be called when brokers answer and do not let us in, which needs a person: says so, but once until [`Self::reached`],
    /// and also when brokers that were lost are back and like this.
    fn refused(&self, reason: &str) {
        if self.0.said.fetch_max(REFUSED, Ordering::Relaxed) < REFUSED {
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
            // With TLS 1.3 a broker looks at our certificate, or misses it, when the handshake is over for us. And a handshake that
            // fails before librdkafka has to wait for the broker passes for trouble with the connection.
            Some(RDKafkaErrorCode::BrokerTransportFailure)
                if ["SSL alert", "certificate verify failed"].iter().any(|text| reason.contains(text)) =>
            {
                self.refused(reason);
            }
            // One broker of several, or a name that does not resolve yet: all-brokers-down follows if it matters.
            Some(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut,
            ) => {
                reason.clone_into(&mut self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_brokers() {
        use RDKafkaErrorCode::{AllBrokersDown, Authentication, BrokerTransportFailure, Resolve, SSL};
        let cases = [
            (AllBrokersDown, "1/1 brokers are down", LOST),
            (Authentication, "ssl://b:1/1: SASL authentication error", REFUSED),
            (SSL, "ssl://b:1/bootstrap: SSL handshake failed: certificate verify failed", REFUSED),
            (
                BrokerTransportFailure,
                "ssl://b:1/bootstrap: SSL routines::certificate verify failed (after 2ms)",
                REFUSED,
            ),
            (BrokerTransportFailure, "ssl://b:1/1: SSL alert number 42", REFUSED),
            (BrokerTransportFailure, "b:1/1: Disconnected", NOTHING),
            (Resolve, "b:1/bootstrap: Failed to resolve", NOTHING),
        ];
        for (code, reason, expected) in cases {
            let events = ClientEvents::default();
            events.error(KafkaError::Global(code), reason);
            assert_eq!(events.0.said.load(Ordering::Relaxed), expected, "{reason}");
            events.reached();
            assert!(events.is_reachable());
        }
    }
}
