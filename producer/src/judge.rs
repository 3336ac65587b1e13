//! The verdict on the evidence: pure, and the only place that says up or down.

use shared::message::{Failure, FailureClass, Outcome, State};

use crate::probe::{Broken, Evidence};
use crate::targets::Target;

/// Judges the evidence.
pub fn judge(target: &Target, evidence: &Evidence) -> Outcome {
    let failure = match &evidence.end {
        Err(Broken::Ours(failure)) => return unmeasured(failure),
        Err(Broken::Theirs(failure)) => Some(failure.clone()),
        Ok(()) => match (unexpected_status(target, evidence), &evidence.unsearched) {
            (Some(failure), _) => Some(failure),
            (None, Some(failure)) => return unmeasured(failure),
            (None, None) => unexpected_body(target, evidence),
        },
    };
    let state = if failure.is_none() { State::Up } else { State::Down };
    Outcome { state, failure }
}

fn unmeasured(failure: &Failure) -> Outcome {
    Outcome { state: State::Unmeasured, failure: Some(failure.clone()) }
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
    let bytes = evidence.http.body_bytes.unwrap_or_default();
    let mut detail = format!("regex {:?} not found in the ", regex.as_str());
    detail += if evidence.body_cut { "first " } else { "" };
    detail += &format!("{bytes} bytes of the body");
    if let Some(coding) = &evidence.undecoded {
        detail += &format!(", whose coding {coding:?} we cannot decode");
    }
    Some(Failure { class: FailureClass::Content, phase: None, detail })
}

#[cfg(test)]
mod tests;
