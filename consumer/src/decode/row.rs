use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use shared::message::{CheckResult, FailedAddress, Http, Phase, Phases, State};
use uuid::Uuid;

use super::{Cause, Refusal};

/// Names stand in B-tree indexes, whose entries end at 2,704 bytes.
const MAX_NAME_BYTES: usize = 2048;
/// 2000-01-01T00:00:00Z: no slot is older.
const OLDEST: i64 = 946_684_800;
/// How far the clocks of producers may be ahead of ours.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);
/// 0001-01-01T00:00:00Z: Postgres knows no such time as a certificate could claim before it.
const YEAR_ONE: i64 = -62_135_596_800;
/// A year in milliseconds: nobody checks a site more rarely.
const LONGEST_INTERVAL: u64 = 366 * 86_400_000;
/// A year in microseconds: what is later, or earlier, is so by a clock that is wrong, and reports reckon with it.
const LATEST: i64 = 366 * 86_400_000_000;
/// In characters: what says which request it is, longer than any that a producer makes.
const MAX_TEXT: usize = 32_768;
/// In characters: what is shown to people.
const MAX_EVIDENCE: usize = 4096;

/// One slot's record: everything in it fits its column.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the columns of `checks`, described in its migration")]
pub struct Row {
    pub target: String,
    pub location: String,
    pub request: Request,
    pub id: Uuid,
    pub scheduled_at: Timestamp,
    pub lateness: i64,
    pub state: State,
    pub dns_start: Option<Timestamp>,
    pub dns_elapsed: Option<i32>,
    pub dns_error: Option<String>,
    pub ip: Option<IpAddr>,
    pub http_start: Option<Timestamp>,
    pub http_elapsed: Option<i32>,
    pub status_code: Option<i16>,
    pub reason: Option<String>,
    pub regex_found: Option<bool>,
    /// Redirect, connect, TLS, first byte, transfer.
    pub phases: [Option<i32>; 5],
    pub body_bytes: Option<i64>,
    pub version: Option<String>,
    pub redirects: i16,
    pub certificate_expires_at: Option<Timestamp>,
    pub failure_class: Option<String>,
    pub failure_phase: Option<Phase>,
    pub failure_detail: Option<String>,
    /// As JSON.
    pub failed_addresses: Option<String>,
    pub final_url: Option<String>,
}

/// What was asked, the same for most results of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the fields are the columns of `requests`, described in its migration")]
pub struct Request {
    pub method: String,
    pub url: String,
    pub schema: String,
    pub host: String,
    pub path: Option<String>,
    pub regex: Option<String>,
    pub interval_ms: Option<i64>,
    /// The column `url_root`, where that is not the URL up to its path.
    pub root: Option<String>,
}

impl Request {
    /// How long its texts are.
    pub fn bytes(&self) -> usize {
        let texts = [&self.method, &self.url, &self.schema, &self.host];
        let optional = [&self.path, &self.regex, &self.root].map(|text| text.as_ref().map_or(0, String::len));
        texts.iter().map(|text| text.len()).chain(optional).sum()
    }

    /// The URL up to its path; for messages of the original's shape what stood there.
    pub fn url_root(&self) -> &str {
        if let Some(root) = &self.root {
            return root;
        }
        let authority = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[authority..].find(['/', '?', '#']).map_or(self.url.len(), |at| authority + at);
        &self.url[..end]
    }
}

