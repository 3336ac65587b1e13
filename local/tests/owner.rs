//! However the owner of services ends, they end with it and leave no folder behind.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// `local`, with a temporary folder of its own to look into.
struct Owner {
    process: Child,
    temporary: TempDir,
}

impl Owner {
    fn start(arguments: &[&str]) -> Owner {
        let readable = fs::Permissions::from_mode(0o755);
        let temporary = tempfile::Builder::new().permissions(readable).tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_local"))
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .env_remove("KAFKA_BROKERS")
            .env_remove("POSTGRES_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Owner { process, temporary }
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        let lines = BufReader::new(self.process.stdout.as_mut().unwrap()).lines().take(count);
        lines.map(Result::unwrap).collect()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    /// Waits for the owner, and for the guards of its services: they share its standard error, so that ends with the
    /// last of them. Then nothing may be left.
    fn ends(mut self) -> ExitStatus {
        let mut stderr = self.process.stderr.take().unwrap();
        let (sender, ended) = sync_channel(1);
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            sender.send(text).unwrap();
        });
        let text = ended.recv_timeout(PATIENCE).expect("the guards end");
        reader.join().unwrap();
        let left: Vec<_> = fs::read_dir(self.temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "left behind: {left:?}\n{text}");
        assert_eq!(processes_in(self.temporary.path()), 0, "{text}");
        self.process.wait().unwrap()
    }
}

/// How many processes work in a folder: every service has its own as working directory.
fn processes_in(folder: &Path) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .count()
}

#[test]
fn nothing_is_left_of_services_whose_owner_is_killed() {
    let mut owner = Owner::start(&["services"]);
    let addresses = owner.lines(2);
    assert!(addresses[0].starts_with("KAFKA_BROKERS=127.0.0.1:"), "{addresses:?}");
    assert!(addresses[1].starts_with("POSTGRES_URL=postgres://"), "{addresses:?}");
    assert!(processes_in(owner.temporary.path()) >= 2);
    owner.signal(Signal::KILL);
    owner.ends();
}

#[test]
fn ctrl_c_ends_the_services_in_order() {
    let mut owner = Owner::start(&["services"]);
    owner.lines(2);
    owner.signal(Signal::INT);
    assert_eq!(owner.ends().code(), Some(0));
}

#[test]
fn nothing_is_left_when_the_owner_is_terminated_while_starting() {
    let owner = Owner::start(&["services"]);
    let deadline = Instant::now() + PATIENCE;
    while processes_in(owner.temporary.path()) == 0 {
        assert!(Instant::now() < deadline, "no service has begun");
        thread::yield_now();
    }
    owner.signal(Signal::TERM);
    owner.ends();
}

#[test]
fn a_command_gets_the_services_and_its_status_is_handed_on() {
    let mut owner = Owner::start(&["with", "--", "sh", "-c", "echo $KAFKA_BROKERS; echo $POSTGRES_URL; exit 7"]);
    let addresses = owner.lines(2);
    assert!(addresses[0].starts_with("127.0.0.1:") && addresses[1].starts_with("postgres://"), "{addresses:?}");
    assert_eq!(owner.ends().code(), Some(7));
}

#[test]
fn a_signal_reaches_the_command_and_what_it_started() {
    let mut owner = Owner::start(&["with", "--", "sh", "-c", "sh -c 'echo ready; exec sleep 600'; echo over"]);
    assert_eq!(owner.lines(1), ["ready"]);
    owner.signal(Signal::TERM);
    assert_eq!(owner.ends().code(), Some(128 + 15));
}
