//! Days whose table cannot be made, and rows that somebody's code refuses: what is not concerned is stored, and nothing is lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use local::process::Process;
use serde_json::json;
use tests::{Fed, Plain, Sent, World, admin, complaints, golden, message, now, patiently, stop, until};

const DAY: i64 = 86_400_000;

/// Some results of an instant, each of another target.
fn results(prefix: &str, at: i64, count: usize) -> Sent {
    let mut sent = Sent::default();
    for target in (0..count).map(|number| format!("{prefix}{number}")) {
        sent.records.push((target.clone(), message(&target, at, 200)));
        sent.due.insert((target, at));
    }
    sent
}

fn day(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap().to_string()[..10].to_owned()
}

/// A partition for all that has none, with a row of this day in it.
async fn default_partition(world: &World, day: &str) {
    world.query("CREATE TABLE checks_rest PARTITION OF checks DEFAULT").await;
    let row =
        "INSERT INTO checks_rest (scheduled_at, lateness, target_id, location_id, request_id, state, redirects, id)";
    world.query(&format!("{row} VALUES ('{day} 12:00+00', 0, 0, 0, 0, 1, 0, gen_random_uuid())")).await;
}

/// Stored, but for the row that the test has put into the default partition.
async fn stored(world: &World) -> i64 {
    world.query("SELECT count(*) FROM checks WHERE target_id > 0").await[0].get(0)
}

fn said(consumer: &Process, text: &str) -> bool {
    complaints(consumer).iter().any(|line| line.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_partition_in_the_way_of_a_day_to_come_harms_nobody() {
    let world = World::new().await;
    world.prepare(2).await;
    default_partition(&world, &day(now() + 2 * DAY)).await;
    for poison in [true, false] {
        let sent = results("today", now() / 1000 * 1000, 5);
        if poison {
            world.publish((0..5).map(|number| (None, Some(format!("poison {number}").into_bytes()))).collect()).await;
        } else {
            world.send(&sent).await;
        }
        let consumer = world.start("consumer", &[], &[]);
        world.until_moved(if poison { 5 } else { 10 }).await;
        let consumer = stop(consumer).await;
        assert!(poison || said(&consumer, "the table of a day to come cannot be made"), "{:#?}", consumer.log());
    }
    assert_eq!((stored(&world).await, world.dead_letters().await.len()), (5, 5));
}

/// Each partition of the topic waits at its first result of such a day; before it, and in the other partition, all is stored.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_a_day_that_cannot_be_made_wait_and_the_others_do_not() {
    let world = World::new().await;
    world.prepare(1).await;
    let (today, other) = (now() / 1000 * 1000, now() / 1000 * 1000 - 20 * DAY);
    default_partition(&world, &day(other)).await;
    let (before, waits, behind) =
        (results("before", today, 20), results("waits", other, 3), results("behind", today + 1000, 20));
    world.send(&before).await;
    world.send(&waits).await;
    world.publish(vec![(None, Some(b"poison".to_vec()))]).await;
    world.send(&behind).await;
    let mut consumer = world.start("consumer", &[], &[("ADMIN_LISTEN", "127.0.0.1:0")]);
    let address = admin::address(&mut consumer).await;
    until("the results before", async || stored(&world).await == 20).await;
    patiently("the reason", consumer.says("results wait for the table of their day")).await.unwrap();
    assert!(said(&consumer, "updated partition constraint for default partition"), "{:#?}", consumer.log());
    until("the metric", async || admin::metrics(&address).await["days_unmade"] == 1.0).await;
    until("the lag", async || admin::metrics(&address).await["records_lag"] == 24.0).await;
    let consumer = stop(consumer).await;
    assert_eq!((stored(&world).await, world.next_offsets().await[&0]), (20, 20));
    assert_eq!(world.dead_letters().await, [], "nor is there anything from behind it");
    drop(consumer);

    let mut consumer = world.start("consumer", &[], &[]);
    patiently("the reason", consumer.says("results wait for the table of their day")).await.unwrap();
    world.query("DELETE FROM checks_rest").await;
    until("all of them", async || stored(&world).await == 43).await;
    stop(consumer).await;
    assert_eq!(world.dead_letters().await.len(), 1, "what is poison, once");
    assert_eq!(world.next_offsets().await[&0], 44);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_partition_goes_on_while_one_waits() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    let other = now() / 1000 * 1000 - 20 * DAY;
    default_partition(&fed.world, &day(other)).await;
    fed.world.send(&results("waits", other, 1)).await;
    fed.says("results wait for the table of their day").await;
    // Of ten targets some are in the other partition.
    let before = stored(&fed.world).await;
    fed.feed().await;
    until("the other partition", async || stored(&fed.world).await > before).await;
    fed.world.query("DELETE FROM checks_rest").await;
    fed.owes(("waits0".to_owned(), other));
    fed.is_stored().await;
    fed.ends_having_said(&["results wait for the table"], &["postgres is not available"]).await;
}

/// A right that is missing to make a day, with one day fine.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_we_may_not_make_is_waited_for() {
    let world = World::new().await;
    let mut fed = Fed::new(world, &[]).await.settled().await;
    let refuses = "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no tables today'; END $$";
    fed.world.query(refuses).await;
    fed.world
        .query(
            "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION refuse()",
        )
        .await;
    let other = now() / 1000 * 1000 - 20 * DAY;
    fed.world.send(&results("waits", other, 4)).await;
    fed.says("no tables today").await;
    fed.world.query("DROP EVENT TRIGGER refuse").await;
    (0..4).for_each(|number| fed.owes((format!("waits{number}"), other)));
    fed.is_stored().await;
    assert_eq!(fed.world.dead_letters().await, []);
    fed.ends_well(&["results wait for the table of their day"]).await;
}

