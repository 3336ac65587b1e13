//! Old days are dropped whole.

use jiff::SignedDuration;

use super::*;
use crate::store::settings::Retention;

const DAY: i64 = 86_400;

fn retaining(days: &str) -> Postgres {
    Postgres { retention: Retention::try_from(days.to_owned()).unwrap(), ..database() }
}

async fn days(store: &mut Store) -> String {
    let days = "SELECT string_agg(relid::text, ' ' ORDER BY relid::text) FROM pg_partition_tree('checks') \
                WHERE isleaf AND relid::text NOT SIMILAR TO 'checks_2026112[1-9]'";
    ask::<Option<String>>(store, days, &[]).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_older_are_dropped_and_nobody_elses() {
    let mut store = store(&retaining("30d")).await;
    let from_to = "FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')";
    execute(&mut store, &format!("CREATE TABLE history PARTITION OF checks {from_to}")).await;
    let rows = [0, -29, -30, -31, -300].map(|day| row("a", day * DAY));
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 0, 5)], now()).await.unwrap();
    // It was stored, since it is no fault of a result that it comes late.
    assert_eq!(count(&mut store, "SELECT count(*) FROM checks").await, 5);
    let later = now() + SignedDuration::from_hours(1);
    store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 5, 6)], later).await.unwrap();
    assert_eq!(days(&mut store).await, "checks_20261022 checks_20261023 history");
    let next_day = now() + SignedDuration::from_hours(24);
    store.write(&[row("a", 2)], &Ahead::default(), &topic(), &[step(0, 6, 7)], next_day).await.unwrap();
    assert_eq!(days(&mut store).await, "checks_20261023 history");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_being_read_holds_nothing_up_and_is_dropped_later() {
    let settings = retaining("1d");
    let (mut store, mut reader) = (store(&settings).await, Store::new(settings));
    store.write(&[row("a", -9 * DAY)], &Ahead::default(), &topic(), &[step(0, 0, 1)], now()).await.unwrap();
    execute(&mut reader, "BEGIN; SELECT count(*) FROM checks").await;
    let later = now() + SignedDuration::from_hours(1);
    let stored = store.write(&[row("a", 1)], &Ahead::default(), &topic(), &[step(0, 1, 2)], later).await.unwrap();
    assert_eq!(stored.rows, 1);
    assert_eq!(days(&mut store).await, "checks_20261112");
    execute(&mut reader, "COMMIT").await;
    let later = later + SignedDuration::from_mins(1);
    store.write(&[row("a", 2)], &Ahead::default(), &topic(), &[step(0, 2, 3)], later).await.unwrap();
    assert_eq!(days(&mut store).await, "");
}

#[test]
fn is_written_in_days() {
    let table = [("", Some(None)), ("1d", Some(Some(1))), ("90d", Some(Some(90)))];
    for (text, days) in table {
        assert_eq!(Retention::try_from(text.to_owned()).ok().map(Retention::days), days);
        assert_eq!(String::from(Retention::try_from(text.to_owned()).unwrap()), text);
    }
    for text in ["0d", "90", "d", "-1d", "3h", "99999d", "1.5d"] {
        Retention::try_from(text.to_owned()).unwrap_err();
    }
}
