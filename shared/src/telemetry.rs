//! Logs: lines for people on a terminal, JSON lines elsewhere, always on standard error.

use std::fmt::{self, Debug, Write as _};
use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::config::Fault;
use crate::harmless::Harmless;

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
            let lines = lines.with_ansi(std::io::stderr().is_terminal()).with_target(false);
            lines.fmt_fields(debug_fn(for_people).delimited(" ")).try_init()
        } else {
            lines.json().flatten_event(true).try_init()
        };
    }
}

/// Writes a field for people. What it holds may come from anybody.
fn for_people(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    match (field.name(), writer.has_ansi_escapes()) {
        // What the `log` crate's records have beside their text.
        (name, _) if name.starts_with("log.") => return Ok(()),
        ("message", _) => {}
        (name, true) => write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?,
        (name, false) => write!(writer, "{name}=")?,
    }
    write!(Harmless(writer), "{value:?}")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_comes_from_outside_stays_in_its_line() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(debug_fn(for_people).delimited(" "))
            .finish();
        let evil = "a\n2026-01-01T00:00:00Z ERROR forged\x1b[2J\u{9b}2J\u{202e}\u{2028}";
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(error = %evil, target.name = evil, count = 3, "it says {evil}");
            tracing::info_span!("span", reason = %evil).in_scope(|| tracing::warn!("within"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let expected = r"a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{9b}2J\u{202e}\u{2028}";
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text:?}") };
        assert!(
            first.ends_with(&format!("INFO it says {expected} error={expected} target.name=\"{expected}\" count=3")),
            "{first}"
        );
        assert!(second.ends_with(&format!("WARN span{{reason={expected}}}: within")), "{second}");
        assert_eq!(text.chars().filter(|c| c.is_control()).count(), 2, "{text:?}");
    }
}
