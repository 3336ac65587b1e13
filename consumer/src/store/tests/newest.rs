//! The newest results, and what a time says of a target.

use shared::message::State;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_results_are_found_in_whichever_day_they_are() {
    let settings = database();
    let mut store = store(&settings).await;
    let mut away = row("a", -50);
    away.location = "elsewhere".to_owned();
    let rows =
        [row("a", 0), row("a", -100), row("a", -3 * 86_400), row("old", -40 * 86_400), row("old", -41 * 86_400), away];
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 6)], now()).await.unwrap();
    let seconds = "extract(epoch FROM scheduled_at - '2026-11-21 05:00:00+00')::bigint";
    let latest = format!(
        "SELECT string_agg(concat_ws(' ', target, location, {seconds}), ', ' ORDER BY target, location) FROM latest_results()"
    );
    let latest: String = ask(&mut store, &latest, &[]).await;
    assert_eq!(latest, "a elsewhere -50, a local 0, old local -3456000");
    let last = format!("SELECT string_agg(concat_ws(' ', location, {seconds}), ', ') FROM last_results('a', 3)");
    let last: String = ask(&mut store, &last, &[]).await;
    assert_eq!(last, "local 0, elsewhere -50, local -100");
    // Every column is the one that the view calls so.
    let same = "SELECT (SELECT array_agg(r ORDER BY scheduled_at) FROM last_results('a') r) \
                = (SELECT array_agg(r ORDER BY scheduled_at) FROM check_results r WHERE target = 'a')";
    assert!(ask::<bool>(&mut store, same, &[]).await);
}

/// Each target is seen from a place of its own: reports go by what is there, in whichever day, and not by all that could be.
#[tokio::test(flavor = "multi_thread")]
async fn pairs_that_have_results_are_found_and_no_others() {
    const DAY: i64 = 86_400;
    let mut store = store(&database()).await;
    execute(&mut store, "CREATE TABLE history PARTITION OF checks FOR VALUES FROM ('2020-01-01') TO ('2026-01-01')")
        .await;
    let seen =
        [("a", "x", 0), ("a", "y", -2 * DAY), ("b", "y", -9 * DAY), ("c", "z", -300 * DAY), ("c", "x", -500 * DAY)];
    let rows = seen.map(|(target, location, second)| Row { location: location.to_owned(), ..row(target, second) });
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 5)], now()).await.unwrap();
    let pairs = "SELECT string_agg(t.name || l.name, ' ' ORDER BY 1) FROM all_pairs() JOIN targets t ON t.id = target_id \
                 JOIN locations l ON l.id = location_id";
    let pairs = pairs.replace("ORDER BY 1", "ORDER BY t.name, l.name");
    assert_eq!(ask::<String>(&mut store, &pairs, &[]).await, "ax ay by cx cz");
    let latest = "SELECT string_agg(target || location, ' ' ORDER BY target, location) FROM latest_results()";
    assert_eq!(ask::<String>(&mut store, latest, &[]).await, "ax ay by cx cz");
    let some = "SELECT count(*) FROM seen_pairs('2026-11-12 00:00:00+00', '2026-11-20 00:00:00+00')";
    assert_eq!(count(&mut store, some).await, 2);
    assert_eq!(
        count(&mut store, "SELECT count(DISTINCT (target, location)) FROM slot_account('-infinity', now())").await,
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_results_go_back_as_far_as_they_must() {
    let settings = database();
    let mut store = store(&settings).await;
    let now = Timestamp::now();
    // Seconds ago.
    let rows = [10, 20, 2 * 86_400, 9 * 86_400].map(|ago| {
        let mut row = row("a", 0);
        row.scheduled_at = now - jiff::SignedDuration::from_secs(ago);
        row
    });
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 4)], now).await.unwrap();
    for most in 0..6 {
        let found = count(&mut store, &format!("SELECT count(*) FROM last_results('a', {most})")).await;
        assert_eq!(found, most.min(4), "{most}");
    }
    let newest =
        "SELECT count(*) FROM last_results('a', 1) WHERE scheduled_at = (SELECT max(scheduled_at) FROM checks)";
    assert_eq!(count(&mut store, newest).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn uptime_counts_what_a_time_has_by_location() {
    let settings = database();
    let mut store = store(&settings).await;
    let checked = |second, state, elapsed| Row { state, http_elapsed: elapsed, ..row("a", second) };
    let (up, down) = (State::Up, State::Down);
    let mut rows: Vec<Row> = (0..100).map(|second| checked(second, up, Some(i32::try_from(second).unwrap()))).collect();
    // Before the time, at its end, and of another target: none of these count.
    rows.extend([checked(-1, down, Some(900)), checked(104, down, Some(900)), Row { state: down, ..row("b", 50) }]);
    rows.extend([checked(100, down, None), checked(101, State::Missed, None), checked(102, State::Unmeasured, None)]);
    rows.push(Row { location: "elsewhere".to_owned(), ..checked(103, State::Missed, None) });
    let last = i64::try_from(rows.len()).unwrap();
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, last)], now()).await.unwrap();
    let uptime = "SELECT string_agg(concat_ws(' ', location, up, down, missed, unmeasured, round(uptime::numeric, 2), p50, p95, p99), ', ') \
                  FROM uptime('a', '2026-11-21 05:00:00+00', '2026-11-21 05:01:44+00')";
    let uptime: String = ask(&mut store, uptime, &[]).await;
    assert_eq!(uptime, "elsewhere 0 0 1 0, local 100 1 1 1 99.01 49.5 94.05 98.01");
    assert_eq!(count(&mut store, "SELECT count(*) FROM uptime('nobody')").await, 0);
}
