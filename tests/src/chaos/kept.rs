//! A process of ours under faults: started again whenever a fault has ended it, as an orchestrator would.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use local::process::Process;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::mpsc;

use super::UNFINISHED;
use super::fault::{Fault, Kind};
use crate::now;

/// How long a process may take to end after SIGTERM: its grace, and what a busy machine adds.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// How often the last start is repeated while something is left to deliver.
const LAST_STARTS: u32 = 10;

/// What to run.
pub(super) struct Kept {
    /// What it is called in the files of its logs.
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    pub(super) variables: Vec<(&'static str, String)>,
    /// The folder of the logs.
    pub(super) folder: PathBuf,
}

/// One run of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    /// When scheduling began, in milliseconds of Unix time; `None` for one that ended before that, and for consumers.
    pub(super) started: Option<i64>,
    /// When scheduling ended, by its own account; `None` for one that was killed.
    pub(super) stopped: Option<i64>,
    /// When it was killed: it lived at the first of these, and was gone at the second.
    pub(super) killed: Option<(i64, i64)>,
    /// How many results it left in its spool; `None` for one that ended before it knew, and for consumers.
    spooled: Option<i64>,
}

impl Kept {
    /// Keeps the process running until no faults come any more, then stops it for good, with nothing left in its spool.
    pub(super) async fn run(self, mut faults: mpsc::Receiver<Fault>) -> anyhow::Result<Vec<Life>> {
        let mut lives = Vec::new();
        let mut process = self.start()?;
        loop {
            let fault = tokio::select! {
                ended = process.wait() => {
                    self.keep_log(&process)?;
                    bail!("{} ended by itself: {}", self.name, ended?);
                }
                fault = faults.recv() => fault,
            };
            let Some(Fault { kind, lasts, .. }) = fault else { break };
            if kind == Kind::Freeze {
                process.signal(Signal::STOP)?;
                tokio::time::sleep(lasts).await;
                process.signal(Signal::CONT)?;
                // What it has to catch up with is finished before the next fault, or the account could not tell
                // a check that was cut short from a result that was lost.
                tokio::time::sleep(UNFINISHED).await;
                continue;
            }
            lives.push(if kind == Kind::Kill { self.kill(process).await? } else { self.stop(process).await? });
            tokio::time::sleep(lasts).await;
            process = self.start()?;
        }
        let delivers = self.variables.iter().any(|(key, _)| *key == "SPOOL_FILE");
        for _ in 0..LAST_STARTS {
            let life = self.stop(process).await?;
            lives.push(life);
            if !delivers || life.spooled == Some(0) {
                return Ok(lives);
            }
            process = self.start()?;
            process.says("scheduling started").await?;
        }
        bail!("{} never delivered all that it had", self.name)
    }

    fn start(&self) -> anyhow::Result<Process> {
        Process::start(&self.program, &[], self.variables.iter().map(|(key, value)| (*key, value)))
            .with_context(|| format!("starting {}", self.program.display()))
    }

    async fn kill(&self, mut process: Process) -> anyhow::Result<Life> {
        let lived = now();
        process.signal(Signal::KILL)?;
        process.wait().await?;
        let gone = now();
        self.keep_log(&process)?;
        Ok(Life { killed: Some((lived, gone)), ..life(&process.log()) })
    }

    async fn stop(&self, mut process: Process) -> anyhow::Result<Life> {
        process.signal(Signal::TERM)?;
        let ended = tokio::time::timeout(ENDS_WITHIN, process.wait()).await;
        self.keep_log(&process)?;
        let status = ended.with_context(|| format!("{} does not end when asked to", self.name))??;
        // Before the first line of `main` nobody can catch a signal, and nothing has begun.
        let unborn = status.signal() == Some(Signal::TERM.as_raw()) && process.log().is_empty();
        ensure!(status.success() || unborn, "{} did not end well: {status}", self.name);
        Ok(life(&process.log()))
    }

    fn keep_log(&self, process: &Process) -> std::io::Result<()> {
        let path = self.folder.join(format!("{}.log", self.name));
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{}", process.log().join("\n"))
    }
}

fn life(log: &[String]) -> Life {
    let lines: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let field = |name: &str| lines.iter().find_map(|line| line.get(name)?.as_i64());
    Life {
        started: field("schedule.started_at_ms"),
        stopped: field("schedule.stopped_at_ms"),
        killed: None,
        spooled: field("results.spooled"),
    }
}
