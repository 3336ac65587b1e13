//! One of our binaries as a process: its log read as it is written, its end seen, and never left behind.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::guard::send;

/// A running binary. When it is dropped, or its owner dies, the process is ended.
pub struct Process {
    name: String,
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    readers: JoinSet<()>,
    /// The pipe to the guard: it closes when we end, by whatever means.
    _guard: std::process::Child,
}

impl Process {
    /// Starts `program` with these arguments and, beside those of this process, these variables. Logs are JSON lines.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start<V: AsRef<OsStr>>(
        program: &Path,
        arguments: &[&str],
        variables: impl IntoIterator<Item = (&'static str, V)>,
    ) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .env("LOG_FORMAT", "json")
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Out of reach of a terminal's Ctrl-C: the owner decides about the order of ending.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut guard = std::process::Command::new("sh")
            .args(["-c", include_str!("guard.sh"), "guard", "TERM", ""])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        if let (Some(pipe), Some(pid)) = (&mut guard.stdin, child.id()) {
            writeln!(pipe, "{pid}")?;
        }
        let (writer, lines) = watch::channel(Vec::new());
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(read_lines(stdout, writer.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(read_lines(stderr, writer));
        }
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, child, lines, readers, _guard: guard })
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
    }

    /// Sends a signal; one that has ended already is no error.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.pid().map_or(Ok(()), |pid| send(pid, signal).map_err(io::Error::other))
    }

    /// Waits for the end; the log is complete then.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        if let Some(pipe) = &mut self._guard.stdin {
            // The guard is to forget the process, whose id may soon be another's. It may be gone itself.
            let _ = writeln!(pipe);
        }
        while self.readers.join_next().await.is_some() {}
        Ok(status)
    }

    /// All lines so far, standard output and standard error mixed as they came.
    pub fn log(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits for the first line, past ones included, that has this text.
    ///
    /// # Errors
    /// The process ends without it; the error shows the log.
    pub async fn says(&mut self, text: &str) -> io::Result<String> {
        let name = &self.name;
        let missing = |log: &[String]| io::Error::other(format!("{name} never said {text:?}:\n{}", log.join("\n")));
        let find = |lines: &Vec<String>| lines.iter().any(|line| line.contains(text));
        let found = self.lines.wait_for(find).await.map(|lines| lines.iter().find(|line| line.contains(text)).cloned());
        match found {
            Ok(Some(line)) => Ok(line),
            _ => Err(missing(&self.lines.borrow())),
        }
    }
}

async fn read_lines(stream: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut reader = BufReader::new(stream).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        lines.send_modify(|lines| lines.push(line));
    }
}

/// The folder that the binaries of this build are in, seen from a program or test of the same build.
///
/// # Errors
/// The running program cannot be found.
pub fn binaries() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().unwrap_or(Path::new("."));
    // Tests are in `deps` below it.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}
