//! SIGINT and SIGTERM at any moment: drained, flushed, exit 0 within the grace. Services that are not there yet are waited for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;

use local::process::Process;
use local::site::{Behaviour, Response, Site};
use rustix::process::Signal;
use tests::admin::{address, metrics};
use tests::{NEW_YEAR, Proxy, World, message, messages, patiently, said, until, until_hit};

async fn ends_well(mut process: Process, signal: Signal) -> Process {
    process.signal(signal).unwrap();
    let status = patiently("ending", process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{:#?}", process.log());
    process
}

async fn ends_by_itself(mut process: Process) {
    let status = patiently("ending", process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{:#?}", process.log());
}

/// Neither service is there: both processes say so in one line, go on waiting, and end when asked to.
#[tokio::test(flavor = "multi_thread")]
async fn without_services_both_wait_and_end_when_asked() {
    let world = World::new().await;
    let proxy = Proxy::start(world.brokers.parse().unwrap(), false).await.unwrap();
    let nothing = proxy.addr();
    for signal in [Signal::INT, Signal::TERM] {
        let (kafka, postgres) = (nothing.to_string(), format!("postgres://me:secret@{nothing}/x"));
        let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
        let url = site.url("127.0.0.1");
        let variables =
            [("KAFKA_BROKERS", kafka.as_str()), ("SITE_URL", &url), ("SITE_INTERVAL", "1s"), ("STOP_GRACE", "3s")];
        let mut producer = world.start("producer", &[], &variables);
        patiently("noticing", producer.says("kafka is unreachable")).await.unwrap();
        let producer = ends_well(producer, signal).await;
        assert_eq!(said(&producer.log(), "kafka is unreachable"), 1, "{:#?}", producer.log());

        let variables = [("KAFKA_BROKERS", kafka.as_str()), ("POSTGRES_URL", &postgres), ("STOP_GRACE", "3s")];
        let mut consumer = world.start("consumer", &[], &variables);
        patiently("noticing", consumer.says("postgres")).await.unwrap();
        let consumer = ends_well(consumer, signal).await;
        assert!(!consumer.log().iter().any(|line| line.contains("secret")), "{:#?}", consumer.log());
    }
}

/// A signal right after the start, before anything stands, ends both at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_during_the_start_is_enough() {
    let world = World::new().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    for name in ["producer", "consumer"] {
        let process = world.start(name, &[], &[("SITE_URL", &site.url("127.0.0.1")), ("STOP_GRACE", "5s")]);
        // The handler stands before the first thread of the runtime does.
        patiently("the first instants", async {
            let pid = process.pid().unwrap().as_raw_nonzero();
            let caught = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let handles = |status: &str| {
                let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).map(str::trim);
                mask.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & (1 << 14) != 0)
            };
            while !handles(&caught()) {
                // Without a pause: the start is over soon.
                tokio::task::yield_now().await;
            }
        })
        .await;
        ends_well(process, Signal::TERM).await;
    }
}

/// Both are started first; when the services come, the checks of the meantime arrive, too.
#[tokio::test(flavor = "multi_thread")]
async fn services_that_come_later_are_waited_for() {
    let world = World::new().await;
    let kafka = Proxy::start(world.brokers.parse().unwrap(), false).await.unwrap();
    let postgres_address: SocketAddr = url::Url::parse(&world.postgres_url).unwrap().socket_addrs(|| None).unwrap()[0];
    let postgres = Proxy::start(postgres_address, false).await.unwrap();
    let mut url = url::Url::parse(&world.postgres_url).unwrap();
    url.set_port(Some(postgres.addr().port())).unwrap();
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let (brokers, site_url) = (kafka.addr().to_string(), site.url("127.0.0.1"));
    let variables = [
        ("KAFKA_BROKERS", brokers.as_str()),
        ("POSTGRES_URL", url.as_str()),
        ("SITE_URL", &site_url),
        ("SITE_INTERVAL", "1s"),
    ];
    let mut consumer = world.start("consumer", &[], &variables);
    let mut producer = world.start("producer", &[], &variables);
    patiently("noticing", producer.says("kafka is unreachable")).await.unwrap();
    patiently("noticing", consumer.says("postgres")).await.unwrap();
    let before = site.hits();
    postgres.heal();
    kafka.heal();
    world.until_stored("the rows of the outage and of afterwards", |rows| rows.len() as u64 > before + 2).await;
    ends_well(producer, Signal::TERM).await;
    ends_well(consumer, Signal::TERM).await;
}

/// What runs when the signal comes is finished and delivered.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_runs_is_finished_and_one_that_cannot_be_is_unmeasured() {
    let world = World::new().await;
    let slow = std::time::Duration::from_millis(1500);
    let site =
        Site::start(Behaviour::Respond(Response::ok("fine").slow(slow, std::time::Duration::ZERO))).await.unwrap();
    let endless = Site::start(Behaviour::Silent).await.unwrap();
    let entry = |name: &str, site: &Site| {
        format!("[[targets]]\nname = '{name}'\nurl = '{}'\ninterval = '168h'\ntimeout = '10m'\n", site.url("127.0.0.1"))
    };
    let file = world.file("targets.toml", &(entry("slow", &site) + &entry("endless", &endless)));
    let consumer = world.start("consumer", &[], &[]);
    let producer = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file), ("STOP_GRACE", "16s")]);
    until_hit(&site, 1).await;
    until_hit(&endless, 1).await;
    ends_well(producer, Signal::TERM).await;
    let rows = world.until_stored("both results", |rows| rows.len() == 2).await;
    let state =
        |name: &str| rows.iter().find(|row| row.target == name).map(|row| (row.state.as_str(), row.class.as_deref()));
    assert_eq!(state("slow"), Some(("up", None)));
    assert_eq!(state("endless"), Some(("unmeasured", Some("stopped"))));
    ends_well(consumer, Signal::TERM).await;
}

