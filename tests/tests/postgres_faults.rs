//! Postgres fails in every way that it has: the consumer says so once, needs no restart, and the account is exact afterwards.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::time::Duration;

use local::postgres::Postgres;
use tests::{Fed, Link, NEW_YEAR, Proxy, World, message, messages, patiently, said, until_log};
use url::Url;

const AGAIN: &str = "records are stored again";
const PASSWORD: &str = "right";

/// A relay to the world's server, and the URL that leads through it.
async fn relay(world: &World) -> (Proxy, Url) {
    let mut url = Url::parse(&world.postgres_url).unwrap();
    let server: SocketAddr = url.socket_addrs(|| None).unwrap()[0];
    let proxy = Proxy::start(server, true).await.unwrap();
    url.set_port(Some(proxy.addr().port())).unwrap();
    (proxy, url)
}

async fn behind_relay(world: World, variables: &[(&'static str, &str)]) -> (Fed, Proxy) {
    let (proxy, url) = relay(&world).await;
    let variables: Vec<_> = variables.iter().copied().chain([("POSTGRES_URL", url.as_str())]).collect();
    (Fed::new(world, &variables).await, proxy)
}

/// As [`behind_relay`], with a role that has the rights of an owner and none besides.
async fn as_owner(world: World) -> (Fed, Proxy) {
    let (proxy, mut url) = relay(&world).await;
    let role = &world.name;
    world.query(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await;
    world.query(&format!("ALTER DATABASE {role} OWNER TO {role}")).await;
    world.query(&format!("GRANT ALL ON SCHEMA public TO {role}")).await;
    url.set_username(role).unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    (Fed::new(world, &[("POSTGRES_URL", url.as_str())]).await, proxy)
}

/// A consumer that has stored something, so that its session stands.
async fn settled(mut fed: Fed) -> Fed {
    fed.feed().await;
    fed.is_stored().await;
    fed
}

async fn says(fed: &mut Fed, text: &str) {
    patiently(text, fed.consumer.says(text)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn away_for_a_while() {
    let (fed, proxy) = behind_relay(World::new().await, &[]).await;
    let mut fed = settled(fed).await;
    proxy.cut();
    fed.feed().await;
    says(&mut fed, "postgres is not available").await;
    fed.feed().await;
    proxy.heal();
    fed.is_stored().await;
    says(&mut fed, AGAIN).await;
    fed.ends_well(&["postgres is not available"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_slow_link() {
    let (mut fed, proxy) = behind_relay(World::new().await, &[]).await;
    proxy.set(Link::Slow(Duration::from_millis(20)));
    for _ in 0..5 {
        fed.feed().await;
    }
    fed.is_stored().await;
    fed.ends_well(&[]).await;
}

/// The server accepts what it is told and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn silent() {
    let (fed, proxy) =
        behind_relay(World::new().await, &[("POSTGRES_TIMEOUT", "1s"), ("POSTGRES_CONNECT_TIMEOUT", "1s")]).await;
    let mut fed = settled(fed).await;
    for (link, times) in [(Link::Stalled, 1), (Link::Deaf, 2)] {
        proxy.set(link);
        fed.feed().await;
        until_log(&fed.consumer, "silent", |log| said(log, "no answer within 1s") == times).await;
        proxy.heal();
        fed.is_stored().await;
        until_log(&fed.consumer, AGAIN, |log| said(log, AGAIN) == times).await;
    }
    fed.ends_well(&["no answer within 1s", "no answer within 1s"]).await;
}

/// Shut down in an orderly manner, and killed where it stands; both times it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn restarting() {
    let kafka = World::new().await.brokers;
    let mut postgres = tokio::task::block_in_place(|| Postgres::start(None)).unwrap();
    let world = World::on(&kafka, &postgres).await;
    let mut fed = settled(Fed::new(world, &[]).await).await;
    for (end, times) in [(Postgres::stop as fn(&mut Postgres) -> _, 1), (Postgres::kill, 2)] {
        tokio::task::block_in_place(|| end(&mut postgres)).unwrap();
        fed.feed().await;
        until_log(&fed.consumer, "not available", |log| said(log, "postgres is not available") == times).await;
        tokio::task::block_in_place(|| postgres.start_again()).unwrap();
        fed.is_stored().await;
        until_log(&fed.consumer, AGAIN, |log| said(log, AGAIN) == times).await;
    }
    fed.ends_well(&["postgres is not available", "postgres is not available"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_session_is_ended_by_an_administrator() {
    let (fed, _proxy) = behind_relay(World::new().await, &[]).await;
    let mut fed = settled(fed).await;
    let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name = 'slotwatch-consumer'";
    assert_eq!(fed.world.query(ended).await.len(), 1);
    fed.feed().await;
    fed.is_stored().await;
    // Whether the loss is noticed before the next batch or by it is a matter of chance.
    fed.ends_having_said(&[], &["postgres is not available"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_for_a_while() {
    let (fed, proxy) = behind_relay(World::new().await, &[]).await;
    let mut fed = settled(fed).await;
    let database = fed.world.name.clone();
    fed.world.query(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    proxy.reset();
    fed.feed().await;
    says(&mut fed, "read-only transaction").await;
    fed.world.query(&format!("ALTER DATABASE {database} RESET default_transaction_read_only")).await;
    fed.is_stored().await;
    says(&mut fed, AGAIN).await;
    fed.ends_well(&["postgres is not available: cannot execute UPDATE in a read-only transaction"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_connections() {
    let (fed, proxy) = as_owner(World::new().await).await;
    let mut fed = settled(fed).await;
    let role = fed.world.name.clone();
    fed.world.query(&format!("ALTER ROLE {role} CONNECTION LIMIT 0")).await;
    proxy.reset();
    fed.feed().await;
    says(&mut fed, "too many connections").await;
    fed.world.query(&format!("ALTER ROLE {role} CONNECTION LIMIT -1")).await;
    fed.is_stored().await;
    says(&mut fed, AGAIN).await;
    fed.ends_well(&["postgres is not available: too many connections"]).await;
}

/// Said as an error with when it is tried again: nobody but a person can help, and servers lock out who tries often.
#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_changed_while_we_run() {
    let world = World::new().await;
    let role = world.name.clone();
    let (fed, proxy) = as_owner(world).await;
    let mut fed = settled(fed).await;
    fed.world.query(&format!("ALTER ROLE {role} PASSWORD 'other'")).await;
    proxy.reset();
    fed.feed().await;
    says(&mut fed, "password authentication failed").await;
    fed.world.query(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await;
    fed.is_stored().await;
    says(&mut fed, AGAIN).await;
    fed.ends_well(&["postgres refuses to work for us: password authentication failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_at_the_start_is_waited_out() {
    let world = World::new().await;
    let (name, mut url) = (world.name.clone(), Url::parse(&world.postgres_url).unwrap());
    world.query(&format!("CREATE ROLE {name} SUPERUSER LOGIN PASSWORD 'other'")).await;
    url.set_username(&name).unwrap();
    url.set_password(Some(PASSWORD)).unwrap();
    let mut fed = Fed::new(world, &[("POSTGRES_URL", url.as_str())]).await;
    says(&mut fed, "password authentication failed").await;
    fed.world.query(&format!("ALTER ROLE {name} PASSWORD '{PASSWORD}'")).await;
    fed.ends_well(&["postgres refuses to work for us: password authentication failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_is_taken_away_and_given_back() {
    let (fed, _proxy) = as_owner(World::new().await).await;
    let mut fed = settled(fed).await;
    let role = fed.world.name.clone();
    fed.world.query(&format!("REVOKE INSERT ON checks FROM {role}")).await;
    fed.feed().await;
    says(&mut fed, "permission denied").await;
    fed.world.query(&format!("GRANT INSERT ON checks TO {role}")).await;
    fed.is_stored().await;
    fed.ends_well(&["postgres refuses to work for us: permission denied"]).await;
}

/// A later consumer's migration adds columns, another one is made anew at the end of the table: both ways into it go on.
#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_and_moved() {
    let world = World::new().await;
    let mut fed = settled(Fed::new(world, &[]).await).await;
    feed_with_duplicate(&mut fed, "before").await;
    fed.world.query("DROP VIEW check_results").await;
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

/// A batch with a slot that is there already, which goes through the temporary table, and one that is new.
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
    let mut fed = settled(Fed::new(world, &[]).await).await;
    fed.world.query("ALTER TABLE checks RENAME COLUMN lateness TO delay").await;
    fed.feed().await;
    says(&mut fed, "column \\\"lateness\\\" of relation \\\"checks\\\" does not exist").await;
    fed.world.query("ALTER TABLE checks RENAME COLUMN delay TO lateness").await;
    fed.is_stored().await;
    fed.ends_well(&["`consumer migrate` makes the tables"]).await;
}

/// The table wants what no consumer writes. That is no fault of the rows, which wait instead of going to the dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_is_wanted_that_nobody_writes() {
    let world = World::new().await;
    let mut fed = settled(Fed::new(world, &[]).await).await;
    fed.world.query("ALTER TABLE checks ADD COLUMN region text NOT NULL DEFAULT ''").await;
    fed.world.query("ALTER TABLE checks ALTER COLUMN region DROP DEFAULT").await;
    fed.feed().await;
    says(&mut fed, "null value in column \\\"region\\\"").await;
    fed.world.query("ALTER TABLE checks ALTER COLUMN region DROP NOT NULL").await;
    fed.is_stored().await;
    assert_eq!(fed.world.dead_letters().await, []);
    fed.ends_well(&["postgres refuses to work for us: null value in column"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_locked_for_a_while() {
    let world = World::new().await;
    let mut fed = settled(Fed::new(world, &[]).await).await;
    let (mut other, _driver) = fed.world.connect().await;
    let transaction = other.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE checks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    fed.feed().await;
    says(&mut fed, "another session holds a lock for too long").await;
    transaction.commit().await.unwrap();
    fed.is_stored().await;
    says(&mut fed, AGAIN).await;
    fed.ends_well(&["postgres is not available: another session holds a lock for too long"]).await;
}

/// Another session takes our locks in the opposite order, so that one of the two must die; it is ours.
#[tokio::test(flavor = "multi_thread")]
async fn deadlocked() {
    let world = World::new().await;
    // Long enough for the other session to wait, too, and shorter than our patience with locks.
    world.query(&format!("ALTER DATABASE {} SET deadlock_timeout = '4s'", world.name)).await;
    let mut fed = settled(Fed::new(world, &[]).await).await;
    let (mut other, _driver) = fed.world.connect().await;
    other.batch_execute("SET deadlock_timeout = '10min'").await.unwrap();
    let transaction = other.transaction().await.unwrap();
    transaction.batch_execute("LOCK TABLE checks IN EXCLUSIVE MODE").await.unwrap();
    fed.feed().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                 AND application_name = 'slotwatch-consumer' AND wait_event_type = 'Lock'";
    patiently("our wait", async {
        while fed.world.query(waits).await[0].get::<_, i64>(0) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    transaction.batch_execute("UPDATE consumer_offsets SET updated_at = now()").await.unwrap();
    transaction.rollback().await.unwrap();
    fed.is_stored().await;
    fed.ends_well(&["postgres is not available: deadlock detected"]).await;
}

/// A day's table that was dropped is made anew. One that was detached is kept, and what comes for it goes to the dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn a_days_table_is_dropped_or_detached() {
    let world = World::new().await;
    let mut fed = settled(Fed::new(world, &[]).await).await;
    fed.world.query("DROP TABLE checks_20260101").await;
    fed.write_off();
    let mut fed = settled(fed).await;
    let next_day = NEW_YEAR + 86_400_000;
    let mut sent = messages("detached", 1, 1, next_day);
    fed.world.query("CREATE TABLE checks_20260102 (LIKE checks)").await;
    sent.records.push(("fine".to_owned(), message("fed0", NEW_YEAR + 1_000_000, 200)));
    fed.world.send(&sent).await;
    says(&mut fed, "records went to the dead letters").await;
    let dead = fed.world.dead_letters().await;
    assert_eq!(dead.iter().map(|letter| &letter.payload).collect::<Vec<_>>(), [&sent.records[0].1]);
    fed.owes(("fed0".to_owned(), NEW_YEAR + 1_000_000));
    fed.is_stored().await;
    fed.ends_well(&["records went to the dead letters"]).await;
}

/// Nothing is known in a new database, the offsets neither: everything that Kafka has is read again.
#[tokio::test(flavor = "multi_thread")]
async fn the_database_is_dropped_and_made_anew() {
    let world = World::new().await;
    let mut fed = settled(Fed::new(world, &[]).await).await;
    let name = fed.world.name.clone();
    let (admin, _driver) = fed.world.connect_to("postgres").await;
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    fed.feed().await;
    says(&mut fed, "does not exist").await;
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    fed.is_stored().await;
    fed.ends_having_said(&["postgres refuses to work for us: database"], &["postgres is not available"]).await;
}
