use std::path::Path;

use serde_json::Value;
use shared::config::{Environment, load};

use super::*;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/consumer.toml");

fn environment() -> Environment {
    Environment::from_pairs([("KAFKA_BROKERS", "k:9092"), ("POSTGRES_URL", "postgres://u@h/d")])
}

/// The file is the documentation: what it shows is what holds without it, and it shows every key.
#[test]
fn the_shipped_file_shows_every_default() {
    let shipped = load::<Settings>(Some(Path::new(SHIPPED)), &environment()).unwrap().settings;
    let default = load::<Settings>(None, &environment()).unwrap().settings;
    assert_eq!(shipped, default);

    let text = std::fs::read_to_string(SHIPPED).unwrap();
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut section = "";
    let mut shown = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once(" = ") {
            _ if line.starts_with('[') => section = line.trim_matches(['[', ']']),
            Some((key, value)) => {
                let default = &defaults[section][key];
                assert_eq!(value, default.to_string(), "{section}.{key}");
                shown.push(format!("{section}.{key}"));
            }
            None => {}
        }
    }
    for (section, keys) in defaults.as_object().unwrap() {
        for (key, _) in keys.as_object().unwrap().iter().filter(|(_, value)| !matches!(value, Value::Object(_))) {
            assert!(shown.contains(&format!("{section}.{key}")), "{section}.{key} is not shown");
        }
    }
}

#[test]
fn faults_are_one_line_that_names_the_place() {
    let table: [(&[(&str, &str)], &str); 9] = [
        (&[("KAFKA_BROKERS", "")], "kafka.brokers: is missing"),
        (&[("POSTGRES_URL", "")], "postgres.url: is missing"),
        (&[("CONSUME_GROUP", " ")], "environment variable CONSUME_GROUP: consume.group: must not be empty"),
        (&[("CONSUME_DEAD_LETTER_TOPIC", "checks")], "consume.dead_letter_topic: must not be the topic"),
        (&[("CONSUME_BATCH_ROWS", "0")], "consume.batch_rows: expected a number from 1"),
        (&[("CONSUME_FROM", "middle")], "consume.from: "),
        (&[("CONSUME_BATCH_AGE", "2h")], "consume.batch_age: must be at most 60s"),
        (&[("POSTGRES_PORT", "tcp://10.0.0.1:5432")], "Kubernetes injects such values for a service named `postgres`"),
        (&[("STOP_GRACE", "0s")], "stop.grace: must be at least 1s"),
    ];
    for (changes, message) in table {
        let mut pairs = vec![("KAFKA_BROKERS", "k:9092"), ("POSTGRES_URL", "postgres://u@h/d")];
        pairs.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        pairs.extend(changes);
        let error = load::<Settings>(None, &Environment::from_pairs(pairs)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn migrate_needs_no_kafka() {
    load::<MigrateSettings>(None, &Environment::from_pairs([("POSTGRES_URL", "postgres://u@h/d")])).unwrap();
}

#[test]
fn the_dead_letter_topic_is_named_after_the_topic() {
    assert_eq!(Settings::default().dead_letter_topic(), "checks.dead-letter");
    let named = Consume { dead_letter_topic: "morgue".to_owned(), ..Consume::default() };
    assert_eq!(Settings { consume: named, ..Settings::default() }.dead_letter_topic(), "morgue");
}

/// No number is without a bound. The chart says the same, before anything is installed.
#[test]
fn every_number_has_a_range_that_the_chart_knows() {
    let chart = include_str!("../../../deploy/helm/slotwatch/values.schema.json");
    let chart: Value = serde_json::from_str(chart).unwrap();
    let settings = Settings::default();
    let mut of_code = std::collections::BTreeSet::new();
    for (section, keys) in serde_json::to_value(&settings).unwrap().as_object().unwrap() {
        let of_section = keys.as_object().unwrap().iter().filter(|(_, value)| value.is_number());
        of_code.extend(of_section.map(|(key, _)| format!("{section}.{key}")));
    }
    let mut numbers = settings.consume.numbers().to_vec();
    numbers.extend(settings.kafka.numbers());
    numbers.push(settings.postgres.number());
    assert_eq!(of_code, numbers.iter().map(|(key, ..)| (*key).to_owned()).collect());
    for (key, default, range) in &numbers {
        assert!(range.contains(default), "{key}");
        let (section, name) = key.split_once('.').unwrap();
        let of_chart = match section {
            "kafka" => &chart["$defs"]["kafkaSection"],
            "consume" => &chart["properties"]["consumer"]["properties"]["config"]["properties"][section],
            _ => &chart["properties"]["postgres"]["properties"]["config"],
        };
        let of_chart = &of_chart["properties"][name];
        assert_eq!(
            (&of_chart["minimum"], &of_chart["maximum"]),
            (&(*range.start()).into(), &(*range.end()).into()),
            "{key}"
        );
    }
}
