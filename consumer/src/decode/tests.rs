use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};
use shared::message::{Phase, Slot, State, result_id};

use super::*;

const NOW: &str = "2026-11-21T05:00:10Z";
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/schema/golden");
/// As the original system wrote it.
const ORIGINAL: &str = r#"{
    "meta": {"host": "example.net"},
    "dns": {"start": 1616980630.767150, "elapsed": 208118, "ip": "93.184.216.34"},
    "http": {"start": 1616980630.976237, "schema": "https", "host": "example.net", "path": null, "url": "https://example.net",
             "method": "GET", "regex": "You\\s+may\\s+use", "status_code": 200, "reason": "OK", "elapsed": 520368,
             "regex_found": true}
}"#;

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(format!("{GOLDEN}/{name}.json")).unwrap()
}

fn refusal(payload: &[u8]) -> String {
    decode(Some(payload), now()).unwrap_err().to_string()
}

/// A good message with one value changed; the path is separated by dots.
fn with(path: &str, value: Value) -> Vec<u8> {
    let mut message: Value = serde_json::from_slice(&golden("up-with-interval")).unwrap();
    let pointer = format!("/{}", path.replace('.', "/"));
    *message.pointer_mut(&pointer).unwrap() = value;
    serde_json::to_vec(&message).unwrap()
}

#[test]
fn every_golden_message_becomes_a_row() {
    for entry in std::fs::read_dir(GOLDEN).unwrap() {
        let path = entry.unwrap().path();
        let row = decode(Some(&std::fs::read(&path).unwrap()), now());
        assert!(row.is_ok(), "{}: {row:?}", path.display());
    }
}

#[test]
fn a_site_that_is_up() {
    let row = decode(Some(&golden("up")), now()).unwrap();
    assert_eq!((row.target.as_str(), row.location.as_str(), row.state), ("example", "local", State::Up));
    assert_eq!(row.scheduled_at, "2026-11-21T05:00:00Z".parse().unwrap());
    assert_eq!(row.dns_start, Some("2026-11-21T05:00:00.812Z".parse().unwrap()));
    assert_eq!(row.phases, [None, Some(101_200), Some(208_000), Some(210_100), Some(1068)]);
    assert_eq!((row.request.url_root(), row.status_code), ("https://example.net", Some(200)));
    assert_eq!((row.failure_class, row.failure_phase, row.failure_detail), (None, None, None));
}

#[test]
fn the_interval_belongs_to_what_was_asked() {
    let interval = |name: &str| decode(Some(&golden(name)), now()).unwrap().request.interval_ms;
    assert_eq!((interval("up-with-interval"), interval("up")), (Some(5000), None));
    assert_eq!(decode(Some(ORIGINAL.as_bytes()), now()).unwrap().request.interval_ms, None);
}

#[test]
fn a_site_that_is_down() {
    let row = decode(Some(&golden("down-tls")), now()).unwrap();
    assert_eq!((row.state, row.failure_class.as_deref()), (State::Down, Some("tls")));
    assert_eq!(row.failure_phase, Some(Phase::Tls));
}

#[test]
fn the_original_message_is_a_row() {
    let row = decode(Some(ORIGINAL.as_bytes()), now()).unwrap();
    let slot = Slot::from_millis(1_616_980_630_976).unwrap();
    assert_eq!((row.target.as_str(), row.location.as_str()), ("https://example.net", ORIGINAL_LOCATION));
    assert_eq!((row.scheduled_at, row.id), (slot.timestamp(), result_id(&row.target, &row.location, slot)));
    assert_eq!((row.state, row.lateness, row.http_elapsed), (State::Up, 0, Some(520_368)));
    assert_eq!(row.dns_start, Some("2021-03-29T01:17:10.767150Z".parse().unwrap()));
}

