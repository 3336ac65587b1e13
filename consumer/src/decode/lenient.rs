//! What JSON Schema allows and our types do not read: an integer that is written as `52000.0`, and the last days of the year 9999,
//! which is how certificates say that they never expire. Only what could not be read at once comes here.

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Number, Value};

/// Beyond this not every integer is a float.
const EXACT: f64 = 9_007_199_254_740_992.0;
const EXPIRY: &str = "/http/certificate_expires_at";

/// The same as our types read it, where that differs.
pub(super) fn rewritten(text: &str) -> Option<String> {
    let mut message = serde_json::from_str(text).ok()?;
    rewrite(&mut message).then(|| message.to_string())
}

/// Says whether anything has changed.
fn rewrite(message: &mut Value) -> bool {
    let mut changed = integers(message);
    if let Some(Value::String(at)) = message.pointer_mut(EXPIRY)
        && at.parse::<Timestamp>().is_err()
        && is_beyond(at)
    {
        *at = Timestamp::MAX.to_string();
        changed = true;
    }
    changed
}

/// Whether it is an instant of the year 9999, in UTC or thereabouts.
fn is_beyond(text: &str) -> bool {
    let Some((local, zone)) = text.find(['T', 't']).and_then(|time| {
        let zone = time + text[time..].find(['Z', 'z', '+', '-'])?;
        text.split_at_checked(zone)
    }) else {
        return false;
    };
    let is_zone = matches!(zone, "Z" | "z") || format!("2000-01-01T00:00:00{zone}").parse::<Timestamp>().is_ok();
    is_zone && local.parse::<DateTime>().is_ok_and(|at| at.year() == 9999)
}

fn integers(value: &mut Value) -> bool {
    // Each of them, whether one before has changed or not.
    let any = |changed: bool, value: &mut Value| integers(value) || changed;
    match value {
        Value::Number(number) => {
            let whole = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT);
            if let Some(float) = whole {
                #[expect(clippy::cast_possible_truncation, reason = "the line above holds it within 54 bits")]
                let whole = float as i64;
                *number = Number::from(whole);
            }
            whole.is_some()
        }
        Value::Array(items) => items.iter_mut().fold(false, any),
        Value::Object(fields) => fields.values_mut().fold(false, any),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_may_be_written_as_floats() {
        let mut value =
            json!({"a": [52000.0, -1.0, 1e3, 0.5, -0.0], "b": 9_007_199_254_740_994.0, "c": "1.0", "d": u64::MAX});
        rewrite(&mut value);
        let expected = json!({"a": [52000, -1, 1000, 0.5, 0], "b": 9_007_199_254_740_994.0, "c": "1.0", "d": u64::MAX});
        assert_eq!(value, expected);
    }

    #[test]
    fn what_never_expires_expires_at_the_end() {
        let table = [
            ("9999-12-31T23:59:59Z", true),
            ("9999-12-31t23:59:59.5z", true),
            ("9999-12-30T23:59:59+00:00", true),
            ("9999-12-31T23:59:59-12:00", true),
            ("9999-12-30T21:59:59Z", false),
            ("9999-13-31T23:59:59Z", false),
            ("9999-12-31T23:59:59", false),
            ("9999-12-31T23:59:59X", false),
            ("9999-12-31", false),
            ("+010000-01-01T00:00:00Z", false),
            ("", false),
        ];
        for (at, beyond) in table {
            let mut value = json!({"http": {"certificate_expires_at": at}});
            rewrite(&mut value);
            let expected = if beyond { Timestamp::MAX.to_string() } else { at.to_owned() };
            assert_eq!(value["http"]["certificate_expires_at"], json!(expected));
        }
    }
}
