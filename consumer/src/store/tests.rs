//! On a real server; every test has a database of its own.

mod account;
mod ahead;
mod days;
mod generated;
mod neighbours;
mod newest;
mod refusals;
mod reports;
mod retention;
mod schema;
mod upgrade;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shared::config::Secret;
use tokio_postgres::types::ToSql;

use super::*;
use crate::decode::decode;

static SERVER: LazyLock<local::postgres::Postgres> = LazyLock::new(|| {
    let given = local::postgres::Postgres::given().unwrap();
    given.unwrap_or_else(|| local::postgres::Postgres::start(None).unwrap())
});

const NOW: &str = "2026-11-21T05:00:10Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn topic() -> Topic {
    Topic { cluster: "cluster".to_owned(), name: "checks".to_owned() }
}

/// The settings of a new database. Named for the process, because the server may be one that lives on.
fn database() -> Postgres {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("store_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let url = tokio::task::block_in_place(|| SERVER.create_database(&name)).unwrap();
    Postgres { url: Secret::from(url), ..Postgres::default() }
}

/// A result of a target, so many seconds after five o'clock.
fn row(target: &str, second: i64) -> Row {
    let golden = include_bytes!("../../../shared/schema/golden/up.json");
    let mut row = decode(Some(golden), now()).unwrap();
    row.target = target.to_owned();
    row.scheduled_at += jiff::SignedDuration::from_secs(second);
    row
}

fn step(partition: i32, from: i64, to: i64) -> Move {
    Move { partition, from, to }
}

async fn store(settings: &Postgres) -> Store {
    let mut store = Store::new(settings.clone());
    store.begin(&topic(), None, &[(0, 0), (1, 0)]).await.unwrap();
    store.claim(&topic(), &[0, 1]).await.unwrap();
    store
}

async fn count(store: &mut Store, sql: &str) -> i64 {
    ask(store, sql, &[]).await
}

async fn ask<T: for<'a> tokio_postgres::types::FromSql<'a>>(
    store: &mut Store,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> T {
    store.session().await.unwrap().client.query_one(sql, parameters).await.unwrap().get(0)
}

async fn execute(store: &mut Store, sql: &str) {
    store.session().await.unwrap().client.batch_execute(sql).await.unwrap();
}

async fn next_offset(store: &mut Store, partition: i32) -> i64 {
    ask(store, "SELECT next_offset FROM consumer_offsets WHERE partition = $1", &[&partition]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_offsets_are_stored_together() {
    let settings = database();
    let mut store = store(&settings).await;
    let rows = [row("a", 0), row("b", 0), row("a", 1)];
    let stored = store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 2), step(1, 0, 1)], now()).await.unwrap();
    assert_eq!(stored, Stored { rows: 3, duplicates: 0 });
    assert_eq!((next_offset(&mut store, 0).await, next_offset(&mut store, 1).await), (2, 1));
    assert_eq!(count(&mut store, "SELECT count(*) FROM check_results WHERE target = 'a'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_arrives() {
    let settings = database();
    let mut store = store(&settings).await;
    for name in ["up", "down-tls", "down-dns", "missed"] {
        let path = format!("{}/../shared/schema/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let mut row = decode(Some(&std::fs::read(path).unwrap()), now()).unwrap();
        row.target = name.to_owned();
        let from = next_offset(&mut store, 0).await;
        store.write(&[row], &Ahead::default(), &topic(), &[step(0, from, from + 1)], now()).await.unwrap();
    }
    let flat: String = ask(
        &mut store,
        "SELECT concat_ws('|', host, dns_start, dns_elapsed, ip, http_start, http_elapsed, http_schema, http_url_root, \
         http_path, http_url, http_regex, http_status_code, http_status_code_reason, http_regex_found, location, \
         scheduled_at, lateness, state, connect_elapsed, tls_elapsed, first_byte_elapsed, transfer_elapsed, body_bytes, \
         http_version, redirects, certificate_expires_at, id) FROM check_results WHERE target = 'up'",
        &[],
    )
    .await;
    assert_eq!(
        flat,
        "example.net|2026-11-21 05:00:00.812+00|20811|93.184.216.34|2026-11-21 05:00:00.832811+00|520368|https|\
         https://example.net|https://example.net|You\\s+may\\s+use|200|OK|t|local|2026-11-21 05:00:00+00|812|up|101200|\
         208000|210100|1068|1256|HTTP/1.1|0|2027-01-15 23:59:59+00|b29531c9-35ba-559a-8e64-bc657c7e8fb3"
    );
    let failures: String = ask(
        &mut store,
        "SELECT string_agg(concat_ws('|', target, state, failure_class, failure_phase), ' ' ORDER BY target) FROM check_results",
        &[],
    )
    .await;
    assert!(failures.starts_with("down-dns|down|dns|dns down-tls|down|tls|tls missed|missed|"), "{failures}");
    let recent = "SELECT count(*) FROM check_results WHERE stored_at BETWEEN now() - interval '1 minute' AND now()";
    assert_eq!(count(&mut store, recent).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_both_families_arrive() {
    let settings = database();
    let mut store = store(&settings).await;
    let mut rows = [row("four", 0), row("six", 0), row("none", 0)];
    rows[0].ip = Some("192.0.2.7".parse().unwrap());
    rows[1].ip = Some("2001:db8::7".parse().unwrap());
    rows[2].ip = None;
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 3)], now()).await.unwrap();
    let found: String =
        ask(&mut store, "SELECT string_agg(coalesce(host(ip), '-'), ' ' ORDER BY target) FROM check_results", &[])
            .await;
    assert_eq!(found, "192.0.2.7 - 2001:db8::7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_stored_once() {
    let settings = database();
    let mut store = store(&settings).await;
    store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    // One that is there already, one that is twice in the batch, and a new one.
    let rows = [row("a", 0), row("b", 0), row("b", 0), row("c", 0)];
    let stored = store.write(&rows, &Ahead::default(), &topic(), &[step(0, 1, 5)], now()).await.unwrap();
    assert_eq!(stored, Stored { rows: 2, duplicates: 2 });
    assert_eq!(next_offset(&mut store, 0).await, 5);
    let stored = store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 5, 6)], now()).await.unwrap();
    assert_eq!(stored, Stored { rows: 0, duplicates: 1 });
    assert_eq!(count(&mut store, "SELECT count(*) FROM checks").await, 3);
}

/// Whether one is there hangs on all parts of its key, days apart or not.
#[tokio::test(flavor = "multi_thread")]
async fn slots_that_are_known_are_told_from_those_beside_them() {
    const DAY: i64 = 86_400;
    let settings = database();
    let mut store = store(&settings).await;
    let elsewhere = |mut row: Row| {
        row.location = "elsewhere".to_owned();
        row
    };
    let first = [row("a", 0), row("a", -DAY), row("b", -1), elsewhere(row("b", 0))];
    store.write(&first, &Ahead::default(), &topic(), &[step(0, 0, 4)], now()).await.unwrap();
    let new = [row("b", 0), row("a", -1), elsewhere(row("a", 0)), row("b", -DAY), row("a", -2 * DAY), row("c", 0)];
    let mut rows: Vec<Row> = first.iter().chain(&new).cloned().collect();
    rows[3].status_code = Some(418);
    for (offset, expected) in [(4, Stored { rows: 6, duplicates: 4 }), (14, Stored { rows: 0, duplicates: 10 })] {
        let moves = [step(0, offset, offset + 10)];
        let stored = store.write(&rows, &Ahead::default(), &topic(), &moves, now()).await.unwrap();
        assert_eq!(stored, expected);
    }
    assert_eq!(count(&mut store, "SELECT count(*) FROM checks").await, 10);
    assert_eq!(
        count(&mut store, "SELECT count(*) FROM checks WHERE status_code = 418").await,
        0,
        "the first one stays"
    );
}

/// A slot that comes to be between the question and the answer is waited for, and then it is known.
#[tokio::test(flavor = "multi_thread")]
async fn slots_that_another_session_is_storing_are_stored_once() {
    let settings = database();
    let mut store = store(&settings).await;
    store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    let (other, connection) = tokio_postgres::connect(&url_of(&settings), tokio_postgres::NoTls).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    other.batch_execute("BEGIN").await.unwrap();
    // Seen by nobody yet, and so by no question either.
    let columns = "target_id, location_id, request_id, lateness, state, redirects, id";
    let copy = format!(
        "INSERT INTO checks (scheduled_at, {columns}) SELECT scheduled_at + interval '1 s', {columns} FROM checks"
    );
    other.batch_execute(&copy).await.unwrap();
    let rows = [row("a", 0), row("a", 1), row("a", 2)];
    let writes = async {
        let refused = store.write(&rows, &Ahead::default(), &topic(), &[step(0, 1, 4)], now()).await;
        assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("same slots")), "{refused:?}");
        store.write(&rows, &Ahead::default(), &topic(), &[step(0, 1, 4)], now()).await.unwrap()
    };
    let (stored, ()) = tokio::join!(writes, async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid' \
                     AND transactionid::text = pg_current_xact_id()::text";
        while other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
        other.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(stored, Stored { rows: 1, duplicates: 2 });
    assert_eq!(count(&mut store, "SELECT count(*) FROM checks").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_lost_its_partition_stores_nothing() {
    let settings = database();
    let mut old = store(&settings).await;
    let mut new = Store::new(settings);
    assert_eq!(old.claim(&topic(), &[0]).await.unwrap(), [(0, 0)]);
    assert_eq!(new.claim(&topic(), &[0]).await.unwrap(), [(0, 0)]);
    new.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    let late = old
        .write(&[row("a", 0), row("b", 0)], &Ahead::default(), &topic(), &[step(0, 0, 2), step(1, 0, 1)], now())
        .await;
    assert!(matches!(late, Err(StoreError::Stale)), "{late:?}");
    assert_eq!(count(&mut new, "SELECT count(*) FROM checks").await, 1);
    assert_eq!((next_offset(&mut new, 0).await, next_offset(&mut new, 1).await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_owner_is_ended() {
    let settings = database();
    let mut frozen = store(&settings).await;
    frozen.claim(&topic(), &[0]).await.unwrap();
    let client = &frozen.session().await.unwrap().client;
    client.batch_execute("BEGIN").await.unwrap();
    offsets::advance(client, &topic(), &[step(0, 0, 9)]).await.unwrap();

    let mut heir = Store::new(settings);
    let blocked = heir.claim(&topic(), &[0]).await;
    assert!(matches!(blocked, Err(StoreError::Locked(_))), "{blocked:?}");
    assert_eq!(heir.claim(&topic(), &[0]).await.unwrap(), [(0, 0)]);
    assert!(client.batch_execute("COMMIT").await.is_err());
}

/// A partition whose owner the table does not name cannot be taken from a frozen one.
#[tokio::test(flavor = "multi_thread")]
async fn every_partition_has_its_owner_named_before_it_is_stored() {
    let settings = database();
    let mut store = store(&settings).await;
    let owned = async |store: &mut Store| -> Vec<bool> {
        store.progress(&topic()).await.unwrap().iter().map(|progress| progress.owned).collect()
    };
    assert_eq!(owned(&mut store).await, [true, true], "those that are new");
    let mut other = Store::new(settings);
    execute(&mut other, "SELECT pg_terminate_backend(backend_pid, 60000) FROM consumer_offsets WHERE partition = 0")
        .await;
    // The first try finds the connection dead.
    loop {
        match store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}"),
        }
    }
    assert_eq!(owned(&mut store).await, [true, false], "over another connection");
    store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(1, 0, 1)], now()).await.unwrap();
    assert_eq!(owned(&mut store).await, [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_postgres_refuses_are_found() {
    let settings = database();
    let mut store = store(&settings).await;
    execute(&mut store, "ALTER TABLE checks ADD CONSTRAINT no_teapots CHECK (status_code <> 418)").await;
    let mut rows: Vec<Row> = (0..50).map(|second| row("a", second)).collect();
    rows[7].status_code = Some(418);
    rows[33].status_code = Some(418);
    let written = store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 50)], now()).await;
    assert!(matches!(written, Err(StoreError::Content(_))), "{written:?}");
    let refused = store.refused(&rows, now()).await.unwrap();
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [7, 33]);
    assert!(refused[0].1.to_string().contains("no_teapots"), "{}", refused[0].1);
    assert_eq!(count(&mut store, "SELECT count(*) FROM checks").await, 0);
}

