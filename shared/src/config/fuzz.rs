//! Whatever stands in a file or a variable: no panic, and what is refused is refused in one line that names the place.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

use super::tests::Example;
use super::*;

const EXTENSIONS: [&str; 4] = ["toml", "yaml", "yml", "json"];
const TOML: &str = "[kafka]\nbrokers = \"b\" # why\nport = 9\nlinger = '1m30s'\nservers = [\"a\",\n \"b\"]\n\n[[kafka.items]]\nname = \"x\"\n[kafka.options]\n\"x.y\" = 1\n";
const YAML: &str = "kafka:\n  brokers: &b a:1 # why\n  port: 9\n  linger: \"1m30s\"\n  servers: [a, *b]\n  items:\n    - name: |\n        x\n  options: {x.y: 1}\n";
const JSON: &str = "{\"kafka\": {\"brokers\": \"a\\u00e9\", \"port\": 9,\n\"items\": [{\"name\": \"x\"}], \"options\": {\"x.y\": 1.5}}}";

/// Loads a file of these bytes; whether it was refused well.
fn refused_well(extension: &str, bytes: &[u8], variables: &[(&str, &str)]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("settings.{extension}"));
    std::fs::write(&path, bytes).unwrap();
    well(load::<Example>(Some(&path), &Environment::from_pairs(variables.iter().copied())), Some(&path))
}

fn well(loaded: Result<Loaded<Example>, ConfigError>, path: Option<&Path>) -> Result<(), String> {
    let error = match loaded {
        Ok(loaded) => return loaded.print().map(drop).map_err(|error| error.to_string()),
        Err(error) => error.to_string(),
    };
    let names_file = path.is_some_and(|path| error.contains(&path.display().to_string()));
    let named = names_file || error.contains("environment variable");
    if named && !error.contains('\n') { Ok(()) } else { Err(error) }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let key = || {
        prop_oneof![
            select(vec!["kafka", "brokers", "port", "items", "name", "options"]).prop_map(str::to_owned),
            any::<String>()
        ]
    };
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

/// Pieces that mean something to one of the parsers.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "kafka",
        "brokers",
        "port",
        "items",
        "name",
        "=",
        ":",
        ": ",
        "\n",
        "\n  ",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "\"",
        "'",
        "#",
        "- ",
        "&a ",
        "*a",
        "<<: ",
        "---\n",
        "...\n",
        "!!int ",
        "!tag ",
        "| ",
        "> ",
        "? ",
        "%YAML 1.2\n",
        "\t",
        "\r\n",
        "1e999",
        "0x1",
        "-1",
        "99999999999999999999",
        "nan",
        "~",
        "null",
        "true",
        "1979-05-27T07:32:00Z",
        "\u{feff}",
        "\u{85}",
        "\\u0000",
        "é",
        ".",
    ];
    select(pieces.to_vec()).prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn bytes(extension in select(EXTENSIONS.to_vec()), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(refused_well(extension, &bytes, &[]), Ok(()));
    }

    #[test]
    fn text(extension in select(EXTENSIONS.to_vec()), pieces in prop::collection::vec(prop_oneof![9 => piece(), 1 => any::<String>()], 0..20)) {
        prop_assert_eq!(refused_well(extension, pieces.concat().as_bytes(), &[]), Ok(()));
    }

    #[test]
    fn broken_files(which in 0..3_usize, at in any::<Index>(), cut in any::<Index>(), pieces in prop::collection::vec(piece(), 0..3)) {
        let (extension, text) = [("toml", TOML), ("yaml", YAML), ("json", JSON)][which];
        let mut text = text.as_bytes().to_vec();
        let place = at.index(text.len());
        text.splice(place..(place + cut.index(4)).min(text.len()), pieces.concat().into_bytes());
        prop_assert_eq!(refused_well(extension, &text, &[]), Ok(()));
    }

    #[test]
    fn values(extension in select(vec!["json", "yaml"]), value in any_json(), inside in any::<bool>()) {
        let value = if inside { serde_json::json!({"kafka": value}) } else { value };
        prop_assert_eq!(refused_well(extension, value.to_string().as_bytes(), &[]), Ok(()));
    }

    #[test]
    fn variables(
        name in select(vec!["BROKERS", "PASSWORD", "PORT", "LINGER", "CREATE", "SERVERS", "ITEMS", "OPTIONS"]),
        value in prop_oneof![any::<String>(), prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat())],
        file in any::<bool>(),
    ) {
        let name = format!("KAFKA_{name}{}", if file { "_FILE" } else { "" });
        prop_assert_eq!(refused_well("toml", b"[kafka]\nbrokers = 'b'\n", &[(&name, &value)]), Ok(()));
        let alone = Environment::from_pairs([("KAFKA_BROKERS", "b"), (name.as_str(), value.as_str())]);
        prop_assert_eq!(well(load::<Example>(None, &alone), None).or_else(|error| {
            // The brokers are what was set, and set to nothing.
            if error.contains("KAFKA_BROKERS") { Ok(()) } else { Err(error) }
        }), Ok(()));
    }
}
