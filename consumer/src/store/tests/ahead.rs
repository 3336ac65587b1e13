//! What is encoded ahead of its transaction.

use super::*;

fn encoded(store: &Store, rows: &[Row]) -> Ahead {
    let mut ahead = Ahead::default();
    // As they come: in parts.
    for part in rows.chunks(2) {
        store.known().encode(part, &mut ahead);
    }
    ahead.seal();
    ahead
}

/// Whether the store would use it for so many rows.
fn holds(store: &Store, ahead: &Ahead, rows: usize) -> bool {
    let generation = store.known.lock().generation();
    ahead.of(rows, generation).is_some()
}

/// Rows of the view, which has none whose ids lead nowhere.
const SHOWN: &str = "SELECT count(*) FROM check_results";

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_the_same_when_encoded_ahead() {
    let settings = database();
    let mut store = store(&settings).await;
    let rows = [row("a", 0), row("b", 0), row("c", 0)];
    let ahead = encoded(&store, &rows);
    assert!(!holds(&store, &ahead, 3), "nobody knows their ids yet");
    store.write(&rows, &ahead, &topic(), &[step(0, 0, 3)], now()).await.unwrap();

    let later = [row("b", 1), row("a", 1), row("c", 1)];
    let ahead = encoded(&store, &later);
    assert!(holds(&store, &ahead, 3));
    assert!(!holds(&store, &ahead, 2), "it is of other rows");
    store.write(&later, &ahead, &topic(), &[step(0, 3, 6)], now()).await.unwrap();
    assert_eq!(count(&mut store, SHOWN).await, 6);
    let again = store.write(&later, &ahead, &topic(), &[step(0, 6, 9)], now()).await.unwrap();
    assert_eq!(again, Stored { rows: 0, duplicates: 3 });

    let mixed = [row("a", 2), row("b", 2), row("new", 2)];
    let ahead = encoded(&store, &mixed);
    assert!(!holds(&store, &ahead, 3), "one id is not known");
    store.write(&mixed, &ahead, &topic(), &[step(0, 9, 12)], now()).await.unwrap();
    assert_eq!(count(&mut store, SHOWN).await, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_another_database_are_not_used() {
    let settings = database();
    let mut store = store(&settings).await;
    store.write(&[row("a", 0), row("b", 0)], &Ahead::default(), &topic(), &[step(0, 0, 2)], now()).await.unwrap();
    let rows = [row("a", 1), row("b", 1)];
    let whole = encoded(&store, &rows);
    let mut half = Ahead::default();
    store.known().encode(&rows[..1], &mut half);
    assert!(holds(&store, &whole, 2));

    // As after a restore: other ids, behind a new connection.
    execute(&mut store, "TRUNCATE checks, targets, locations, requests").await;
    store.session = None;
    store.write(&[row("b", 0), row("a", 0)], &Ahead::default(), &topic(), &[step(0, 2, 4)], now()).await.unwrap();
    store.known().encode(&rows[1..], &mut half);
    half.seal();
    store.write(&rows, &whole, &topic(), &[step(0, 4, 6)], now()).await.unwrap();
    assert_eq!(count(&mut store, SHOWN).await, 4);
    let rows = [row("a", 2), row("b", 2)];
    assert!(!holds(&store, &half, 2), "its rows have ids of both");
    store.write(&rows, &Ahead::default(), &topic(), &[step(0, 6, 8)], now()).await.unwrap();
    assert_eq!(count(&mut store, SHOWN).await, 6);
}