/// Refused by a trigger, alone in its batch and among others.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_refuses_is_a_dead_letter() {
    let world = World::new().await;
    world.prepare(1).await;
    let refuses = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.status_code = 418 THEN \
                   RAISE EXCEPTION 'no teapots' USING ERRCODE = 'SW418'; END IF; RETURN NEW; END $$";
    world.query(refuses).await;
    world.query("CREATE TRIGGER refuse BEFORE INSERT ON checks FOR EACH ROW EXECUTE FUNCTION refuse()").await;
    let record = |second: usize| -> Plain {
        let mut message = golden("a", second);
        message["http"]["status_code"] = json!(if second.is_multiple_of(7) { 418 } else { 200 });
        (Some(b"a".to_vec()), Some(message.to_string().into_bytes()))
    };
    world.publish(vec![record(0)]).await;
    let consumer = world.start("consumer", &[], &[]);
    world.until_moved(1).await;
    world.publish((1..50).map(record).collect()).await;
    world.until_moved(50).await;
    stop(consumer).await;
    let letters = world.dead_letters().await;
    assert_eq!((letters.len(), stored(&world).await), (8, 42));
    assert!(letters[0].header("dead-letter.reason").unwrap().contains("no teapots (SW418)"));
}

/// Results of thousands of days: what is too old is a dead letter, tables are bounded, and what is good is stored.
#[tokio::test(flavor = "multi_thread")]
async fn results_of_thousands_of_days_do_not_stop_the_others() {
    let world = World::new().await;
    world.prepare(1).await;
    let today = now() / 1000 * 1000;
    let mut sent = Sent::default();
    for day in 0..300 {
        sent.records.push(("old".to_owned(), message("old", today - day * DAY, 200)));
    }
    world.send(&sent).await;
    world.send(&results("good", today, 5)).await;
    let variables = [("POSTGRES_RETENTION", "30d"), ("CONSUME_DEAD_LETTER_LIMIT", "10")];
    let consumer = world.start("consumer", &[], &variables);
    world.until_moved(305).await;
    stop(consumer).await;
    assert_eq!(stored(&world).await, 36);
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), 269);
    let reason = letters[0].header("dead-letter.reason").unwrap();
    assert!(reason.contains("is more than 30 days ago"), "{reason}");
}
