//! Valid messages without a producer, for tests that need many, or at an instant of their choice.

use std::collections::BTreeSet;

use shared::message::{CheckResult, Dns, Http, Meta, Outcome, Slot as Instant, State, VERSION, result_id};

use crate::Slot;

/// A day in the past, in milliseconds of Unix time: a good first slot.
pub const NEW_YEAR: i64 = 1_767_225_600_000;

const SECOND: i64 = 1000;

/// What was put into a topic: records by key and value, and the slots that are to be rows for it.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Keys and values.
    pub records: Vec<(String, Vec<u8>)>,
    /// Targets and slots.
    pub due: BTreeSet<Slot>,
}

/// Results of so many targets at so many slots, a second apart, from `first` on.
pub fn messages(prefix: &str, targets: usize, slots: i64, first: i64) -> Sent {
    let mut sent = Sent::default();
    for slot in (0..slots).map(|slot| first + slot * SECOND) {
        for target in (0..targets).map(|target| format!("{prefix}{target}")) {
            sent.records.push((target.clone(), message(&target, slot, 200)));
            sent.due.insert((target, slot));
        }
    }
    sent
}

/// The result of a check that was answered with this status.
///
/// # Panics
/// The slot is not within the calendar.
pub fn message(target: &str, slot: i64, status: u16) -> Vec<u8> {
    let scheduled_at = Instant::from_millis(slot).expect("a slot");
    let location = "tests".to_owned();
    let result = CheckResult {
        meta: Meta {
            version: VERSION,
            id: result_id(target, &location, scheduled_at),
            target: target.to_owned(),
            host: "example.net".to_owned(),
            location,
            scheduled_at,
            lateness: 812,
            interval: Some(SECOND.unsigned_abs()),
        },
        dns: Dns::default(),
        http: Http {
            schema: "http".to_owned(),
            host: "example.net".to_owned(),
            url: format!("http://example.net/{target}"),
            method: "GET".to_owned(),
            status_code: Some(status),
            reason: Some("OK".to_owned()),
            version: Some("HTTP/1.1".to_owned()),
            ..Http::default()
        },
        outcome: Outcome { state: State::Up, failure: None },
    };
    serde_json::to_vec(&result).expect("a message")
}
