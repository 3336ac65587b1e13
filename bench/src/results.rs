//! Results as a producer would make them, of made-up checks, and their way into a topic.

use std::time::Duration;

use anyhow::Context as _;
use fastrand::Rng;
use jiff::Timestamp;
use producer::publish::{client_config, headers};
use producer::settings::Publish;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shared::kafka::Kafka;
use shared::message::{
    CheckResult, Dns, Failure, FailureClass, Http, Meta, Outcome, Phase, Phases, Slot, State, VERSION, result_id,
};

use crate::ground::PATIENCE;

/// How many targets there are in all that is made up.
pub(crate) const TARGETS: usize = 1000;
const LOCATION: &str = "frankfurt-1";

/// The result of a target's check at a slot, in milliseconds of Unix time: of 1,000, 970 are up.
pub(crate) fn result(target: usize, slot: i64, interval: u64) -> anyhow::Result<CheckResult> {
    let mut random = Rng::with_seed(slot.unsigned_abs().wrapping_mul(1_000_003) ^ target as u64);
    let scheduled_at = Slot::from_millis(slot).context("a slot beyond the calendar")?;
    let name = format!("shop-{target:04}");
    let host = format!("www.shop-{target:04}.example");
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit")]
    let begin = slot as f64 / 1e3 + f64::from(random.u16(..)) / 1e8;
    let lookup = random.u64(400..30_000);
    let phases = [random.u64(5_000..40_000), random.u64(10_000..90_000), random.u64(20_000..400_000)];
    let transfer = random.u64(100..20_000);
    #[expect(clippy::cast_precision_loss, reason = "microseconds fit")]
    let start = begin + lookup as f64 / 1e6;
    let mut http = Http {
        start: Some(start),
        schema: "https".to_owned(),
        host: host.clone(),
        path: Some("/checkout?from=monitor".to_owned()),
        url: format!("https://{host}/checkout?from=monitor"),
        method: "GET".to_owned(),
        regex: Some("Add to (cart|basket)".to_owned()),
        status_code: Some(200),
        reason: Some("OK".to_owned()),
        elapsed: Some(phases.iter().sum::<u64>() + transfer),
        regex_found: Some(true),
        phases: Phases {
            redirect: None,
            connect: Some(phases[0]),
            tls: Some(phases[1]),
            first_byte: Some(phases[2]),
            transfer: Some(transfer),
        },
        body_bytes: Some(random.u64(2_000..200_000)),
        version: Some("HTTP/1.1".to_owned()),
        redirects: 0,
        final_url: None,
        certificate_expires_at: Timestamp::from_second(1_800_000_000 + target as i64 * 86_400 % 6_000_000).ok(),
    };
    let outcome = outcome(random.u16(..1000), &mut http);
    Ok(CheckResult {
        meta: Meta {
            version: VERSION,
            id: result_id(&name, LOCATION, scheduled_at),
            target: name,
            host,
            location: LOCATION.to_owned(),
            scheduled_at,
            lateness: random.i64(100..3_000),
            interval: Some(interval),
        },
        dns: Dns {
            start: Some(begin),
            elapsed: Some(lookup),
            ip: Some(format!("203.0.113.{}", target % 250 + 1)),
            error: None,
            failed_addresses: Vec::new(),
        },
        http,
        outcome,
    })
}

/// Of 1,000 checks 20 have the wrong status and 10 time out.
fn outcome(draw: u16, http: &mut Http) -> Outcome {
    let down = |class, phase, detail: &str| Outcome {
        state: State::Down,
        failure: Some(Failure { class, phase, detail: detail.to_owned() }),
    };
    match draw {
        0..10 => {
            http.status_code = None;
            http.reason = None;
            http.regex_found = None;
            http.body_bytes = None;
            http.version = None;
            http.phases.first_byte = Some(9_800_000);
            http.phases.transfer = None;
            http.elapsed = Some(9_900_000);
            down(FailureClass::Timeout, Some(Phase::FirstByte), "no answer within 10 s")
        }
        10..30 => {
            http.status_code = Some(503);
            http.reason = Some("Service Unavailable".to_owned());
            http.regex_found = Some(false);
            down(FailureClass::HttpStatus, None, "status 503")
        }
        _ => Outcome { state: State::Up, failure: None },
    }
}

/// A client with the producer's settings.
pub(crate) struct Sender {
    client: BaseProducer,
    topic: String,
}

impl Sender {
    /// A client of this cluster.
    pub(crate) fn new(brokers: &str, topic: &str) -> anyhow::Result<Self> {
        let kafka = Kafka { brokers: brokers.to_owned(), topic: topic.to_owned(), ..Kafka::default() };
        Ok(Self { client: client_config(&kafka, &Publish::default()).create()?, topic: topic.to_owned() })
    }

    /// Hands a result over, as soon as there is room.
    pub(crate) fn send(&self, result: &CheckResult) -> anyhow::Result<()> {
        let payload = serde_json::to_vec(result)?;
        let mut record =
            BaseRecord::to(&self.topic).key(&result.meta.target).payload(&payload).headers(headers(result));
        loop {
            match self.client.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.client.poll(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.client.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits until all has been acknowledged.
    pub(crate) fn flush(&self) -> anyhow::Result<()> {
        Ok(self.client.flush(PATIENCE)?)
    }
}

/// So many results, all targets slot by slot, from `first` on.
pub(crate) fn results(count: usize, first: i64, interval: u64) -> impl Iterator<Item = anyhow::Result<CheckResult>> {
    #[expect(clippy::cast_possible_wrap, reason = "there are millions")]
    let slot = move |index: usize| first + (index / TARGETS) as i64 * interval.cast_signed();
    (0..count).map(move |index| result(index % TARGETS, slot(index), interval))
}

/// Fills a topic with so many results, from `first` on. Blocks.
pub(crate) fn fill(brokers: &str, topic: &str, rows: usize, first: i64, interval: u64) -> anyhow::Result<()> {
    let sender = Sender::new(brokers, topic)?;
    for result in results(rows, first, interval) {
        sender.send(&result?)?;
    }
    sender.flush()
}
