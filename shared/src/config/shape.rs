//! Holds what was configured against the serialized default: unknown keys and wrong types, said in the words of the file.

use serde_json::Value;

use super::Fault;

pub(super) fn check(shape: &Value, found: &Value) -> Result<(), Fault> {
    walk(shape, found, "")
}

/// What is wrong with a section that cannot be one.
pub(super) fn no_key(shape: &Value, key: &str) -> Fault {
    let known = shape.as_object().into_iter().flat_map(|sections| sections.keys());
    Fault::new(key, unknown(key, known))
}

fn walk(shape: &Value, found: &Value, path: &str) -> Result<(), Fault> {
    match (shape, found) {
        // A table without keys of its own is free-form, as `[kafka.options]`.
        (Value::Object(known), Value::Object(_)) if known.is_empty() && !path.is_empty() => Ok(()),
        (Value::Object(known), Value::Object(given)) => given.iter().try_for_each(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match known.get(key) {
                Some(shape) => walk(shape, value, &path),
                None => Err(Fault::new(path, unknown(key, known.keys()))),
            }
        }),
        _ => match (kind(shape), kind(found)) {
            (None, _) | (_, None) => Ok(()),
            (Some(expected), Some(actual)) if expected == actual => Ok(()),
            (Some("a number"), Some("a whole number")) => Ok(()),
            (Some(expected), Some(actual)) => {
                let example = match shape {
                    Value::String(text) if !text.is_empty() => format!(" such as {text:?}"),
                    _ => String::new(),
                };
                Err(Fault::new(path, format!("expected {expected}{example}, found {actual}")))
            }
        },
    }
}

/// What a value is, in words; `None` for a null, which says nothing about the type.
fn kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some("true or false"),
        Value::Number(number) if number.is_f64() => Some("a number"),
        Value::Number(_) => Some("a whole number"),
        Value::String(_) => Some("a string"),
        Value::Array(_) => Some("a list"),
        Value::Object(_) => Some("a table"),
    }
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3);
    match nearest {
        Some((_, candidate)) => format!("unknown key; did you mean `{candidate}`?"),
        None => format!("unknown key; known here are {}", known.join(", ")),
    }
}
