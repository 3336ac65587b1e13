//! Someone alters the tables, locks them, or takes the database away under a running consumer: it says so once, needs no restart,
//! and the account is exact afterwards.

use tests::{Fed, NEW_YEAR, SESSIONS, World, message, messages, until};

const AGAIN: &str = "records are stored again";

/// A later consumer's migration adds columns, another one is made anew at the end of the table: both ways into it go on.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_and_moved() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    feed_with_duplicate(&mut fed, "before").await;
    // With the functions that have its columns.
    fed.world.query("DROP VIEW check_results CASCADE").await;
    let changed = "ALTER TABLE checks ADD COLUMN later text DEFAULT 'new', DROP COLUMN reason,
                   ADD COLUMN twice bigint GENERATED ALWAYS AS (lateness * 2) STORED";
    fed.world.query(changed).await;
    fed.world.query("ALTER TABLE checks ADD COLUMN reason text").await;
    fed.world.query(include_str!("../../consumer/migrations/0002_check_results.sql")).await;
    feed_with_duplicate(&mut fed, "after").await;
    let wrong = "SELECT id FROM checks WHERE later <> 'new' OR twice <> 2 * lateness OR http_version <> 'HTTP/1.1'";
    assert_eq!(fed.world.query(wrong).await.len(), 0);
    fed.ends_well(&[]).await;
}

/// A batch with a slot that is there twice, so that Postgres is asked what it knows, and one that is new.
async fn feed_with_duplicate(fed: &mut Fed, target: &str) {
    let mut sent = messages(target, 1, 2, NEW_YEAR);
    sent.records.push(sent.records[0].clone());
    fed.world.send(&sent).await;
    sent.due.into_iter().for_each(|slot| fed.owes(slot));
    fed.is_stored().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_renamed_away_and_back() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    fed.world.query("ALTER TABLE checks RENAME COLUMN lateness TO delay").await;
    fed.feed().await;
    fed.says("column \\\"lateness\\\" of relation \\\"checks\\\" does not exist").await;
    fed.world.query("ALTER TABLE checks RENAME COLUMN delay TO lateness").await;
    fed.is_stored().await;
    fed.ends_well(&["`consumer migrate` makes the tables"]).await;
}

/// The table wants what no consumer writes. That is no fault of the rows, which wait instead of going to the dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_wanted_that_nobody_writes() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    fed.world.query("ALTER TABLE checks ADD COLUMN region text NOT NULL DEFAULT ''").await;
    fed.world.query("ALTER TABLE checks ALTER COLUMN region DROP DEFAULT").await;
    fed.feed().await;
    fed.says("null value in column \\\"region\\\"").await;
    fed.world.query("ALTER TABLE checks ALTER COLUMN region DROP NOT NULL").await;
    fed.is_stored().await;
    assert_eq!(fed.world.dead_letters().await, []);
    fed.ends_well(&["postgres refuses to work for us: null value in column"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_locked_for_a_while() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    let (mut other, _driver) = fed.world.connect().await;
    let transaction = other.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE checks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    fed.feed().await;
    fed.says("another session holds a lock for too long").await;
    transaction.commit().await.unwrap();
    fed.is_stored().await;
    fed.says(AGAIN).await;
    fed.ends_well(&["postgres is not available: another session holds a lock for too long"]).await;
}

/// Another session takes our locks in the opposite order, so that one of the two must die; it is ours.
#[tokio::test(flavor = "multi_thread")]
async fn deadlocked() {
    let world = World::new().await;
    // Long enough for the other session to wait, too, and shorter than our patience with locks.
    world.query(&format!("ALTER DATABASE {} SET deadlock_timeout = '2s'", world.name)).await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    let (mut other, _driver) = fed.world.connect().await;
    other.batch_execute("SET deadlock_timeout = '10min'").await.unwrap();
    let transaction = other.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE checks IN EXCLUSIVE MODE").await.unwrap();
    fed.feed().await;
    let waits = format!("SELECT count(*) {SESSIONS} AND wait_event_type = 'Lock'");
    until("our wait", async || fed.world.query(&waits).await[0].get::<_, i64>(0) > 0).await;
    transaction.batch_execute("UPDATE consumer_offsets SET updated_at = now()").await.unwrap();
    transaction.rollback().await.unwrap();
    fed.is_stored().await;
    fed.ends_well(&["postgres is not available: deadlock detected"]).await;
}

/// A day's table that was dropped is made anew. What comes for one that was detached waits for it; all else does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_days_table_is_dropped_or_detached() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    fed.world.query("DROP TABLE checks_20260101").await;
    fed.write_off();
    let mut fed = fed.settled().await;
    let next_day = NEW_YEAR + 86_400_000;
    let mut sent = messages("detached", 1, 1, next_day);
    fed.world.query("CREATE TABLE checks_20260102 (LIKE checks)").await;
    sent.records.push(("fine".to_owned(), message("fed0", NEW_YEAR + 1_000_000, 200)));
    fed.world.send(&sent).await;
    fed.says("results wait for the table of their day").await;
    fed.owes(("fed0".to_owned(), NEW_YEAR + 1_000_000));
    until("the other day", async || fed.world.slots().await.contains(&("fed0".to_owned(), NEW_YEAR + 1_000_000))).await;
    fed.world.query("DROP TABLE checks_20260102").await;
    sent.due.into_iter().for_each(|slot| fed.owes(slot));
    fed.is_stored().await;
    assert_eq!(fed.world.dead_letters().await, []);
    fed.ends_well(&["`checks_20260102` is no partition of `checks`"]).await;
}

/// Nothing is known in a new database, the offsets neither: everything that Kafka has is read again.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_dropped_and_made_anew() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    let name = fed.world.name.clone();
    let (admin, _driver) = fed.world.connect_to("postgres").await;
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    fed.feed().await;
    fed.says("does not exist").await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    fed.is_stored().await;
    fed.ends_having_said(&["postgres refuses to work for us: database"], &["postgres is not available"]).await;
}
