//! `local`: real services on this machine, alone or around a command.

mod demo;
mod with;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;

use anyhow::Context;
use clap::{Parser, Subcommand};
use local::Services;
use local::services::Options;
use shared::lifecycle::stop_on_signals;

/// A real Kafka and a real Postgres on this machine, for as long as they are needed.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Start the services, print their addresses, and run until Ctrl-C.
    Services {
        /// Keep the data in this folder, and find them there again the next time.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Watch websites through the whole pipeline, and see the rows as they arrive in Postgres.
    Demo {
        /// Your own sites instead of the local ones, separated by blanks.
        #[arg(long, env = "URLS", default_value = "", hide_default_value = true)]
        urls: String,
        /// End after this time, and print lines instead of a live table where that cannot be drawn.
        #[arg(long, env = "DEMO_SECONDS", default_value = "", hide_default_value = true)]
        seconds: String,
    },
    /// Run a command with the addresses of the services in its environment, and end with its status.
    With {
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Services { data } => services(data),
        Task::Demo { urls, seconds } => watch(&urls, &seconds),
        Task::With { command } => with::run(&command),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("local: {error:#}");
        ExitCode::FAILURE
    })
}

/// Make hands on what is not set as an empty text.
fn watch(urls: &str, seconds: &str) -> anyhow::Result<ExitCode> {
    let seconds = (!seconds.is_empty()).then(|| seconds.parse()).transpose();
    let seconds = seconds.context("the seconds of the demo are no whole number")?;
    let urls: Vec<&str> = urls.split_whitespace().collect();
    demo::run(&urls, seconds, stop_on_signals()?)
}

fn services(data: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    // Until the services stand, a signal simply ends this process, and their guards clean up behind it.
    let services = Services::start(&Options { data, ..Options::default() })?;
    let (stop, stopped) = sync_channel(1);
    let handler = move || {
        // A second signal finds the channel full and changes nothing.
        let _ = stop.try_send(());
    };
    ctrlc::set_handler(handler).context("waiting for signals")?;
    println!("KAFKA_BROKERS={}", quoted(services.kafka.brokers()));
    println!("POSTGRES_URL={}", quoted(&services.postgres.url()));
    report("Kafka", services.kafka.pid(), services.kafka.folder());
    report("Postgres", services.postgres.pid(), services.postgres.folder());
    eprintln!("running until Ctrl-C");
    stopped.recv().context("waiting for signals")?;
    eprintln!("stopping");
    drop(services);
    Ok(ExitCode::SUCCESS)
}

fn report(service: &str, pid: Option<u32>, folder: Option<&Path>) {
    match (pid, folder) {
        (Some(pid), Some(folder)) => eprintln!("{service}: process {pid}, data in {}", folder.display()),
        _ => eprintln!("{service}: as given"),
    }
}

/// A value as a shell reads it back; plain where that is possible, because other readers know no quotes.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:/@,+=%".contains(c);
    if value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_every_value_back() {
        assert_eq!(quoted("postgres://me:s3cret@127.0.0.1:5432/db"), "postgres://me:s3cret@127.0.0.1:5432/db");
        assert_eq!(quoted("postgres://h/db?a=1&b=2"), "'postgres://h/db?a=1&b=2'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
