//! `producer import`: the configurations of other monitors as a targets file.
//!
//! What a target cannot say is not carried over silently: each such thing is a line on standard error and a comment in the file.
//! The file goes through our own rules before anyone sees it.

mod blackbox;
mod conditions;
mod gatus;
mod output;
mod patterns;
mod prometheus;
mod relabel;
mod yaml;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Args, Subcommand};

use output::Harvest;
use prometheus::{Beside, ImportError};
use shared::output::print;
use yaml::Node;

/// What to import.
#[derive(Debug, Args)]
pub struct Import {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// Gatus: its endpoints
    Gatus {
        /// Gatus' configuration
        file: PathBuf,
        #[command(flatten)]
        destination: Destination,
    },
    /// blackbox_exporter: what Prometheus probes through it over HTTP
    Blackbox {
        /// The exporter's configuration, which has the modules
        file: PathBuf,
        /// Prometheus' configuration, which has the targets
        #[arg(long, value_name = "FILE")]
        prometheus: PathBuf,
        #[command(flatten)]
        destination: Destination,
    },
}

#[derive(Debug, Args)]
struct Destination {
    /// Where to write the targets file, which must not exist yet; standard output if not given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Import {
    /// Writes the targets file, and says on standard error what is not in it.
    ///
    /// Exits with 0 when there is a targets file, with 2 when there is none.
    pub fn run(&self) -> ExitCode {
        match self.try_run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(2)
            }
        }
    }

    fn try_run(&self) -> Result<(), String> {
        let (origin, harvest, destination) = match &self.source {
            Source::Gatus { file, destination } => {
                let harvest = gatus::import(&*read(file)?).map_err(|message| of(file, &message))?;
                (file, harvest, destination)
            }
            Source::Blackbox { file, prometheus, destination } => {
                let beside = Beside(prometheus.parent().unwrap_or(Path::new("")));
                let harvest =
                    prometheus::import(&*read(prometheus)?, &*read(file)?, &beside).map_err(|error| match error {
                        ImportError::Prometheus(message) => of(prometheus, &message),
                        ImportError::Blackbox(message) => of(file, &message),
                    })?;
                (prometheus, harvest, destination)
            }
        };
        for line in harvest.lines() {
            eprintln!("{line}");
        }
        let text = whole(&harvest, origin)?;
        destination.write(&text)
    }
}

impl Destination {
    fn write(&self, text: &str) -> Result<(), String> {
        let Some(path) = &self.output else {
            return print(text).map(drop).map_err(|error| format!("standard output: {error}"));
        };
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => of(path, "is there already, and is not overwritten"),
            _ => of(path, &error.to_string()),
        })
    }
}

fn read(path: &Path) -> Result<Rc<Node>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Node::parse(&text).map_err(|message| of(path, &message))
}

fn of(path: &Path, message: &str) -> String {
    format!("{}: {}", path.display(), output::one_line(message))
}

/// The whole targets file.
fn whole(harvest: &Harvest, origin: &Path) -> Result<String, String> {
    let name = origin.file_name().unwrap_or_default().to_string_lossy();
    harvest.file(&name).map_err(|message| of(origin, &message))?.ok_or_else(|| {
        let (_, left_out) = harvest.counts();
        of(origin, &format!("nothing in it can be a target (left out: {left_out})"))
    })
}

#[cfg(test)]
mod tests;