pub(super) fn row(result: CheckResult, now: Timestamp) -> Result<Row, Refusal> {
    let CheckResult { meta, dns, mut http, outcome } = result;
    let target = name("meta.target", meta.target)?;
    if target.is_empty() {
        return Err(Refusal::new(Cause::Value, "meta.target is empty"));
    }
    let failure = outcome.failure;
    let phase = failure.as_ref().and_then(|failure| failure.phase);
    let (class, detail) = failure.map(|failure| (failure.class, failure.detail)).unzip();
    Ok(Row {
        target,
        location: name("meta.location", meta.location)?,
        id: meta.id,
        scheduled_at: slot(meta.scheduled_at.timestamp(), now)?,
        lateness: meta.lateness.clamp(-LATEST, LATEST),
        state: outcome.state,
        dns_start: instant("dns.start", dns.start, now)?,
        dns_elapsed: micros("dns.elapsed", dns.elapsed)?,
        dns_error: evidence("dns.error", dns.error)?,
        failed_addresses: failed_addresses(&dns.failed_addresses)?,
        ip: address(dns.ip)?,
        http_start: instant("http.start", http.start, now)?,
        http_elapsed: micros("http.elapsed", http.elapsed)?,
        status_code: status(http.status_code)?,
        regex_found: http.regex_found,
        phases: phases(&http.phases)?,
        body_bytes: whole("http.body_bytes", http.body_bytes)?,
        redirects: i16::try_from(http.redirects).map_err(|_| out_of_range("http.redirects", http.redirects))?,
        certificate_expires_at: expiry(http.certificate_expires_at)?,
        failure_class: evidence("outcome.failure.class", class.map(|class| class.as_str().to_owned()))?,
        failure_phase: phase,
        failure_detail: evidence("outcome.failure.detail", detail)?,
        reason: evidence("http.reason", http.reason.take())?,
        version: evidence("http.version", http.version.take())?,
        final_url: evidence("http.final_url", http.final_url.take())?,
        request: request(meta.host, meta.interval, http)?,
    })
}

fn request(host: String, interval: Option<u64>, http: Http) -> Result<Request, Refusal> {
    Ok(Request {
        method: text("http.method", http.method)?,
        url: text("http.url", http.url)?,
        schema: text("http.schema", http.schema)?,
        host: text("meta.host", host)?,
        path: texts("http.path", http.path)?,
        regex: texts("http.regex", http.regex)?,
        interval_ms: rhythm(interval)?,
        root: None,
    })
}

fn failed_addresses(failed: &[FailedAddress]) -> Result<Option<String>, Refusal> {
    if failed.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(failed).map_err(|error| Refusal::new(Cause::Value, error.to_string()))?;
    // Postgres knows no such character in JSON either, however it is written.
    match failed.iter().any(|failed| [&failed.ip, &failed.detail].iter().any(|text| text.contains('\0'))) {
        true => Err(Refusal::new(Cause::Value, "dns.failed_addresses contains a NUL character")),
        false => Ok(Some(json)),
    }
}

fn phases(phases: &Phases) -> Result<[Option<i32>; 5], Refusal> {
    Ok([
        micros("http.phases.redirect", phases.redirect)?,
        micros("http.phases.connect", phases.connect)?,
        micros("http.phases.tls", phases.tls)?,
        micros("http.phases.first_byte", phases.first_byte)?,
        micros("http.phases.transfer", phases.transfer)?,
    ])
}

fn rhythm(interval: Option<u64>) -> Result<Option<i64>, Refusal> {
    match interval {
        Some(interval) if !(1..=LONGEST_INTERVAL).contains(&interval) => Err(out_of_range("meta.interval", interval)),
        interval => whole("meta.interval", interval),
    }
}

/// JSON can say NUL, Postgres cannot store it.
fn text(field: &str, value: String) -> Result<String, Refusal> {
    if beyond(&value, MAX_TEXT).is_some() {
        let reason = format!("{field} has {} bytes, which are more than {MAX_TEXT} characters", value.len());
        return Err(Refusal::new(Cause::Value, reason));
    }
    without_nul(field, value)
}

/// What is longer than people read is cut.
fn evidence(field: &str, value: Option<String>) -> Result<Option<String>, Refusal> {
    let cut = |mut value: String| {
        if let Some(end) = beyond(&value, MAX_EVIDENCE) {
            value.truncate(end);
            value.push('…');
        }
        without_nul(field, value)
    };
    value.map(cut).transpose()
}

