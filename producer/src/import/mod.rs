//! `producer import`: the configurations of other monitors as a targets file.
//!
//! What a target cannot say is not carried over silently: each such thing is a line on standard error and a comment in the file.
//! The file goes through our own rules before anyone sees it.

mod blackbox;
mod conditions;
mod documents;
mod gatus;
mod kuma;
mod lenient;
mod notes;
mod output;
mod patterns;
mod prometheus;
mod relabel;
mod variables;
mod yaml;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::{Args, Subcommand};
use shared::harmless::harmless;
use shared::output::print;

use documents::Documents;
use output::Harvest;
use prometheus::Beside;
use variables::{Given, Variables};
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
        /// Gatus' configuration: a file, or a folder of files; also within a ConfigMap or the values of a Helm chart
        file: PathBuf,
        #[command(flatten)]
        variables: Given,
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
    /// Uptime Kuma: the monitors of a backup
    Kuma {
        /// The backup, which is JSON
        file: PathBuf,
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
                eprintln!("error: {}", harmless(&error));
                ExitCode::from(2)
            }
        }
    }

    fn try_run(&self) -> Result<(), String> {
        let (origin, harvest, destination) = match &self.source {
            Source::Gatus { file, variables, destination } => {
                let variables = variables.read()?;
                let documents = Documents::read(file, gatus::is_configuration)?;
                let harvest = of_gatus(&documents, &variables).map_err(|message| of(file, &message))?;
                (file, harvest, destination)
            }
            Source::Blackbox { file, prometheus, destination } => {
                let jobs = Documents::read(prometheus, prometheus::is_configuration)?;
                let modules = Documents::read(file, blackbox::is_configuration)?;
                let folder = if prometheus.is_dir() { Some(prometheus.as_path()) } else { prometheus.parent() };
                let beside = Beside(folder.unwrap_or(Path::new("")));
                let jobs = jobs.required(prometheus::EXPECTED).map_err(|message| of(prometheus, &message))?;
                let modules = modules.required(blackbox::EXPECTED).map_err(|message| of(file, &message))?;
                (prometheus, prometheus::import(&jobs, &modules, &beside), destination)
            }
            Source::Kuma { file, destination } => {
                let backup = shared::config::bounds::read_text(file)
                    .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
                let harvest = kuma::import(&*Node::from_json(&backup).map_err(|message| of(file, &message))?);
                (file, harvest.map_err(|message| of(file, &message))?, destination)
            }
        };
        for line in harvest.lines() {
            eprintln!("{}", harmless(&line));
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

/// Gatus' own files may have no endpoints, as long as one beside them has.
fn of_gatus(documents: &Documents, variables: &Variables) -> Result<Harvest, String> {
    let others = documents.others.iter().filter(|node| gatus::is_without_targets(node));
    let all: Vec<&Node> = documents.configurations.iter().chain(others).map(Rc::as_ref).collect();
    if all.is_empty() {
        return Err(documents.none(gatus::EXPECTED));
    }
    Ok(gatus::import(&all, variables))
}

fn of(path: &Path, message: &str) -> String {
    format!("{}: {}", path.display(), notes::one_line(message))
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
