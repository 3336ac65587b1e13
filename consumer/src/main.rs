//! The consumer: from the topic into the tables.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use consumer::dead_letter::tool;
use consumer::pipeline;
use consumer::settings::{DeadLetterSettings, MigrateSettings, Settings};
use consumer::status;
use shared::harmless::harmless;
use shared::lifecycle::stop_on_signals;
use shared::output::print;
use shared::telemetry::Log;

/// Batch-inserts check results from Kafka into Postgres, each once.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: shared::config::Cli,

    #[command(subcommand)]
    command: Option<Command>,

    /// Read the whole topic again; results that are stored already are recognized
    #[arg(long, global = true)]
    from_beginning: bool,
}

#[derive(Clone, Subcommand)]
enum Command {
    /// Consume until stopped; what happens without a command, too
    Run,
    /// Bring the tables up to date and exit
    Migrate,
    /// List the records that could not be stored, or send them again
    DeadLetters(tool::Options),
    /// Show how far Postgres is behind Kafka, how fast it goes, and what the table holds
    Status(status::Options),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(&error.into()),
    };
    let cli = Cli::parse();
    let ended = match cli.command.unwrap_or(Command::Run) {
        Command::Run => cli
            .config
            .start::<Settings, _>(|loaded| Ok(loaded.settings))
            .map(|settings| work(&settings.log, pipeline::run(&settings, cli.from_beginning, stop))),
        Command::Migrate => cli
            .config
            .start::<MigrateSettings, _>(|loaded| Ok(loaded.settings.0))
            .map(|settings| work(&settings.log, pipeline::migrate(&settings.postgres, stop))),
        Command::DeadLetters(options) => cli
            .config
            .start::<DeadLetterSettings, _>(|loaded| Ok(loaded.settings.0))
            .map(|settings| work(&settings.log, tool::run(&settings, options, stop))),
        Command::Status(options) => cli
            .config
            .start::<Settings, _>(|loaded| Ok(loaded.settings))
            .map(|settings| work(&settings.log, status::run(&settings, options, stop))),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "consumer", &mut script);
            Ok(print(script).map(drop).map_err(Into::into))
        }
    };
    match ended {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failed(&error),
        Err(code) => code,
    }
}

fn work(log: &Log, work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    log.init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(work);
    // A question to Kafka that is under way must not hold up the end.
    runtime.shutdown_background();
    ended
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", harmless(&format!("{error:#}")));
    ExitCode::FAILURE
}
