//! Dead letters: when there are too many of them, and how to look at them and send them again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;

use local::process::Process;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{GOLDEN_SECOND, Plain, Proxy, Record, World, golden, patiently, stop};

/// What a site must not answer where a test says so.
const TEAPOT: u16 = 418;
const NO_TEAPOTS: &str = "ALTER TABLE checks ADD CONSTRAINT no_teapots CHECK (status_code <> 418)";

/// A result that Postgres takes unless it is told to refuse teapots.
fn teapot(second: usize) -> Plain {
    let mut message = golden("teapot", second);
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
    let variables = [("CONSUME_DEAD_LETTER_LIMIT", "90")];
    world.publish((0..20).map(record).collect()).await;
    let consumer = world.start("consumer", &[], &variables);
    world.until_moved(20).await;
    world.publish((20..100).map(record).collect()).await;

    let consumer = ended(consumer, 1).await;
    let errors: Vec<String> = consumer.log().into_iter().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{:#?}", consumer.log());
    let named = format!("of topic `{}`: ", world.topic);
    for part in ["records in a row cannot be stored", "offset ", &named, "consume.dead_letter_limit = 0"] {
        assert!(errors[0].contains(part), "{part:?} is not in {}", errors[0]);
    }
    let (letters, offsets) = (world.dead_letters().await, world.next_offsets().await);
    assert!((20..=90).contains(&letters.len()), "{}", letters.len());
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
    let left = 90 - letters.iter().filter(|letter| good(letter)).count();
    world.until_stored("all that was left", |rows| rows.len() >= left).await;
    stop(consumer).await;
    let letters = world.dead_letters().await;
    assert_eq!(world.stored().await.len(), left, "once each");
    assert_eq!(world.next_offsets().await.values().sum::<i64>(), 100);
    assert_eq!(letters.iter().filter(|letter| !good(letter)).count(), 10, "once each");
    assert_eq!(letters.len(), sources(&letters).len());
}

/// However much poison there is: as long as something can be stored, the consumer goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_topic_never_stops_the_consumer() {
    let world = World::new().await;
    world.prepare(2).await;
    let records = (0..300).map(|number| if number % 10 == 9 { teapot(number) } else { poison(number) });
    world.publish(records.collect()).await;
    let variables = [("CONSUME_DEAD_LETTER_LIMIT", "9"), ("CONSUME_BATCH_ROWS", "7")];
    let consumer = world.start("consumer", &[], &variables);
    world.until_stored("the good ones", |rows| rows.len() >= 30).await;
    // Each goes alone into a batch, or several.
    for round in 0..4_usize {
        let before = 300 + 7 * round as i64;
        world.publish((0..6).map(poison).collect()).await;
        world.until_moved(before + 6).await;
        world.publish(vec![teapot(1000 + round)]).await;
        world.until_moved(before + 7).await;
    }
    stop(consumer).await;
    assert_eq!(world.dead_letters().await.len(), 270 + 24);
    assert_eq!(world.next_offsets().await.values().sum::<i64>(), 300 + 28);
}

/// Runs `consumer dead-letters` without any setting about Postgres, and returns its lines.
async fn tool(world: &World, arguments: &[&str]) -> Vec<String> {
    let arguments: Vec<&str> = ["dead-letters"].iter().chain(arguments).copied().collect();
    let lines = ended(world.start("consumer", &arguments, &[("POSTGRES_URL", "")]), 0).await.log();
    // Its log is none of its answers.
    lines.into_iter().filter(|line| !line.starts_with("{\"timestamp\":")).collect()
}

async fn json_of(world: &World, arguments: &[&str]) -> Vec<Value> {
    let lines = tool(world, &[arguments, &["--json"]].concat()).await;
    let letter = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let letters: Vec<Value> = lines.iter().map(letter).collect();
    letters.into_iter().inspect(|letter| assert!(letter.get("dead_letter").is_some(), "{letter}")).collect()
}

