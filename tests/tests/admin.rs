//! What the processes say of themselves on their admin ports is so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use local::site::{Behaviour, Response, Site};
use serde_json::Value;
use tests::admin::{address, get, metrics};
use tests::{Proxy, World, logged, patiently, send, stop};

const LISTEN: (&str, &str) = ("ADMIN_LISTEN", "127.0.0.1:0");

async fn status(address: &str, path: &str) -> u16 {
    get(address, path).await.0
}

/// Scrapes until the samples satisfy.
async fn until(address: &str, what: &str, satisfied: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    let mut last = BTreeMap::new();
    let found = async {
        loop {
            last = metrics(address).await;
            if satisfied(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), found).await;
    assert!(found.is_ok(), "never {what}: {last:#?}");
    last
}

/// Whatever the cause.
fn dead_lettered(samples: &BTreeMap<String, f64>) -> f64 {
    samples.iter().filter(|(name, _)| name.starts_with("records_dead_lettered_total")).map(|(_, value)| value).sum()
}

/// What Prometheus' own conventions ask of names and lines.
fn lint(text: &str) {
    let (mut helped, mut types) = (BTreeSet::new(), BTreeMap::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "EOF"] => {}
            ["#", "HELP", family, first, ..] => assert!(helped.insert(family) && !first.is_empty(), "{line}"),
            ["#", "TYPE", family, kind] => assert_eq!(types.insert(family, kind), None, "{line}"),
            _ => {
                let sample = line.split(['{', ' ']).next().unwrap();
                let suffixes = ["_total", "_bucket", "_sum", "_count"];
                let family = suffixes.iter().find_map(|suffix| types.get_key_value(sample.strip_suffix(suffix)?));
                let (family, kind) =
                    family.or(types.get_key_value(sample)).unwrap_or_else(|| panic!("no type: {line}"));
                assert!(helped.contains(family), "no help: {line}");
                assert_eq!(*kind == "counter", sample.ends_with("_total"), "{line}");
                assert!(["counter", "gauge", "histogram"].contains(kind), "{line}");
                let rest = sample.strip_prefix("slotwatch_").unwrap();
                assert!(rest.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')), "{line}");
                let small = ["_ms", "_millis", "_milliseconds", "_us", "_micros", "_minutes", "_kilobytes", "_mb"];
                assert!(!small.iter().any(|unit| family.ends_with(unit)), "base units: {line}");
            }
        }
    }
    assert_eq!(helped, types.keys().copied().collect());
    let readme = include_str!("../../README.md");
    for (family, kind) in &types {
        let suffix = if *kind == "counter" { "_total" } else { "" };
        assert!(readme.contains(&format!("`{family}{suffix}`")), "the README does not name {family}{suffix}");
    }
    assert!(types.len() > 8 && text.ends_with("# EOF\n"), "{text}");
}

fn targets(url: &str, names: &[&str], interval: &str) -> String {
    let target = |name: &&str| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '{interval}'\n");
    names.iter().map(target).collect()
}

