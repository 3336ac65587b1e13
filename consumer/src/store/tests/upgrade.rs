//! A database of every earlier version, with rows in it, is brought up to date, and keeps them as they were.

use super::schema::every_function_works;
use super::*;
use crate::store::migrate::MIGRATIONS;

/// As a consumer of the first version has written them: what all versions have in common.
const ROWS: &str = "
    CREATE TABLE checks_20261121 PARTITION OF checks FOR VALUES FROM ('2026-11-21 00:00:00+00') TO ('2026-11-22 00:00:00+00');
    INSERT INTO targets (name) VALUES ('a'), ('b');
    INSERT INTO locations (name) VALUES ('local');
    INSERT INTO requests (digest, method, url, url_root, schema, host, path, regex, interval_ms)
    SELECT gen_random_uuid(), 'GET', 'https://h/p', 'https://h', 'https', 'h', '/p', NULL, 5000;
    INSERT INTO checks (scheduled_at, target_id, location_id, request_id, lateness, state, status_code, redirects, id, ip, http_elapsed)
    SELECT timestamptz '2026-11-21 05:00:00+00' + n * interval '5 s', 1 + n % 2, 1, 1, n, 1 + n % 4, 200, 0, gen_random_uuid(), '::1', n
    FROM generate_series(0, 99) n;
    INSERT INTO consumer_offsets (cluster, topic, partition, next_offset) VALUES ('cluster', 'checks', 0, 100)";

/// All that the first version's columns hold.
const HELD: &str = "SELECT md5(string_agg(concat_ws('|', t.name, l.name, r.url, c.scheduled_at, c.stored_at, c.lateness, c.state, \
                    c.status_code, c.id, c.ip, c.http_elapsed), ' ' ORDER BY c.id)) \
                    FROM checks c JOIN targets t ON t.id = target_id JOIN locations l ON l.id = location_id JOIN requests r ON r.id = request_id";

#[tokio::test(flavor = "multi_thread")]
async fn every_earlier_version_with_rows_is_brought_up_to_date() {
    for version in 1..MIGRATIONS.len() {
        let settings = database();
        let mut store = Store::new(Postgres { migrate: false, ..settings.clone() });
        store.session().await.unwrap();
        let session = store.session.as_mut().unwrap();
        migrate::apply(session, &settings, &MIGRATIONS[..version]).await.unwrap();
        execute(&mut store, ROWS).await;
        let before: String = ask(&mut store, HELD, &[]).await;
        assert_eq!(Store::new(settings.clone()).migrate().await.unwrap(), MIGRATIONS.len() - version);
        assert_eq!(ask::<String>(&mut store, HELD, &[]).await, before, "from version {version}");
        assert_eq!(count(&mut store, "SELECT count(*) FROM check_results WHERE failed_addresses IS NULL").await, 100);
        assert_eq!(store.claim(&topic(), &[0]).await.unwrap(), [(0, 100)]);
        let stored =
            store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 100, 101)], now()).await.unwrap();
        assert_eq!(stored.rows, 1);
        every_function_works(&mut store, "http_schema", "https").await;
    }
}
