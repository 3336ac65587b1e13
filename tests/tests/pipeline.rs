//! From the clock to the row: every slot that was due is stored once, and says what happened.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use local::certificate::Authority;
use local::dns::{Answer, DnsServer};
use local::site::{Behaviour, Framing, Response, Site};
use serde_json::Value;
use tests::{Stored, World, due, logged, patiently, read_topic, send, stop, until};

const HOSTS: [&str; 7] =
    ["fine.test", "secure.test", "expired.test", "killed.test", "silent.test", "cut.test", "hop.test"];

fn loopback() -> Answer {
    Answer::from(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

fn target(name: &str, url: &str, more: &str) -> String {
    format!("[[targets]]\nname = {name:?}\nurl = {url:?}\ninterval = \"2s\"\n{more}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slot_that_was_due_is_stored_once_and_failures_have_their_own_class() {
    let world = World::new().await;
    let dns = DnsServer::start(HOSTS.map(|host| (host, loopback()))).await.unwrap();
    let authority = Authority::new().unwrap();
    let page = || Response::ok("<h1>Welcome</h1>");
    let fine = Site::start(Behaviour::Respond(page())).await.unwrap();
    let secure = Site::start_tls(Behaviour::Respond(page()), &authority.valid(&["secure.test"])).await.unwrap();
    let expired = Site::start_tls(Behaviour::Respond(page()), &authority.expired(&["expired.test"])).await.unwrap();
    let killed = Site::start(Behaviour::ResetBeforeHead).await.unwrap();
    let silent = Site::start(Behaviour::Silent).await.unwrap();
    let cut = Site::start(Behaviour::Respond(page().framed(Framing::Promised(1000)))).await.unwrap();
    let hop = Site::start(Behaviour::Respond(Response::redirect(&fine.url("fine.test")))).await.unwrap();
    let targets = [
        target("fine", &fine.url("fine.test"), "regex = 'Wel+come'"),
        target("secure", &secure.url("secure.test"), ""),
        target("hop", &hop.url("hop.test"), ""),
        target("wrong", &fine.url("fine.test"), "regex = 'Goodbye'"),
        target("expired", &expired.url("expired.test"), ""),
        target("killed", &killed.url("killed.test"), ""),
        target("silent", &silent.url("silent.test"), "timeout = '3s'"),
        target("cut", &cut.url("cut.test"), ""),
        target("nowhere", "http://nowhere.test/", ""),
    ];
    let file = world.file("targets.toml", &targets.join("\n"));
    let servers = dns.addr().to_string();
    let ca_file = authority.ca_file().display().to_string();
    let consumer = world.start("consumer", &[], &[]);
    let variables = [
        ("SCHEDULE_TARGETS_FILE", file.as_str()),
        ("DNS_SERVERS", &servers),
        ("DNS_TIMEOUT", "8s"),
        ("PROBE_CA_FILE", &ca_file),
    ];
    let producer = world.start("producer", &[], &variables);
    world.until_stored("three rows of each target", |rows| rows.len() >= 3 * targets.len()).await;
    let producer = stop(producer).await;

    // Accounting by the schedule's arithmetic.
    let names = ["fine", "secure", "hop", "wrong", "expired", "killed", "silent", "cut", "nowhere"];
    let due = due(&producer, &names, Duration::from_secs(2));
    let rows = world.until_stored("all that was due", |rows| rows.len() >= due.len()).await;
    stop(consumer).await;
    assert_eq!(logged(&producer, "results.delivered"), due.len() as i64);
    assert_eq!(world.slots().await, due);
    assert_eq!(rows.len(), due.len());

    // Verdicts.
    /// State, class and phase.
    type Verdict<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
    let mut verdicts: BTreeMap<&str, BTreeSet<Verdict<'_>>> = BTreeMap::new();
    for Stored { target, state, class, phase, .. } in &rows {
        verdicts.entry(target).or_default().insert((state, class.as_deref(), phase.as_deref()));
    }
    let expected = [
        ("fine", ("up", None, None)),
        ("secure", ("up", None, None)),
        ("hop", ("up", None, None)),
        ("wrong", ("down", Some("content"), None)),
        ("expired", ("down", Some("tls"), Some("tls"))),
        ("killed", ("down", Some("protocol"), Some("first_byte"))),
        ("silent", ("down", Some("timeout"), Some("first_byte"))),
        ("cut", ("down", Some("partial_response"), Some("transfer"))),
        ("nowhere", ("down", Some("dns"), Some("dns"))),
    ];
    // On a busy machine a slot may pass before it can be checked, the first of a target above all, and so may a deadline.
    for verdicts in verdicts.values_mut() {
        verdicts.remove(&("missed", Some("late"), None));
    }
    verdicts.entry("silent").or_default().remove(&("unmeasured", Some("resources"), Some("first_byte")));
    assert_eq!(verdicts, expected.map(|(name, verdict)| (name, BTreeSet::from([verdict]))).into());

    columns_are_true(&world).await;
    messages_are_as_published(&world).await;
}

/// What the flat columns say about checks whose answers are known.
async fn columns_are_true(world: &World) {
    let broken = world
        .query(
            "SELECT target FROM check_results WHERE NOT CASE target
             WHEN 'fine' THEN host = 'fine.test' AND http_schema = 'http' AND http_path IS NULL AND ip = '127.0.0.1'
                AND http_url = http_url_root || '/' AND http_regex = 'Wel+come' AND http_regex_found
                AND http_status_code = 200 AND http_status_code_reason = 'OK' AND body_bytes = 16 AND redirects = 0
                AND http_version = 'HTTP/1.1' AND tls_elapsed IS NULL AND dns_elapsed > 0 AND dns_start <= http_start
                AND connect_elapsed + first_byte_elapsed + transfer_elapsed <= http_elapsed
                AND lateness >= 0 AND certificate_expires_at IS NULL
             WHEN 'secure' THEN http_schema = 'https' AND tls_elapsed > 0 AND certificate_expires_at > now()
             WHEN 'expired' THEN certificate_expires_at < now() AND http_status_code IS NULL AND first_byte_elapsed IS NULL
             WHEN 'hop' THEN redirects = 1 AND redirect_elapsed > 0 AND http_status_code = 200 AND host = 'hop.test'
             WHEN 'wrong' THEN NOT http_regex_found AND http_status_code = 200
             WHEN 'silent' THEN (http_start + http_elapsed * interval '1 microsecond'
                    >= scheduled_at + (lateness + 2999000) * interval '1 microsecond')
                AND first_byte_elapsed > 0 AND transfer_elapsed IS NULL
             WHEN 'cut' THEN body_bytes = 16 AND http_status_code = 200
             WHEN 'nowhere' THEN ip IS NULL AND dns_error LIKE '%NXDOMAIN%' AND http_start IS NULL AND http_elapsed IS NULL
             ELSE true END",
        )
        .await;
    assert!(broken.is_empty(), "{:?}", broken.iter().map(|row| row.get(0)).collect::<Vec<String>>());
}

/// The messages obey the published schema, and their keys and headers say what is in them.
async fn messages_are_as_published(world: &World) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/schema/check-result.v1.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let (brokers, topic) = (world.brokers.clone(), world.topic.clone());
    let records = tokio::task::spawn_blocking(move || read_topic(&brokers, &topic)).await.unwrap();
    let mut partitions: BTreeMap<Vec<u8>, i32> = BTreeMap::new();
    for record in &records {
        let message: Value = serde_json::from_slice(&record.payload).unwrap();
        assert!(validator.is_valid(&message), "{message}");
        let key = record.key.clone().unwrap();
        assert_eq!(message["meta"]["target"].as_str().map(str::as_bytes), Some(&key[..]));
        assert_eq!(*partitions.entry(key).or_insert(record.partition), record.partition, "one partition a key");
        assert_eq!(record.header("content-type").as_deref(), Some("application/json"));
        assert_eq!(record.header("ce_specversion").as_deref(), Some("1.0"));
        assert_eq!(record.header("ce_type").as_deref(), Some("slotwatch.check-result.v1"));
        assert_eq!(record.header("ce_id").as_deref(), message["meta"]["id"].as_str());
        assert_eq!(record.header("ce_time").as_deref(), message["meta"]["scheduled_at"].as_str());
        assert!(record.header("ce_source").is_some());
    }
    assert!(partitions.values().collect::<BTreeSet<_>>().len() > 1, "keys are spread");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_originals_messages_are_stored_and_poison_goes_to_the_dead_letters() {
    let world = World::new().await;
    let mut consumer = world.start("consumer", &[], &[]);
    until("the consumer's start", async || world.has_tables().await).await;
    let original = br#"{"meta": {}, "dns": {"start": 1616980630.767150, "elapsed": 208118, "ip": "93.184.216.34", "error": null},
        "http": {"start": 1616980630.976237, "schema": "https", "host": "example.net", "path": null, "url": "https://example.net",
        "method": "GET", "regex": "You\\s+may\\s+use", "status_code": 200, "reason": "OK", "elapsed": 520368, "regex_found": true}}"#;
    let poison: [&[u8]; 4] = [b"not json", b"\xff\xfe", b"{}", br#"{"meta": {"version": 1}}"#];
    let mut records: Vec<(&str, &[u8])> = poison.iter().map(|payload| ("poison", *payload)).collect();
    records.insert(2, ("original", original));
    let owned: Vec<(String, Vec<u8>)> =
        records.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect();
    let (brokers, topic) = (world.brokers.clone(), world.topic.clone());
    patiently("the topic", async { consumer.says("partitions assigned").await }).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let records: Vec<(&str, &[u8])> = owned.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
        send(&brokers, &topic, &records);
    })
    .await
    .unwrap();
    let rows = world.until_stored("the original's message", |rows| !rows.is_empty()).await;
    assert_eq!((rows[0].target.as_str(), rows[0].state.as_str()), ("https://example.net", "up"));
    let flat = world
        .query("SELECT dns_elapsed, http_elapsed, http_regex_found, host(ip), extract(epoch FROM http_start)::float8 FROM check_results")
        .await;
    assert_eq!(flat.len(), 1);
    assert_eq!((flat[0].get(0), flat[0].get(1), flat[0].get(2)), (208_118_i32, 520_368_i32, true));
    assert_eq!((flat[0].get(3), flat[0].get(4)), ("93.184.216.34".to_owned(), 1_616_980_630.976_237_f64));

    let (brokers, dead_letters) = (world.brokers.clone(), world.dead_letter_topic());
    world.until_moved(records.len() as i64).await;
    stop(consumer).await;
    let dead = tokio::task::spawn_blocking(move || read_topic(&brokers, &dead_letters)).await.unwrap();
    let payloads: BTreeSet<&[u8]> = dead.iter().map(|record| &record.payload[..]).collect();
    assert_eq!(payloads, poison.into_iter().collect(), "byte for byte");
    for letter in &dead {
        assert_eq!(letter.key.as_deref(), Some(&b"poison"[..]));
        assert_eq!(letter.header("dead-letter.topic").as_deref(), Some(world.topic.as_str()));
        assert!(letter.header("dead-letter.offset").is_some_and(|offset| offset.parse::<i64>().is_ok()));
        assert!(letter.header("dead-letter.reason").is_some_and(|reason| !reason.is_empty()));
    }
}