/// Where so many characters end, if there are more.
fn beyond(text: &str, most: usize) -> Option<usize> {
    if text.len() <= most { None } else { text.char_indices().nth(most).map(|(end, _)| end) }
}

fn without_nul(field: &str, value: String) -> Result<String, Refusal> {
    if value.as_bytes().contains(&0) {
        return Err(Refusal::new(Cause::Value, format!("{field} contains a NUL character")));
    }
    Ok(value)
}

fn texts(field: &str, value: Option<String>) -> Result<Option<String>, Refusal> {
    value.map(|value| text(field, value)).transpose()
}

fn name(field: &str, value: String) -> Result<String, Refusal> {
    if value.len() > MAX_NAME_BYTES {
        return Err(Refusal::new(
            Cause::Value,
            format!("{field} has {} bytes, more than {MAX_NAME_BYTES}", value.len()),
        ));
    }
    text(field, value)
}

impl Row {
    /// Refuses it if it is of a day before this one, which begins so many days ago.
    ///
    /// # Errors
    /// It is.
    pub fn since(self, oldest: Timestamp, days: i64) -> Result<Self, Refusal> {
        if self.scheduled_at >= oldest {
            return Ok(self);
        }
        let reason = format!("meta.scheduled_at is out of range: {} is more than {days} days ago", self.scheduled_at);
        Err(Refusal::new(Cause::TooOld, reason))
    }
}

fn slot(at: Timestamp, now: Timestamp) -> Result<Timestamp, Refusal> {
    believed("meta.scheduled_at", at, now)
}

/// Unix seconds, kept to the microsecond.
fn instant(field: &str, seconds: Option<f64>, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let Some(seconds) = seconds else { return Ok(None) };
    let micros = (seconds * 1e6).round();
    if micros.is_nan() || micros.abs() > 1e17 {
        return Err(out_of_range(field, seconds));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the line above holds it within 64 bits")]
    let at = Timestamp::from_microsecond(micros as i64).map_err(|_| out_of_range(field, seconds))?;
    believed(field, at, now).map(Some)
}

fn believed(field: &str, at: Timestamp, now: Timestamp) -> Result<Timestamp, Refusal> {
    let latest = now.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    if at.as_second() < OLDEST {
        return Err(Refusal::new(Cause::Value, format!("{field} is out of range: {at} is before 2000")));
    }
    if at > latest {
        return Err(Refusal::new(Cause::Value, format!("{field} is out of range: {at} is more than a day ahead")));
    }
    Ok(at)
}

fn expiry(at: Option<Timestamp>) -> Result<Option<Timestamp>, Refusal> {
    match at {
        Some(at) if at.as_second() < YEAR_ONE => Err(out_of_range("http.certificate_expires_at", at)),
        at => Ok(at),
    }
}

fn micros(field: &str, value: Option<u64>) -> Result<Option<i32>, Refusal> {
    value.map(|value| i32::try_from(value).map_err(|_| out_of_range(field, value))).transpose()
}

fn whole(field: &str, value: Option<u64>) -> Result<Option<i64>, Refusal> {
    value.map(|value| i64::try_from(value).map_err(|_| out_of_range(field, value))).transpose()
}

fn status(code: Option<u16>) -> Result<Option<i16>, Refusal> {
    code.map(|code| match i16::try_from(code) {
        Ok(status) if status < 1000 => Ok(status),
        _ => Err(out_of_range("http.status_code", code)),
    })
    .transpose()
}

fn address(ip: Option<String>) -> Result<Option<IpAddr>, Refusal> {
    ip.map(|ip| ip.parse().map_err(|_| Refusal::new(Cause::Value, format!("dns.ip is not an address: {ip:?}"))))
        .transpose()
}

fn out_of_range(field: &str, value: impl std::fmt::Display) -> Refusal {
    Refusal::new(Cause::Value, format!("{field} is out of range: {value}"))
}