/// Lets a consumer work until the offsets of so many records have moved.
async fn consume(world: &World, records: i64) {
    let consumer = world.start("consumer", &[], &[]);
    world.until_moved(records).await;
    stop(consumer).await;
}

async fn seconds_stored(world: &World) -> Vec<i32> {
    let rows = world.query(&format!("SELECT {GOLDEN_SECOND} FROM check_results ORDER BY 1")).await;
    rows.iter().map(|row| row.get(0)).collect()
}

/// What a DBA's constraint refused is stored when the constraint is gone; what is poison for good comes back; all of it once.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_sent_again_once() {
    let world = World::new().await;
    world.prepare(2).await;
    assert_eq!(tool(&world, &[]).await, ["no dead letters"]);
    world.query(NO_TEAPOTS).await;
    let no_text = (None, Some(b"\xff\xfe".to_vec()));
    world.publish([vec![teapot(1), poison(0), teapot(2), no_text]].concat()).await;
    consume(&world, 4).await;

    let text = tool(&world, &[]).await.join("\n");
    for part in
        [&world.topic, "reason", "teapot", "no_teapots", "not JSON: expected value", "not UTF-8", "4 dead letters"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let listed = json_of(&world, &[]).await;
    let number = |value: &Value| value.as_i64().unwrap();
    let listed_sources = listed.iter().map(|letter| (number(&letter["partition"]) as i32, number(&letter["offset"])));
    assert_eq!(listed_sources.collect::<BTreeSet<_>>(), sources(&world.dead_letters().await));
    let payload = |letter: &&Value| letter["payload"] == json!("poison 0");
    assert_eq!(listed.iter().filter(payload).count(), 1, "{listed:#?}");
    assert_eq!(listed.iter().filter(|letter| letter["payload_base64"] == json!("//4=")).count(), 1);
    assert_eq!(json_of(&world, &["--reason", "no_teapots"]).await.len(), 2);
    assert_eq!(json_of(&world, &["--limit", "3"]).await.len(), 3);

    // Only some of them: the others wait.
    world.query("ALTER TABLE checks DROP CONSTRAINT no_teapots").await;
    let said = tool(&world, &["--retry", "--reason", "no_teapots"]).await;
    assert_eq!(said, [format!("2 sent again to topic `{}`", world.topic)]);
    consume(&world, 6).await;
    assert_eq!(seconds_stored(&world).await, [1, 2]);
    assert_eq!(json_of(&world, &[]).await.len(), 2);
    let all = json_of(&world, &["--all"]).await;
    assert_eq!(all.iter().filter(|letter| letter["retried"] == json!(true)).count(), 2, "{all:#?}");

    // The rest: byte for byte, and dead letters again.
    assert!(tool(&world, &["--retry"]).await[0].starts_with("2 sent again"));
    consume(&world, 8).await;
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), 6);
    let copies = |payload: &[u8], key: Option<&[u8]>| {
        letters.iter().filter(|letter| letter.payload == payload && letter.key.as_deref() == key).count()
    };
    assert_eq!((copies(b"poison 0", Some(b"teapot")), copies(b"\xff\xfe", None)), (2, 2));
    assert_eq!(json_of(&world, &[]).await.len(), 2, "the new ones");

    tool(&world, &["--retry"]).await;
    consume(&world, 10).await;
    assert_eq!(seconds_stored(&world).await, [1, 2], "once each");
}

/// A second retry has nothing to do, even while a first one works on the same letters.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_again_is_not_sent_a_second_time() {
    let world = World::new().await;
    world.prepare(2).await;
    world.publish_dead((0..250).map(teapot).collect()).await;
    let (one, two) = tokio::join!(tool(&world, &["--retry"]), tool(&world, &["--retry"]));
    let sent = |lines: &[String]| lines[0].split(' ').next().unwrap().parse::<i64>().unwrap();
    let both = sent(&one) + sent(&two);
    assert!((250..=500).contains(&both), "{one:?} {two:?}");
    consume(&world, both).await;
    assert_eq!(seconds_stored(&world).await, (0..250).collect::<Vec<_>>());
    assert!(tool(&world, &["--retry"]).await[0].starts_with("0 sent again"));
}

