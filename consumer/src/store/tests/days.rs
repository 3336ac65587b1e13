//! Days whose table cannot be made are told apart from rows that are refused, and harm nobody else's.

use jiff::civil::Date;

use super::*;

const DAY: i64 = 86_400;
const TODAY: Date = Date::constant(2026, 11, 21);

async fn write(store: &mut Store, rows: &[Row]) -> Result<Stored, StoreError> {
    store.write(rows, &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await
}

fn missing(written: Result<Stored, StoreError>) -> NoDays {
    match written {
        Err(StoreError::NoDays(days)) => days,
        other => panic!("{other:?}"),
    }
}

/// What stands in the way of the day after tomorrow, and of today: nothing is said of rows, and what is not in the way is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_cannot_be_made_is_no_fault_of_a_row() {
    let default = |day: &str| {
        format!(
            "CREATE TABLE checks_rest PARTITION OF checks DEFAULT; INSERT INTO checks_rest (scheduled_at, lateness, target_id, \
             location_id, request_id, state, redirects, id) VALUES ('{day} 12:00+00', 0, 0, 0, 0, 1, 0, gen_random_uuid())"
        )
    };
    let taken = |day: &str| format!("CREATE TABLE checks_{} (LIKE checks)", day.replace('-', ""));
    let view = |day: &str| format!("CREATE VIEW checks_{} AS SELECT 1 AS one", day.replace('-', ""));
    let half = |day: &str| {
        format!("CREATE TABLE half PARTITION OF checks FOR VALUES FROM ('{day} 00:00+00') TO ('{day} 12:00+00')")
    };
    let broken = |_: &str| {
        "CREATE OR REPLACE FUNCTION make_day(day date) RETURNS void LANGUAGE plpgsql AS $$ BEGIN \
         IF day = '2026-11-21' OR day = '2026-11-23' THEN PERFORM 1 / 0; END IF; \
         EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF checks FOR VALUES FROM (%L) TO (%L)', \
         'checks_' || to_char(day, 'YYYYMMDD'), day || ' 00:00+00', day + 1 || ' 00:00+00'); END $$"
            .to_owned()
    };
    let obstacles: [&dyn Fn(&str) -> String; 5] = [&default, &taken, &view, &half, &broken];
    for (number, obstacle) in obstacles.iter().enumerate() {
        let mut store = store(&database()).await;
        execute(&mut store, &obstacle("2026-11-23")).await;
        if number < 4 {
            assert_eq!(write(&mut store, &[row("a", 0)]).await.unwrap().rows, 1, "{number}");
        } else {
            assert_eq!(write(&mut store, &[row("a", DAY)]).await.unwrap().rows, 1, "{number}");
        }
        assert!(store.lacks_day_ahead(), "{number}");
        assert_eq!(store.refused(&[], now()).await.unwrap(), [], "{number}");

        let mut store = self::store(&database()).await;
        execute(&mut store, &obstacle("2026-11-21")).await;
        // Five o'clock is in the half that is there; the day is not whole.
        let rows = [row("a", 0), row("a", DAY), row("a", -DAY)];
        assert!(missing(write(&mut store, &rows).await).keys().eq([&TODAY]), "{number}");
        let refused = store.refused(&rows, now()).await;
        assert!(matches!(&refused, Err(StoreError::NoDays(days)) if days.len() == 1), "{number}: {refused:?}");
        assert_eq!(write(&mut store, &rows[1..]).await.unwrap().rows, 2, "{number}");
    }
}

/// A partition of somebody else's that has the whole day is as good as ours.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_of_somebody_elses_making_is_a_day() {
    for taken in ["", "CREATE TABLE checks_20261121 (LIKE checks)"] {
        let mut store = store(&database()).await;
        let year = "CREATE TABLE history PARTITION OF checks FOR VALUES FROM ('2026-01-01 00:00+00') TO ('2027-01-01 00:00+00');";
        execute(&mut store, &format!("{year} {taken}")).await;
        assert_eq!(write(&mut store, &[row("a", 0)]).await.unwrap().rows, 1);
        assert!(!store.lacks_day_ahead());
        assert_eq!(count(&mut store, "SELECT count(*) FROM history").await, 1);
    }
}

/// Thousands of different days would make thousands of tables, which no report could look into.
#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_so_many_tables() {
    let mut store = store(&database()).await;
    for part in 0..10 {
        let make = format!("SELECT make_day('2024-01-01'::date + {part} * 100 + n) FROM generate_series(0, 99) n");
        execute(&mut store, &make).await;
    }
    let rows: Vec<Row> = (0..3000).map(|day| row("a", -day * DAY)).collect();
    let days = missing(write(&mut store, &rows).await);
    let in_table = Date::constant(2024, 1, 1)..=Date::constant(2026, 9, 26);
    let recent = Date::constant(2026, 11, 14);
    for row in &rows {
        let day = day_of(row.scheduled_at);
        let expected = (!in_table.contains(&day) && day < recent).then_some(&NoDay::TooMany);
        assert_eq!(days.get(&day), expected, "{day}");
    }
    let fine: Vec<Row> = rows.into_iter().filter(|row| !days.contains_key(&day_of(row.scheduled_at))).collect();
    assert_eq!(write(&mut store, &fine).await.unwrap().rows, fine.len() as u64);
    for report in [
        "SELECT count(*) FROM slot_account('2016-01-01', now())",
        "SELECT count(*) FROM slot_gaps('2016-01-01', now())",
        "SELECT count(*) FROM latest_results()",
        "SELECT count(*) FROM last_results('a')",
        "SELECT count(*) FROM uptime('a', '2016-01-01')",
    ] {
        count(&mut store, report).await;
    }
}
