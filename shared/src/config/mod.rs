//! Strict configuration: a file, then the environment over it, checked against the defaults.
//!
//! - The file is TOML, YAML or JSON, by its extension. `--config` or `CONFIG_FILE` names it.
//! - `SECTION_KEY` in the environment overrides `key` of `[section]`; `SECTION_KEY_FILE` reads the value from a file.
//!   Only keys that exist are looked up, so the variables that Kubernetes injects for services do not disturb.
//! - The serialized default of the settings *is* the list of known keys and their types. An empty string means "not set".
//! - Whatever is wrong is one line: where (file and line, or variable), which key, what was expected.

mod cli;
mod environment;
mod error;
mod file;
mod print;
mod shape;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use cli::Cli;
pub use environment::Environment;
pub use error::{ConfigError, Fault};
pub use value::{Secret, duration};

use error::one_line;
use file::File;

/// A process's settings: a struct of sections, each a struct of keys.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Checks what types cannot: ranges, and keys that depend on one another.
    ///
    /// # Errors
    /// The first fault found.
    fn validate(&self) -> Result<(), Fault>;
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// Settings, and where each value came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The effective settings.
    pub settings: T,
    file: Option<File>,
    origins: BTreeMap<String, Origin>,
}

/// Loads settings from an optional file and the environment, and validates them.
///
/// # Errors
/// Says in one line what is wrong, where, and what was expected.
pub fn load<T: Settings>(path: Option<&Path>, environment: &Environment) -> Result<Loaded<T>, ConfigError> {
    let shape = serde_json::to_value(T::default()).map_err(ConfigError::internal)?;
    let file = path.map(File::read).transpose()?;
    let variables = environment.collect(&shape)?;

    let mut builder = ::config::Config::builder();
    if let Some(file) = &file {
        builder = builder.add_source(file.source());
    }
    builder = builder.add_source(variables.clone());
    // Only a file has parts that the types of our keys do not rule out.
    let of_file = |error: ::config::ConfigError| match &file {
        Some(file) => ConfigError::Syntax { place: file.name.clone(), message: one_line(&error.to_string()) },
        None => ConfigError::internal(error),
    };
    let merged = builder.build().map_err(of_file)?;

    let mut origins: BTreeMap<String, Origin> = BTreeMap::new();
    if let Some(file) = &file {
        origins.extend(file.lines.iter().map(|(key, line)| (key.clone(), Origin::Line(*line))));
    }
    origins.extend(variables.origins());
    let sources = Sources { file: file.as_ref(), origins: &origins, variables: Some(&variables) };

    let tree: serde_json::Value = merged.try_deserialize().map_err(of_file)?;
    shape::check(&shape, &tree).map_err(|fault| sources.locate(fault))?;
    let settings: T = serde_path_to_error::deserialize(tree)
        .map_err(|error| sources.locate(Fault::new(error.path().to_string(), error.inner())))?;
    settings.validate().map_err(|fault| sources.locate(fault))?;
    Ok(Loaded { settings, file, origins })
}

impl<T: Serialize> Loaded<T> {
    /// Turns a fault that was found later into an error that says where the value came from.
    pub fn locate(&self, fault: Fault) -> ConfigError {
        Sources { file: self.file.as_ref(), origins: &self.origins, variables: None }.locate(fault)
    }

    /// The effective settings as TOML, secrets redacted, each value with a comment that says where it came from.
    ///
    /// # Errors
    /// None but for settings that cannot be serialized, which the tests rule out.
    pub fn print(&self) -> Result<String, ConfigError> {
        let tree = serde_json::to_value(&self.settings).map_err(ConfigError::internal)?;
        Ok(print::print(&tree, |key| match self.origins.get(key) {
            None => "default".to_owned(),
            Some(origin) => self.describe(origin),
        }))
    }

    fn describe(&self, origin: &Origin) -> String {
        match (origin, &self.file) {
            (Origin::Line(line), Some(file)) => format!("{}:{line}", file.name),
            _ => origin.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// What is needed to say where a faulty value came from.
struct Sources<'a> {
    file: Option<&'a File>,
    origins: &'a BTreeMap<String, Origin>,
    variables: Option<&'a environment::Variables>,
}

impl Sources<'_> {
    fn locate(&self, fault: Fault) -> ConfigError {
        // A missing key has no line of its own: the nearest table around it has.
        let mut at = fault.key.as_str();
        let origin = loop {
            if let Some(origin) = self.origins.get(at) {
                break Some(origin);
            }
            match at.rfind(['.', '[']) {
                Some(end) => at = &at[..end],
                None => break None,
            }
        };
        let place = match (origin, self.file) {
            (Some(Origin::Line(line)), Some(file)) => Some(format!("{}:{line}", file.name)),
            (Some(origin), _) => Some(origin.to_string()),
            (None, Some(file)) => Some(file.name.clone()),
            (None, None) => None,
        };
        let hint = self.variables.and_then(|variables| variables.kubernetes_hint(&fault.key));
        ConfigError::Invalid { place, fault, hint }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
