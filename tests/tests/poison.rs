//! Poison of every kind between good records, in one batch: each bad one is in the dead letters byte for byte with its reason, each
//! good one is stored, once, and the offset stands at the end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{GOLDEN_SECOND, Plain, World, golden, stop};

/// A record that cannot be stored, and a part of the reason.
type Poison = (Plain, String);

fn record(payload: impl Into<Vec<u8>>) -> Plain {
    (Some(b"poison".to_vec()), Some(payload.into()))
}

fn poison(payload: impl Into<Vec<u8>>, reason: &str) -> Poison {
    (record(payload), reason.to_owned())
}

/// A result that would be good, but for one value.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut message = golden("poison", 0);
    *message.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    message.to_string().into_bytes()
}

/// The same with a value that only text can have.
fn with_raw(pointer: &str, raw: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(with(pointer, json!("here"))).unwrap();
    let (before, after) = text.split_once("\"here\"").unwrap();
    [before.as_bytes(), raw, after.as_bytes()].concat()
}

fn without(pointer: &str) -> Vec<u8> {
    let mut message = golden("poison", 0);
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    message.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    message.to_string().into_bytes()
}

/// Paths of all values of a message.
fn pointers(value: &Value, path: &str) -> Vec<String> {
    let keys = value.as_object().into_iter().flatten();
    keys.flat_map(|(key, value)| {
        let path = format!("{path}/{key}");
        [pointers(value, &path), vec![path]].concat()
    })
    .collect()
}

fn no_message() -> Vec<Poison> {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested =
        with_raw("/outcome/failure", format!("{{\"class\":\"dns\",\"phase\":{deep},\"detail\":\"\"}}").as_bytes());
    let good = golden("poison", 0).to_string();
    let mut twice = good.clone();
    twice.insert_str(1, "\"dns\":null,");
    vec![
        ((Some(b"poison".to_vec()), None), "the record has no value".to_owned()),
        ((None, None), "the record has no value".to_owned()),
        ((None, Some(b"{".to_vec())), "not JSON: EOF".to_owned()),
        ((Some(b"\xff\x00key".to_vec()), Some(b"x".to_vec())), "not JSON".to_owned()),
        poison("", "not JSON: EOF while parsing a value"),
        poison(" \n", "not JSON: EOF"),
        poison("poison", "not JSON: expected value"),
        poison(&good[..good.len() / 2], "not JSON: EOF"),
        poison(good.clone() + "}", "not JSON: trailing characters"),
        poison(good.clone() + &good, "not JSON: trailing characters"),
        poison(b"\xef\xbb\xbf{}".to_vec(), "not JSON: expected value"),
        poison(b"\xff\xfe{\x00}\x00".to_vec(), "not UTF-8: invalid at byte 0"),
        poison(with_raw("/http/reason", b"\"O\xffK\""), "not UTF-8: invalid at byte"),
        poison(with_raw("/http/reason", b"\"\\ud800\""), "not JSON: unexpected end of hex escape"),
        poison(with_raw("/http/reason", b"\"O\nK\""), "not JSON: control character"),
        poison(deep, "not"),
        poison(nested, "recursion limit exceeded"),
        poison(with("/http/reason", json!("x".repeat(1_000_000))), "bytes are more than the 262144"),
        poison(twice, "not a check result"),
        poison("null", "not a check result"),
        poison("[]", "not a check result"),
        poison("{}", "missing field `http`"),
        poison("\"text\"", "not a check result"),
    ]
}

fn wrong_types() -> Vec<Poison> {
    let good = golden("poison", 0);
    let wrong = |pointer: String| {
        let value = match good.pointer(&pointer).unwrap() {
            // Where nothing stands anything may, but a table of strangers.
            Value::Null => json!({"stranger": true}),
            Value::String(_) | Value::Object(_) => json!(5),
            Value::Number(_) | Value::Bool(_) | Value::Array(_) => json!("five"),
        };
        poison(with(&pointer, value), "not a check result")
    };
    pointers(&good, "").into_iter().map(wrong).collect()
}

