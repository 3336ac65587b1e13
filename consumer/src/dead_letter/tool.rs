//! `consumer dead-letters`: lists the dead letters, or sends them again to where they came from.
//!
//! What was sent again is remembered in Kafka, as offsets of the group `<consume.group>.dead-letters`, after Kafka has acknowledged
//! the records and before the next ones are sent. So a process that is killed sends at most [`CHUNK`] records twice when it is
//! started again, as two that run at once do with what both have read: results are recognized by their key.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use anyhow::Context as _;
use futures_util::future::join_all;
use shared::harmless::harmless;
use shared::kafka::ClientEvents;
use shared::output::print;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::DeadLetters;
use super::done::Done;
use super::letter::Letter;
use super::reader::Reader;
use super::show;
use crate::settings::Settings;

/// How many records are under way at the same time, and how many bytes of them.
const CHUNK: usize = 100;
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// Lines of a table that nobody has asked to be longer.
const LINES: usize = 100;

/// What is to be done with the dead letters.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// Send them again to the topic that they came from, byte for byte (the headers that they had are not kept), so that
    /// they are stored if the cause is mended. What was sent once is not sent again
    #[arg(long, conflicts_with = "json")]
    retry: bool,

    /// Those that were sent again already, too
    #[arg(long)]
    all: bool,

    /// Only those whose reason has this text in it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    /// At most so many, the oldest of each partition first
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Print one JSON object a line, with the whole payload: as text, or in base64 where it is none
    #[arg(long)]
    json: bool,
}

impl Options {
    fn want(&self, letter: &Letter, done: &Done) -> bool {
        let matches = |text: &String| letter.reason.contains(text);
        (self.all || !done.has(letter.offset)) && self.reason.as_ref().is_none_or(matches)
    }
}

/// Does what the options say, up to the present end of the topic.
///
/// # Errors
/// Kafka does not answer or refuses, or the stop came before the end.
pub async fn run(settings: &Settings, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = settings.clone();
    let work = move || {
        let reader = Reader::new(&settings, stop)?;
        if options.retry { retry(&settings, &options, reader) } else { list(&options, reader) }
    };
    tokio::task::spawn_blocking(work).await.context("the work has died")?
}

fn done(reader: &Reader) -> anyhow::Result<Vec<(i32, Done)>> {
    let marks = reader.marks.read(reader.partitions.iter().map(|(id, _)| *id));
    let marks = marks.context("kafka does not say what was sent again already")?;
    let done =
        |(id, offsets): &(i32, crate::position::Watermarks)| (*id, Done::new(marks.get(id), offsets.low, offsets.high));
    Ok(reader.partitions.iter().map(done).collect())
}

fn list(options: &Options, mut reader: Reader) -> anyhow::Result<()> {
    let mut list = show::List::new(options.limit.unwrap_or(LINES));
    let mut left = options.limit.unwrap_or(usize::MAX);
    for (partition, done) in done(&reader)? {
        let from = if options.all { 0 } else { done.next() };
        let flow = reader.read(partition, from, |letter| {
            if options.want(&letter, &done) {
                let retried = done.has(letter.offset);
                if !options.json {
                    list.push(&letter, retried);
                } else if left == 0 || !print(format!("{}\n", show::json(&letter, retried)))? {
                    return Ok(ControlFlow::Break(()));
                }
                left = left.saturating_sub(1);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if flow.is_break() {
            break;
        }
    }
    drop(reader);
    if !options.json {
        print(format!("{}\n", list.print()))?;
    }
    Ok(())
}

fn retry(settings: &Settings, options: &Options, mut reader: Reader) -> anyhow::Result<()> {
    let letters = DeadLetters::new(settings, &ClientEvents::default())?;
    let mut tally = Tally { left: options.limit.unwrap_or(usize::MAX), ..Tally::default() };
    let ended = done(&reader)?
        .into_iter()
        .try_for_each(|(partition, done)| retry_partition(&mut reader, &letters, options, partition, done, &mut tally));
    drop(reader);
    let obstacle =
        |(obstacle, count): (&String, &usize)| format!("{count} cannot be sent again: {}\n", harmless(obstacle));
    let obstacles: String = tally.obstacles.iter().map(obstacle).collect();
    let printed = print(format!("{obstacles}{} sent again to topic `{}`\n", tally.sent, settings.kafka.topic));
    ended?;
    printed?;
    Ok(())
}

/// What became of the letters that were wanted.
#[derive(Default)]
struct Tally {
    /// How many more may be sent.
    left: usize,
    sent: usize,
    obstacles: BTreeMap<String, usize>,
}

fn retry_partition(
    reader: &mut Reader,
    letters: &DeadLetters,
    options: &Options,
    partition: i32,
    mut done: Done,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let mut from = if options.all { 0 } else { done.next() };
    // A chunk is read, then sent and remembered, before the next one is read.
    loop {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        let flow = reader.read(partition, from, |letter| {
            from = letter.offset + 1;
            if tally.left > 0 && options.want(&letter, &done) {
                match letter.obstacle(letters.source()) {
                    Some(obstacle) => *tally.obstacles.entry(obstacle).or_default() += 1,
                    None => {
                        tally.left -= 1;
                        bytes += letter.bytes();
                        chunk.push(letter);
                    }
                }
            }
            let full = chunk.len() >= CHUNK || bytes >= CHUNK_BYTES || tally.left == 0;
            Ok(if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        let sent = send(reader, letters, partition, &chunk, &mut done);
        tally.sent += sent.0;
        sent.1?;
        if flow.is_continue() || tally.left == 0 {
            return Ok(());
        }
    }
}

/// Sends letters and remembers those that were acknowledged; says how many they are.
fn send(
    reader: &Reader,
    letters: &DeadLetters,
    partition: i32,
    chunk: &[Letter],
    done: &mut Done,
) -> (usize, anyhow::Result<()>) {
    if chunk.is_empty() {
        return (0, Ok(()));
    }
    let mut all = done.clone();
    chunk.iter().for_each(|letter| all.add(letter.offset, letter.offset + 1));
    if all.mark().is_none() {
        let error =
            anyhow::anyhow!("what was left out has too many gaps to be remembered; send again without --reason");
        return (0, Err(error));
    }
    let results = Handle::current().block_on(join_all(chunk.iter().map(|letter| letters.send_back(letter))));
    let mut failed = None;
    let mut sent = 0;
    for (letter, result) in chunk.iter().zip(results) {
        match result {
            Ok(()) => {
                done.add(letter.offset, letter.offset + 1);
                sent += 1;
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let remembered = done.mark().map_or(Ok(()), |mark| reader.marks.write(&BTreeMap::from([(partition, mark)])));
    tracing::debug!(letters.sent = sent, kafka.partition = partition, "dead letters are sent again");
    let ended = match (failed, remembered) {
        (Some(error), _) => Err(error).context("kafka has not taken all of them"),
        (None, remembered) => remembered.context("kafka does not remember what was sent again"),
    };
    (sent, ended)
}
