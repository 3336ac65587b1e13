//! A dead-letter topic that somebody else has made, with settings of its own: nothing is lost, and nothing waits in silence.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tests::{Plain, World, admin, golden, patiently, stop, until};

fn client(world: &World) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &world.brokers).create().unwrap()
}

/// A world whose dead-letter topic has these settings.
async fn world_with(settings: &[(&str, &str)]) -> World {
    let world = World::new().await;
    let name = world.dead_letter_topic();
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let made = client(&world);
    let made = patiently("the topic", made.create_topics([&topic], &AdminOptions::new())).await.unwrap();
    assert!(made.iter().all(Result::is_ok), "{made:?}");
    world.prepare(1).await;
    world
}

fn good(second: usize) -> Plain {
    (Some(b"good".to_vec()), Some(golden("good", second).to_string().into_bytes()))
}

/// Bytes without a pattern, so that compression does not help.
fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(..)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_no_record_without_a_key() {
    let world = world_with(&[("cleanup.policy", "compact")]).await;
    let keyed = (Some(b"key".to_vec()), Some(b"keyed".to_vec()));
    world.publish(vec![(None, Some(b"bare".to_vec())), keyed, good(1), (None, None), good(2)]).await;
    let consumer = world.start("consumer", &[], &[("CONSUME_BATCH_AGE", "1s")]);
    world.until_moved(5).await;
    world.publish(vec![(None, Some(b"later".to_vec())), good(3)]).await;
    world.until_moved(7).await;
    stop(consumer).await;
    assert_eq!(world.stored().await.len(), 3);
    let mut letters = world.dead_letters().await;
    letters.sort_by_key(|letter| letter.header("dead-letter.offset"));
    letters.dedup_by_key(|letter| letter.header("dead-letter.offset"));
    let keys: Vec<_> = letters.iter().map(|letter| String::from_utf8(letter.key.clone().unwrap()).unwrap()).collect();
    let topic = &world.topic;
    assert_eq!(keys, [format!("{topic}/0/0"), "key".to_owned(), format!("{topic}/0/3"), format!("{topic}/0/5")]);
    assert_eq!(letters[0].header("dead-letter.keyless").as_deref(), Some("true"));
    assert_eq!(letters[1].header("dead-letter.keyless"), None);
    assert_eq!(letters[0].payload, b"bare");

    let mut retry = world.start("consumer", &["dead-letters", "--retry"], &[]);
    assert!(patiently("the retry", retry.wait()).await.unwrap().success());
    let (brokers, topic) = (world.brokers.clone(), world.topic.clone());
    let records = tokio::task::spawn_blocking(move || tests::read_topic(&brokers, &topic)).await.unwrap();
    assert!(records.iter().skip(7).any(|record| record.key.is_none() && record.payload == b"bare"), "as it was");
}

/// So small that neither a batch of letters nor each of them finds room.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_only_small_records() {
    let world = world_with(&[("max.message.bytes", "1500")]).await;
    let mut records = vec![(Some(noise(900)), Some(noise(50_000))), good(1)];
    records.extend((0..60).map(|_| (None, Some(noise(300)))));
    records.push(good(2));
    world.publish(records.clone()).await;
    let consumer = world.start("consumer", &[], &[("CONSUME_BATCH_AGE", "1s")]);
    world.until_moved(63).await;
    stop(consumer).await;
    assert_eq!(world.stored().await.len(), 2);
    let letters = world.dead_letters().await;
    for (offset, (key, payload)) in (0..).zip(&records).filter(|(offset, _)| ![1, 62].contains(offset)) {
        let mut of = letters.iter().filter(|letter| letter.header("dead-letter.offset") == Some(format!("{offset}")));
        let letter = of.next().unwrap_or_else(|| panic!("no letter of {offset}"));
        let payload = payload.as_ref().unwrap();
        if offset == 0 {
            assert_eq!(letter.header("dead-letter.truncated").as_deref(), Some("50900"));
            assert_eq!(letter.header("dead-letter.sha256").unwrap().len(), 64);
            assert!(
                payload.starts_with(&letter.payload) && key.as_ref().unwrap().starts_with(letter.key.as_ref().unwrap())
            );
        } else {
            assert_eq!((&letter.payload, letter.header("dead-letter.truncated")), (payload, None));
        }
    }
}

/// Nothing fits: that is said as what it is, with the way out, and waited for.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_is_said_and_waited_for() {
    let world = world_with(&[("max.message.bytes", "100")]).await;
    world.publish(vec![good(1), (None, Some(b"poison".to_vec())), good(2)]).await;
    let mut consumer = world.start("consumer", &[], &[("ADMIN_LISTEN", "127.0.0.1:0")]);
    let address = admin::address(&mut consumer).await;
    let line = patiently("the reason", consumer.says("dead letters are not acknowledged")).await.unwrap();
    for part in ["\"ERROR\"", "consume.dead_letter_topic", &world.dead_letter_topic()] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    until("the metric", async || admin::metrics(&address).await["troubles_total{kind=\"denied\"}"] >= 1.0).await;
    assert_eq!(world.dead_letters().await, []);
    let name = world.dead_letter_topic();
    let larger = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("max.message.bytes", "100000");
    let admin = client(&world);
    patiently("the change", admin.alter_configs([&larger], &AdminOptions::new())).await.unwrap();
    world.until_moved(3).await;
    stop(consumer).await;
    assert_eq!((world.dead_letters().await.len(), world.stored().await.len()), (1, 2));
}