fn missing_fields() -> Vec<Poison> {
    let required = [
        "/meta",
        "/dns",
        "/http",
        "/outcome",
        "/meta/version",
        "/meta/id",
        "/meta/target",
        "/meta/host",
        "/meta/location",
        "/meta/scheduled_at",
        "/meta/lateness",
        "/http/schema",
        "/http/host",
        "/http/url",
        "/http/method",
        "/outcome/state",
    ];
    required.iter().map(|pointer| poison(without(pointer), "missing field")).collect()
}

fn nul_characters() -> Vec<Poison> {
    let texts =
        ["/meta/target", "/meta/host", "/meta/location", "/dns/error", "/http/schema", "/http/path", "/http/url"];
    let more = ["/http/method", "/http/regex", "/http/reason", "/http/version"];
    let nul = |pointer: &&str| poison(with(pointer, json!("a\0b")), "contains a NUL character");
    let failure = |class: &str, detail: &str| with("/outcome/failure", json!({"class": class, "detail": detail}));
    let mut all: Vec<Poison> = texts.iter().chain(&more).map(nul).collect();
    all.push(poison(failure("d\0s", ""), "outcome.failure.class contains a NUL"));
    all.push(poison(failure("dns", "\0"), "outcome.failure.detail contains a NUL"));
    all.push(poison(with("/dns/ip", json!("127.0.0.1\0")), "dns.ip is not an address"));
    all
}

fn out_of_range() -> Vec<Poison> {
    // A path, a value as it stands in the text, a part of the reason.
    let table = [
        ("/meta/lateness", "9223372036854775808", "not a check result"),
        ("/meta/lateness", "1.5", "not a check result"),
        ("/meta/version", "2", "message version 2 is not known"),
        ("/meta/version", "0", "message version 0 is not known"),
        ("/meta/version", "4294967296", "not a check result"),
        ("/meta/target", "\"\"", "meta.target is empty"),
        ("/dns/elapsed", "-1", "not a check result"),
        ("/dns/elapsed", "2147483648", "dns.elapsed is out of range"),
        ("/http/elapsed", "18446744073709551616", "not a check result"),
        ("/http/elapsed", "1e400", "number out of range"),
        ("/http/elapsed", "NaN", "expected value"),
        ("/http/elapsed", "-Infinity", "invalid number"),
        ("/http/phases/tls", "18446744073709551615", "http.phases.tls is out of range"),
        ("/http/body_bytes", "9223372036854775808", "http.body_bytes is out of range"),
        ("/http/redirects", "32768", "http.redirects is out of range"),
        ("/http/status_code", "65536", "not a check result"),
        ("/http/status_code", "1000", "http.status_code is out of range"),
        ("/http/start", "1e400", "number out of range"),
        ("/http/start", "1e308", "http.start is out of range"),
        ("/http/start", "-62135596801", "http.start is out of range"),
        ("/dns/start", "0", "dns.start is out of range"),
        ("/dns/start", "253402300800", "dns.start is out of range"),
        ("/dns/ip", "\"999.1.1.1\"", "dns.ip is not an address"),
        ("/outcome/state", "\"sideways\"", "unknown variant `sideways`"),
        ("/meta/scheduled_at", "\"1999-12-31T23:59:59.999Z\"", "is before 2000"),
        ("/meta/scheduled_at", "\"0000-01-01T00:00:00Z\"", "is before 2000"),
        ("/meta/scheduled_at", "\"-009999-06-02T00:00:00Z\"", "before 2000"),
        ("/meta/scheduled_at", "\"9999-12-30T22:00:00Z\"", "more than a day ahead"),
        ("/meta/scheduled_at", "\"+010000-01-01T00:00:00Z\"", "not a check result"),
        ("/meta/scheduled_at", "\"2021-02-30T00:00:00Z\"", "not a check result"),
        ("/http/certificate_expires_at", "\"0000-12-31T23:59:59Z\"", "http.certificate_expires_at is out of range"),
        ("/http/certificate_expires_at", "\"+010000-01-01T00:00:00Z\"", "not a check result"),
        // What no decoder can know: a constraint of the table.
        ("/http/status_code", "418", "violates check constraint \\\"no_teapots\\\""),
    ];
    let one = |(pointer, raw, reason): (&str, &str, &str)| {
        poison(with_raw(pointer, raw.as_bytes()), &reason.replace('\\', ""))
    };
    table.into_iter().map(one).collect()
}