#[test]
fn the_original_message_is_judged() {
    // What is changed, the state, the failure's class.
    type Case<'a> = (&'a [(&'a str, Value)], State, Option<&'a str>);
    let table: [Case<'_>; 9] = [
        (&[], State::Up, None),
        (&[("/http/status_code", json!(302))], State::Up, None),
        (&[("/http/status_code", json!(404))], State::Down, Some("http_status")),
        // Its producer says so of every page, and never looked.
        (&[("/http/regex_found", json!(false))], State::Up, None),
        (&[("/http/regex_found", json!(false)), ("/http/status_code", json!(500))], State::Down, Some("http_status")),
        (&[("/http/regex_found", Value::Null)], State::Up, None),
        (&[("/http/regex", Value::Null), ("/http/regex_found", Value::Null)], State::Up, None),
        (&[("/http/status_code", Value::Null), ("/dns/ip", Value::Null)], State::Down, Some("dns")),
        (&[("/http/status_code", Value::Null)], State::Down, Some("connect")),
    ];
    for (changes, state, class) in table {
        let mut message: Value = serde_json::from_str(ORIGINAL).unwrap();
        for (pointer, value) in changes {
            *message.pointer_mut(pointer).unwrap() = value.clone();
        }
        let row = decode(Some(message.to_string().as_bytes()), now()).unwrap();
        assert_eq!((row.state, row.failure_class.as_deref()), (state, class), "{changes:?}");
    }
}

#[test]
fn the_original_keeps_what_it_said() {
    let mut message: Value = serde_json::from_str(ORIGINAL).unwrap();
    message["http"]["regex_found"] = json!(false);
    let row = decode(Some(message.to_string().as_bytes()), now()).unwrap();
    assert_eq!((row.regex_found, row.request.url_root()), (Some(false), "example.net"));
    message["http"].as_object_mut().unwrap().remove("host");
    message["http"]["url"] = json!("https://user.example:8443/a?b");
    let row = decode(Some(message.to_string().as_bytes()), now()).unwrap();
    assert_eq!(row.request.url_root(), "example.net", "as its meta has it");
}

/// All of the numbers that are integers in the schema.
#[test]
fn an_integer_may_be_written_as_a_float() {
    fn float(value: &mut Value) {
        match value {
            Value::Number(number) => *value = json!(number.as_f64()),
            Value::Object(fields) => fields.values_mut().for_each(float),
            _ => {}
        }
    }
    for text in [golden("up-with-interval"), golden("down-tls"), ORIGINAL.as_bytes().to_vec()] {
        let mut message: Value = serde_json::from_slice(&text).unwrap();
        float(&mut message);
        assert!(message.to_string().contains(".0"));
        assert_eq!(decode(Some(message.to_string().as_bytes()), now()), decode(Some(&text), now()));
    }
    assert!(refusal(&with("http.elapsed", json!(0.5))).starts_with("not a check result"));
    assert!(refusal(&with("http.elapsed", json!(1e300))).starts_with("not a check result"));
}

#[test]
fn every_date_that_a_certificate_may_have_is_read() {
    let latest = Timestamp::MAX.to_string();
    let table = [
        ("9999-12-31T23:59:59Z", latest.as_str()),
        ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00Z"),
        ("2049-12-31T23:59:59.999Z", "2049-12-31T23:59:59.999Z"),
        ("1950-01-01T00:00:00Z", "1950-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ];
    for (at, expected) in table {
        let row = decode(Some(&with("http.certificate_expires_at", json!(at))), now()).unwrap();
        assert_eq!(row.certificate_expires_at, Some(expected.parse().unwrap()), "{at}");
    }
}

#[test]
fn texts_have_bounds() {
    let decoded = |path: &str, text: String| decode(Some(&with(path, json!(text))), now());
    let row = decoded("http.reason", "é".repeat(5000)).unwrap();
    assert_eq!(row.reason, Some("é".repeat(4096) + "…"));
    assert_eq!(decoded("http.reason", "é".repeat(4096)).unwrap().reason, Some("é".repeat(4096)));
    for path in ["http.url", "http.regex", "http.path", "http.method", "http.schema", "meta.host"] {
        assert!(decoded(path, "é".repeat(32_768)).is_ok(), "{path}");
        let refused = decoded(path, "é".repeat(32_769)).unwrap_err().to_string();
        assert!(refused.contains(path) && refused.contains("65538 bytes"), "{refused}");
    }
}

#[test]
fn what_is_too_old_is_refused() {
    use crate::settings::Retention;
    let row = decode(Some(&golden("up")), now()).unwrap();
    let since = |row: &Row, kept: &str, seconds: i64| {
        let (oldest, days) = Retention::try_from(kept.to_owned()).unwrap().oldest(now());
        let mut row = row.clone();
        row.scheduled_at = oldest + SignedDuration::from_secs(seconds);
        row.since(oldest, days)
    };
    for kept in ["", "1d", "90d"] {
        assert!(since(&row, kept, 0).is_ok());
        let refused = since(&row, kept, -1).unwrap_err();
        assert_eq!(refused.cause, Cause::TooOld);
        assert!(refused.to_string().contains("days ago"), "{refused}");
    }
    let (oldest, _) = Retention::try_from("30d".to_owned()).unwrap().oldest(now());
    assert_eq!(oldest.to_string(), "2026-10-22T00:00:00Z");
}

#[test]
fn what_later_versions_may_add_is_no_obstacle() {
    let mut message: Value = serde_json::from_slice(&golden("down-tls")).unwrap();
    message["http"]["brand_new"] = json!({"deep": [1, 2, 3]});
    message["outcome"]["failure"]["class"] = json!("quantum");
    message["outcome"]["failure"]["phase"] = json!("teleport");
    let row = decode(Some(message.to_string().as_bytes()), now()).unwrap();
    assert_eq!((row.failure_class.as_deref(), row.failure_phase), (Some("quantum"), None));
}

#[test]
fn poison_is_refused_with_its_reason() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let huge = format!("{{\"meta\": \"{}\"}}", "x".repeat(MAX_BYTES));
    let table: [(Vec<u8>, &str); 27] = [
        (b"".to_vec(), "not JSON: EOF while parsing a value"),
        (b"hello".to_vec(), "not JSON: expected value"),
        (b"\xff\xfe{}".to_vec(), "not UTF-8: invalid at byte 0"),
        (b"{\"meta\": \xc3\x28}".to_vec(), "not UTF-8: invalid at byte 9"),
        (golden("up")[..300].to_vec(), "not JSON: EOF"),
        (deep.into_bytes(), "not"),
        (huge.into_bytes(), "bytes are more than"),
        (b"{}".to_vec(), "not a check result: missing field `http`"),
        (b"[1, 2]".to_vec(), "not a check result"),
        (b"null".to_vec(), "not a check result"),
        (with("meta.version", json!(7)), "message version 7 is not known"),
        (with("meta.target", json!("")), "meta.target is empty"),
        (with("meta.target", json!("x".repeat(3000))), "meta.target has 3000 bytes"),
        (with("meta.target", json!("a\0b")), "meta.target contains a NUL"),
        (with("http.reason", json!("O\0K")), "http.reason contains a NUL"),
        (with("meta.scheduled_at", json!("1999-12-31T23:59:59.999Z")), "is before 2000"),
        (with("meta.scheduled_at", json!("2026-11-22T05:00:11Z")), "more than a day ahead"),
        (with("meta.scheduled_at", json!("yesterday")), "not a check result"),
        (with("meta.interval", json!(0)), "meta.interval is out of range: 0"),
        (with("meta.interval", json!(40_000_000_000_u64)), "meta.interval is out of range"),
        (with("http.start", json!(1e300)), "http.start is out of range"),
        (with("http.start", json!(-1.0)), "http.start is out of range"),
        (with("http.elapsed", json!(3_000_000_000_u64)), "http.elapsed is out of range: 3000000000"),
        (with("http.status_code", json!(1000)), "http.status_code is out of range"),
        (with("http.status_code", json!("200")), "not a check result: http"),
        (with("outcome.state", json!(5)), "not a check result: expected value"),
        (with("dns.ip", json!("example.net")), "dns.ip is not an address"),
    ];
    for (payload, reason) in table {
        let refusal = refusal(&payload);
        let found = reason.split(": http").all(|part| refusal.contains(part));
        assert!(found, "expected {reason:?}, found {refusal:?}");
    }
    assert_eq!(decode(None, now()).unwrap_err().to_string(), "the record has no value");
    assert!(refusal(&with("outcome.state", json!("sideways"))).contains("unknown variant"));
}

#[test]
fn a_lone_surrogate_is_no_text() {
    let text = String::from_utf8(golden("up")).unwrap().replace("\"OK\"", "\"\\ud800\"");
    assert!(refusal(text.as_bytes()).starts_with("not JSON: unexpected end of hex escape"));
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
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

fn pointers(value: &Value, path: &str, found: &mut Vec<String>) {
    if let Value::Object(keys) = value {
        for (key, value) in keys {
            let path = format!("{path}/{key}");
            pointers(value, &path, found);
            found.push(path);
        }
    }
}

proptest! {
    #[test]
    fn bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode(Some(&payload), now());
    }

    #[test]
    fn values_never_panic(value in any_json(), key in "meta|dns|http|outcome") {
        let _ = decode(Some(value.to_string().as_bytes()), now());
        let mut object = serde_json::Map::new();
        object.insert(key, value);
        let _ = decode(Some(Value::from(object).to_string().as_bytes()), now());
    }

    #[test]
    fn a_message_with_anything_anywhere_never_panics(pick in any::<prop::sample::Index>(), value in any_json(), original in any::<bool>()) {
        let text = if original { ORIGINAL.as_bytes().to_vec() } else { golden("down-tls") };
        let mut message: Value = serde_json::from_slice(&text).unwrap();
        let mut paths = Vec::new();
        pointers(&message, "", &mut paths);
        *message.pointer_mut(pick.get(&paths).as_str()).unwrap() = value;
        let decoded = decode(Some(message.to_string().as_bytes()), now());
        // It is JSON, whatever else it is not.
        prop_assert!(!decoded.is_err_and(|refusal| refusal.to_string().starts_with("not JSON")));
    }

    #[test]
    fn broken_messages_never_panic(cut in 0..1000_usize, flip in 0..1000_usize, to in any::<u8>()) {
        let mut payload = golden("up");
        let length = payload.len();
        payload[flip % length] = to;
        payload.truncate(length - cut % length);
        let _ = decode(Some(&payload), now());
    }
}
