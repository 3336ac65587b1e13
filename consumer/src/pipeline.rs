//! The stages, wired: what is needed before the first record, the tasks, and their end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use shared::admin::{Metrics, Ready};
use shared::backoff::Backoff;
use shared::kafka::{ClientEvents, ensure_topics, keep_topics, warn_of_retention};
use shared::output::print;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dead_letter::DeadLetters;
use crate::dead_letter::limit::InARow;
use crate::dead_letter::standstill::Standstill;
use crate::gaps::Gaps;
use crate::gather::gather;
use crate::held::Held;
use crate::metrics::Meter;
use crate::patience::{Patience, Trouble};
use crate::persist::{Persist, persist};
use crate::position::Inquiry;
use crate::record::Counts;
use crate::settings::{Postgres, Settings};
use crate::source::{self, Source};
use crate::store::{Store, StoreError, Topic};
use crate::watch::{Watch, watch};

/// What is left of the grace for the process itself to end.
const MARGIN: Duration = Duration::from_millis(500);
/// A batch is gathered while the one before is stored.
const BATCHES: usize = 1;

/// Consumes until it is told to stop; what was read is then stored, within the grace.
///
/// # Errors
/// A stage has ended that should not have: a fault of this program, one of the Kafka client that cannot heal, or too many records
/// in a row that cannot be stored.
pub async fn run(settings: &Settings, from_beginning: bool, stop: CancellationToken) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let mut metrics = Metrics::new("consumer", env!("CARGO_PKG_VERSION"));
    let meter = Meter::new(&mut metrics, &counts);
    let ready = Ready::new(stop.clone());
    let _admin = settings.admin.serve(metrics, ready.clone()).await?;
    let events = ClientEvents::default();
    let Some(prepared) = stop.run_until_cancelled(prepare(settings, &events, &meter, from_beginning)).await else {
        return Ok(());
    };
    let (store, dead_letters, topic) = prepared?;
    let brokers = events.clone();
    let Source { events, commands, epoch, done } = source::start(settings, events, counts.clone(), stop.clone())?;
    let (work_in, work) = mpsc::channel(BATCHES);
    let inquiry = Inquiry::new(dead_letters.client().clone(), &topic.name);
    let watching = Watch {
        inquiry: inquiry.clone(),
        gaps: Gaps::new(settings, inquiry.clone(), brokers.clone()),
        counts: counts.clone(),
        work: work_in.downgrade(),
    };
    let consume = settings.consume.clone();
    let known = store.known();
    let last = Persist {
        store,
        dead_letters,
        in_a_row: InARow::new(consume.dead_letter_limit),
        standstill: Standstill::new(settings),
        inquiry,
        topic,
        consume,
        epoch,
        commands,
        counts: counts.clone(),
        meter,
        stop: stop.clone(),
        said_buried: None,
        held: Held::default(),
        freeing: JoinSet::new(),
    };

    let mut stages = JoinSet::new();
    let (limits, retention) = (settings.consume.clone(), settings.postgres.retention);
    // On a thread of its own: among the tasks it would hold up those that it wakes, for as long as it takes to decode a batch.
    let runtime = Handle::current();
    stages.spawn_blocking(move || {
        runtime.block_on(gather(events, work_in, limits, retention, known));
        Ok("gather")
    });
    stages.spawn(async move {
        persist(last, work).await?;
        Ok("persist")
    });
    stages.spawn(async move {
        done.await.context("the polling thread has died")?.context("kafka")?;
        Ok("source")
    });
    let mut beside = JoinSet::new();
    beside.spawn(watch(watching));
    beside.spawn(topics(settings.clone(), brokers, counts.clone()));
    ready.set();
    let ended = end(stages, &stop, settings.stop.grace.saturating_sub(MARGIN)).await;
    tracing::info!(
        records.read = Counts::get(&counts.read),
        rows.stored = Counts::get(&counts.stored),
        rows.duplicate = Counts::get(&counts.duplicates),
        records.dead_lettered = Counts::get(&counts.dead_lettered),
        "consumer stopped"
    );
    ended
}

/// Waits for services that are not there yet, side by side.
async fn prepare(
    settings: &Settings,
    events: &ClientEvents,
    meter: &Meter,
    from_beginning: bool,
) -> anyhow::Result<(Store, DeadLetters, Topic)> {
    let name = settings.kafka.topic.clone();
    let kafka = async {
        ensure_topics(&settings.kafka, "consumer-admin", &[&name, &settings.dead_letter_topic()], events).await?;
        let dead_letters = DeadLetters::new(settings, events)?;
        let inquiry = Inquiry::new(dead_letters.client().clone(), &name);
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        let cluster = loop {
            match inquiry.cluster().await {
                Some(cluster) => break cluster,
                None => tokio::time::sleep(backoff.wait()).await,
            }
        };
        Ok((dead_letters, Topic { cluster, name: name.clone() }))
    };
    let postgres = async {
        let mut store = Store::of_group(settings.postgres.clone(), &settings.consume.group);
        patiently(&mut store, meter, async |store| store.prepare().await).await;
        anyhow::Ok(store)
    };
    let ((dead_letters, topic), mut store) = tokio::try_join!(kafka, postgres)?;
    if from_beginning {
        let partitions = patiently(&mut store, meter, async |store| store.rewind(&topic).await).await;
        tracing::info!(
            kafka.partitions = partitions,
            "reading from the beginning; what is stored already is recognized"
        );
    }
    Ok((store, dead_letters, topic))
}

