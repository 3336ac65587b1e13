//! The published schema is what the types say, and the golden messages of every released version stay readable.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use shared::message::{CheckResult, FailureClass, State, result_id, schema};

fn published() -> Value {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/check-result.v1.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn golden() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/golden");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), value)
        })
        .collect()
}

/// `UPDATE_SCHEMA=1 cargo test -p shared --test schema` writes the file anew.
#[test]
fn published_schema_is_generated_from_the_types() {
    let generated = serde_json::to_value(schema()).unwrap();
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&generated).unwrap() + "\n";
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/check-result.v1.json"), text).unwrap();
    }
    assert_eq!(published(), generated);
}

#[test]
fn golden_messages_are_valid_decoded_and_written_the_same_again() {
    let validator = jsonschema::validator_for(&published()).unwrap();
    let golden = golden();
    assert!(golden.len() >= 4);
    for (name, message) in golden {
        let faults: Vec<String> = validator.iter_errors(&message).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{name}: {faults:?}");
        let result: CheckResult =
            serde_json::from_value(message.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(serde_json::to_value(&result).unwrap(), message, "{name}");
        assert_eq!(
            result.meta.id,
            result_id(&result.meta.target, &result.meta.location, result.meta.scheduled_at),
            "{name}"
        );
    }
}

#[test]
fn readers_accept_what_a_later_version_adds() {
    let (_, mut message) = golden().into_iter().find(|(name, _)| name == "down-tls").unwrap();
    message["outcome"]["failure"]["class"] = "quantum".into();
    message["outcome"]["failure"]["phase"] = "entangle".into();
    message["meta"]["replica"] = "b".into();
    let result: CheckResult = serde_json::from_value(message).unwrap();
    let failure = result.outcome.failure.unwrap();
    assert_eq!(result.outcome.state, State::Down);
    assert_eq!(failure.class, FailureClass::Other("quantum".to_owned()));
    assert_eq!(failure.phase, None);
}

#[test]
fn ids_tell_slots_targets_and_locations_apart() {
    let slot = |text: &str| serde_json::from_value(text.into()).unwrap();
    let ids = [
        result_id("a", "local", slot("2026-11-21T05:00:00.000Z")),
        result_id("b", "local", slot("2026-11-21T05:00:00.000Z")),
        result_id("a", "other", slot("2026-11-21T05:00:00.000Z")),
        result_id("a", "local", slot("2026-11-21T05:00:00.001Z")),
    ];
    assert_eq!(std::collections::HashSet::from(ids).len(), ids.len());
    assert_eq!(ids[0], result_id("a", "local", slot("2026-11-21T06:00:00+01:00")));
}
