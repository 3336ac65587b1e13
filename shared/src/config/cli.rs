use std::path::PathBuf;
use std::process::ExitCode;

use super::{ConfigError, Environment, Loaded, Settings, load};
use crate::harmless::harmless;
use crate::output::print;

/// The options about configuration that both binaries have.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Cli {
    /// Configuration file (.toml, .yaml, .yml or .json); without one, defaults and the environment apply
    #[arg(long, env = "CONFIG_FILE", value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Check the configuration and exit: 0 if it is good, 2 if not
    #[arg(long, global = true)]
    check_config: bool,

    /// Print the effective configuration, secrets redacted, each value with its origin, and exit
    #[arg(long, global = true)]
    print_config: bool,
}

impl Cli {
    /// Loads the settings and makes of them what the process needs; ends the process where that is what was asked for.
    ///
    /// # Errors
    /// The code to exit with: 0 after `--check-config` or `--print-config`, 2 when the configuration is refused,
    /// which has been said in one line on standard error.
    pub fn start<T: Settings, U>(&self, make: impl FnOnce(Loaded<T>) -> Result<U, ConfigError>) -> Result<U, ExitCode> {
        let refused = |error: ConfigError| {
            eprintln!("error: {}", harmless(&error.to_string()));
            ExitCode::from(2)
        };
        let say = |text: &str| {
            print(text).map(drop).map_err(|error| {
                eprintln!("error: standard output: {error}");
                ExitCode::FAILURE
            })
        };
        // An empty CONFIG_FILE means none, as an empty value does everywhere.
        let file = self.config.as_deref().filter(|path| !path.as_os_str().is_empty());
        let loaded: Loaded<T> = load(file, &Environment::of_process()).map_err(refused)?;
        if self.print_config {
            say(&loaded.print().map_err(refused)?)?;
        }
        let made = make(loaded).map_err(refused)?;
        if self.check_config {
            say("configuration is good\n")?;
        }
        if self.check_config || self.print_config {
            return Err(ExitCode::SUCCESS);
        }
        Ok(made)
    }
}
