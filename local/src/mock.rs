//! librdkafka's mock cluster as the last resort of a machine without Java.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rdkafka::error::KafkaResult;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use crate::error::{Error, doing};

/// The topics of the shipped configuration. A mock cluster creates none when a client asks for it.
const TOPICS: [&str; 2] = ["checks", "checks.dead-letter"];
const PARTITIONS: i32 = 4;

/// A mock cluster, on the thread that it may not leave; it ends when this is dropped.
pub(crate) struct Embedded {
    _running: SyncSender<()>,
}

impl Embedded {
    /// Starts a cluster of one broker and says where it listens.
    pub(crate) fn start() -> Result<(Embedded, String), Error> {
        let (address_sender, address) = sync_channel(1);
        let (running, ended) = sync_channel::<()>(0);
        let body = move || {
            let cluster = cluster().map_err(|error| Error::Embedded(error.to_string()));
            let (cluster, address) = match cluster {
                Ok(cluster) => {
                    let address = cluster.bootstrap_servers();
                    (Some(cluster), Ok(address))
                }
                Err(error) => (None, Err(error)),
            };
            // Either end may be gone: then there is nobody to serve, and the thread ends too.
            let _ = address_sender.send(address);
            let _ = ended.recv();
            drop(cluster);
        };
        thread::Builder::new()
            .name("embedded-broker".to_owned())
            .spawn(body)
            .map_err(doing("starting the thread of the embedded broker"))?;
        let address = address.recv().map_err(|error| Error::Embedded(error.to_string()))??;
        Ok((Embedded { _running: running }, address))
    }
}

fn cluster() -> KafkaResult<MockCluster<'static, DefaultProducerContext>> {
    let cluster = MockCluster::new(1)?;
    TOPICS.iter().try_for_each(|topic| cluster.create_topic(topic, PARTITIONS, 1))?;
    Ok(cluster)
}
