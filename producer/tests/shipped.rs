//! The shipped files are the documentation: they hold every key, at its default.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use producer::settings::{Probe, Settings};
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

/// Nought makes no sense for most numbers, and no number is without a bound. The chart says the same, before anything is installed.
#[test]
fn every_number_has_a_range_that_the_chart_knows() {
    let text = std::fs::read_to_string(shipped("../deploy/helm/slotwatch/values.schema.json")).unwrap();
    let chart: Value = serde_json::from_str(&text).unwrap();
    let settings = Settings::default();
    let (numbers, kafka) = (settings.numbers(), settings.kafka.numbers());
    let numbers: Vec<_> = numbers.iter().chain(&kafka).collect();
    let mut of_code = BTreeSet::new();
    for (section, keys) in serde_json::to_value(&settings).unwrap().as_object().unwrap() {
        let of_section = keys.as_object().unwrap().iter().filter(|(_, value)| value.is_number());
        of_code.extend(of_section.map(|(key, _)| format!("{section}.{key}")));
    }
    assert_eq!(of_code, numbers.iter().map(|(key, ..)| (*key).to_owned()).collect());
    for (key, default, range) in numbers {
        assert!(range.contains(default), "{key}");
        let (section, name) = key.split_once('.').unwrap();
        let of_chart = match section {
            "kafka" => &chart["$defs"]["kafkaSection"],
            _ => &chart["properties"]["producer"]["properties"]["config"]["properties"][section],
        };
        let of_chart = &of_chart["properties"][name];
        assert_eq!(
            (&of_chart["minimum"], &of_chart["maximum"]),
            (&(*range.start()).into(), &(*range.end()).into()),
            "{key}"
        );
        for wrong in [range.start() - 1, range.end() + 1] {
            let variable = (key.replace('.', "_").to_uppercase(), wrong.to_string());
            let environment =
                Environment::from_pairs([(variable.0.as_str(), variable.1.as_str()), ("KAFKA_BROKERS", "b:1")]);
            let refused = load::<Settings>(None, &environment)
                .and_then(|loaded| loaded.settings.kafka.validate().map_err(|fault| loaded.locate(fault)));
            let Err(error) = refused else { panic!("{key} = {wrong} is taken") };
            let error = error.to_string();
            assert!(error.contains(key), "{key} = {wrong}: {error}");
        }
    }
}

#[test]
fn a_body_fits_into_the_memory_of_all_checks() {
    let mut settings = Settings::default();
    settings.probe = Probe { max_body_bytes: 64 << 20, ..settings.probe };
    let fault = shared::config::Settings::validate(&settings).unwrap_err();
    assert_eq!(fault.key, "probe.max_memory_bytes");
    settings.probe.max_memory_bytes = 256 << 20;
    shared::config::Settings::validate(&settings).unwrap();
    settings.probe.allow_ports = vec![443, 0];
    assert_eq!(shared::config::Settings::validate(&settings).unwrap_err().key, "probe.allow_ports");
}
