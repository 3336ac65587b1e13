//! Puts together the message of one slot.

use jiff::Timestamp;
use shared::message::{CheckResult, Dns, Failure, FailureClass, Http, Meta, Outcome, Slot, State, VERSION, result_id};

use crate::targets::Target;

/// Longer texts of strangers are cut, in characters.
const MAX_TEXT: usize = 500;

/// What a slot is: whose, where and when.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The target.
    pub target: &'a Target,
    /// Where this producer runs.
    pub location: &'a str,
    /// The slot.
    pub slot: Slot,
}

impl Identity<'_> {
    /// The result of a check that started at `started_at`.
    pub fn checked(&self, started_at: Timestamp, dns: Dns, http: Http, outcome: Outcome) -> CheckResult {
        let mut result = CheckResult { meta: self.meta(started_at), dns, http, outcome };
        let texts = [
            result.dns.error.as_mut(),
            result.http.reason.as_mut(),
            result.outcome.failure.as_mut().map(|failure| &mut failure.detail),
        ];
        texts.into_iter().flatten().for_each(tidy);
        result
    }

    /// The result of a slot without a check, given up at `now`.
    pub fn not_checked(&self, now: Timestamp, state: State, class: FailureClass, detail: String) -> CheckResult {
        let outcome = Outcome { state, failure: Some(Failure { class, phase: None, detail }) };
        self.checked(now, Dns::default(), self.target.unasked(), outcome)
    }

    fn meta(&self, started_at: Timestamp) -> Meta {
        Meta {
            version: VERSION,
            id: result_id(&self.target.name, self.location, self.slot),
            target: self.target.name.clone(),
            host: self.target.host.clone(),
            location: self.location.to_owned(),
            scheduled_at: self.slot,
            lateness: started_at.as_microsecond() - self.slot.as_millis() * 1000,
            interval: u64::try_from(self.target.interval.as_millis()).ok(),
        }
    }
}

/// Makes a stranger's text fit for a row: bounded, and without the NUL that Postgres does not store.
fn tidy(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
}
