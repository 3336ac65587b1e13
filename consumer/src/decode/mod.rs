//! Bytes to row. Pure: the clock is an argument, and what is refused is refused with a reason that a person can act on.

mod lenient;
mod original;
mod row;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use shared::message::{CheckResult, VERSION};

pub use original::LOCATION as ORIGINAL_LOCATION;
pub use row::{Request, Row};

/// A result has a kilobyte; a megabyte is no result.
pub const MAX_BYTES: usize = 256 * 1024;

/// Why a record cannot become a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What kind of reason it is.
    pub cause: Cause,
    reason: String,
}

/// The kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Not JSON at all.
    NotJson,
    /// No result of any known shape.
    NotAResult,
    /// A result of a version that is not known.
    Version,
    /// A result with something that no row can have.
    Value,
    /// A row that Postgres refuses.
    Postgres,
    /// A result of so long ago that it is not kept.
    TooOld,
}

impl Cause {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 6] =
        [Self::NotJson, Self::NotAResult, Self::Version, Self::Value, Self::Postgres, Self::TooOld];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotAResult => "not_a_result",
            Self::Version => "version",
            Self::Value => "value",
            Self::Postgres => "postgres",
            Self::TooOld => "too_old",
        }
    }
}

impl Refusal {
    pub(crate) fn new(cause: Cause, reason: impl Into<String>) -> Self {
        Self { cause, reason: reason.into() }
    }
}

/// Decodes the value of a record. `now` bounds the slots that are believed.
///
/// # Errors
/// The value is no result, or has something that the table cannot hold.
pub fn decode(payload: Option<&[u8]>, now: Timestamp) -> Result<Row, Refusal> {
    let payload = payload.ok_or_else(|| Refusal::new(Cause::NotJson, "the record has no value"))?;
    if payload.len() > MAX_BYTES {
        let reason = format!("{} bytes are more than the {MAX_BYTES} of the largest result", payload.len());
        return Err(Refusal::new(Cause::Value, reason));
    }
    let text = std::str::from_utf8(payload)
        .map_err(|error| Refusal::new(Cause::NotJson, format!("not UTF-8: invalid at byte {}", error.valid_up_to())))?;
    let error = match serde_json::from_str::<CheckResult>(text) {
        Ok(result) => return known_version(result, now),
        Err(error) => error,
    };
    match lenient::rewritten(text) {
        Some(text) => match serde_json::from_str::<CheckResult>(&text) {
            Ok(result) => known_version(result, now),
            Err(_) => other_shape(&text, &error, now),
        },
        None => other_shape(text, &error, now),
    }
}

fn known_version(result: CheckResult, now: Timestamp) -> Result<Row, Refusal> {
    if result.meta.version == VERSION { row::row(result, now) } else { Err(unknown_version(result.meta.version)) }
}

/// Says which shape a text has that is not a message of this version.
#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    meta: Option<ShapeOfMeta>,
    #[serde(default)]
    outcome: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ShapeOfMeta {
    #[serde(default)]
    version: Option<u32>,
}

fn other_shape(text: &str, error: &serde_json::Error, now: Timestamp) -> Result<Row, Refusal> {
    let Ok(shape) = serde_json::from_str::<Shape>(text) else {
        return Err(not_a_result(text, error));
    };
    match (shape.meta.and_then(|meta| meta.version), shape.outcome) {
        (None, None) => original::row(text, now),
        (Some(version), _) if version != VERSION => Err(unknown_version(version)),
        _ => Err(not_a_result(text, error)),
    }
}

fn not_a_result(text: &str, error: &serde_json::Error) -> Refusal {
    // The parser also calls it bad syntax when a name is wanted and something else stands there.
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => Refusal::new(Cause::NotAResult, format!("not a check result: {error}")),
        Err(_) => Refusal::new(Cause::NotJson, format!("not JSON: {error}")),
    }
}

/// What is new in a version that has another number is not only something more: such fields may be added to this one.
fn unknown_version(version: u32) -> Refusal {
    Refusal::new(Cause::Version, format!("message version {version} is not known here (known is {VERSION})"))
}

#[cfg(test)]
mod tests;
