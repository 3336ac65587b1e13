//! The consumer: from the topic into the tables.

mod arguments;

use std::process::ExitCode;

use arguments::{Cli, Command};
use clap::CommandFactory as _;
use consumer::dead_letter::tool;
use consumer::pipeline;
use consumer::settings::{DeadLetterSettings, MigrateSettings, Settings};
use consumer::status;
use shared::harmless::harmless;
use shared::lifecycle::stop_on_signals;
use shared::output::print;
use shared::telemetry::Log;

fn main() -> ExitCode {
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(&error.into()),
    };
    let cli = shared::arguments::parse(Cli::heeded);
    let ended = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(run) => cli.config.start::<Settings, _>(|loaded| Ok(loaded.settings)).map(|settings| {
            work(&settings.log, pipeline::run(&settings, run.from_beginning || cli.run.from_beginning, stop))
        }),
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
