//! One of our binaries as a process: its log read as it is written, its end seen, and never left behind.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::guard::send;

/// A running binary. When it is dropped, or its owner dies, the process is ended.
pub struct Process {
    name: String,
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    /// One task, which ends with us.
    reader: JoinSet<()>,
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
        // One pipe for both streams: two would lose the order in which they were written to.
        let (output, writer) = io::pipe()?;
        let output = Receiver::from_owned_fd(output.into())?;
        let child = Command::new(program)
            .args(arguments)
            .env("LOG_FORMAT", "json")
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
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
        let (sender, lines) = watch::channel(Vec::new());
        let mut reader = JoinSet::new();
        reader.spawn(read_lines(output, sender));
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, child, lines, reader, _guard: guard })
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
        while self.reader.join_next().await.is_some() {}
        Ok(status)
    }

    /// All lines so far, standard output and standard error in the order of their writing.
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

async fn read_lines(output: Receiver, lines: watch::Sender<Vec<String>>) {
    let mut reader = BufReader::new(output).lines();
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Process;

    #[tokio::test]
    async fn the_log_is_in_the_order_of_writing_whichever_stream_was_written_to() {
        let script = "for line in $(seq 100); do echo $line; echo $line >&2; done";
        let mut shell = Process::start(Path::new("sh"), &["-c", script], std::iter::empty::<(_, String)>()).unwrap();
        assert!(shell.wait().await.unwrap().success());
        let written: Vec<String> = (1..=100).flat_map(|line| [line.to_string(), line.to_string()]).collect();
        assert_eq!(shell.log(), written);
    }
}
