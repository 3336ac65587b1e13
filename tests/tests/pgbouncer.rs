//! A pooler stands between the consumer and Postgres.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use local::pgbouncer::{Mode, PgBouncer};
use tests::{Fed, NEW_YEAR, World, messages, patiently};
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

/// The settings of a session that a consumer could have left behind.
const LEFT: &str = "SELECT current_setting('statement_timeout') || current_setting('lock_timeout') \
                    || current_setting('idle_in_transaction_session_timeout')";

async fn connect(pooler: &PgBouncer) -> (Client, JoinSet<()>) {
    let (client, connection) = tokio_postgres::connect(pooler.url().as_str(), NoTls).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    (client, driver)
}

/// Lets the pooler have as many sessions as it may, which it then gives out in turn.
async fn fill(clients: &[(Client, JoinSet<()>)]) {
    for (client, _) in clients {
        client.batch_execute("BEGIN").await.unwrap();
    }
    for (client, _) in clients {
        client.batch_execute("COMMIT").await.unwrap();
    }
}

async fn pooler(world: &World, mode: Mode) -> PgBouncer {
    tokio::task::block_in_place(|| PgBouncer::start(&world.postgres_url, mode)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_transactions_is_not_noticed_and_notices_nothing() {
    let world = World::new().await;
    let pooler = pooler(&world, Mode::Transaction).await;
    let others = [connect(&pooler).await, connect(&pooler).await, connect(&pooler).await];
    fill(&others).await;
    let mut fed = Fed::new(world, &[("POSTGRES_URL", pooler.url().as_str())]).await.settled().await;
    for _ in 0..3 {
        fed.feed().await;
        fed.is_stored().await;
    }
    // Slots that are known, among new ones.
    fed.world.send(&messages("fed", 10, 20, NEW_YEAR)).await;
    fed.feed().await;
    fed.is_stored().await;
    for (other, _) in &others {
        let left: String = other.simple_query(LEFT).await.unwrap().iter().find_map(first).unwrap();
        assert_eq!(left, "000", "what the server has by default");
    }
    fed.ends_well(&[]).await;
}

fn first(message: &tokio_postgres::SimpleQueryMessage) -> Option<String> {
    match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_sessions_is_not_noticed() {
    let world = World::new().await;
    let pooler = pooler(&world, Mode::Session).await;
    let mut fed = Fed::new(world, &[("POSTGRES_URL", pooler.url().as_str())]).await.settled().await;
    fed.feed().await;
    fed.is_stored().await;
    fed.ends_well(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_by_statements_is_named_with_the_way_out() {
    const WAY_OUT: &str = "let PgBouncer have pool_mode = transaction, or session";
    let world = World::new().await;
    let pooler = pooler(&world, Mode::Statement).await;
    let variables = [("POSTGRES_URL", pooler.url().as_str())];
    let mut migrate = world.start("consumer", &["migrate"], &variables);
    let status = patiently("migrating", migrate.wait()).await.unwrap();
    let log = migrate.log().join("\n");
    assert!(status.code() == Some(1) && log.contains("statement pooling mode") && log.contains(WAY_OUT), "{log}");
    let mut fed = Fed::new(world, &variables).await;
    fed.says(WAY_OUT).await;
}
