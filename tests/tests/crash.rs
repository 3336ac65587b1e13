//! A consumer that is killed, or whose connection breaks, between any two pieces of its conversations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use local::kafka::Kafka;
use local::process::Process;
use rustix::process::Signal;
use tests::{Fed, NEW_YEAR, Proxy, Sent, World, message, messages, patiently, said, until_log};
use tokio::task::JoinSet;
use url::Url;

const DAY: i64 = 86_400_000;
const STORED: &str = "batch stored";
const MOVED: &str = "offsets have moved meanwhile";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The consumer is killed, and a new one takes over.
    Kill,
    /// The connection is reset, and the same consumer goes on.
    Reset,
}

/// One of several worlds that share a sweep.
struct Lane {
    world: World,
    /// Between the consumer and the service whose conversation is disturbed.
    proxy: Proxy,
    variables: Vec<(&'static str, String)>,
    sent: Sent,
    poison: BTreeSet<Vec<u8>>,
    /// What the consumers have said of commits whose answer was lost.
    unheard: usize,
    rounds: u64,
}

impl Lane {
    async fn new(world: World, proxy: Proxy, variable: (&'static str, String)) -> Self {
        let mut migration = world.start("consumer", &["migrate"], &[]);
        assert!(patiently("migrating", migration.wait()).await.unwrap().success());
        world.query("ALTER TABLE checks ADD CONSTRAINT no_teapots CHECK (status_code <> 418)").await;
        world.make_topics().await;
        let settings =
            [("POSTGRES_MIGRATE", "false"), ("LOG_LEVEL", "info,consumer=debug"), ("CONSUME_BATCH_AGE", "100ms")];
        let settings = settings.map(|(key, value)| (key, value.to_owned()));
        let variables = settings.into_iter().chain([variable]).collect();
        Self { world, proxy, variables, sent: Sent::default(), poison: BTreeSet::new(), unheard: 0, rounds: 0 }
    }

    async fn on_postgres() -> Self {
        let world = World::new().await;
        let mut url = Url::parse(&world.postgres_url).unwrap();
        let server: SocketAddr = url.socket_addrs(|| None).unwrap()[0];
        let proxy = Proxy::start(server, true).await.unwrap();
        url.set_port(Some(proxy.addr().port())).unwrap();
        Self::new(world, proxy, ("POSTGRES_URL", url.into())).await
    }

    /// A batch with two new rows on a new day, one of them twice, a record that is no message, and a row that Postgres refuses.
    async fn send(&mut self) {
        self.rounds += 1;
        let round = self.rounds;
        let day = NEW_YEAR + i64::try_from(round).unwrap() * DAY;
        let mut batch = messages(&format!("round{round}-"), 2, 1, day);
        batch.records.push(batch.records[0].clone());
        let poison = [format!("poison {round}").into_bytes(), message(&format!("teapot{round}"), day, 418)];
        batch.records.extend(poison.iter().map(|payload| ("round".to_owned(), payload.clone())));
        // One key, one partition, one batch.
        batch.records.iter_mut().for_each(|(key, _)| "round".clone_into(key));
        self.world.send(&batch).await;
        self.sent.records.extend(batch.records);
        self.sent.due.extend(batch.due);
        self.poison.extend(poison);
    }

    /// A consumer in a group of its own, so that it need not wait until the group gives a dead one up.
    fn consumer(&self, group: &str) -> Process {
        let group = format!("{}-{group}", self.world.name);
        let mut variables: Vec<_> = self.variables.iter().map(|(key, value)| (*key, value.as_str())).collect();
        variables.push(("CONSUME_GROUP", &group));
        self.world.start("consumer", &[], &variables)
    }

    async fn all_is_read(&self) {
        patiently("reading", async {
            while self.world.offsets().await < self.sent.records.len() as i64 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Returns false when the batch was stored before so many pieces had passed.
    async fn round(&mut self, fault: Fault, pieces: u64) -> bool {
        self.send().await;
        let round = self.rounds;
        self.proxy.hold_after(pieces);
        let mut consumer = self.consumer(&format!("{round}-first"));
        let stored = async {
            self.all_is_read().await;
            // The answer to the commit is a piece, too.
            patiently("hearing", consumer.says(STORED)).await.unwrap();
        };
        let reached = tokio::select! {
            biased;
            () = self.proxy.held() => true,
            () = stored => false,
        };
        if reached && fault == Fault::Kill {
            kill(&mut consumer).await;
            self.proxy.reset();
            consumer = self.consumer(&format!("{round}-second"));
        }
        self.proxy.reset();
        self.all_is_read().await;
        self.world.accounts_for(&self.sent.due).await;
        if reached && fault == Fault::Reset {
            // It must find out what became of the batch.
            until_log(&consumer, "either", |log| said(log, MOVED) + said(log, STORED) > 0).await;
            self.unheard += said(&consumer.log(), MOVED);
        }
        kill(&mut consumer).await;
        reached
    }

    async fn ends_well(&self) {
        self.world.accounts_for(&self.sent.due).await;
        let dead: BTreeSet<Vec<u8>> =
            self.world.dead_letters().await.into_iter().map(|letter| letter.payload).collect();
        assert_eq!(dead, self.poison, "every one at least once, and nothing else");
    }
}

async fn kill(process: &mut Process) {
    process.signal(Signal::KILL).unwrap();
    patiently("the end", process.wait()).await.unwrap();
}

/// Disturbs each lane at its share of the pieces; returns how many pieces were disturbed, and how many commits went unheard.
async fn sweep(lanes: Vec<Lane>, fault: Fault, stride: usize) -> (u64, usize) {
    let mut tasks = JoinSet::new();
    let step = lanes.len() * stride;
    for (first, mut lane) in lanes.into_iter().enumerate() {
        tasks.spawn(async move {
            let (mut reached, mut pieces) = (0, first * stride);
            while lane.round(fault, pieces as u64).await {
                reached += 1;
                pieces += step;
            }
            // The answer to the commit is among the last pieces, which others have had in conversations of their own, and how a
            // conversation falls into pieces is the kernel's affair.
            let others = if fault == Fault::Reset && stride == 1 { step.min(pieces) } else { 0 };
            for before in (1..others).cycle().take(10 * others) {
                if lane.unheard == 0 {
                    reached += u64::from(lane.round(fault, (pieces - before) as u64).await);
                }
            }
            lane.ends_well().await;
            (reached, lane.unheard)
        });
    }
    let counts = tasks.join_all().await;
    counts.iter().fold((0, 0), |(reached, unheard), (more, lane)| (reached + more, unheard + lane))
}

async fn lanes_on_postgres(count: usize) -> Vec<Lane> {
    let mut lanes = Vec::new();
    for _ in 0..count {
        lanes.push(Lane::on_postgres().await);
    }
    lanes
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_in_its_conversation_with_postgres() {
    // What the server has seen is the same as when the connection breaks, so that a third of the places is enough.
    let (reached, _) = sweep(lanes_on_postgres(4).await, Fault::Kill, 3).await;
    assert!(reached > 20, "{reached}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_anywhere_in_its_conversation_with_postgres() {
    let (reached, unheard) = sweep(lanes_on_postgres(4).await, Fault::Reset, 1).await;
    assert!(reached > 60, "{reached}");
    assert!(unheard > 0, "the answer to a commit was never lost");
}

/// The connection breaks in one batch while others wait behind it: what was read after a batch that was given up is not stored
/// in its stead.
#[tokio::test(flavor = "multi_thread")]
async fn reset_anywhere_with_more_batches_behind() {
    let lane = Lane::on_postgres().await;
    let mut variables: Vec<_> = lane.variables.iter().map(|(key, value)| (*key, value.as_str())).collect();
    variables.push(("CONSUME_BATCH_ROWS", "10"));
    let mut fed = Fed::new(lane.world, &variables).await;
    fed.feed().await;
    fed.is_stored().await;
    let unheard = |fed: &Fed| said(&fed.consumer.log(), MOVED) > 0;
    // How the conversation falls into pieces is the kernel's affair; in a few rounds a commit goes unheard.
    for round in 0..200 {
        if round >= 20 && unheard(&fed) {
            break;
        }
        lane.proxy.hold_after(round % 20);
        for _ in 0..3 {
            fed.feed().await;
        }
        patiently("the piece", lane.proxy.held()).await;
        lane.proxy.reset();
        fed.is_stored().await;
    }
    assert!(unheard(&fed), "the answer to a commit was never lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_reset_in_its_conversation_with_kafka() {
    let mut proxies = Vec::new();
    for _ in 0..4 {
        proxies.push(Proxy::unconnected().await.unwrap());
    }
    let addresses: Vec<SocketAddr> = proxies.iter().map(Proxy::addr).collect();
    let kafka = tokio::task::spawn_blocking(move || Kafka::start_behind(None, &addresses).unwrap()).await.unwrap();
    let mut lanes = Vec::new();
    for proxy in proxies {
        proxy.lead_to(kafka.behind(proxy.addr()).unwrap());
        let mut world = World::new().await;
        kafka.brokers().clone_into(&mut world.brokers);
        let brokers = proxy.addr().to_string();
        lanes.push(Lane::new(world, proxy, ("KAFKA_BROKERS", brokers)).await);
    }
    let resets = lanes.split_off(2);
    let (killed, reset) = tokio::join!(sweep(lanes, Fault::Kill, 5), sweep(resets, Fault::Reset, 5));
    assert!(killed.0 > 5 && reset.0 > 5, "{killed:?} {reset:?}");
}
