//! What can go wrong between asking for a service and having it.

use std::io;
use std::path::PathBuf;

/// Why a local service is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable Java runtime: the one lack that the embedded broker can make up for.
    #[error("no Java runtime of version 17 or newer ({0}); install one or set JAVA_HOME")]
    NoJava(String),
    /// A program that has to be installed is not.
    #[error("{program} was not found; {remedy}")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Maven could not fetch Kafka's libraries.
    #[error("fetching the Kafka libraries failed: {0}")]
    Download(String),
    /// A service ended, or did not become ready.
    #[error("{service} {reason}; the end of {log}:\n{tail}", log = log.display())]
    Service {
        /// Which service.
        service: &'static str,
        /// What happened to it.
        reason: String,
        /// Its log, which is gone with a temporary folder.
        log: PathBuf,
        /// The last lines of that log.
        tail: String,
    },
    /// A given service is used, never stopped or started.
    #[error("{0} was given from outside and is not ours to stop or start")]
    NotOurs(&'static str),
    /// The database refused a statement or a connection.
    #[error("postgres: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    /// `POSTGRES_URL` is not a URL.
    #[error("POSTGRES_URL is not a URL")]
    Url(#[from] url::ParseError),
    /// The embedded broker could not start.
    #[error("the embedded broker did not start: {0}")]
    Embedded(String),
    /// The operating system refused something.
    #[error("{doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Says what was being done when the operating system refused.
pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let doing = what.into();
    move |source| Error::Io { doing, source }
}
