//! What the README says is so: its commands work, and its tables are complete.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use local::process::Process;
use local::site::{Behaviour, Response, Site};
use rustix::process::Signal;
use tests::{World, binary, patiently};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The shell blocks, in order.
fn blocks(text: &str) -> Vec<String> {
    let after = text.split("\n```sh\n").skip(1);
    after.map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

/// Lines that build or start everything themselves: the same commands are steps of `.ci/run`, or tests of their own.
fn is_make(line: &str) -> bool {
    line.starts_with("make ") || line.contains(" make ") || line == "cargo build --release"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_work_when_typed_one_after_the_other() {
    let world = World::new().await;
    let site = Site::start(Behaviour::Respond(Response::ok("Example Domain"))).await.unwrap();
    let folder = binary("producer").parent().unwrap().display().to_string();
    let mut shell = Command::new("bash")
        .args(["-em", "-s"])
        .current_dir(root())
        .envs(world.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut keyboard = shell.stdin.take().unwrap();
    for block in blocks(&read("README.md")) {
        let typed: Vec<&str> = block.lines().filter(|line| !is_make(line)).collect();
        if block.contains("psql") {
            world.until_stored("a row to look at", |rows| !rows.is_empty()).await;
        }
        let typed = typed
            .join("\n")
            .replace("target/release", &folder)
            .replace("localhost:9092", &world.brokers)
            .replace("postgres://postgres:secret@localhost/postgres", &world.postgres_url)
            .replace("https://example.net/", &site.url("127.0.0.1"))
            .replace("kill %1 %2", "kill %1 %2; wait %1; wait %2");
        keyboard.write_all(format!("{typed}\n").as_bytes()).await.unwrap();
    }
    drop(keyboard);
    let output = patiently("the commands", shell.wait_with_output()).await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(
        printed.contains("| up ") && printed.contains("configuration is good") && printed.contains("first byte ms"),
        "{printed}"
    );
}

#[test]
fn every_make_command_exists_and_ci_runs_them() {
    let makefile = read("Makefile");
    let readme = read("README.md");
    let named = readme.split("`make ").skip(1).filter_map(|rest| rest.split(['`', ' ']).next());
    let typed =
        readme.lines().filter_map(|line| line.split("make ").nth(1).filter(|_| is_make(line))?.split(' ').next());
    let mut count = 0;
    for command in named.chain(typed) {
        assert!(makefile.contains(&format!("\n{command}: ")), "make {command}");
        count += 1;
    }
    assert!(count >= 6);
    let ci = read(".ci/run");
    assert!(ci.contains("make test") && ci.contains("DEMO_SECONDS=30 make demo"));
}

/// `make services` and `make demo URLS=…` are these programs.
#[tokio::test(flavor = "multi_thread")]
async fn services_print_their_addresses_and_the_demo_watches_given_sites() {
    let world = World::new().await;
    let given = [("KAFKA_BROKERS", world.brokers.clone()), ("POSTGRES_URL", world.postgres_url.clone())];
    let mut services = Process::start(&binary("local"), &["services"], given.clone()).unwrap();
    patiently("the addresses", services.says("running until Ctrl-C")).await.unwrap();
    let log = services.log();
    for (name, value) in &given {
        assert!(log.contains(&format!("{name}={value}")), "{log:?}");
    }
    services.signal(Signal::INT).unwrap();
    assert!(patiently("the end", services.wait()).await.unwrap().success());

    let good = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let bad = Site::start(Behaviour::Respond(Response::broken())).await.unwrap();
    let urls = format!("{} {}", good.url("localhost"), bad.url("127.0.0.1"));
    let variables = given.into_iter().chain([("URLS", urls), ("DEMO_SECONDS", "15".to_owned())]);
    let mut demo = Process::start(&binary("local"), &["demo"], variables).unwrap();
    let status = patiently("the demo", demo.wait()).await.unwrap();
    let log = demo.log().join("\n");
    assert!(status.success(), "{log}");
    assert!(
        log.contains("missing: 0") && log.contains(" up ") && log.contains("http_status: unexpected status 500"),
        "{log}"
    );
}

/// The last resort of a machine without Java.
#[tokio::test(flavor = "multi_thread")]
async fn without_java_the_demo_falls_back_to_an_embedded_broker_and_says_so() {
    let world = World::new().await;
    let variables = [
        ("JAVA_HOME", "/no/such/java"),
        ("KAFKA_BROKERS", ""),
        ("POSTGRES_URL", &world.postgres_url),
        ("DEMO_SECONDS", "10"),
    ];
    let mut demo = Process::start(&binary("local"), &["demo"], variables).unwrap();
    let status = patiently("the demo", demo.wait()).await.unwrap();
    let log = demo.log().join("\n");
    assert!(status.success() && log.contains("missing: 0"), "{log}");
    assert!(log.contains("WARNING: no Java runtime was found, so this is NOT a real Kafka"), "{log}");
}

/// A key, its default and its row, for each key of the shipped files.
#[test]
fn the_configuration_tables_have_every_key_at_its_default() {
    let readme = read("README.md");
    let mut count = 0;
    for name in ["config/producer.toml", "config/consumer.toml"] {
        let mut section = String::new();
        for line in fs::read_to_string(root().join(name)).unwrap().lines() {
            if let Some(title) = line.strip_prefix('[') {
                section = title.trim_end_matches(']').to_owned();
            } else if let Some((key, default)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                let row = format!("| `{section}.{key}` | `{default}` | ");
                assert!(readme.contains(&row), "{row}");
                count += 1;
            }
        }
    }
    assert!(count > 50);
}

/// The columns of the view are those of the mapping.
#[tokio::test(flavor = "multi_thread")]
async fn the_columns_are_those_of_the_view() {
    let world = World::new().await;
    let mut consumer = world.start("consumer", &["migrate"], &[]);
    assert!(patiently("the migration", consumer.wait()).await.unwrap().success(), "{:?}", consumer.log());
    let query = "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'check_results'";
    let readme = read("README.md");
    let table = readme.split("## The table").nth(1).unwrap().split("\n## ").next().unwrap();
    let columns: Vec<String> = world.query(query).await.iter().map(|row| row.get(0)).collect();
    assert!(columns.len() > 30);
    for column in &columns {
        assert!(table.contains(&format!("| `{column}` |")), "{column}");
    }
    let functions =
        "SELECT unnest(proargnames[pronargs + 1:]) FROM pg_proc WHERE proname IN ('slot_account', 'slot_gaps')";
    let columns: Vec<String> = world.query(functions).await.iter().map(|row| row.get(0)).collect();
    assert_eq!(columns.len(), 14);
    for column in &columns {
        assert!(table.contains(&format!("`{column}`, ")) || table.contains(&format!("`{column}`;")), "{column}");
    }
}
