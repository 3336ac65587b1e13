//! Others in the same database: programs with tables of the same names, other consumer groups, and roles with few rights.

use super::*;

async fn admin(settings: &Postgres) -> (tokio_postgres::Client, tokio::task::JoinSet<()>) {
    let (client, connection) = tokio_postgres::connect(&url_of(settings), tokio_postgres::NoTls).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    (client, driver)
}

/// All that there is in the schemas that are not the server's own.
const THERE: &str = "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM ( \
    SELECT oid::regclass::text FROM pg_class WHERE relnamespace::regnamespace::text IN ('public', 'mine') UNION ALL \
    SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace::regnamespace::text IN ('public', 'mine')) a (name)";

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_tables_are_left_alone_and_nothing_is_half_made() {
    let table = [
        // Rails, golang-migrate, and one that is nearly like ours.
        "CREATE TABLE schema_migrations (version varchar PRIMARY KEY)",
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL)",
        "CREATE TABLE schema_migrations (version integer, name text, checksum text); INSERT INTO schema_migrations VALUES (1, 'users', 'x')",
        "CREATE VIEW schema_migrations AS SELECT 1 AS version",
        "CREATE TABLE checks (id integer)",
        "CREATE TABLE check_results (id integer)",
        "CREATE VIEW check_results AS SELECT 1 AS host",
        "CREATE TABLE targets (id integer)",
        "CREATE TABLE kept_days ()",
        "CREATE SEQUENCE consumer_offsets",
        "CREATE FUNCTION uptime(text, timestamptz, timestamptz) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE locations AS ENUM ('here')",
    ];
    for foreign in table {
        let settings = database();
        let (client, _driver) = admin(&settings).await;
        client.batch_execute(foreign).await.unwrap();
        let before: String = client.query_one(THERE, &[]).await.unwrap().get(0);
        for _ in 0..2 {
            let refused = Store::new(settings.clone()).migrate().await.unwrap_err();
            let text = refused.to_string();
            let says = ["another program's", "CREATE SCHEMA slotwatch", "?options=-csearch_path%3Dslotwatch"];
            assert!(
                matches!(refused, StoreError::Denied(_)) && says.iter().all(|part| text.contains(part)),
                "{foreign}: {text}"
            );
            assert_eq!(client.query_one(THERE, &[]).await.unwrap().get::<_, String>(0), before, "{foreign}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_its_own_is_a_way_out() {
    for foreign in ["CREATE TABLE schema_migrations (version varchar)", "CREATE TABLE checks (id integer)"] {
        let settings = database();
        let (client, _driver) = admin(&settings).await;
        client.batch_execute(foreign).await.unwrap();
        let url = format!("{}?options=-csearch_path%3Dmine", url_of(&settings));
        let own = Postgres { url: Secret::from(url), ..settings.clone() };
        let missing = Store::new(own.clone()).migrate().await.unwrap_err().to_string();
        assert!(missing.contains("CREATE SCHEMA"), "{missing}");
        client.batch_execute("CREATE SCHEMA mine").await.unwrap();
        let mut store = store(&own).await;
        store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
        assert_eq!(count(&mut store, "SELECT count(*) FROM mine.check_results").await, 1, "{foreign}");
    }
}

/// The schema of one's own stands before the one that others use, too.
#[tokio::test(flavor = "multi_thread")]
async fn another_programs_tables_in_a_schema_behind_ours_do_not_matter() {
    let settings = database();
    let (client, _driver) = admin(&settings).await;
    client
        .batch_execute("CREATE SCHEMA mine; CREATE TABLE schema_migrations (version varchar); CREATE TABLE checks ()")
        .await
        .unwrap();
    let url = format!("{}?options=-csearch_path%3Dmine,public", url_of(&settings));
    let own = Postgres { url: Secret::from(url), ..settings };
    let mut store = store(&own).await;
    store.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    assert_eq!(count(&mut store, "SELECT count(*) FROM mine.check_results").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_group_is_refused_while_the_first_one_runs() {
    let settings = database();
    let mut first = Store::of_group(settings.clone(), "first");
    first.begin(&topic(), None, &[(0, 0), (1, 0)]).await.unwrap();
    first.claim(&topic(), &[0, 1]).await.unwrap();
    let mut second = Store::of_group(settings.clone(), "second");
    let partitions = [0, 1];
    for _ in 0..2 {
        let refused = second.claim(&topic(), &partitions).await.unwrap_err();
        let text = refused.to_string();
        assert!(
            matches!(refused, StoreError::Denied(_)) && text.contains("`first`") && text.contains("`second`"),
            "{text}"
        );
    }
    first.write(&[row("a", 0)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    // Of the same group as many as like to, and another topic is another matter.
    let mut heir = Store::of_group(settings.clone(), "first");
    assert_eq!(heir.claim(&topic(), &partitions[1..]).await.unwrap(), [(1, 0)]);
    let elsewhere = Topic { name: "other".to_owned(), ..topic() };
    second.begin(&elsewhere, None, &[(0, 0)]).await.unwrap();
    // A group that has got another name goes on when the one of the former name has ended.
    drop((first, heir));
    let claimed = async {
        loop {
            match second.claim(&topic(), &partitions).await {
                Ok(claimed) => break claimed,
                Err(error) => assert!(matches!(error, StoreError::Denied(_)), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut claimed = tokio::time::timeout(Duration::from_secs(60), claimed).await.unwrap();
    claimed.sort_unstable();
    assert_eq!(claimed, [(0, 1), (1, 0)]);
    let refused = Store::of_group(settings, "first").claim(&topic(), &partitions).await.unwrap_err();
    assert!(matches!(refused, StoreError::Denied(_)), "{refused:?}");
}

/// Who may drop old days can drop no others, whatever he says, and none that the owner keeps.
#[tokio::test(flavor = "multi_thread")]
async fn young_days_are_not_dropped() {
    let mut store = store(&database()).await;
    let make = "SELECT count(make_day((now() AT TIME ZONE 'UTC')::date - n)) FROM generate_series(-3, 9) n";
    let drop_all = "WITH RECURSIVE dropped AS (SELECT drop_oldest_day($1) AS day UNION ALL \
                    SELECT drop_oldest_day($1) FROM dropped WHERE day IS NOT NULL) SELECT count(day) FROM dropped";
    let late: jiff::civil::Date = "9999-12-31".parse().unwrap();
    for (keeps, dropped) in [("", 8), ("INSERT INTO kept_days VALUES (5)", 4), ("UPDATE kept_days SET days = 65535", 0)]
    {
        execute(&mut store, keeps).await;
        assert_eq!(count(&mut store, make).await, 13);
        assert_eq!(ask::<i64>(&mut store, drop_all, &[&late]).await, dropped, "{keeps}");
    }
}

/// Else whoever may make temporary tables could have the owner write into his.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_its_owners_rights_looks_into_temporary_schemas_last() {
    let mut store = store(&database()).await;
    let loose = "SELECT coalesce(string_agg(oid::regprocedure::text, ' '), '') FROM pg_proc WHERE prosecdef \
                 AND pronamespace = current_schema()::regnamespace \
                 AND NOT coalesce(array_to_string(proconfig, ';') ~ 'search_path=public, pg_temp(;|$)', false)";
    assert_eq!(ask::<String>(&mut store, loose, &[]).await, "");
    assert_eq!(count(&mut store, "SELECT count(*) FROM pg_proc WHERE prosecdef").await, 2);
}
