//! Both services at once.

use std::path::PathBuf;
use std::thread;

use crate::error::Error;
use crate::kafka::Kafka;
use crate::postgres::Postgres;

/// How to start the services.
#[derive(Debug, Default)]
pub struct Options {
    /// Keep the data in this folder; without it they are in temporary folders and gone at the end.
    pub data: Option<PathBuf>,
    /// Without Java, take the embedded broker instead of failing.
    pub embedded_without_java: bool,
}

/// A Kafka and a Postgres. Shared by a whole process in a static they end with the process, though statics are never
/// dropped: see [`crate`].
pub struct Services {
    /// The message broker.
    pub kafka: Kafka,
    /// The database server.
    pub postgres: Postgres,
}

impl Services {
    /// Uses the services that `KAFKA_BROKERS` and `POSTGRES_URL` name, and starts those that are not named.
    pub fn start(options: &Options) -> Result<Services, Error> {
        let data = options.data.as_deref();
        thread::scope(|scope| {
            let postgres = scope.spawn(|| Postgres::given()?.map_or_else(|| Postgres::start(data), Ok));
            let kafka = Kafka::given().map_or_else(|| Kafka::start(data), Ok);
            let kafka = match kafka {
                Err(Error::NoJava(_)) if options.embedded_without_java => Kafka::embedded(),
                other => other,
            };
            let postgres = postgres.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(Services { kafka: kafka?, postgres: postgres? })
        })
    }
}
