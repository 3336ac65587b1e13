use std::fmt;
use std::path::PathBuf;

/// What is wrong with the value of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key with its sections and indexes, as in `kafka.brokers` or `targets[2].regex`.
    pub key: String,
    /// What was expected, as a lower-case fragment.
    pub message: String,
}

impl Fault {
    /// A fault of the value of `key`.
    pub fn new(key: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { key: key.into(), message: message.to_string() }
    }

    /// A mandatory key (`section.key`) that is not set.
    pub fn missing(key: &str) -> Self {
        let variable = key.replace('.', "_").to_uppercase();
        Self::new(
            key,
            format!("is missing; set it in the configuration file or in the environment variable {variable}"),
        )
    }
}

/// Why the configuration was refused. Its display is one line.
#[derive(Debug)]
pub enum ConfigError {
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file is not what its extension says.
    Syntax {
        /// File and, where known, line.
        place: String,
        /// What the parser says.
        message: String,
    },
    /// A key has a value that it cannot have.
    Invalid {
        /// File and line, or variable; `None` when nothing was set anywhere.
        place: Option<String>,
        /// Key and message.
        fault: Fault,
        /// A likely cause outside the configuration.
        hint: Option<String>,
    },
    /// A fault of this program, not of the configuration.
    Internal(String),
}

impl ConfigError {
    pub(super) fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(one_line(&error.to_string()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, reason } => write!(f, "cannot read {}: {reason}", path.display()),
            Self::Syntax { place, message } => write!(f, "{place}: {message}"),
            Self::Invalid { place, fault, hint } => {
                if let Some(place) = place {
                    write!(f, "{place}: ")?;
                }
                write!(f, "{}: {}", printable(&fault.key), fault.message)?;
                hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
            }
            Self::Internal(message) => write!(f, "configuration cannot be loaded: {message}"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// YAML and JSON take anything for a key; a terminal and a log do not.
fn printable(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for character in key.chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

/// Errors of parsers come with drawings; an operator greps for lines.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
