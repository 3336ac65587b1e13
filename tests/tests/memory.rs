//! The memory of a producer does not grow with what waits for Kafka. A test program of its own, because it looks at itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use local::kafka::Kafka;
use producer::metrics::Published;
use producer::publish;
use producer::settings::Settings;
use producer::spool::Spool;
use shared::config::{Environment, load};
use shared::message::{CheckResult, Slot, result_id};
use tests::{Proxy, patiently};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What this process has in memory, in kB.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn result(number: i64) -> CheckResult {
    let mut result: CheckResult = serde_json::from_str(include_str!("../../shared/schema/golden/up.json")).unwrap();
    result.meta.scheduled_at = Slot::from_millis(1_700_000_000_000 + number * 1000).unwrap();
    result.meta.id = result_id(&result.meta.target, &result.meta.location, result.meta.scheduled_at);
    result
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_kafka_waits_on_disk() {
    let proxy = Proxy::unconnected().await.unwrap();
    let relay = proxy.addr();
    let kafka = tokio::task::spawn_blocking(move || Kafka::start_behind(None, &[relay]).unwrap()).await.unwrap();
    proxy.lead_to(kafka.behind(relay).unwrap());
    let brokers = relay.to_string();
    let environment = Environment::from_pairs([
        ("KAFKA_BROKERS", brokers.as_str()),
        ("KAFKA_PARTITIONS", "1"),
        ("PUBLISH_MAX_IN_FLIGHT", "1000"),
    ]);
    let settings = load::<Settings>(None, &environment).unwrap().settings;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.sqlite");
    let spool = Spool::open(&path, 1 << 30).unwrap();

    let (sender, results) = mpsc::channel(1000);
    let give_up = CancellationToken::new();
    let ending = give_up.clone();
    let published = Arc::new(Published::default());
    let seen = published.clone();
    let feed = async move {
        let send = async |numbers: Range<i64>| {
            for number in numbers {
                sender.send(result(number)).await.unwrap();
            }
        };
        send(0..100).await;
        // Once the topic is there, the client is given messages.
        while seen.delivered.load(Ordering::Relaxed) < 100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        proxy.cut();
        // As much as the queue, the publisher and the client keep in memory, and more.
        send(100..10_000).await;
        let before = resident();
        send(10_000..60_000).await;
        let grown = resident() - before;
        assert!(grown < 15_000, "50,000 more results, which are 50 MB or more, cost {grown} kB of memory");
        ending.cancel();
    };
    let publishing = publish::run(&settings.kafka, &settings.publish, spool, results, published, give_up);
    let ((), summary) = patiently("publishing", async { tokio::join!(feed, publishing) }).await;
    let summary = summary.unwrap();
    assert_eq!((summary.delivered, summary.spooled), (100, 59_900), "{summary:?}");
}