/// Nobody waits for a grace that they no longer want.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let world = World::new().await;
    let endless = Site::start(Behaviour::Silent).await.unwrap();
    let url = endless.url("127.0.0.1");
    let variables =
        [("SITE_URL", url.as_str()), ("SITE_TIMEOUT", "10m"), ("SITE_INTERVAL", "1h"), ("STOP_GRACE", "1h")];
    let mut producer = world.start("producer", &[], &variables);
    until_hit(&endless, 1).await;
    producer.signal(Signal::INT).unwrap();
    patiently("the first signal", producer.says("scheduling stopped")).await.unwrap();
    producer.signal(Signal::INT).unwrap();
    assert_eq!(patiently("the end", producer.wait()).await.unwrap().code(), Some(130));
}

/// A stop ends the wait for a batch that Postgres cannot take now. What was read after it must not be stored in its stead: its
/// offsets would jump over the batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_a_stop_leaves_unstored_is_read_again() {
    let world = World::new().await;
    let migration = world.start("consumer", &["migrate"], &[]);
    ends_by_itself(migration).await;
    world
        .query(
            // What fails is the statement, not the row: a trigger that raises an error means the row.
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(60); RETURN NEW; END $$",
        )
        .await;
    world
        .query(
            "CREATE TRIGGER no_room BEFORE INSERT ON checks FOR EACH ROW WHEN (NEW.status_code = 418) \
             EXECUTE FUNCTION no_room()",
        )
        .await;
    world.make_topics().await;
    let mut sent = messages("pot", 1, 40, NEW_YEAR);
    let teapot = ("pot0".to_owned(), NEW_YEAR - 1000);
    let mut first = sent.clone();
    first.records = vec![(teapot.0.clone(), message(&teapot.0, teapot.1, 418))];
    sent.due.insert(teapot);

    let mut consumer = world.start("consumer", &[], &[("ADMIN_LISTEN", "127.0.0.1:0")]);
    let admin = address(&mut consumer).await;
    world.send(&first).await;
    patiently("the refusal", consumer.says("canceling statement due to user request")).await.unwrap();
    world.send(&sent).await;
    until("the records behind it", async || metrics(&admin).await["records_read_total"] >= 41.0).await;
    ends_well(consumer, Signal::TERM).await;
    assert_eq!(world.offsets().await, 0, "nothing is stored, so nothing has moved");

    world.query("DROP TRIGGER no_room ON checks").await;
    let consumer = world.start("consumer", &[], &[]);
    world.accounts_for(&sent.due).await;
    ends_well(consumer, Signal::TERM).await;
}
