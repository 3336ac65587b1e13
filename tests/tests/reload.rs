//! Targets change while the producer runs: as ConfigMaps change, and on SIGHUP; bad ones are refused, and those that stay do not
//! notice.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use local::process::Process;
use local::site::{Response, Site};
use rustix::process::Signal;
use serde_json::Value;
use tests::admin::{address, metrics};
use tests::{World, due_between, logged, said, stop, until_hit, until_log};

const SECOND: Duration = Duration::from_secs(1);
const READ: &str = "targets read anew";
const CHANGED: &str = "the schedule has changed";
const REFUSED: &str = "the targets file is refused";

/// A folder as Kubernetes mounts a ConfigMap: the file is a link into `..data`, which is a link to a folder that comes whole.
struct ConfigMap {
    folder: PathBuf,
    versions: usize,
}

impl ConfigMap {
    fn new(folder: &Path, text: &str) -> Self {
        let folder = folder.join("config");
        fs::create_dir(&folder).unwrap();
        let mut map = Self { folder, versions: 0 };
        map.set(text);
        symlink("..data/targets.toml", map.file()).unwrap();
        map
    }

    fn file(&self) -> PathBuf {
        self.folder.join("targets.toml")
    }

    /// Makes a new folder, has the link point to it in one step, and removes the old one.
    fn set(&mut self, text: &str) {
        let version = |n: usize| self.folder.join(format!("..version_{n}"));
        let (old, new) = (version(self.versions), version(self.versions + 1));
        fs::create_dir(&new).unwrap();
        fs::write(new.join("targets.toml"), text).unwrap();
        let link = self.folder.join("..data_tmp");
        symlink(new.file_name().unwrap(), &link).unwrap();
        fs::rename(link, self.folder.join("..data")).unwrap();
        if self.versions > 0 {
            fs::remove_dir_all(old).unwrap();
        }
        self.versions += 1;
    }
}

fn targets(site: &Site, names: &[&str]) -> String {
    let url = site.url("127.0.0.1");
    names.iter().map(|name| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n")).collect()
}

/// When the schedule changed, each time.
fn changes(producer: &Process) -> Vec<i64> {
    let of = |line: &String| serde_json::from_str::<Value>(line).ok()?.get("schedule.changed_at_ms")?.as_i64();
    producer.log().iter().filter_map(of).collect()
}

async fn until(producer: &Process, text: &str, times: usize) {
    until_log(producer, text, |log| said(log, text) == times).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_changes_and_who_stays_has_every_slot_once() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut map = ConfigMap::new(folder.path(), &targets(&site, &["stays", "goes"]));
    let consumer = world.start("consumer", &[], &[]);
    let file = map.file();
    let variables = [("SCHEDULE_TARGETS_FILE", file.to_str().unwrap()), ("ADMIN_LISTEN", "127.0.0.1:0")];
    let mut producer = world.start("producer", &[], &variables);
    let admin = address(&mut producer).await;
    world.until_stored("both targets", |rows| rows.len() >= 4).await;

    map.set(&targets(&site, &["comes", "stays"]));
    until(&producer, CHANGED, 1).await;
    let read = metrics(&admin).await;
    assert_eq!((read["targets"], read["config_last_reload_successful"]), (2.0, 1.0));

    // One fault anywhere, and nothing of the file is taken.
    map.set(&format!("{}[[targets]]\nname = 'worse'\nurl = 'ftp://example.net/'\n", targets(&site, &["worse yet"])));
    until(&producer, REFUSED, 1).await;
    let refused = metrics(&admin).await;
    assert_eq!((refused["targets"], refused["config_last_reload_successful"]), (2.0, 0.0));
    let since = "config_last_reload_success_timestamp_seconds";
    assert_eq!(refused[since], read[since]);

    map.set(&targets(&site, &["stays", "comes", "comes late"]));
    until(&producer, CHANGED, 2).await;
    assert_eq!(metrics(&admin).await["config_last_reload_successful"], 1.0);
    world.until_stored("the last one", |rows| rows.iter().any(|row| row.target == "comes late")).await;

    let producer = stop(producer).await;
    let (started, stopped) = (logged(&producer, "schedule.started_at_ms"), logged(&producer, "schedule.stopped_at_ms"));
    let changes = changes(&producer);
    let times = [
        ("stays", started, stopped),
        ("goes", started, changes[0]),
        ("comes", changes[0], stopped),
        ("comes late", changes[1], stopped),
    ];
    let due = times.iter().flat_map(|(name, from, to)| due_between((*from, *to), &[name], SECOND)).collect();
    world.accounts_for(&due).await;
    stop(consumer).await;
    assert_eq!((said(&producer.log(), READ), said(&producer.log(), REFUSED)), (2, 1), "{:#?}", producer.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_file_at_once_and_ends_nothing() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let file = world.file("targets.toml", &targets(&site, &["a"]));
    let producer = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file)]);
    until(&producer, "scheduling started", 1).await;
    // As it is: a person who asks gets an answer.
    for times in 1..=2 {
        producer.signal(Signal::HUP).unwrap();
        until(&producer, READ, times).await;
    }
    fs::remove_file(&file).unwrap();
    until(&producer, REFUSED, 1).await;
    producer.signal(Signal::HUP).unwrap();
    until(&producer, REFUSED, 2).await;
    world.file("targets.toml", &targets(&site, &["a", "b"]));
    until(&producer, READ, 3).await;
    until_hit(&site, 4).await;
    stop(producer).await;
}

/// A few lines that stand for more than there is memory or stack for: whoever may write the file must not end the checks.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_would_take_everything_is_refused_and_the_checks_go_on() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let good = format!("targets:\n- {{name: a, url: '{}', interval: 1s}}\n", site.url("127.0.0.1"));
    let file = world.file("targets.yaml", &good);
    let producer = world.start("producer", &[], &[("SCHEDULE_TARGETS_FILE", &file)]);
    until(&producer, "scheduling started", 1).await;
    let level = |n: usize| {
        format!("x{n}: &x{n} {{{}}}\n", (0..9).map(|key| format!("k{key}: *x{}, ", n - 1)).collect::<String>())
    };
    let bomb = "x0: &x0 {a: b}\n".to_owned() + &(1..12).map(level).collect::<String>() + &good;
    for (times, text) in [(1, bomb), (2, "- ".repeat(200_000)), (3, "'targets[9000000000000]': 1\n".to_owned())] {
        world.file("targets.yaml", &text);
        until(&producer, REFUSED, times).await;
    }
    until_hit(&site, site.hits() + 2).await;
    world.file("targets.yaml", &good);
    until(&producer, READ, 1).await;
    stop(producer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_site_has_nothing_to_be_read_again() {
    let world = World::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let producer = world.start("producer", &[], &[("SITE_URL", &site.url("127.0.0.1"))]);
    until(&producer, "scheduling started", 1).await;
    producer.signal(Signal::HUP).unwrap();
    until(&producer, "there is no targets file to be read again", 1).await;
    stop(producer).await;
}
