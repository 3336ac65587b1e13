//! Each role of `deploy/postgres/roles.sql` can do its work, and no more.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use tests::{Fed, NEW_YEAR, World, messages, patiently};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use url::Url;

/// Roles belong to the whole server, which others use as well.
fn script(world: &World) -> String {
    include_str!("../../deploy/postgres/roles.sql").replace("slotwatch_", &format!("{}_", world.name))
}

/// A user who has one of the roles, and the URL by which he comes.
async fn user(admin: &Client, world: &World, role: &str) -> String {
    let name = format!("{}_{role}_user", world.name);
    let owned = format!("{}_{role}", world.name);
    admin.batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'secret' IN ROLE {owned}")).await.unwrap();
    if role == "owner" {
        // As the script says: what he makes belongs to the role, whoever comes after him.
        admin.batch_execute(&format!("ALTER ROLE {name} SET role = '{owned}'")).await.unwrap();
    }
    let mut url = Url::parse(&world.postgres_url).unwrap();
    url.set_username(&name).unwrap();
    url.set_password(Some("secret")).unwrap();
    url.to_string()
}

async fn refused(client: &Client, statement: &str) {
    let error = client.batch_execute(statement).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{statement}: {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_migrates_who_stores_and_who_reads() {
    let world = World::new().await;
    let (admin, _driver) = world.connect().await;
    admin.batch_execute(&script(&world)).await.unwrap();
    let owner = user(&admin, &world, "owner").await;
    let mut migrate = world.start("consumer", &["migrate"], &[("POSTGRES_URL", &owner)]);
    let status = patiently("migrating", migrate.wait()).await.unwrap();
    assert!(status.success(), "{:#?}", migrate.log());
    admin.batch_execute(&script(&world)).await.unwrap();

    let (writer, reader) = (user(&admin, &world, "writer").await, user(&admin, &world, "reader").await);
    // New slots, then known ones; days are made, and an old one is dropped.
    let variables = [("POSTGRES_URL", writer.as_str()), ("POSTGRES_RETENTION", "3650d")];
    let mut fed = Fed::new(world, &variables).await.settled().await;
    fed.feed().await;
    fed.is_stored().await;
    fed.world.send(&messages("fed", 10, 20, NEW_YEAR)).await;
    fed.feed().await;
    fed.is_stored().await;

    // By this a consumer that is frozen can be told from others, and its session ended.
    let known = "SELECT count(*) FROM consumer_offsets o JOIN pg_stat_activity a \
                 ON (a.pid, a.backend_start) = (o.backend_pid, o.backend_started)";
    assert_eq!(admin.query_one(known, &[]).await.unwrap().get::<_, i64>(0), 2);

    let (reader, connection) = tokio_postgres::connect(&reader, NoTls).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    for query in [
        "SELECT count(*) FROM check_results",
        "SELECT count(*) FROM latest_results()",
        "SELECT count(*) FROM last_results((SELECT min(target) FROM check_results))",
        "SELECT count(*) FROM uptime((SELECT min(target) FROM check_results), '-infinity')",
        "SELECT count(*) FROM slot_account('-infinity', 'infinity')",
    ] {
        let found: i64 = reader.query_one(query, &[]).await.unwrap().get(0);
        assert!(found > 0, "{query}");
    }
    for statement in [
        "DELETE FROM checks",
        "INSERT INTO targets (name) VALUES ('x')",
        "SELECT make_day('2020-01-01')",
        "SELECT drop_oldest_day('2030-01-01')",
        "SELECT count(*) FROM consumer_offsets",
        "CREATE TABLE mine ()",
    ] {
        refused(&reader, statement).await;
    }
    let (writer, connection) = tokio_postgres::connect(&writer, NoTls).await.unwrap();
    driver.spawn(connection);
    for statement in ["DELETE FROM checks", "UPDATE checks SET state = 1", "DROP TABLE checks", "CREATE TABLE mine ()"]
    {
        refused(&writer, statement).await;
    }
    fed.ends_well(&[]).await;
}
