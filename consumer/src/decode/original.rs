//! Messages of the original system's shape, without `meta.version` and `outcome`: the target is the URL, the slot is the
//! begin of the request, and the verdict is ours.

use jiff::Timestamp;
use serde::Deserialize;
use shared::message::{CheckResult, Dns, Failure, FailureClass, Http, Meta, Outcome, Slot, State, VERSION, result_id};

use super::{Cause, Refusal, Row};

/// The location of results that name none.
pub const LOCATION: &str = "original";

#[derive(Deserialize)]
struct Original {
    #[serde(default)]
    meta: Option<OriginalMeta>,
    #[serde(default)]
    dns: Dns,
    http: OriginalHttp,
}

#[derive(Default, Deserialize)]
struct OriginalMeta {
    #[serde(default)]
    host: Option<String>,
}

#[derive(Deserialize)]
struct OriginalHttp {
    url: String,
    start: Option<f64>,
    schema: Option<String>,
    host: Option<String>,
    path: Option<String>,
    method: Option<String>,
    regex: Option<String>,
    status_code: Option<u16>,
    reason: Option<String>,
    elapsed: Option<u64>,
    regex_found: Option<bool>,
}

/// The row of a message that reads like this.
pub(super) fn row(text: &str, now: Timestamp) -> Result<Row, Refusal> {
    let original: Original = serde_json::from_str(text).map_err(|error| super::not_a_result(text, &error))?;
    let result = result(original)?;
    // What its column of that name had.
    let root = result.http.host.clone();
    let mut row = super::row::row(result, now)?;
    row.request.root = Some(root);
    Ok(row)
}

fn result(original: Original) -> Result<CheckResult, Refusal> {
    let Original { meta, dns, http } = original;
    let start = http
        .start
        .or(dns.start)
        .ok_or_else(|| Refusal::new(Cause::Value, "neither http.start nor dns.start is set"))?;
    let scheduled_at = slot(start)?;
    let outcome = outcome(&dns, &http);
    let (schema, rest) = http.url.split_once("://").unwrap_or(("", &http.url));
    let named = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = http.host.or_else(|| meta.and_then(|meta| meta.host)).unwrap_or_else(|| named.to_owned());
    let meta = Meta {
        version: VERSION,
        id: result_id(&http.url, LOCATION, scheduled_at),
        target: http.url.clone(),
        host: host.clone(),
        location: LOCATION.to_owned(),
        scheduled_at,
        lateness: 0,
        interval: None,
    };
    let schema = http.schema.unwrap_or_else(|| schema.to_owned());
    let http = Http {
        start: http.start,
        schema,
        host,
        path: http.path,
        url: http.url,
        method: http.method.unwrap_or_else(|| "GET".to_owned()),
        regex: http.regex,
        status_code: http.status_code,
        reason: http.reason,
        elapsed: http.elapsed,
        regex_found: http.regex_found,
        ..Http::default()
    };
    Ok(CheckResult { meta, dns, http, outcome })
}

fn slot(start: f64) -> Result<Slot, Refusal> {
    let millis = (start * 1e3).floor();
    // What is beyond the range of years is beyond this one, too.
    let inside = millis.abs() < 1e15;
    #[expect(clippy::cast_possible_truncation, reason = "the line above holds it within 53 bits")]
    let slot = inside.then(|| Slot::from_millis(millis as i64)).flatten();
    slot.ok_or_else(|| Refusal::new(Cause::Value, format!("http.start is out of range: {start}")))
}

/// By the status alone: the original's producer never looked for its pattern, and says of each that it was not found.
fn outcome(dns: &Dns, http: &OriginalHttp) -> Outcome {
    let down = |class, detail| Outcome { state: State::Down, failure: Some(Failure { class, phase: None, detail }) };
    match http.status_code {
        None if dns.ip.is_none() => {
            down(FailureClass::Dns, dns.error.clone().unwrap_or_else(|| "no address".to_owned()))
        }
        None => down(FailureClass::Connect, http.reason.clone().unwrap_or_else(|| "no response".to_owned())),
        Some(status) if !(200..400).contains(&status) => down(FailureClass::HttpStatus, format!("status {status}")),
        Some(_) => Outcome { state: State::Up, failure: None },
    }
}