/// Killed between two of its steps, it goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_killed_goes_on_where_it_was() {
    let world = World::new().await;
    world.prepare(1).await;
    world.publish_dead((0..1000).map(teapot).collect()).await;
    // Every hundred take a second, so that there is a middle.
    let slow = [("KAFKA_OPTIONS", "linger.ms=1000"), ("LOG_LEVEL", "info,consumer=debug")];
    let mut retry = world.start("consumer", &["dead-letters", "--retry"], &slow);
    patiently("the first step", retry.says("dead letters are sent again")).await.unwrap();
    retry.signal(Signal::KILL).unwrap();
    patiently("the end", retry.wait()).await.unwrap();
    let before = json_of(&world, &[]).await.len();
    assert!((1..1000).contains(&before), "{before} wait");
    world.run_unread("consumer", &["dead-letters"], &[]).await;
    world.run_unread("consumer", &["dead-letters", "--json"], &[]).await;
    world.run_unread("consumer", &["dead-letters", "--retry", "--limit", "0"], &[]).await;

    let said = tool(&world, &["--retry"]).await;
    assert!(said[0].starts_with(&format!("{before} sent again")), "{before}: {said:?}");
    // What had been sent when it was killed, and was not remembered yet, may be there twice.
    let consumer = world.start("consumer", &[], &[]);
    world.until_stored("all of them", |rows| rows.len() >= 1000).await;
    stop(consumer).await;
    assert_eq!(seconds_stored(&world).await, (0..1000).collect::<Vec<_>>());
    assert_eq!(json_of(&world, &[]).await, Vec::<Value>::new());
}

/// What cannot be sent again stays, and is said; what stands behind it goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_which_only_the_begin_was_kept_is_left() {
    let world = World::new().await;
    world.prepare(1).await;
    // Hard to compress, so that the brokers find it too large together with its headers.
    world.publish(vec![(Some(b"huge".to_vec()), Some(noise(1_048_450))), teapot(7)]).await;
    consume(&world, 2).await;
    world.publish_dead(vec![teapot(8)]).await;
    let listed = json_of(&world, &["--reason", "bytes are more than"]).await;
    assert_eq!(listed[0]["truncated"], json!(1_048_454), "{}", listed[0]["reason"]);
    let said = tool(&world, &["--retry"]).await;
    assert!(said[0].contains("1 cannot be sent again: only the begin of its 1048454 bytes was kept"), "{said:?}");
    assert!(said[1].starts_with("1 sent again"), "{said:?}");
    consume(&world, 3).await;
    assert_eq!(seconds_stored(&world).await, [7, 8]);
    assert!(tool(&world, &["--retry"]).await[1].starts_with("0 sent again"));
    assert_eq!(json_of(&world, &[]).await.len(), 1);
}

/// Bytes without a pattern: a xorshift's.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).flatten().take(length).collect()
}

/// Without Kafka, or without the topic, there is one line that says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_in_one_line() {
    let world = World::new().await;
    let arguments = ["dead-letters", "--retry"];
    let missing = ended(world.start("consumer", &arguments, &[("POSTGRES_URL", "")]), 1).await;
    let expected =
        format!("error: topic `{}` does not exist: the consumer creates it when it starts", world.dead_letter_topic());
    assert_eq!(missing.log(), [expected]);
    let proxy = Proxy::unconnected().await.unwrap();
    let nobody = proxy.addr().to_string();
    let silent = ended(world.start("consumer", &arguments, &[("KAFKA_BROKERS", &nobody)]), 1).await;
    let last = silent.log().pop().unwrap();
    assert!(last.starts_with(&format!("error: kafka does not answer at {nobody}")), "{last}");
}
