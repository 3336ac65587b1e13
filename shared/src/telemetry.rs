//! Logs: lines for people on a terminal, JSON lines elsewhere, always on standard error.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::config::Fault;

/// The `[log]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,consumer=debug`.
    pub level: String,
    /// How a line looks.
    pub format: Format,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `text` on a terminal, `json` elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Auto }
    }
}

impl Log {
    /// Checks the section.
    ///
    /// # Errors
    /// A level that is none.
    pub fn validate(&self) -> Result<(), Fault> {
        self.filter().map(drop)
    }

    fn filter(&self) -> Result<EnvFilter, Fault> {
        let directives = EnvFilter::builder().parse(&self.level);
        directives.map_err(|error| {
            Fault::new(
                "log.level",
                format!("expected error, warn, info, debug, trace or a filter, found {:?} ({error})", self.level),
            )
        })
    }

    /// Installs the log of this process. Later calls do nothing.
    pub fn init(&self) {
        let filter = self.filter().unwrap_or_else(|_| EnvFilter::new("info"));
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let text = match self.format {
            Format::Auto => std::io::stderr().is_terminal(),
            Format::Text => true,
            Format::Json => false,
        };
        // Only the first call wins; tests call it more than once.
        let _ = if text {
            lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
        } else {
            lines.json().flatten_event(true).try_init()
        };
    }
}