/// Of targets that are checked once a week, each is checked at the start, and then all numbers stand still.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_scraped_is_what_is_logged() {
    let world = World::new().await;
    let good = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let bad = Site::start(Behaviour::Respond(Response::broken())).await.unwrap();
    let text = targets(&good.url("127.0.0.1"), &["a", "b", "c"], "168h")
        + &targets(&bad.url("127.0.0.1"), &["x", "y"], "168h");
    let file = world.file("targets.toml", &text);
    let mut consumer = world.start("consumer", &[], &[LISTEN]);
    let of_consumer = address(&mut consumer).await;
    patiently("the consumer's start", consumer.says("partitions assigned")).await.unwrap();
    let mut producer = world.start("producer", &[], &[LISTEN, ("SCHEDULE_TARGETS_FILE", &file)]);
    let of_producer = address(&mut producer).await;
    let (brokers, topic) = (world.brokers.clone(), world.topic.clone());
    tokio::task::spawn_blocking(move || send(&brokers, &topic, &[("poison", b"not json")])).await.unwrap();

    let produced =
        until(&of_producer, "delivered", |now| now["results_delivered_total"] >= 5.0 && now["spool_results"] == 0.0)
            .await;
    let consumed = until(&of_consumer, "stored", |now| {
        let counted = now["rows_stored_total"] + dead_lettered(now);
        let sizes_and_times = now["batch_duration_seconds_count"] == now["batch_records_count"];
        counted >= 6.0 && now["batch_records_sum"] >= 6.0 && sizes_and_times && now["records_lag"] == 0.0
    })
    .await;
    for address in [&of_producer, &of_consumer] {
        assert_eq!((status(address, "/livez").await, status(address, "/readyz").await), (200, 200));
        lint(&get(address, "/metrics").await.1);
    }

    let producer = stop(producer).await;
    let expected = [
        ("checks_total{state=\"up\"}", 3),
        ("checks_total{state=\"down\"}", 2),
        ("checks_total{state=\"missed\"}", logged(&producer, "checks.missed")),
        ("check_lateness_seconds_count", logged(&producer, "checks.due")),
        ("results_delivered_total", logged(&producer, "results.delivered")),
        ("results_refused_total", logged(&producer, "results.refused")),
        ("results_dropped_total", logged(&producer, "results.dropped")),
        ("spool_results", logged(&producer, "results.spooled")),
        ("spool_bytes", 0),
        ("checks_running", 0),
        ("checks_max_concurrent", 1000),
        ("ready", 1),
        ("kafka_reachable", 1),
    ];
    for (name, value) in expected {
        assert_eq!(produced[name], value as f64, "{name}");
    }
    let consumer = stop(consumer).await;
    let expected = [
        ("records_read_total", logged(&consumer, "records.read")),
        ("rows_stored_total", logged(&consumer, "rows.stored")),
        ("rows_duplicate_total", logged(&consumer, "rows.duplicate")),
        ("batch_records_sum", logged(&consumer, "records.read")),
        ("partitions_owned", 2),
    ];
    for (name, value) in expected {
        assert_eq!(consumed[name], value as f64, "{name}");
    }
    assert_eq!((consumed["rows_stored_total"], dead_lettered(&consumed)), (5.0, 1.0));
    assert_eq!(consumed["records_dead_lettered_total{cause=\"not_json\"}"], 1.0);
    assert_eq!(logged(&consumer, "records.dead_lettered"), 1);
    assert_eq!(consumed["batch_duration_seconds_count"], consumed["batch_records_count"]);
    let last = world.query("SELECT extract(epoch FROM max(stored_at))::float8 FROM checks").await[0].get::<_, f64>(0);
    assert!(
        consumed["last_write_timestamp_seconds"] + 0.001 >= last
            && consumed["last_write_timestamp_seconds"] < last + 60.0
    );
}

/// An outage of Kafka is seen in the spool, and so is its end; meanwhile the producer is alive and ready.
#[tokio::test(flavor = "multi_thread")]
async fn the_spool_grows_while_kafka_is_away_and_falls_to_nothing_after() {
    let world = World::new().await;
    let kafka = Proxy::start(world.brokers.parse().unwrap(), false).await.unwrap();
    let brokers = kafka.addr().to_string();
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let file = world.file("targets.toml", &targets(&site.url("127.0.0.1"), &["a", "b"], "1s"));
    let variables = [LISTEN, ("SCHEDULE_TARGETS_FILE", file.as_str()), ("KAFKA_BROKERS", &brokers)];
    let mut producer = world.start("producer", &[], &variables);
    let address = address(&mut producer).await;
    let early = until(&address, "spooled", |now| now["spool_results"] >= 3.0).await;
    let late = until(&address, "growing", |now| now["spool_results"] >= early["spool_results"] + 4.0).await;
    assert!(late["spool_bytes"] > early["spool_bytes"], "{late:?}");
    assert_eq!((late["kafka_reachable"], late["results_delivered_total"]), (0.0, 0.0));
    assert_eq!((status(&address, "/livez").await, status(&address, "/readyz").await), (200, 200));

    kafka.heal();
    let healed = until(&address, "delivered", |now| {
        let empty = now["spool_results"] == 0.0 && now["spool_bytes"] == 0.0;
        empty && now["kafka_reachable"] == 1.0 && now["results_delivered_total"] >= late["spool_results"]
    })
    .await;
    assert_eq!(healed["results_dropped_total"], 0.0);
    stop(producer).await;
}

