//! `--print-config`: valid TOML, each value followed by where it came from.

use serde_json::{Map, Value};

use crate::harmless::{harmless, is_harmful};

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
        text.push_str(&format!("{} = {}  # {}\n", quoted(key), escaped(value), harmless(&comment)));
    }
    for (key, value) in tables {
        if let Some(keys) = value.as_object() {
            table(text, &format!("{path}.{key}"), keys, origin);
        }
    }
}

/// A value, with escapes that TOML and JSON have in common for what a terminal would not show as it is.
fn escaped(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        match u32::from(c) {
            _ if !is_harmful(c) => text.push(c),
            code @ 0x1_0000.. => text.push_str(&format!("\\U{code:08x}")),
            code => text.push_str(&format!("\\u{code:04x}")),
        }
    }
    text
}

/// A key that TOML would take apart at its dots is quoted.
fn quoted(key: &str) -> String {
    let bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { key.to_owned() } else { format!("{key:?}") }
}
