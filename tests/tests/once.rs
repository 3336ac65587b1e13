//! `producer --once` and `producer targets`: for people and scripts, without Kafka.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::process::Output;

use local::site::{Behaviour, Response, Site};
use serde_json::Value;
use tests::{World, binary};
use tokio::process::Command;

async fn once(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    run(&[&["--once"], arguments].concat(), variables).await
}

async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary("producer"));
    command.args(arguments).envs(variables.iter().copied()).env_remove("KAFKA_BROKERS");
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_a_table_and_exits_with_the_verdict() {
    let good = Site::start(Behaviour::Respond(Response::ok("Welcome"))).await.unwrap();
    let bad = Site::start(Behaviour::Respond(Response::broken())).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("targets.toml");
    let entry = |name: &str, site: &Site| format!("[[targets]]\nname = '{name}'\nurl = '{}'\n", site.url("127.0.0.1"));
    std::fs::write(&file, entry("good", &good) + &entry("bad", &bad)).unwrap();

    let both = once(&[], &[("SCHEDULE_TARGETS_FILE", file.to_str().unwrap())]).await;
    assert_eq!(both.status.code(), Some(1));
    let table = text(&both.stdout);
    let line = |name: &str| table.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(line("good").contains("up") && line("good").contains("200"), "{table}");
    assert!(line("bad").contains("http_status: unexpected status 500 Internal Server Error, expected 2xx"), "{table}");

    let one = once(&[], &[("SITE_URL", &good.url("127.0.0.1")), ("SITE_REGEX", "Wel+come")]).await;
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_messages_as_json_lines() {
    let good = Site::start(Behaviour::Respond(Response::ok("Welcome"))).await.unwrap();
    let output = once(&["--json"], &[("SITE_URL", &good.url("127.0.0.1")), ("SITE_NAME", "mine")]).await;
    assert_eq!(output.status.code(), Some(0));
    let messages: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["meta"]["target"], "mine");
    assert_eq!(messages[0]["outcome"]["state"], "up");
    assert_eq!(messages[0]["dns"]["start"], Value::Null, "a literal address is not looked up");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_may_have_seen_enough() {
    let world = World::new().await;
    let good = Site::start(Behaviour::Respond(Response::ok("Welcome"))).await.unwrap();
    let variables = [("SITE_URL", &*good.url("127.0.0.1"))];
    for arguments in [&["--once"][..], &["--once", "--json"], &["targets"], &["targets", "--json"]] {
        world.run_unread("producer", arguments, &variables).await;
    }
    for name in ["producer", "consumer"] {
        for arguments in [&["--check-config"][..], &["--print-config"], &["completions", "bash"]] {
            world.run_unread(name, arguments, &variables).await;
        }
    }
    world.run_unread("consumer", &["migrate"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_targets_with_their_next_slots() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/targets.toml");
    let variables = [("SCHEDULE_TARGETS_FILE", file), ("REPLICAS_ENABLED", "true")];
    let table = run(&["targets"], &variables).await;
    assert_eq!(table.status.code(), Some(0), "{}", text(&table.stderr));
    let lines = run(&["targets", "--json"], &variables).await;
    let listed: Vec<Value> = text(&lines.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(listed.len() > 1);
    for target in &listed {
        assert!(text(&table.stdout).contains(target["name"].as_str().unwrap()));
        let next: jiff::Timestamp = target["next"].as_str().unwrap().parse().unwrap();
        let left = next.as_millisecond() - jiff::Timestamp::now().as_millisecond();
        assert!(left <= target["interval"].as_i64().unwrap(), "{target}");
        assert!((0..64).contains(&target["shard"].as_i64().unwrap()), "{target}");
    }
    let refused = run(&["targets"], &[("SCHEDULE_TARGETS_FILE", "/no/such/file.toml")]).await;
    assert_eq!(refused.status.code(), Some(2));
}