/// The URL is in every message and makes it a large one, so a small spool is full soon.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_results_are_counted() {
    let world = World::new().await;
    let nobody = Proxy::start(world.brokers.parse().unwrap(), false).await.unwrap();
    let brokers = nobody.addr().to_string();
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let url = format!("{}{}", site.url("127.0.0.1"), "x".repeat(8000));
    let names: Vec<String> = (0..30).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let file = world.file("targets.toml", &targets(&url, &names, "1s"));
    let variables = [
        LISTEN,
        ("SCHEDULE_TARGETS_FILE", file.as_str()),
        ("KAFKA_BROKERS", &brokers),
        ("SPOOL_MAX_BYTES", "1048576"),
        ("STOP_GRACE", "3s"),
    ];
    let mut producer = world.start("producer", &[], &variables);
    let address = address(&mut producer).await;
    let full = until(&address, "dropped", |now| now["results_dropped_total"] >= 2.0).await;
    assert_eq!(full["spool_max_bytes"], 1_048_576.0);
    assert!(full["spool_bytes"] <= full["spool_max_bytes"] && full["spool_bytes"] > 900_000.0, "{full:?}");
    let log = stop(producer).await.log();
    let summary = log.iter().find(|line| line.contains("producer stopped")).unwrap();
    let summary: Value = serde_json::from_str(summary).unwrap();
    assert!(summary["results.dropped"].as_f64().unwrap() >= full["results_dropped_total"], "{summary}");
}

/// An outage of Postgres is seen in the consumer's lag and troubles, and so is its end; the consumer is alive and ready throughout.
#[tokio::test(flavor = "multi_thread")]
async fn the_lag_grows_while_postgres_is_away_and_falls_to_nothing_after() {
    let world = World::new().await;
    let mut url = url::Url::parse(&world.postgres_url).unwrap();
    let upstream = url.socket_addrs(|| None).unwrap()[0];
    let postgres = Proxy::start(upstream, true).await.unwrap();
    url.set_port(Some(postgres.addr().port())).unwrap();
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let file = world.file("targets.toml", &targets(&site.url("127.0.0.1"), &["a", "b"], "1s"));
    let mut consumer = world.start("consumer", &[], &[LISTEN, ("POSTGRES_URL", url.as_str())]);
    let address = address(&mut consumer).await;
    let producer = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file)]);
    until(&address, "stored", |now| now["rows_stored_total"] >= 4.0).await;

    postgres.cut();
    let early = until(&address, "lagging", |now| now["records_lag"] >= 4.0).await;
    let late = until(&address, "lagging more", |now| now["records_lag"] >= early["records_lag"] + 4.0).await;
    assert!(early["lag_seconds"] > 0.0 && late["lag_seconds"] > early["lag_seconds"], "{early:?} {late:?}");
    assert!(late["troubles_total{kind=\"postgres\"}"] >= 1.0, "{late:?}");
    assert_eq!(late["rows_stored_total"], early["rows_stored_total"]);
    assert_eq!((status(&address, "/livez").await, status(&address, "/readyz").await), (200, 200));

    postgres.heal();
    stop(producer).await;
    let healed = until(&address, "no lag", |now| now["records_lag"] == 0.0).await;
    assert_eq!(healed["lag_seconds"], 0.0);
    // The process does not count what was committed just when the connection broke; the table does.
    assert!(world.stored().await.len() as f64 >= late["rows_stored_total"] + late["records_lag"], "{healed:?}");
    stop(consumer).await;
}

