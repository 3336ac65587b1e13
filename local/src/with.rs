//! `local with`: a command inside the life of the services.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use anyhow::Context;
use local::Services;
use local::services::Options;
use rustix::process::{Pid, Signal, getpgrp, kill_process, kill_process_group};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Starts the services, runs the command, stops the services, and ends as the command did.
pub(crate) fn run(command: &[OsString]) -> anyhow::Result<ExitCode> {
    let services = Services::start(&Options::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(supervise(command, &services))?;
    drop(services);
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

async fn supervise(command: &[OsString], services: &Services) -> anyhow::Result<ExitStatus> {
    let mut signals = Signals::new().context("waiting for signals")?;
    let (program, arguments) = command.split_first().context("no command")?;
    // At a terminal the command stays in our process group, to which the terminal sends its signals itself.
    // Elsewhere it gets a group of its own, so that a signal for us reaches everything that it has started.
    let at_terminal = tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp());
    let mut child = Command::new(program);
    child.args(arguments);
    child.env("KAFKA_BROKERS", services.kafka.brokers()).env("POSTGRES_URL", services.postgres.url());
    if !at_terminal {
        child.process_group(0);
    }
    let mut child = child.spawn().with_context(|| format!("starting {}", program.display()))?;
    loop {
        tokio::select! {
            status = child.wait() => return status.context("waiting for the command"),
            received = signals.next() => forward(received, &child, at_terminal),
        }
    }
}

fn forward(received: Signal, child: &Child, at_terminal: bool) {
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    // The command may end at this very moment, and then there is nobody to tell.
    let _ = match (at_terminal, received) {
        (true, Signal::INT) => Ok(()),
        (true, other) => kill_process(pid, other),
        (false, any) => kill_process_group(pid, any),
    };
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}
