//! Reads the dead-letter topic up to its present end, without joining a group. Blocks.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use shared::kafka::ClientEvents;
use tokio_util::sync::CancellationToken;

use super::letter::Letter;
use super::marks::Marks;
use crate::position::Watermarks;
use crate::settings::Settings;

/// How long the brokers may be silent before the tool gives up.
const SILENCE: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const BETWEEN_LINES: Duration = Duration::from_millis(200);

/// A reader of the whole topic, and the marks beside it.
pub struct Reader {
    /// What was sent again.
    pub marks: Marks,
    /// The partitions, and what they have now.
    pub partitions: Vec<(i32, Watermarks)>,
    topic: String,
    stop: CancellationToken,
    progress: Progress,
}

impl Reader {
    /// Asks what there is.
    ///
    /// # Errors
    /// Kafka does not answer, or has no such topic.
    pub fn new(settings: &Settings, stop: CancellationToken) -> anyhow::Result<Self> {
        let topic = settings.dead_letter_topic();
        let marks = Marks::new(settings, "dead-letters", &topic, &ClientEvents::default())?;
        // To ask for a topic by name would let brokers create it.
        let brokers = &settings.kafka.brokers;
        let silent = || format!("kafka does not answer at {brokers}");
        let metadata = marks.client.fetch_metadata(None, REQUEST_TIMEOUT).with_context(silent)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let ids: Vec<i32> = found.iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        anyhow::ensure!(!ids.is_empty(), "topic `{topic}` does not exist: the consumer creates it when it starts");
        let ask = |id| {
            let (low, high) = marks.client.fetch_watermarks(&topic, id, REQUEST_TIMEOUT)?;
            Ok((id, Watermarks { low, high }))
        };
        let partitions = ids.into_iter().map(ask).collect::<Result<_, KafkaError>>().with_context(silent)?;
        Ok(Self { marks, partitions, topic, stop, progress: Progress::default() })
    }

    /// Reads a partition from an offset to its present end, unless `each` breaks it off.
    ///
    /// # Errors
    /// Kafka falls silent, the process is told to stop, or what `each` says.
    pub fn read(
        &mut self,
        partition: i32,
        from: i64,
        mut each: impl FnMut(Letter) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<ControlFlow<()>> {
        let end = self.partitions.iter().find(|(id, _)| *id == partition).map_or(0, |(_, marks)| marks.high);
        if from >= end {
            return Ok(ControlFlow::Continue(()));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(from))?;
        self.marks.client.assign(&list)?;
        let mut heard = Instant::now();
        loop {
            anyhow::ensure!(!self.stop.is_cancelled(), "stopped before the end");
            let message = match self.marks.client.poll(POLL) {
                Some(Ok(message)) => message,
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(ControlFlow::Continue(())),
                // Said by the client; what can heal does.
                Some(Err(_)) | None => {
                    anyhow::ensure!(heard.elapsed() < SILENCE, "kafka has sent nothing for {SILENCE:?}");
                    continue;
                }
            };
            let offset = message.offset();
            if offset >= end {
                return Ok(ControlFlow::Continue(()));
            }
            self.progress.count();
            if each(letter(&message))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if offset + 1 >= end {
                return Ok(ControlFlow::Continue(()));
            }
            heard = Instant::now();
        }
    }
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let letter = Letter {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        payload: message.payload().map(Bytes::copy_from_slice),
        ..Letter::default()
    };
    letter.with_headers(
        message
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter().map(|header| (header.key, header.value)).collect::<Vec<_>>()),
    )
}

/// A line on a terminal that says how far it is, and is gone at the end.
#[derive(Default)]
struct Progress {
    read: u64,
    said: Option<Instant>,
}

impl Progress {
    fn count(&mut self) {
        self.read += 1;
        // Short work needs no progress.
        let said = self.said.get_or_insert_with(Instant::now);
        if said.elapsed() >= BETWEEN_LINES && std::io::stderr().is_terminal() {
            eprint!("\r{} dead letters read", self.read);
            *said = Instant::now();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}
