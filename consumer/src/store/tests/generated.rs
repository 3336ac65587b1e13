//! What the decoder lets pass, Postgres takes: by hundreds of made-up messages a transaction.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::*;

const BATCHES: usize = 8;
const MESSAGES: usize = 400;
const GOLDEN: [&str; 2] = [
    include_str!("../../../../shared/schema/golden/up.json"),
    include_str!("../../../../shared/schema/golden/down-tls.json"),
];
/// As the original system wrote it.
const ORIGINAL: &str = r#"{"meta": {"host": "h"}, "dns": {"start": 1795237200.5, "elapsed": 1, "ip": "::1", "error": null}, "http":
    {"start": 1795237201.5, "schema": "http", "host": "h", "path": "/", "url": "http://h/", "method": "GET", "regex": "x",
     "status_code": 200, "reason": "OK", "elapsed": 5, "regex_found": true}}"#;

fn number() -> impl Strategy<Value = Value> {
    let edges = [
        json!(0),
        json!(-1),
        json!(999),
        json!(1000),
        json!(i16::MAX),
        json!(i32::MAX),
        json!(1_u64 << 31),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(0.5),
        json!(-0.0),
        json!(1e300),
        json!(5e-324),
        json!(946_684_799.999_999_9),
        json!(946_684_800),
        json!(1_795_323_610.0),
        json!(1_795_323_611.5),
        json!(253_402_300_800.0_f64),
    ];
    prop_oneof![
        select(edges.to_vec()),
        any::<i64>().prop_map(Value::from),
        (0..2000_i64).prop_map(Value::from),
        (9e8..1.9e9).prop_map(|seconds: f64| Value::from(seconds)),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    let long = |c: &str| Value::from(c.repeat(2048 / c.len()));
    let edges = [
        json!(""),
        json!("\0"),
        json!("a\0"),
        json!("\\N"),
        json!("\u{feff}"),
        json!("\u{10ffff}"),
        json!("' OR 1"),
        long("x"),
        long("é"),
        json!("x".repeat(2049)),
        json!("x".repeat(100_000)),
        json!("1.2.3.4"),
        json!("::ffff:1.2.3.4"),
        json!("fe80::1%eth0"),
        json!("2026-11-21T05:00:00Z"),
        json!("2000-01-01T00:00:00Z"),
        json!("1999-12-31T23:59:59.999Z"),
        json!("0001-01-01T00:00:00Z"),
        json!("0000-12-31T23:59:59Z"),
        json!("9999-12-30T22:00:00.999999999Z"),
        json!("-009999-01-02T01:59:59Z"),
        json!("2026-11-22T05:00:10Z"),
        json!("2026-11-22T05:00:10.001Z"),
        json!("up"),
        json!("missed"),
        json!("dns"),
        json!("tls"),
    ];
    prop_oneof![
        2 => select(edges.to_vec()),
        1 => any::<String>().prop_map(Value::from),
        // Incompressible names, as long as an index takes them.
        1 => prop::collection::vec(any::<char>(), 400..700).prop_map(|chars| Value::from(chars.into_iter().collect::<String>())),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    let failure = (text(), text(), text())
        .prop_map(|(class, phase, detail)| json!({"class": class, "phase": phase, "detail": detail}));
    prop_oneof![4 => number(), 5 => text(), 1 => any::<bool>().prop_map(Value::from), 1 => Just(Value::Null), 1 => failure]
}

fn pointers(value: &Value, path: &str) -> Vec<String> {
    let keys = value.as_object().into_iter().flatten();
    keys.flat_map(|(key, value)| {
        let path = format!("{path}/{key}");
        [pointers(value, &path), vec![path]].concat()
    })
    .collect()
}

/// A message of either shape with up to three values replaced, each by one of the same type as often as not.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), number(), text(), anything(), 0..3_u8), 1..4);
    (select(vec![GOLDEN[0], GOLDEN[1], ORIGINAL]), changes).prop_map(|(base, changes)| {
        let mut message: Value = serde_json::from_str(base).unwrap();
        for (pick, number, text, anything, any) in changes {
            let paths = pointers(&message, "");
            let place = message.pointer_mut(pick.get(&paths).as_str()).unwrap();
            *place = match place {
                _ if any == 0 => anything,
                Value::Number(_) => number,
                Value::String(_) => text,
                _ => anything,
            };
        }
        message.to_string().into_bytes()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_decoder_lets_pass_postgres_takes() {
    let settings = database();
    let mut store = store(&settings).await;
    let mut runner = TestRunner::default();
    let (mut offset, mut accepted) = (0, 0);
    for _ in 0..BATCHES {
        let messages = prop::collection::vec(message(), MESSAGES).new_tree(&mut runner).unwrap().current();
        let (mut rows, mut sources) = (Vec::new(), Vec::new());
        for message in messages {
            if let Ok(row) = decode(Some(&message), now()) {
                rows.push(row);
                sources.push(message);
            }
        }
        let next = offset + MESSAGES as i64;
        let written = store.write(&rows, &Ahead::default(), &topic(), &[step(0, offset, next)], now()).await;
        if let Err(error) = written {
            let refused = store.refused(&rows, now()).await.unwrap();
            let refused = refused.iter().map(|(index, why)| (why, String::from_utf8_lossy(&sources[*index])));
            panic!("{error}: {:#?}", refused.collect::<Vec<_>>());
        }
        accepted += rows.len();
        offset = next;
    }
    assert!((BATCHES * MESSAGES / 10..BATCHES * MESSAGES * 9 / 10).contains(&accepted), "{accepted} were accepted");
}
