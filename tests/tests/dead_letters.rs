//! Dead letters: when there are too many of them, and how to look at them and send them again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;

use local::process::Process;
use serde_json::json;
use tests::{Plain, Record, World, message, patiently, stop};

/// What a site must not answer where a test says so.
const TEAPOT: u16 = 418;
const NO_TEAPOTS: &str = "ALTER TABLE checks ADD CONSTRAINT no_teapots CHECK (status_code <> 418)";

/// A result that Postgres takes unless it is told to refuse teapots.
fn teapot(second: usize) -> Plain {
    let mut message = message("teapot", second);
    message["http"]["status_code"] = json!(TEAPOT);
    (Some(b"teapot".to_vec()), Some(message.to_string().into_bytes()))
}

fn poison(number: usize) -> Plain {
    (Some(b"teapot".to_vec()), Some(format!("poison {number}").into_bytes()))
}

async fn ended(mut process: Process, code: i32) -> Process {
    let status = patiently("the end", process.wait()).await.unwrap();
    assert_eq!(status.code(), Some(code), "{:#?}", process.log());
    process
}

/// Waits until the offsets of so many records have moved.
async fn until_moved(world: &World, records: i64) {
    patiently("the offsets' move", async {
        while world.next_offsets().await.values().sum::<i64>() < records {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Where records came from that are dead letters now.
fn sources(letters: &[Record]) -> BTreeSet<(i32, i64)> {
    let number = |letter: &Record, name: &str| letter.header(name).unwrap().parse::<i64>().unwrap();
    let source =
        |letter: &Record| (number(letter, "dead-letter.partition") as i32, number(letter, "dead-letter.offset"));
    letters.iter().map(source).collect()
}

/// Postgres refuses some, others are no JSON: none can be stored. The consumer ends, and each time it is started again; what it
/// has not moved to the dead letters is stored when the cause is mended, and what it has is there once.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_full_of_poison_stops_the_consumer_and_nothing_beyond_the_limit_moves() {
    let world = World::new().await;
    world.prepare(2).await;
    world.query(NO_TEAPOTS).await;
    let record = |number: usize| if number % 10 == 3 { poison(number) } else { teapot(number) };
    let variables = [("CONSUME_DEAD_LETTER_LIMIT", "100")];
    world.publish((0..60).map(record).collect()).await;
    let consumer = world.start("consumer", &[], &variables);
    until_moved(&world, 60).await;
    world.publish((60..300).map(record).collect()).await;

    let consumer = ended(consumer, 1).await;
    let errors: Vec<String> = consumer.log().into_iter().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{:#?}", consumer.log());
    let named = format!("of topic `{}`: ", world.topic);
    for part in ["records in a row cannot be stored", "offset ", &named, "consume.dead_letter_limit = 0"] {
        assert!(errors[0].contains(part), "{part:?} is not in {}", errors[0]);
    }
    let (letters, offsets) = (world.dead_letters().await, world.next_offsets().await);
    assert!((60..=100).contains(&letters.len()), "{}", letters.len());
    let moved: BTreeSet<(i32, i64)> =
        offsets.iter().flat_map(|(partition, next)| (0..*next).map(|offset| (*partition, offset))).collect();
    assert_eq!(sources(&letters), moved, "what moved is in the dead letters, and nothing else is");
    assert_eq!(letters.len(), moved.len(), "once each");

    // As an orchestrator would.
    for _ in 0..2 {
        ended(world.start("consumer", &[], &variables), 1).await;
        assert_eq!((world.dead_letters().await, world.next_offsets().await), (letters.clone(), offsets.clone()));
    }

    world.query("ALTER TABLE checks DROP CONSTRAINT no_teapots").await;
    let consumer = world.start("consumer", &[], &variables);
    let good = |record: &Record| !record.payload.starts_with(b"poison");
    let left = 270 - letters.iter().filter(|letter| good(letter)).count();
    world.until_stored("all that was left", |rows| rows.len() >= left).await;
    stop(consumer).await;
    let letters = world.dead_letters().await;
    assert_eq!(world.stored().await.len(), left, "once each");
    assert_eq!(world.next_offsets().await.values().sum::<i64>(), 300);
    assert_eq!(letters.iter().filter(|letter| !good(letter)).count(), 30, "once each");
    assert_eq!(letters.len(), sources(&letters).len());
}

/// However much poison there is: as long as something can be stored, the consumer goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_topic_never_stops_the_consumer() {
    let world = World::new().await;
    world.prepare(2).await;
    let records = (0..600).map(|number| if number % 10 == 9 { teapot(number) } else { poison(number) });
    world.publish(records.collect()).await;
    let variables = [("CONSUME_DEAD_LETTER_LIMIT", "9"), ("CONSUME_BATCH_ROWS", "7")];
    let consumer = world.start("consumer", &[], &variables);
    world.until_stored("the good ones", |rows| rows.len() >= 60).await;
    stop(consumer).await;
    assert_eq!(world.dead_letters().await.len(), 540);
    assert_eq!(world.next_offsets().await.values().sum::<i64>(), 600);
}
