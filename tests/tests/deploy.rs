//! What is deployed speaks of metrics that exist, and of pages that say what to do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fs;

use local::site::{Response, Site};
use tests::admin::{address, get};
use tests::{World, stop};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn file(path: &str) -> String {
    fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

/// The names of ours in a text, as far as they go.
fn names(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = text.match_indices("slotwatch_").filter(|(at, _)| !text[..*at].ends_with(part));
    found.map(|(at, _)| text[at..].chars().take_while(|c| part(*c)).collect()).collect()
}

/// All samples' names of a process.
async fn samples(address: &str) -> BTreeSet<String> {
    let text = get(address, "/metrics").await.1;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let listen = ("ADMIN_LISTEN", "127.0.0.1:0");
    let mut consumer = world.start("consumer", &[], &[listen]);
    let topic = format!("{}.shards", world.topic);
    let url = site.url("127.0.0.1");
    let replica = [listen, ("SITE_URL", url.as_str()), ("REPLICAS_ENABLED", "true"), ("REPLICAS_TOPIC", &topic)];
    let mut producer = world.start("producer", &[], &replica);
    let mut there = samples(&address(&mut consumer).await).await;
    there.extend(samples(&address(&mut producer).await).await);
    for path in ["deploy/alerts.yaml", "deploy/grafana/slotwatch.json"] {
        let asked = names(&file(path));
        let missing: Vec<_> = asked.difference(&there).collect();
        assert!(missing.is_empty() && asked.len() > 10, "{path} asks for {missing:?}");
    }
    stop(producer).await;
    stop(consumer).await;
}

#[test]
fn every_alert_says_where_it_is_said_what_to_do() {
    let (alerts, page) = (file("deploy/alerts.yaml"), file("docs/operations.md"));
    let anchors: Vec<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: docs/operations.md#")).collect();
    assert_eq!(anchors.len(), alerts.matches("- alert: ").count());
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(anchors, headings, "each has its part, in their order");
}
