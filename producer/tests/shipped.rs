//! The shipped files are the documentation: they hold every key, at its default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use producer::settings::Settings;
use producer::targets::load_targets;
use serde_json::Value;
use shared::config::{Environment, load};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

/// The dotted names of all keys.
fn keys(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(table) => table.iter().for_each(|(key, value)| keys(value, &format!("{path}.{key}"), into)),
        _ => {
            into.insert(path.to_owned());
        }
    }
}

#[test]
fn the_shipped_file_has_every_key_at_its_default() {
    let path = shipped("producer.toml");
    assert_eq!(load::<Settings>(Some(&path), &Environment::default()).unwrap().settings, Settings::default());
    let file: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    let (mut in_file, mut in_code) = (BTreeSet::new(), BTreeSet::new());
    keys(&serde_json::to_value(file).unwrap(), "", &mut in_file);
    keys(&serde_json::to_value(Settings::default()).unwrap(), "", &mut in_code);
    assert_eq!(in_file, in_code);
}

#[test]
fn the_example_targets_are_good() {
    let path = shipped("targets.toml");
    let environment = Environment::from_pairs([("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())]);
    let targets = load_targets(&load::<Settings>(None, &environment).unwrap()).unwrap();
    assert_eq!(targets.len(), 2);
}
