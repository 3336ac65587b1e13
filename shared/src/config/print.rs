//! `--print-config`: valid TOML, each value followed by where it came from.

use serde_json::{Map, Value};

pub(super) fn print(tree: &Value, origin: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for (section, keys) in tree.as_object().into_iter().flatten() {
        if let Some(keys) = keys.as_object() {
            table(&mut text, section, keys, &origin);
        }
    }
    text
}

fn table(text: &mut String, path: &str, keys: &Map<String, Value>, origin: &impl Fn(&str) -> String) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("[{path}]\n"));
    let (tables, values): (Vec<_>, Vec<_>) = keys.iter().partition(|(_, value)| value.is_object());
    for (key, value) in values.iter().filter(|(_, value)| !value.is_null()) {
        let comment = origin(&format!("{path}.{key}"));
        // TOML and JSON spell strings, numbers, booleans and lists of them alike.
        text.push_str(&format!("{} = {value}  # {comment}\n", quoted(key)));
    }
    for (key, value) in tables {
        if let Some(keys) = value.as_object() {
            table(text, &format!("{path}.{key}"), keys, origin);
        }
    }
}

/// A key that TOML would take apart at its dots is quoted.
fn quoted(key: &str) -> String {
    let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { format!("{key:?}") }
}