/// A slot that is stored already is no reason to refuse, whatever its row is like by now.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_are_not_refused() {
    let settings = database();
    let mut store = store(&settings).await;
    let mut rows = [row("a", 0), row("a", 1), row("a", 2)];
    rows[0].status_code = Some(418);
    store.write(&rows[..1], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    execute(&mut store, "ALTER TABLE checks ADD CONSTRAINT no_teapots CHECK (status_code <> 418) NOT VALID").await;
    let moves = [step(0, 1, 4)];
    let written = store.write(&rows, &Ahead::default(), &topic(), &moves, now()).await;
    assert!(matches!(written, Err(StoreError::Content(_))), "{written:?}");
    assert!(store.refused(&rows, now()).await.unwrap().is_empty());
    let stored = store.write(&rows, &Ahead::default(), &topic(), &moves, now()).await.unwrap();
    assert_eq!(stored, Stored { rows: 2, duplicates: 1 });
}

/// An index of the operator's own is about the row, not about the slot.
#[tokio::test(flavor = "multi_thread")]
async fn another_unique_index_refuses_rows() {
    let settings = database();
    let mut store = store(&settings).await;
    execute(&mut store, "CREATE UNIQUE INDEX one_location ON checks (target_id, scheduled_at)").await;
    let mut rows = [row("a", 0), row("a", 1), row("a", 1)];
    rows[2].location = "elsewhere".to_owned();
    store.write(&rows[..2], &Ahead::default(), &topic(), &[step(0, 0, 2)], now()).await.unwrap();
    let written = store.write(&rows[2..], &Ahead::default(), &topic(), &[step(0, 2, 3)], now()).await;
    assert!(matches!(written, Err(StoreError::Content(_))), "{written:?}");
    let refused = store.refused(&rows, now()).await.unwrap();
    assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_made_ahead_and_when_needed() {
    let settings = database();
    let mut store = store(&settings).await;
    let old = row("a", -300 * 86_400);
    store.write(&[old, row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 2)], now()).await.unwrap();
    let days: String = ask(
        &mut store,
        "SELECT string_agg(relid::text, ' ' ORDER BY relid::text) FROM pg_partition_tree('checks') WHERE isleaf",
        &[],
    )
    .await;
    assert_eq!(days, "checks_20260125 checks_20261121 checks_20261122 checks_20261123 checks_20261124");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_dropped_is_made_again() {
    let settings = database();
    let mut store = store(&settings).await;
    store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    execute(&mut store, "DROP TABLE checks_20261121").await;
    let stored = store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 1, 2)], now()).await.unwrap();
    assert_eq!(stored, Stored { rows: 1, duplicates: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_make_the_same_day_at_once() {
    let settings = database();
    let (mut one, mut two) = (store(&settings).await, Store::new(settings));
    let (rows, others) = ([row("a", 0)], [row("b", 0)]);
    let none = Ahead::default();
    let (topic, first, second) = (topic(), [step(0, 0, 1)], [step(1, 0, 1)]);
    let (left, right) =
        tokio::join!(one.write(&rows, &none, &topic, &first, now()), two.write(&others, &none, &topic, &second, now()));
    assert_eq!((left.unwrap().rows, right.unwrap().rows), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_made_anew() {
    let settings = database();
    let mut store = store(&settings).await;
    store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    let pid: i32 = ask(&mut store, "SELECT pg_backend_pid()", &[]).await;
    let mut other = Store::new(settings);
    let _: bool = ask(&mut other, "SELECT pg_terminate_backend($1, 1000)", &[&pid]).await;
    let mut tries = 0;
    let stored = loop {
        match store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 1, 2)], now()).await {
            Err(StoreError::Unavailable(_)) if tries < 3 => tries += 1,
            stored => break stored.unwrap(),
        }
    };
    assert_eq!(stored.rows, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_and_are_held_to_their_text() {
    let settings = database();
    let mut store = Store::new(settings.clone());
    assert_eq!(store.migrate().await.unwrap(), migrate::MIGRATIONS.len());
    assert_eq!(store.migrate().await.unwrap(), 0);
    execute(&mut store, "UPDATE schema_migrations SET checksum = 'other' WHERE version = 1").await;
    let refused = store.migrate().await;
    assert!(matches!(refused, Err(StoreError::Denied(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_migrators_do_not_disturb_one_another() {
    let settings = database();
    let (client, connection) = tokio_postgres::connect(&url_of(&settings), tokio_postgres::NoTls).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    // Who waits for the other must see what it has done, whatever the database's default is.
    let default = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = \
                   ''repeatable read''', current_database()); END $$";
    client.batch_execute(default).await.unwrap();
    let (mut one, mut two) = (Store::new(settings.clone()), Store::new(settings));
    let (left, right) = tokio::join!(one.migrate(), two.migrate());
    assert_eq!(left.unwrap() + right.unwrap(), migrate::MIGRATIONS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_apart() {
    let settings = database();
    let unreachable = Postgres { url: Secret::from("postgres://u@127.0.0.1:1/d".to_owned()), ..Postgres::default() };
    let mut url = url_of(&settings);
    url.push_str("_missing");
    let missing = Postgres { url: Secret::from(url), ..Postgres::default() };
    let wrong = Postgres { password: Secret::from("wrong".to_owned()), ..settings.clone() };
    let bare = Postgres { migrate: false, ..settings.clone() };
    let unavailable = Store::new(unreachable).prepare().await;
    assert!(matches!(unavailable, Err(StoreError::Unavailable(_))), "{unavailable:?}");
    let denied = Store::new(missing).prepare().await;
    assert!(matches!(denied, Err(StoreError::Denied(_))), "{denied:?}");
    let denied = Store::new(bare).claim(&topic(), &[0]).await;
    assert!(matches!(&denied, Err(StoreError::Denied(text)) if text.contains("consumer migrate")), "{denied:?}");
    let denied = Store::new(wrong).prepare().await;
    assert!(matches!(denied, Err(StoreError::Denied(_))), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_database_is_waited_out() {
    let settings = database();
    let mut store = store(&settings).await;
    execute(&mut store, "SET default_transaction_read_only = on").await;
    let refused = store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

/// A new session prepares its statements anew, so that there is no reason to wait for a person.
#[tokio::test(flavor = "multi_thread")]
async fn statements_that_have_become_invalid_are_waited_out() {
    let settings = database();
    let mut store = store(&settings).await;
    let session = store.session().await.unwrap();
    let prepared = session.client.prepare("SELECT * FROM locations").await.unwrap();
    session.client.batch_execute("ALTER TABLE locations ADD COLUMN later text").await.unwrap();
    let altered = StoreError::from(session.client.query(&prepared, &[]).await.unwrap_err());
    assert!(matches!(&altered, StoreError::Unavailable(text) if text.contains("cached plan")), "{altered:?}");
    session.client.batch_execute("DEALLOCATE ALL").await.unwrap();
    let lost = StoreError::from(session.client.query(&prepared, &[]).await.unwrap_err());
    assert!(matches!(lost, StoreError::Unavailable(_)), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_have_vanished_are_made_anew() {
    let settings = database();
    let mut store = store(&settings).await;
    execute(&mut store, "DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    let missing = store.claim(&topic(), &[0]).await;
    assert!(matches!(missing, Err(StoreError::Denied(_))), "{missing:?}");
    assert_eq!(store.claim(&topic(), &[0]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_given_up() {
    let settings = database();
    let mut other = store(&settings).await;
    other.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    let mut store = Store::new(Postgres { timeout: Duration::from_secs(1), ..settings });
    let session = other.session().await.unwrap();
    let transaction = session.client.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE checks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let hung = store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 1, 2)], now()).await;
    assert!(matches!(hung, Err(StoreError::Unavailable(_) | StoreError::Locked(_))), "{hung:?}");
    drop(transaction);
    // A busy machine may need a few tries, and may not hear in time that one of them has succeeded.
    loop {
        match store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 1, 2)], now()).await {
            Ok(_) | Err(StoreError::Stale) => break,
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_) | StoreError::Locked(_)), "{error:?}"),
        }
    }
    assert_eq!(count(&mut other, "SELECT count(*) FROM checks").await, 2);
}

fn url_of(settings: &Postgres) -> String {
    settings.url.expose().to_owned()
}
