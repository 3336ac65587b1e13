//! What `consumer` can be asked for.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use consumer::dead_letter::tool;
use consumer::status;

/// Batch-inserts check results from Kafka into Postgres, each once.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) config: shared::config::Cli,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) run: Run,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Consume until stopped; what happens without a command, too
    Run(Run),
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

/// How it consumes.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Run {
    /// Read the whole topic again; results that are stored already are recognized
    #[arg(long)]
    pub(crate) from_beginning: bool,
}

impl Cli {
    /// The options that are not ignored with this command.
    pub(crate) fn heeded(&self) -> &'static [&'static str] {
        match self.command {
            None | Some(Command::Run(_)) => &["config", "check_config", "print_config", "from_beginning"],
            Some(Command::Migrate | Command::DeadLetters(_) | Command::Status(_)) => {
                &["config", "check_config", "print_config"]
            }
            Some(Command::Completions { .. }) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use shared::arguments::parse_from;

    use super::Cli;

    #[test]
    fn options_that_a_command_ignores_are_refused() {
        let options = [
            ("config", "--config x"),
            ("check_config", "--check-config"),
            ("print_config", "--print-config"),
            ("from_beginning", "--from-beginning"),
        ];
        // Each command, and the options that it heeds.
        let commands = [
            ("", "config check_config print_config from_beginning"),
            ("run", "config check_config print_config from_beginning"),
            ("migrate", "config check_config print_config"),
            ("dead-letters --retry", "config check_config print_config"),
            ("status --json", "config check_config print_config"),
            ("completions bash", ""),
        ];
        for (command, heeded) in commands {
            assert!(parsed(command), "{command}");
            for (id, option) in options {
                let good = heeded.split(' ').any(|heeded| heeded == id);
                for line in [format!("{option} {command}"), format!("{command} {option}")] {
                    assert_eq!(parsed(&line), good, "{line}");
                }
            }
        }
        let told = |command: &str| commands.iter().any(|(line, _)| line.split(' ').next() == Some(command));
        assert!(Cli::command().get_subcommands().all(|command| told(command.get_name())), "a command is missing here");
        let ours = |id: &str| options.iter().any(|(option, _)| *option == id);
        assert!(
            Cli::command().get_arguments().all(|option| ours(option.get_id().as_str())),
            "an option is missing here"
        );
    }

    fn parsed(line: &str) -> bool {
        let words = std::iter::once("consumer").chain(line.split_whitespace());
        let parsed = parse_from(words, Cli::heeded);
        parsed.as_ref().err().inspect(|error| assert_eq!(error.exit_code(), 2, "{line}: {error}"));
        parsed.is_ok()
    }
}
