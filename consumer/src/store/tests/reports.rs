//! Whatever the decoder lets through, in any pair, leaves every function of the schema working.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::*;

const PAIRS: usize = 60;
const REPORTS: [&str; 8] = [
    "SELECT count(*) FROM slot_gaps('2026-11-14', '2026-11-24')",
    "SELECT count(*) FROM slot_gaps('-infinity', 'infinity')",
    "SELECT count(*) FROM slot_account('2000-01-01', now() + interval '2 days')",
    "SELECT count(*) FROM slot_account('-infinity', 'infinity')",
    "SELECT count(*) FROM latest_results()",
    "SELECT count(*) FROM last_results('a', 9223372036854775807)",
    "SELECT count(*) FROM uptime('a', '-infinity', 'infinity')",
    "SELECT count(*) FROM (SELECT sum(lateness), sum(body_bytes), avg(http_elapsed), max(scheduled_at + lateness * interval \
     '1 microsecond'), max(certificate_expires_at - now()) FROM check_results) all_of_them",
];

fn number() -> impl Strategy<Value = Value> {
    let edges = [
        json!(0),
        json!(1),
        json!(999),
        json!(i32::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(-1),
        json!(366_u64 * 86_400_000),
        json!(366_i64 * 86_400_000_000),
    ];
    prop_oneof![3 => select(edges.to_vec()), 1 => any::<i64>().prop_map(Value::from)]
}

/// Intervals of which slots may be one apart, so that the reports compare the two.
fn interval() -> impl Strategy<Value = Value> {
    select(vec![json!(1), json!(1000), json!(60_000), json!(86_400_000), json!(366_u64 * 86_400_000), Value::Null])
}

fn instant() -> impl Strategy<Value = Value> {
    select(vec![
        json!("2026-11-21T05:00:00Z"),
        json!("2026-11-21T05:00:01Z"),
        json!("2026-11-21T05:01:00Z"),
        json!("2026-11-21T04:59:59.999Z"),
        json!("2026-11-20T05:00:00Z"),
        json!("2026-11-22T05:00:10Z"),
        json!("2000-01-01T00:00:00Z"),
    ])
}

fn message() -> impl Strategy<Value = Value> {
    let times = select(vec![json!(946_684_800), json!(1_795_323_610.0), json!(1_795_237_200.5), Value::Null]);
    let expiry = select(vec![json!("9999-12-31T23:59:59Z"), json!("0001-01-01T00:00:00Z"), Value::Null]);
    let numbers = prop::collection::vec(number(), 4);
    (instant(), interval(), numbers, times, expiry).prop_map(|(slot, interval, numbers, time, expiry)| {
        let golden = include_str!("../../../../shared/schema/golden/up.json");
        let mut message: Value = serde_json::from_str(golden).unwrap();
        message["meta"]["target"] = json!("a");
        message["meta"]["scheduled_at"] = slot;
        message["meta"]["interval"] = interval;
        let places = ["/meta/lateness", "/http/elapsed", "/http/body_bytes", "/http/redirects"];
        for (place, number) in places.iter().zip(numbers) {
            *message.pointer_mut(place).unwrap() = number;
        }
        message["http"]["start"] = time;
        message["http"]["certificate_expires_at"] = expiry;
        message
    })
}

/// The message with what it would be refused for left as it was.
fn accepted(message: &Value) -> Option<Row> {
    let decoded = |message: &Value| decode(Some(message.to_string().as_bytes()), now()).ok();
    decoded(message).or_else(|| {
        let mut message = message.clone();
        for place in ["/http/elapsed", "/http/body_bytes", "/http/redirects"] {
            *message.pointer_mut(place).unwrap() = json!(7);
        }
        decoded(&message)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn any_two_rows_leave_every_report_working() {
    let mut store = store(&database()).await;
    let mut runner = TestRunner::default();
    let mut offset = 0;
    for _ in 0..PAIRS {
        let pair = [message(), message()].map(|message| message.new_tree(&mut runner).unwrap().current());
        let rows: Vec<Row> = pair.iter().filter_map(accepted).collect();
        execute(&mut store, "TRUNCATE checks").await;
        store.write(&rows, &Ahead::default(), &topic(), &[step(0, offset, offset + 2)], now()).await.unwrap();
        offset += 2;
        for report in REPORTS {
            let client = &store.session().await.unwrap().client;
            let asked = client.query_one(report, &[]).await;
            assert!(asked.is_ok(), "{report}: {:?} of {pair:#?}", asked.err());
        }
    }
}

/// Found by trying: a row with another interval, and one before it that began when no clock could say.
#[tokio::test(flavor = "multi_thread")]
async fn an_instant_that_no_clock_can_say_breaks_nothing() {
    let mut store = store(&database()).await;
    let message = |slot: &str, interval: u64, lateness: i64| {
        let golden = include_str!("../../../../shared/schema/golden/up.json");
        let mut message: Value = serde_json::from_str(golden).unwrap();
        message["meta"]["scheduled_at"] = json!(slot);
        message["meta"]["interval"] = json!(interval);
        message["meta"]["lateness"] = json!(lateness);
        decode(Some(message.to_string().as_bytes()), now()).unwrap()
    };
    for lateness in [i64::MIN, i64::MAX] {
        execute(&mut store, "TRUNCATE checks").await;
        let next = next_offset(&mut store, 0).await;
        let rows = [message("2026-11-20T05:00:00Z", 1000, lateness), message("2026-11-20T06:00:00Z", 3_600_000, 0)];
        store.write(&rows, &Ahead::default(), &topic(), &[step(0, next, next + 2)], now()).await.unwrap();
        count(&mut store, "SELECT count(*) FROM slot_account('2026-11-20', '2026-11-21')").await;
    }
}
