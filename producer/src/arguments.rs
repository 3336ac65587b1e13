//! What `producer` can be asked for.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use producer::import::Import;
use shared::config::Cli;

/// Times DNS and HTTP checks on a fixed schedule and publishes the results to Kafka
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) config: Cli,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Check every target once, print the results and exit: 0 if all are up, 1 if not. Needs no Kafka
    #[arg(long)]
    pub(crate) once: bool,

    /// With --once: print the messages as JSON, one a line
    #[arg(long, requires = "once")]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the targets with their next slots, and their shards where replicas share them
    Targets {
        /// As JSON, one target a line
        #[arg(long)]
        json: bool,
    },
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Make a targets file of another monitor's configuration
    Import(Import),
}

impl Args {
    /// The options that are not ignored with this command.
    pub(crate) fn heeded(&self) -> &'static [&'static str] {
        match self.command {
            None => &["config", "check_config", "print_config", "once", "json"],
            Some(Command::Targets { .. }) => &["config", "check_config", "print_config"],
            Some(Command::Completions { .. } | Command::Import(_)) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use shared::arguments::parse_from;

    use super::Args;

    #[test]
    fn options_that_a_command_ignores_are_refused() {
        let options = [
            ("config", "--config x"),
            ("check_config", "--check-config"),
            ("print_config", "--print-config"),
            ("once", "--once"),
            ("json", "--once --json"),
        ];
        // Each command, and the first letters of the options that it heeds.
        let commands = [
            ("", "config check_config print_config once json"),
            ("targets", "config check_config print_config"),
            ("targets --json", "config check_config print_config"),
            ("completions bash", ""),
            ("import gatus x", ""),
            ("import blackbox x --prometheus y", ""),
        ];
        for (command, heeded) in commands {
            assert!(parsed(command), "{command}");
            for (id, option) in options {
                let good = heeded.split(' ').any(|heeded| heeded == id);
                assert_eq!(parsed(&format!("{option} {command}")), good, "{option} {command}");
                if !option.contains("--once") {
                    assert_eq!(parsed(&format!("{command} {option}")), good, "{command} {option}");
                }
            }
        }
        let told = |command: &str| commands.iter().any(|(line, _)| line.split(' ').next() == Some(command));
        assert!(Args::command().get_subcommands().all(|command| told(command.get_name())), "a command is missing here");
        let ours = |id: &str| options.iter().any(|(option, _)| *option == id);
        assert!(
            Args::command().get_arguments().all(|option| ours(option.get_id().as_str())),
            "an option is missing here"
        );
    }

    fn parsed(line: &str) -> bool {
        let words = std::iter::once("producer").chain(line.split_whitespace());
        let parsed = parse_from(words, Args::heeded);
        parsed.as_ref().err().inspect(|error| assert_eq!(error.exit_code(), 2, "{line}: {error}"));
        parsed.is_ok()
    }
}