/// What only looks like poison.
fn strange_but_good() -> Vec<fn(&mut Value)> {
    vec![
        |message| message["brand_new"] = json!([{"deep": [[[1]]]}, null]),
        |message| message["meta"]["version2"] = json!(2),
        |message| {
            message["outcome"] =
                json!({"state": "down", "failure": {"class": "quantum", "detail": "'; DROP TABLE checks"}});
        },
        |message| {
            message["outcome"] =
                json!({"state": "down", "failure": {"class": "dns", "phase": "warp", "detail": "\t\u{7f}\u{202e}"}});
        },
        |message| message["http"]["reason"] = json!("\\N\n\\.\n\u{10ffff}\u{feff}"),
        |message| message["http"]["reason"] = json!("x".repeat(200_000)),
        |message| message["http"]["regex"] = json!("(".repeat(10_000)),
        |message| message["http"]["certificate_expires_at"] = json!("9999-12-30T22:00:00Z"),
        |message| message["meta"]["lateness"] = json!(i64::MIN),
        |message| message["http"]["body_bytes"] = json!(i64::MAX),
        |message| message["dns"]["ip"] = json!("::ffff:127.0.0.1"),
        |message| message["http"]["phases"] = json!({}),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_record_is_a_dead_letter_and_each_good_one_is_stored() {
    let world = World::new().await;
    world.prepare(1).await;
    world.query("ALTER TABLE checks ADD CONSTRAINT no_teapots CHECK (status_code <> 418)").await;
    let poison = [no_message(), wrong_types(), missing_fields(), nul_characters(), out_of_range()].concat();
    let strange = strange_but_good();
    let mut records = Vec::new();
    let mut expected = BTreeMap::new();
    for (second, (bad, reason)) in poison.iter().enumerate() {
        let mut good = golden("good", second);
        if let Some(change) = strange.get(second) {
            change(&mut good);
        }
        let key = (second % 2 == 0).then(|| b"\xff good".to_vec());
        records.push((key, Some(good.to_string().into_bytes())));
        expected.insert(records.len() as i64, (bad, reason));
        records.push(bad.clone());
    }
    let count = records.len() as i64;
    world.publish(records).await;

    let consumer = world.start("consumer", &[], &[("CONSUME_BATCH_AGE", "3s"), ("CONSUME_BATCH_BYTES", "100000000")]);
    world.until_moved(count).await;
    stop(consumer).await;

    let letters = world.dead_letters().await;
    let mut wrong = Vec::new();
    for letter in &letters {
        let header = |name: &str| letter.header(name).unwrap_or_else(|| panic!("no {name} in {:?}", letter.headers));
        let offset: i64 = header("dead-letter.offset").parse().unwrap();
        let found = header("dead-letter.reason");
        let Some(((key, payload), reason)) = expected.remove(&offset) else {
            wrong.push(format!("{offset} is good, or there twice: {found}"));
            continue;
        };
        if !found.contains(reason) {
            wrong
                .push(format!("expected {reason:?}, found {found:?} for {}", String::from_utf8_lossy(&letter.payload)));
        }
        assert_eq!(letter.key, *key, "{reason}");
        assert!(letter.payload == payload.clone().unwrap_or_default(), "{reason}");
        let source = (header("dead-letter.topic"), header("dead-letter.partition"));
        assert_eq!(source, (world.topic.clone(), "0".to_owned()));
        assert!(header("dead-letter.timestamp").parse::<i64>().unwrap() > 1_600_000_000_000);
        assert_eq!(letter.header("dead-letter.truncated"), None);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(expected.is_empty(), "not refused: {:?}", expected.values().map(|(_, reason)| reason).collect::<Vec<_>>());
    assert_eq!(letters.len(), poison.len());
    assert_eq!(world.next_offsets().await, BTreeMap::from([(0, count)]));

    let rows = world.query(&format!("SELECT target, {GOLDEN_SECOND} FROM check_results ORDER BY 1, 2")).await;
    let stored: Vec<(String, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let good: Vec<(String, i32)> = (0..).take(poison.len()).map(|second| ("good".to_owned(), second)).collect();
    assert_eq!(stored, good);
}
