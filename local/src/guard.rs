//! A service process that cannot outlive its owner.
//!
//! The service is our child, so that its end is seen at once and its process id stays valid until then. Beside it runs
//! a shell, `guard.sh`, holding the reading end of a pipe whose writing end only we have: when we end, by whatever
//! means, the pipe closes and the shell ends the service, waits for its children and removes its folder. Both sit in
//! process groups of their own, out of reach of a terminal's Ctrl-C. The kernel's parent-death signal would not do, as it
//! follows the thread that started the child and not the process.

use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::{Error, doing};
use crate::home::Home;

/// How often the state of a process that sends no news is looked at.
const LOOK: Duration = Duration::from_millis(10);
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
const TAIL_BYTES: usize = 6_000;

/// The unprivileged user that a service runs as.
#[derive(Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// One service: at most one running process at a time, its folder, its log and its guard.
pub(crate) struct Guarded {
    service: &'static str,
    home: PathBuf,
    user: Option<User>,
    variables: Vec<(&'static str, String)>,
    guard: Child,
    running: Option<Child>,
    log_start: u64,
}

impl Guarded {
    /// Puts a guard beside `home`, and then makes it if it is temporary; `signal` is what it ends the service with.
    pub(crate) fn new(service: &'static str, home: &Home, user: Option<User>, signal: &str) -> Result<Guarded, Error> {
        let guard = Command::new("sh")
            .args(["-c", include_str!("guard.sh"), "guard", signal])
            .arg(&home.path)
            .arg(if home.keep { "keep" } else { "remove" })
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(doing("starting the guard of a service"))?;
        if !home.keep {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&home.path);
            made.map_err(doing(format!("creating {}", home.path.display())))?;
        }
        Ok(Guarded {
            service,
            home: home.path.clone(),
            user,
            variables: Vec::new(),
            guard,
            running: None,
            log_start: 0,
        })
    }

    /// Gives every process started from now on these variables.
    pub(crate) fn set_variables(&mut self, variables: &[(&'static str, String)]) {
        self.variables = variables.to_vec();
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Runs a preparing program to its end.
    pub(crate) fn run(&mut self, program: &Path, arguments: &[String]) -> Result<(), Error> {
        self.spawn(program, arguments)?;
        let status = self.wait(READY_WITHIN)?;
        match status {
            Some(status) if status.success() => Ok(()),
            status => Err(self.failure(format!("could not be set up by {}: {}", program.display(), shown(status)))),
        }
    }

    /// Starts the service and returns when `ready` says so.
    pub(crate) fn start(
        &mut self,
        program: &Path,
        arguments: &[String],
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        self.spawn(program, arguments)?;
        let deadline = Instant::now() + READY_WITHIN;
        while !ready() {
            if let Some(status) = self.wait(LOOK)? {
                return Err(self.failure(format!("ended while starting: {}", shown(Some(status)))));
            }
            if Instant::now() > deadline {
                let failure = self.failure(format!("was not ready within {READY_WITHIN:?}"));
                self.end(Signal::KILL)?;
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Sends a signal and waits until the service is gone; one that takes too long is killed.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<(), Error> {
        self.signal(signal)?;
        if self.wait(STOPPED_WITHIN)?.is_none() {
            self.signal(Signal::KILL)?;
            self.wait(STOPPED_WITHIN)?;
        }
        Ok(())
    }

    /// Sends a signal to the service's process, if there is one.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.pid().map_or(Ok(()), |pid| send(pid, signal))
    }

    /// The service's process, while it runs.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.running.as_ref().map(Pid::from_child)
    }

    /// Whether the log of the last start has this text.
    pub(crate) fn log_says(&self, text: &str) -> bool {
        self.log_since_start().contains(text)
    }

    /// The shell says its process id to the guard and only then becomes the program, so there is no moment at which
    /// the service runs and the guard does not know of it.
    fn spawn(&mut self, program: &Path, arguments: &[String]) -> Result<(), Error> {
        let log = File::options().create(true).append(true).open(self.log());
        let log = log.map_err(doing(format!("opening {}", self.log().display())))?;
        self.log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let Some(pipe) = &self.guard.stdin else { return Ok(()) };
        let pipe = pipe.as_fd().try_clone_to_owned().map_err(doing("copying the guard's pipe"))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"echo $$; exec "$@" >&2"#, "service"])
            .arg(program)
            .args(arguments)
            .current_dir(&self.home)
            .env("LC_ALL", "C")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(pipe)
            .stderr(log)
            .process_group(0);
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        self.running = Some(command.spawn().map_err(doing(format!("starting {}", program.display())))?);
        Ok(())
    }

    fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Error> {
        let deadline = Instant::now() + limit;
        loop {
            let Some(child) = &mut self.running else { return Ok(None) };
            if let Some(status) = child.try_wait().map_err(doing("waiting for a service"))? {
                self.running = None;
                if let Some(pipe) = &mut self.guard.stdin {
                    pipe.write_all(b"\n").map_err(doing("telling the guard of a service's end"))?;
                }
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(LOOK);
        }
    }

    fn failure(&self, reason: String) -> Error {
        let text = self.log_since_start();
        let mut from = text.len().saturating_sub(TAIL_BYTES);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        Error::Service { service: self.service, reason, log: self.log(), tail: text[from..].to_owned() }
    }

    fn log(&self) -> PathBuf {
        self.home.join(format!("{}.log", self.service))
    }

    fn log_since_start(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.log_start as usize..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Guarded {
    /// Closing the pipe is what happens when the owner dies, too; here we also see it through, so that a caller who
    /// has dropped a service can rely on its being gone.
    fn drop(&mut self) {
        // Neither wait can fail in a way that leaves something to be done.
        let _ = self.guard.wait();
        if let Some(mut child) = self.running.take() {
            let _ = child.wait();
        }
    }
}

/// Sends a signal to any process; one that has just ended is no error. One that is to stop has stopped afterwards: its threads would
/// otherwise go on until one of them has its turn.
pub(crate) fn send(pid: Pid, signal: Signal) -> Result<(), Error> {
    match kill_process(pid, signal) {
        Ok(()) if signal == Signal::STOP => {
            let deadline = Instant::now() + STOPPED_WITHIN;
            while runs(pid) && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        }
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(doing(format!("sending a signal to process {pid:?}"))(error.into())),
    }
}

/// Whether any thread of a process is not stopped.
fn runs(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let mut states = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    // The name before the state may hold anything but ends with the last bracket.
    states.any(|state| state.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['T', 't', 'Z'])))
}

fn shown(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exit status {code}"),
        Some((None, Some(signal))) => format!("signal {signal}"),
        _ => format!("still at it after {READY_WITHIN:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_children_that_stay_behind() {
        for keep in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let home = Home { path: folder.path().to_owned(), keep };
            let mut guarded = Guarded::new("parent", &home, None, "TERM").unwrap();
            // In a session of its own, as some of Postgres' are.
            let script = "setsid sleep 2 & echo $! >child; wait".to_owned();
            let child = home.path.join("child");
            let written = || fs::read_to_string(&child).is_ok_and(|text| text.ends_with('\n'));
            guarded.start(Path::new("sh"), &["-c".to_owned(), script], written).unwrap();
            let child = fs::read_to_string(&child).unwrap();
            drop(guarded);
            let lives = fs::read_link(format!("/proc/{}/cwd", child.trim())).is_ok();
            assert!(!lives, "keep: {keep}");
            assert_eq!(home.path.exists(), keep);
        }
    }
}
