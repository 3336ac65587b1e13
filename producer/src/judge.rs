//! The verdict on the evidence: pure, and the only place that says up or down.

use shared::message::{Failure, FailureClass, Outcome, State};

use crate::probe::{Broken, Evidence};
use crate::targets::Target;

/// Judges the evidence, and writes the regex verdict into it.
pub fn judge(target: &Target, evidence: &mut Evidence) -> Outcome {
    let regex = target.regex.as_ref().filter(|_| evidence.http.body_bytes.is_some());
    // Not found in a body that broke off says nothing about the whole one; found in it does.
    let found = regex.map(|regex| regex.is_match(&evidence.body));
    evidence.http.regex_found = found.filter(|found| *found || evidence.end.is_ok());
    let failure = match &evidence.end {
        Err(Broken::Ours(failure)) => {
            return Outcome { state: State::Unmeasured, failure: Some(failure.clone()) };
        }
        Err(Broken::Theirs(failure)) => Some(failure.clone()),
        Ok(()) => unexpected_status(target, evidence).or_else(|| unexpected_body(target, evidence)),
    };
    let state = if failure.is_none() { State::Up } else { State::Down };
    Outcome { state, failure }
}

fn unexpected_status(target: &Target, evidence: &Evidence) -> Option<Failure> {
    let code = evidence.http.status_code?;
    if target.expected_status.iter().any(|range| range.contains(code)) {
        return None;
    }
    let reason = evidence.http.reason.as_deref().unwrap_or_default();
    let expected: Vec<String> = target.expected_status.iter().map(ToString::to_string).collect();
    let got = format!("unexpected status {code} {reason}");
    let detail = format!("{}, expected {}", got.trim_end(), expected.join(", "));
    Some(Failure { class: FailureClass::HttpStatus, phase: None, detail })
}

fn unexpected_body(target: &Target, evidence: &Evidence) -> Option<Failure> {
    let regex = target.regex.as_ref()?;
    if evidence.http.regex_found == Some(true) {
        return None;
    }
    let bytes = evidence.body.len();
    let detail = if evidence.body_cut {
        format!("regex {:?} not found in the first {bytes} bytes of the body", regex.as_str())
    } else {
        format!("regex {:?} not found in the {bytes} bytes of the body", regex.as_str())
    };
    Some(Failure { class: FailureClass::Content, phase: None, detail })
}

#[cfg(test)]
mod tests;
