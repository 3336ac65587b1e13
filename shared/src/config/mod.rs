//! Strict configuration: a file, then the environment over it, checked against the defaults.
//!
//! - The file is TOML, YAML or JSON, by its extension. `--config` or `CONFIG_FILE` names it.
//! - `SECTION_KEY` in the environment overrides `key` of `[section]`; `SECTION_KEY_FILE` reads the value from a file.
//!   Only keys that exist are looked up, so the variables that Kubernetes injects for services do not disturb.
//! - The serialized default of the settings *is* the list of known keys and their types. An empty string means "not set".
//! - Whatever is wrong is one line: where (file and line, or variable), which key, what was expected.

pub mod bounds;
mod cli;
mod environment;
mod error;
mod file;
mod number;
mod print;
mod shape;
mod value;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use cli::Cli;
pub use environment::Environment;
pub use error::{ConfigError, Fault};
pub use number::{Number, check_numbers, number};
pub use value::{Secret, duration};

use environment::Variables;
use error::one_line;
use file::{File, OddKey};

/// A process's settings: a struct of sections, each a struct of keys.
pub trait Settings: Default + Serialize + DeserializeOwned {
    /// Checks what types cannot: ranges, and keys that depend on one another.
    ///
    /// # Errors
    /// The first fault found.
    fn validate(&self) -> Result<(), Fault>;
}

/// Settings, and where each value came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The effective settings.
    pub settings: T,
    file: Option<File>,
    variables: Variables,
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
    // Only a file has parts that the types of our keys do not rule out. The parser that keeps positions says more.
    let of_file = |error: ::config::ConfigError| match &file {
        Some(file) => file
            .lines()
            .err()
            .unwrap_or_else(|| ConfigError::Syntax { place: file.name.clone(), message: one_line(&error.to_string()) }),
        None => ConfigError::internal(error),
    };
    let sources = Sources { file: file.as_ref(), variables: &variables };
    let merged = builder.build().map_err(|error| match &error {
        ::config::ConfigError::Foreign(odd) if let Some(OddKey(key)) = odd.downcast_ref() => {
            sources.locate(shape::no_key(&shape, key))
        }
        _ => of_file(error),
    })?;

    let tree: serde_json::Value = merged.try_deserialize().map_err(of_file)?;
    shape::check(&shape, &tree).map_err(|fault| sources.locate(fault))?;
    let settings: T = serde_path_to_error::deserialize(tree)
        .map_err(|error| sources.locate(Fault::new(error.path().to_string(), error.inner())))?;
    settings.validate().map_err(|fault| sources.locate(fault))?;
    Ok(Loaded { settings, file, variables })
}

impl<T: Serialize> Loaded<T> {
    /// Turns a fault that was found later into an error that says where the value came from.
    pub fn locate(&self, fault: Fault) -> ConfigError {
        Sources { file: self.file.as_ref(), variables: &self.variables }.locate(fault)
    }

    /// The effective settings as TOML, secrets redacted, each value with a comment that says where it came from.
    ///
    /// # Errors
    /// None but for settings that cannot be serialized, which the tests rule out.
    pub fn print(&self) -> Result<String, ConfigError> {
        let tree = serde_json::to_value(&self.settings).map_err(ConfigError::internal)?;
        let sources = Sources { file: self.file.as_ref(), variables: &self.variables };
        let lines = sources.lines();
        Ok(print::print(&tree, |key| sources.place(key, &lines).unwrap_or_else(|| "default".to_owned())))
    }
}

/// What is needed to say where a faulty value came from.
struct Sources<'a> {
    file: Option<&'a File>,
    variables: &'a Variables,
}

impl Sources<'_> {
    /// The line of every key of the file. Nobody needs them while nothing is wrong, and many targets have many keys.
    fn lines(&self) -> BTreeMap<String, usize> {
        self.file.and_then(|file| file.lines().ok()).unwrap_or_default()
    }

    /// Where this very key was set; variables win.
    fn place(&self, key: &str, lines: &BTreeMap<String, usize>) -> Option<String> {
        let line = || Some(format!("{}:{}", self.file?.name, lines.get(key)?));
        self.variables.name_of(key).map(|name| format!("environment variable {name}")).or_else(line)
    }

    fn locate(&self, fault: Fault) -> ConfigError {
        let lines = self.lines();
        // A missing key has no line of its own: the nearest table around it has.
        let mut at = fault.key.as_str();
        let place = loop {
            if let Some(place) = self.place(at, &lines) {
                break Some(place);
            }
            match at.rfind(['.', '[']) {
                Some(end) => at = &at[..end],
                None => break self.file.map(|file| file.name.clone()),
            }
        };
        let hint = self.variables.kubernetes_hint(&fault.key);
        ConfigError::Invalid { place, fault, hint }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