/// Services that are not up yet are no reason to restart a process, and none to call it ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_waits_for_postgres_is_alive_but_not_ready() {
    let world = World::new().await;
    let postgres = Proxy::start(([127, 0, 0, 1], 9).into(), false).await.unwrap();
    let url = format!("postgres://nobody@{}/nothing", postgres.addr());
    let mut consumer = world.start("consumer", &[], &[LISTEN, ("POSTGRES_URL", &url)]);
    let address = address(&mut consumer).await;
    patiently("the waiting", consumer.says("waiting until it is over")).await.unwrap();
    assert_eq!((status(&address, "/livez").await, status(&address, "/readyz").await), (200, 503));
    lint(&get(&address, "/metrics").await.1);
    stop(consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_one_line_and_exit_code_1() {
    let world = World::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let variables = [("ADMIN_LISTEN", address.as_str()), ("SITE_URL", "http://127.0.0.1:9/")];
    for name in ["producer", "consumer"] {
        let mut process = world.start(name, &[], &variables);
        let status = patiently("the end", process.wait()).await.unwrap();
        let log = process.log();
        assert_eq!(status.code(), Some(1), "{log:#?}");
        assert_eq!(log.len(), 1, "{log:#?}");
        assert!(log[0].starts_with(&format!("error: admin.listen {address}: ")), "{log:#?}");
    }
}

/// Each target for itself, under blackbox_exporter's names.
#[tokio::test(flavor = "multi_thread")]
async fn targets_are_shown_where_that_is_wanted() {
    let world = World::new().await;
    let good = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let bad = Site::start(Behaviour::Respond(Response::broken())).await.unwrap();
    let text =
        targets(&good.url("127.0.0.1"), &["good \"one\""], "168h") + &targets(&bad.url("localhost"), &["bad"], "168h");
    let file = world.file("targets.toml", &text);
    let variables = [LISTEN, ("SCHEDULE_TARGETS_FILE", file.as_str()), ("METRICS_PER_TARGET", "true")];
    let mut producer = world.start("producer", &[], &variables);
    let admin = address(&mut producer).await;
    let text = patiently("samples of both", async {
        loop {
            let (_, text) = get(&admin, "/metrics").await;
            if text.matches("\nprobe_success{").count() == 2 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let value = |sample: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse::<f64>().unwrap()
    };
    let of = |name: &str| [r#"good \"one\""#, "bad"].map(|target| value(&format!("{name}{{target=\"{target}\"}}")));
    assert_eq!(of("probe_success"), [1.0, 0.0]);
    assert_eq!(of("probe_http_status_code"), [200.0, 500.0]);
    assert_eq!((of("probe_http_ssl"), of("probe_http_version")), ([0.0; 2], [1.1; 2]));
    assert_eq!((of("probe_ip_protocol"), of("probe_http_redirects")), ([4.0; 2], [0.0; 2]));
    assert_eq!(of("probe_http_uncompressed_body_length")[0], 4.0);
    assert!(of("probe_duration_seconds").iter().all(|took| (0.0..60.0).contains(took)));
    let phases = ["resolve", "connect", "processing", "transfer"];
    let phases = phases.map(|phase| value(&format!("probe_http_duration_seconds{{target=\"bad\",phase=\"{phase}\"}}")));
    // Between the phases there is next to nothing, unless the machine is busy.
    let between = of("probe_duration_seconds")[1] - phases.iter().sum::<f64>();
    assert!((-0.001..3.0).contains(&between), "{between} s between {phases:?}");
    assert!(!text.contains("slotwatch_probe") && text.ends_with("# EOF\n"));
    stop(producer).await;
}
