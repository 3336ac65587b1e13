//! Replicas share the targets of a location: they die, freeze, are cut off, come and go, and every slot has one row or is counted
//! here as absent. Each test prints what its fault has cost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use local::kafka::Kafka;
use local::process::Process;
use local::site::{Response, Site};
use rustix::process::Signal;
use serde_json::Value;
use shared::message::{CheckResult, State};
use tests::{
    Link, Proxy, Slot, World, due_between, now, patiently, read_topic, said, stop, until, until_hit, until_log,
};

const SHARDS: i64 = 64;
const LOST: &str = "kafka has lost sight of this replica";
/// As short as the brokers allow.
const SESSION: &str = "6s";
const OFTEN: Duration = Duration::from_secs(2);
/// Longer than a session and what it takes to share anew.
const RARELY: Duration = Duration::from_secs(15);
/// How many targets are checked so often, and how many so rarely.
const MANY: usize = 80;
const FEW: usize = 40;

fn names(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{kind} {n}")).collect()
}

/// When this machine stood still, or was too busy for a thread that only looks at the clock.
#[derive(Clone, Default)]
struct Standstills(Arc<Mutex<Vec<(i64, i64)>>>);

impl Standstills {
    /// Watches until the last of its copies is dropped.
    fn watch() -> Self {
        let watch = Self::default();
        let seen = Arc::downgrade(&watch.0);
        std::thread::spawn(move || {
            let mut before = now();
            while let Some(seen) = seen.upgrade() {
                let after = now();
                if after - before > 200 {
                    seen.lock().unwrap().push((before, after));
                }
                before = after;
                drop(seen);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        watch
    }

    /// Whether they took half of the time that there is for a slot of the frequent targets.
    fn have(&self, slot: i64) -> bool {
        let interval = i64::try_from(OFTEN.as_millis()).unwrap();
        let shared = |(before, after): &(i64, i64)| (*after.min(&(slot + interval)) - *before.max(&slot)).max(0);
        self.0.lock().unwrap().iter().map(shared).sum::<i64>() >= interval / 2
    }
}

struct Crew {
    world: World,
    site: Site,
    brokers: String,
    targets: String,
    replicas: Vec<Process>,
    /// How many there ever were: each has a spool of its own.
    hired: usize,
    consumer: Process,
    began: i64,
    standstills: Standstills,
}

impl Crew {
    /// Nobody yet.
    async fn new(world: World, brokers: &str) -> Self {
        let site = Site::start(Response::ok("fine").into()).await.unwrap();
        let url = site.url("127.0.0.1");
        let entry = |interval: u64| {
            move |name: &String, url: &str| {
                format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '{interval}s'\n")
            }
        };
        let of =
            |names: Vec<String>, interval| names.iter().map(|name| entry(interval)(name, &url)).collect::<String>();
        let all = of(names("often", MANY), OFTEN.as_secs()) + &of(names("rarely", FEW), RARELY.as_secs());
        let targets = world.file("targets.toml", &all);
        let consumer = world.start("consumer", &[], &[("KAFKA_BROKERS", brokers)]);
        let (replicas, brokers) = (Vec::new(), brokers.to_owned());
        Self {
            world,
            site,
            brokers,
            targets,
            replicas,
            hired: 0,
            consumer,
            began: 0,
            standstills: Standstills::watch(),
        }
    }

    /// As many more replicas as there are names, empty for none; when each has its share, the account begins.
    async fn begins(mut self, names: &[&str]) -> Self {
        for name in names {
            self.hire(&[("REPLICAS_INSTANCE", name)]);
        }
        self.share().await;
        self.began = now();
        // Some slots before anything happens.
        self.checks(80).await;
        self
    }

    /// Waits until all that there are share all shards.
    async fn share(&self) {
        self.shares(&(0..self.replicas.len()).collect::<Vec<_>>()).await;
    }

    fn hire(&mut self, more: &[(&'static str, &str)]) {
        let spool = self.world.file(&format!("spool-{}", self.hired), "");
        std::fs::remove_file(&spool).unwrap();
        let (topic, group) = (format!("{}.shards", self.world.topic), format!("{}-replicas", self.world.name));
        let own = [
            ("SCHEDULE_TARGETS_FILE", self.targets.as_str()),
            ("KAFKA_BROKERS", &self.brokers),
            ("SPOOL_FILE", &spool),
            ("REPLICAS_ENABLED", "true"),
            ("REPLICAS_TOPIC", &topic),
            ("REPLICAS_GROUP", &group),
            ("REPLICAS_SESSION_TIMEOUT", SESSION),
        ];
        let variables: Vec<_> = own.iter().chain(more).copied().collect();
        self.replicas.push(self.world.start("producer", &[], &variables));
        self.hired += 1;
    }

    /// Waits until these share all shards, and each has some.
    async fn shares(&self, who: &[usize]) {
        until("sharing", async || {
            let owned: Vec<i64> = who.iter().map(|index| owned(&self.replicas[*index])).collect();
            owned.iter().sum::<i64>() == SHARDS && owned.iter().all(|owned| *owned > 0)
        })
        .await;
    }

    /// Waits for so many more checks.
    async fn checks(&self, more: u64) {
        until_hit(&self.site, self.site.hits() + more).await;
    }

    async fn fire(&mut self, index: usize) {
        stop(self.replicas.remove(index)).await;
    }

    /// Ends everything; says what was due since the begin and what of it is absent.
    async fn ends(mut self, fault: &str) -> Cost {
        let ended = now();
        // A slot of this very moment may be taken a little later.
        tokio::time::sleep(Duration::from_millis(100)).await;
        for replica in self.replicas.drain(..) {
            stop(replica).await;
        }
        let (brokers, topic) = (self.brokers.clone(), self.world.topic.clone());
        let records = tokio::task::spawn_blocking(move || read_topic(&brokers, &topic)).await.unwrap().len();
        let all = i64::try_from(records).unwrap();
        until("storing", async || self.world.offsets().await >= all).await;
        stop(self.consumer).await;
        let stored = self.world.slots().await;
        let due = |kind: &str, count, interval| -> BTreeSet<Slot> {
            let names = names(kind, count);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let all = due_between((self.began, ended), &names, interval);
            // The last one before the begin belongs to the time before.
            all.into_iter().filter(|(_, slot)| *slot > self.began).collect()
        };
        let (often, rarely) = (due("often", MANY, OFTEN), due("rarely", FEW, RARELY));
        let between = |slot: &&Slot| (self.began + 1..=ended).contains(&slot.1) && !slot.0.starts_with("new");
        let alien: Vec<_> =
            stored.iter().filter(between).filter(|slot| !often.contains(*slot) && !rarely.contains(*slot)).collect();
        assert!(alien.is_empty(), "not due: {alien:?}");
        let states = "SELECT (extract(epoch FROM scheduled_at) * 1000)::bigint, failure_class = 'late'
                      FROM check_results WHERE state <> 'up'";
        let theirs = |slot: i64, late| slot > self.began && !(late && self.standstills.have(slot));
        let missed = self.world.query(states).await.iter().filter(|row| theirs(row.get(0), row.get(1))).count();
        let absent: Vec<Slot> = often.difference(&stored).cloned().collect();
        let cost = Cost {
            due: often.len() + rarely.len(),
            absent_often: absent.len(),
            absent_rarely: rarely.difference(&stored).count(),
            gap: absent.iter().map(|(_, slot)| *slot).max().zip(absent.iter().map(|(_, slot)| *slot).min()),
            missed,
            doubles: records - stored.len(),
        };
        println!("{fault}: {cost:?}");
        cost
    }
}

/// What a fault has cost.
#[derive(Debug)]
#[expect(dead_code, reason = "some of it is printed only")]
struct Cost {
    due: usize,
    /// Slots without a row, of the targets that are checked often.
    absent_often: usize,
    /// The same of those that are checked more rarely than a replica can be dead without being noticed.
    absent_rarely: usize,
    /// The last and the first slot that is absent.
    gap: Option<(i64, i64)>,
    /// Slots whose row says that nobody checked.
    missed: usize,
    /// Results for a slot that had one already.
    doubles: usize,
}

impl Cost {
    fn gap(&self) -> Duration {
        let (last, first) = self.gap.unwrap_or_default();
        Duration::from_millis(u64::try_from(last - first).unwrap())
    }
}

/// How many shards a replica said last that it has.
fn owned(replica: &Process) -> i64 {
    let of = |line: &String| serde_json::from_str::<Value>(line).ok()?.get("shards.owned")?.as_i64();
    replica.log().iter().rev().find_map(of).unwrap_or_default()
}

async fn three() -> Crew {
    let world = World::new().await;
    let brokers = world.brokers.clone();
    Crew::new(world, &brokers).await.begins(&["", "", ""]).await
}

/// The others wait for the end of its session. Of targets with a longer interval no slot is absent, for the latest is caught up with.
#[tokio::test(flavor = "multi_thread")]
async fn one_is_killed() {
    let mut crew = three().await;
    let mut killed = crew.replicas.remove(1);
    killed.signal(Signal::KILL).unwrap();
    patiently("the end", killed.wait()).await.unwrap();
    crew.share().await;
    crew.checks(200).await;
    let cost = crew.ends("killed").await;
    assert_eq!((cost.absent_rarely, cost.missed), (0, 0));
    // The session, and one slot before and after it.
    assert!(cost.gap() < Duration::from_secs(10), "{cost:?}");
}

/// It is taken for dead; when it thaws it says which slots it missed, and joins again.
#[tokio::test(flavor = "multi_thread")]
async fn one_freezes() {
    let crew = three().await;
    crew.replicas[1].signal(Signal::STOP).unwrap();
    let frozen = now();
    crew.shares(&[0, 2]).await;
    crew.checks(200).await;
    let before = said(&crew.replicas[1].log(), "shards assigned");
    crew.replicas[1].signal(Signal::CONT).unwrap();
    until_log(&crew.replicas[1], "coming back", |log| said(log, "shards assigned") > before).await;
    crew.share().await;
    crew.checks(200).await;
    let (brokers, topic, standstills) = (crew.brokers.clone(), crew.world.topic.clone(), crew.standstills.clone());
    let cost = crew.ends("frozen").await;
    let records = tokio::task::spawn_blocking(move || read_topic(&brokers, &topic)).await.unwrap();
    let results = records.iter().map(|record| serde_json::from_slice::<CheckResult>(&record.payload).unwrap());
    let missed: Vec<_> = results.filter(|result| result.outcome.state == State::Missed).collect();
    assert!(!missed.is_empty());
    // It is not for the one that thaws to say of later ones that nobody checked them.
    let later = |slot: i64| slot > frozen + 6000 && !standstills.have(slot);
    let late: Vec<_> = missed.iter().filter(|result| later(result.meta.scheduled_at.as_millis())).collect();
    assert!(late.is_empty(), "frozen at {frozen}: {late:#?}");
    assert_eq!(cost.absent_rarely, 0);
    assert!(cost.gap() < Duration::from_secs(10), "{cost:?}");
}

/// Cut off from Kafka it goes on, into its spool. The others do its work as well, and the key removes the doubles.
#[tokio::test(flavor = "multi_thread")]
async fn one_is_cut_off() {
    let proxy = Proxy::unconnected().await.unwrap();
    let relay = proxy.addr();
    let kafka = tokio::task::spawn_blocking(move || Kafka::start_behind(None, &[relay]).unwrap()).await.unwrap();
    proxy.lead_to(kafka.behind(relay).unwrap());
    let mut crew = Crew::new(World::new().await, kafka.brokers()).await;
    crew.hire(&[("KAFKA_BROKERS", &relay.to_string())]);
    let crew = crew.begins(&["", ""]).await;
    proxy.set(Link::Cut);
    until_log(&crew.replicas[0], "cut off", |log| said(log, LOST) > 0).await;
    crew.shares(&[1, 2]).await;
    crew.checks(400).await;
    proxy.heal();
    crew.share().await;
    crew.checks(200).await;
    let cost = crew.ends("one cut off from Kafka").await;
    assert_eq!((cost.absent_often, cost.absent_rarely, cost.missed), (0, 0, 0), "{cost:?}");
    assert!(cost.doubles > 0, "{cost:?}");
}

/// Kafka is away for longer than a session, for all: each goes on with what it has, and nothing is absent.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_is_away() {
    let mut kafka = tokio::task::spawn_blocking(|| Kafka::start(None).unwrap()).await.unwrap();
    let brokers = kafka.brokers().to_owned();
    let crew = Crew::new(World::new().await, &brokers).await.begins(&["", "", ""]).await;
    let assigned = |replica: &Process| said(&replica.log(), "shards assigned");
    let before: Vec<usize> = crew.replicas.iter().map(assigned).collect();
    tokio::task::block_in_place(|| kafka.kill()).unwrap();
    for replica in &crew.replicas {
        until_log(replica, "cut off", |log| said(log, LOST) > 0).await;
    }
    crew.checks(200).await;
    tokio::task::block_in_place(|| kafka.start_again()).unwrap();
    for (replica, before) in crew.replicas.iter().zip(before) {
        until_log(replica, "coming back", |log| said(log, "shards assigned") > before).await;
    }
    crew.share().await;
    crew.checks(200).await;
    let cost = crew.ends("Kafka away").await;
    assert_eq!((cost.absent_often, cost.absent_rarely, cost.missed), (0, 0, 0), "{cost:?}");
}

/// New ones come and old ones go, one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_one_by_one() {
    let mut crew = three().await;
    for _ in 0..3 {
        crew.hire(&[]);
        crew.share().await;
        crew.fire(0).await;
        crew.share().await;
    }
    crew.checks(100).await;
    let cost = crew.ends("rolled out").await;
    assert_eq!((cost.absent_often, cost.absent_rarely, cost.missed), (0, 0, 0), "{cost:?}");
}

/// Known by name, a replica may be away for as long as a session without anything moving.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_under_the_same_name_moves_nothing() {
    let world = World::new().await;
    let brokers = world.brokers.clone();
    let mut crew = Crew::new(world, &brokers).await.begins(&["replica-0", "replica-1", "replica-2"]).await;
    let moves = |process: &Process| said(&process.log(), "shards assigned") + said(&process.log(), "shards revoked");
    let before = [moves(&crew.replicas[0]), moves(&crew.replicas[2])];
    let had = owned(&crew.replicas[1]);
    crew.fire(1).await;
    crew.hire(&[("REPLICAS_INSTANCE", "replica-1")]);
    crew.share().await;
    assert_eq!([moves(&crew.replicas[0]), moves(&crew.replicas[1])], before, "those that stay noticed nothing");
    assert_eq!(owned(&crew.replicas[2]), had);
    crew.checks(100).await;
    let cost = crew.ends("restarted under the same name").await;
    assert_eq!((cost.absent_rarely, cost.missed), (0, 0));
}

/// A ConfigMap reaches each node at its own time. Whoever has a target's shard checks it from when it knows of it, and nothing else changes.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_see_a_change_at_different_times() {
    let world = World::new().await;
    let brokers = world.brokers.clone();
    let mut crew = Crew::new(world, &brokers).await;
    let before = std::fs::read_to_string(&crew.targets).unwrap();
    let own = ["a", "b"].map(|name| crew.world.file(&format!("targets-{name}.toml"), &before));
    for file in &own {
        crew.hire(&[("SCHEDULE_TARGETS_FILE", file)]);
    }
    let crew = crew.begins(&[]).await;
    let entry = |n| format!("[[targets]]\nname = 'new {n}'\nurl = '{}'\ninterval = '2s'\n", crew.site.url("127.0.0.1"));
    let after = before + &(0..20).map(entry).collect::<String>();
    for (file, replica) in own.iter().zip(&crew.replicas) {
        std::fs::write(file, &after).unwrap();
        until_log(replica, "the change", |log| said(log, "targets read anew") == 1).await;
        crew.checks(60).await;
    }
    crew.world
        .until_stored("all new ones", |rows| {
            rows.iter()
                .filter(|row| row.target.starts_with("new"))
                .map(|row| &row.target)
                .collect::<BTreeSet<_>>()
                .len()
                == 20
        })
        .await;
    let cost = crew.ends("seen at different times").await;
    assert_eq!((cost.absent_often, cost.absent_rarely, cost.missed), (0, 0, 0), "{cost:?}");
}

/// Two of one name would both have its shards: the group shuts the first one out, and it says so and ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_a_name_ends_the_first() {
    let world = World::new().await;
    let brokers = world.brokers.clone();
    let mut crew = Crew::new(world, &brokers).await.begins(&["same"]).await;
    crew.hire(&[("REPLICAS_INSTANCE", "same")]);
    let mut first = crew.replicas.remove(0);
    let status = patiently("the end", first.wait()).await.unwrap();
    assert_eq!(status.code(), Some(1), "{:#?}", first.log());
    assert_eq!(said(&first.log(), "has another one the same replicas.instance?"), 1, "{:#?}", first.log());
    crew.share().await;
    crew.checks(80).await;
    let cost = crew.ends("two of one name").await;
    assert_eq!((cost.absent_rarely, cost.missed), (0, 0), "{cost:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_three_to_five_to_one() {
    let mut crew = three().await;
    crew.hire(&[]);
    crew.hire(&[]);
    crew.share().await;
    crew.checks(100).await;
    for _ in 0..4 {
        crew.fire(0).await;
        crew.share().await;
    }
    crew.checks(100).await;
    let cost = crew.ends("three, five, one").await;
    assert_eq!((cost.absent_often, cost.absent_rarely, cost.missed), (0, 0, 0), "{cost:?}");
}
