//! A real server: what was committed survives stopping and killing, and a frozen one answers nobody.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::time::Duration;

use local::postgres::Postgres;
use tokio_postgres::{Client, NoTls};

/// The client, and the task that moves its bytes and ends with it.
struct Session {
    client: Client,
    _connection: tokio::task::JoinSet<()>,
}

async fn connect(url: &str) -> Session {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    Session { client, _connection: tasks }
}

#[tokio::test]
async fn a_server_keeps_what_was_committed_when_stopped_and_when_killed() {
    let mut postgres = Postgres::start(None).unwrap();
    let url = postgres.create_database("a \"quoted\" name").unwrap();
    let session = connect(&url).await;
    session.client.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();

    postgres.stop().unwrap();
    assert!(postgres.pid().is_none());
    postgres.start_again().unwrap();
    connect(&url).await.client.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();

    let open = connect(&url).await;
    postgres.kill().unwrap();
    assert!(open.client.batch_execute("INSERT INTO t VALUES (3)").await.is_err());
    postgres.start_again().unwrap();
    let count: i64 = connect(&url).await.client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_eq!(count, 2);

    let folder = postgres.folder().unwrap().to_owned();
    drop(postgres);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_frozen_server_answers_nobody_and_goes_on_afterwards() {
    let mut postgres = Postgres::start(None).unwrap();
    let session = connect(&postgres.url()).await;
    postgres.pause().unwrap();
    let query = session.client.batch_execute("SELECT 1");
    tokio::pin!(query);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut query).await.is_err());
    postgres.resume().unwrap();
    query.await.unwrap();
    let fsync: String = session.client.query_one("SHOW fsync", &[]).await.unwrap().get(0);
    assert_eq!(fsync, "on");
}

#[test]
fn a_server_that_is_dropped_while_frozen_is_gone_too() {
    let mut postgres = Postgres::start(None).unwrap();
    let folder = postgres.folder().unwrap().to_owned();
    postgres.pause().unwrap();
    drop(postgres);
    assert!(!folder.exists());
}

#[test]
fn a_named_folder_is_kept_and_found_again_with_its_password() {
    let data = tempfile::Builder::new().permissions(readable()).tempdir().unwrap();
    let postgres = Postgres::start(Some(data.path())).unwrap();
    postgres.create_database("kept").unwrap();
    drop(postgres);
    let postgres = Postgres::start(Some(data.path())).unwrap();
    assert!(postgres.create_database("kept").is_err());
}

/// The server may run as another user than we do, who has to get through to its folder.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
