//! Postgres fails in every way that it has: the consumer says so once, needs no restart, and the account is exact afterwards.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::time::Duration;

use local::postgres::Postgres;
use tests::{Fed, Link, Proxy, SESSIONS, World, said, until, until_log};
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

/// Breaks our connection, and waits for its end, so that it does not break amid what comes next.
async fn reset(fed: &Fed, proxy: &Proxy) {
    proxy.reset();
    let ours = format!("SELECT {SESSIONS}");
    until("the end of our session", async || fed.world.query(&ours).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn away_for_a_while() {
    let (fed, proxy) = behind_relay(World::new().await, &[]).await;
    let mut fed = fed.settled().await;
    proxy.cut();
    fed.feed().await;
    fed.says("postgres is not available").await;
    fed.feed().await;
    proxy.heal();
    fed.is_stored().await;
    fed.says(AGAIN).await;
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
        behind_relay(World::new().await, &[("POSTGRES_TIMEOUT", "4s"), ("POSTGRES_CONNECT_TIMEOUT", "4s")]).await;
    let mut fed = fed.settled().await;
    for (link, times) in [(Link::Stalled, 1), (Link::Deaf, 2)] {
        proxy.set(link);
        fed.feed().await;
        until_log(&fed.consumer, "silent", |log| said(log, "no answer within 4s") == times).await;
        proxy.heal();
        fed.is_stored().await;
        until_log(&fed.consumer, AGAIN, |log| said(log, AGAIN) == times).await;
    }
    fed.ends_well(&["no answer within 4s", "no answer within 4s"]).await;
}

/// Shut down in an orderly manner, and killed where it stands; both times it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn restarting() {
    let kafka = World::new().await.brokers;
    let mut postgres = tokio::task::block_in_place(|| Postgres::start(None)).unwrap();
    let world = World::on(&kafka, &postgres).await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
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
    let mut fed = fed.settled().await;
    let ended = format!("SELECT pg_terminate_backend(pid) {SESSIONS}");
    assert_eq!(fed.world.query(&ended).await.len(), 1);
    fed.feed().await;
    fed.is_stored().await;
    // Whether the loss is noticed before the next batch or by it is a matter of chance.
    fed.ends_having_said(&[], &["postgres is not available"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_for_a_while() {
    let (fed, proxy) = behind_relay(World::new().await, &[]).await;
    let mut fed = fed.settled().await;
    let database = fed.world.name.clone();
    fed.world.query(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on")).await;
    reset(&fed, &proxy).await;
    fed.feed().await;
    fed.says("read-only transaction").await;
    fed.world.query(&format!("ALTER DATABASE {database} RESET default_transaction_read_only")).await;
    fed.is_stored().await;
    fed.says(AGAIN).await;
    fed.ends_well(&["postgres is not available: cannot execute UPDATE in a read-only transaction"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn out_of_connections() {
    let (fed, proxy) = as_owner(World::new().await).await;
    let mut fed = fed.settled().await;
    let role = fed.world.name.clone();
    fed.world.query(&format!("ALTER ROLE {role} CONNECTION LIMIT 0")).await;
    reset(&fed, &proxy).await;
    fed.feed().await;
    fed.says("too many connections").await;
    fed.world.query(&format!("ALTER ROLE {role} CONNECTION LIMIT -1")).await;
    fed.is_stored().await;
    fed.says(AGAIN).await;
    fed.ends_well(&["postgres is not available: too many connections"]).await;
}

/// Said as an error with when it is tried again: nobody but a person can help, and servers lock out who tries often.
#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_changed_while_we_run() {
    let world = World::new().await;
    let role = world.name.clone();
    let (fed, proxy) = as_owner(world).await;
    let mut fed = fed.settled().await;
    fed.world.query(&format!("ALTER ROLE {role} PASSWORD 'other'")).await;
    reset(&fed, &proxy).await;
    fed.feed().await;
    fed.says("password authentication failed").await;
    fed.world.query(&format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'")).await;
    fed.is_stored().await;
    fed.says(AGAIN).await;
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
    fed.says("password authentication failed").await;
    fed.world.query(&format!("ALTER ROLE {name} PASSWORD '{PASSWORD}'")).await;
    fed.ends_well(&["postgres refuses to work for us: password authentication failed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_is_taken_away_and_given_back() {
    let (fed, _proxy) = as_owner(World::new().await).await;
    let mut fed = fed.settled().await;
    let role = fed.world.name.clone();
    fed.world.query(&format!("REVOKE INSERT ON checks FROM {role}")).await;
    fed.feed().await;
    fed.says("permission denied").await;
    fed.world.query(&format!("GRANT INSERT ON checks TO {role}")).await;
    fed.is_stored().await;
    fed.ends_well(&["postgres refuses to work for us: permission denied"]).await;
}
