//! Ending: the first SIGINT or SIGTERM asks the process to stop, the second ends it at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::Fault;

/// The exit code of a process that a second signal ended: 128 + SIGINT, as shells count.
const ENDED_BY_SIGNAL: i32 = 130;

/// The `[stop]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// How long the process may take to end after the first signal.
    #[serde(with = "crate::config::duration")]
    pub grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        // Kubernetes kills after 30 s.
        Self { grace: Duration::from_secs(25) }
    }
}

impl Stop {
    /// Checks the section.
    ///
    /// # Errors
    /// A grace of less than a second leaves no time for anything.
    pub fn validate(&self) -> Result<(), Fault> {
        if self.grace < Duration::from_secs(1) {
            return Err(Fault::new("stop.grace", "must be at least 1s"));
        }
        Ok(())
    }
}

/// A token that is cancelled by the first SIGINT, SIGTERM or SIGHUP. To be called on the first line of `main`, once: before any
/// client of Kafka is made, too.
///
/// # Errors
/// The handler cannot be installed.
pub fn stop_on_signals() -> Result<CancellationToken, ctrlc::Error> {
    // Otherwise librdkafka would have OpenSSL freed at exit, while threads of its own may be in the middle of a handshake.
    openssl::init();
    let token = CancellationToken::new();
    let stop = token.clone();
    let asked = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::SeqCst) {
            std::process::exit(ENDED_BY_SIGNAL);
        }
        stop.cancel();
    })?;
    Ok(token)
}