/// Says what is wrong with the topic, and sees to it that both topics stay.
async fn topics(settings: Settings, events: ClientEvents, counts: Arc<Counts>) {
    let dead_letters = settings.dead_letter_topic();
    let names = [settings.kafka.topic.as_str(), &dead_letters];
    warn_of_retention(&settings.kafka, "consumer-topics", &events).await;
    let missing = |missing| counts.topics_missing.store(missing as u64, Ordering::Relaxed);
    let error = keep_topics(&settings.kafka, "consumer-topics", &names, &events, missing).await;
    tracing::error!(%error, "nobody sees to the topics any more");
}

/// Tries until it succeeds. Who has no patience drops it.
async fn patiently<T>(store: &mut Store, meter: &Meter, work: impl AsyncFn(&mut Store) -> Result<T, StoreError>) -> T {
    let mut patience = Patience::default();
    let never = CancellationToken::new();
    loop {
        match work(store).await {
            Ok(done) => {
                patience.over();
                return done;
            }
            Err(error) => {
                let trouble = Trouble::Store(error);
                meter.trouble(&trouble);
                patience.wait(&trouble, || false, &never).await;
            }
        }
    }
}

/// Brings the tables up to date, waiting for a server that is not up yet.
///
/// # Errors
/// The server refuses, or the stop came first.
pub async fn migrate(settings: &Postgres, stop: CancellationToken) -> anyhow::Result<()> {
    let mut store = Store::new(settings.clone());
    let mut patience = Patience::default();
    let count = loop {
        match store.migrate().await {
            Ok(count) => break count,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Locked(_))) => {
                let going_on = patience.wait(&Trouble::Store(error), || false, &stop).await;
                anyhow::ensure!(going_on, "stopped before the tables were up to date");
            }
            Err(error) => return Err(error.into()),
        }
    };
    let text = match count {
        0 => "the tables are up to date\n".to_owned(),
        count => format!("{count} migrations applied\n"),
    };
    print(text)?;
    Ok(())
}

/// Waits for all stages: as long as it takes until the stop, and as long as the grace allows after it.
async fn end(
    mut stages: JoinSet<anyhow::Result<&'static str>>,
    stop: &CancellationToken,
    grace: Duration,
) -> anyhow::Result<()> {
    let mut busy = vec!["gather", "persist", "source"];
    let (mut fault, mut unasked) = (None, None);
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    let mut deadline = std::pin::pin!(deadline);
    while !stages.is_empty() {
        tokio::select! {
            Some(ended) = stages.join_next() => match ended.context("a stage has died").and_then(std::convert::identity) {
                Ok(stage) if stop.is_cancelled() => busy.retain(|name| *name != stage),
                // The others are let end, so that the group is left.
                Ok(stage) => {
                    unasked.get_or_insert(stage);
                    stop.cancel();
                }
                Err(error) => {
                    fault.get_or_insert(error);
                    stop.cancel();
                }
            },
            () = &mut deadline => {
                tracing::warn!(stages = ?busy, "the grace has run out; what is not stored will be read again");
                break;
            }
        }
    }
    // A stage that failed takes others with it, and one of those may have ended first.
    let unasked = unasked.map(|stage| anyhow::anyhow!("{stage} has ended although nobody asked it to"));
    fault.or(unasked).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What became of stages, in the order in which they end, is the error that tells why.
    #[tokio::test(start_paused = true)]
    async fn a_fault_is_told_before_what_came_of_it() {
        let poison = || Err(anyhow::anyhow!("too much poison"));
        let table: [(Vec<anyhow::Result<&'static str>>, &str); 4] = [
            (vec![Ok("gather"), poison(), Ok("source")], "too much poison"),
            (vec![poison(), Ok("gather"), Ok("source")], "too much poison"),
            (vec![poison(), Ok("gather"), Err(anyhow::anyhow!("kafka"))], "too much poison"),
            (vec![Ok("gather"), Ok("persist"), Ok("source")], "gather has ended although nobody asked it to"),
        ];
        for (ended, expected) in table {
            let mut stages = JoinSet::new();
            let case = format!("{ended:?}");
            for (turn, stage) in (0..).zip(ended) {
                stages.spawn(async move {
                    tokio::time::sleep(turn * Duration::from_secs(1)).await;
                    stage
                });
            }
            let error = end(stages, &CancellationToken::new(), Duration::from_secs(60)).await.unwrap_err();
            assert_eq!(error.to_string(), expected, "{case}");
        }
    }
}
