use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer as _};

use super::{ClientEvents, Kafka, describe};
use crate::backoff::Backoff;

/// Short, as a request that is under way holds up the end of the process.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How often it is looked whether topics are still there.
const LOOK: Duration = Duration::from_secs(5);

/// How many events a request brings about at most, where librdkafka is told to log everything.
const EVENTS: u32 = 10_000;

/// Waits until these topics exist, and creates the missing ones where that is wanted. Takes as long as the brokers take to
/// answer; trouble is said once, in one line, and waited out. Cancel it by dropping.
///
/// # Errors
/// The client cannot be made, which validated settings rule out.
pub async fn ensure_topics(
    kafka: &Kafka,
    client_id: &str,
    topics: &[&str],
    events: &ClientEvents,
) -> Result<(), KafkaError> {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    let config = kafka.client_config(client_id);
    let asker: BaseProducer<ClientEvents> = config.create_with_context(events.clone())?;
    let asker = std::sync::Arc::new(asker);
    let mut said = String::new();
    loop {
        let lister = asker.clone();
        let listed = tokio::task::spawn_blocking(move || existing(&lister)).await;
        let trouble = match listed.unwrap_or(Err(KafkaError::Canceled)) {
            Ok(existing) => {
                events.reached();
                let missing: Vec<&str> =
                    topics.iter().copied().filter(|topic| !existing.iter().any(|name| name == topic)).collect();
                if missing.is_empty() {
                    return Ok(());
                }
                // Most starts find their topics, and need no second client.
                let admin = config.create_with_context(events.clone())?;
                create(kafka, &admin, &missing).await
            }
            Err(error) => {
                events.lost(&error.to_string());
                None
            }
        };
        if let Some(trouble) = trouble
            && trouble != said
        {
            tracing::warn!("{trouble}");
            said = trouble;
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// Watches over topics that are there, and never ends by itself: says once that one is gone, makes it again where that is wanted,
/// and tells `missing` at every look that is answered how many are. An answer also says that the brokers are back.
///
/// # Errors
/// The client cannot be made, which validated settings rule out.
pub async fn keep_topics(
    kafka: &Kafka,
    client_id: &str,
    topics: &[&str],
    events: &ClientEvents,
    missing: impl Fn(usize),
) -> KafkaError {
    let made = kafka.client_config(client_id).create_with_context(events.clone());
    let asker: std::sync::Arc<BaseProducer<ClientEvents>> = match made {
        Ok(asker) => std::sync::Arc::new(asker),
        Err(error) => return error,
    };
    let mut said = false;
    loop {
        tokio::time::sleep(LOOK).await;
        let (lister, names) = (asker.clone(), topics.iter().map(|topic| (*topic).to_owned()).collect());
        let listed = tokio::task::spawn_blocking(move || gone(&lister, names)).await;
        let Ok(Ok(gone)) = listed else { continue };
        events.reached();
        missing(gone.len());
        // Who deletes a topic to make it anew is given until the second look.
        match (gone.is_empty(), said) {
            (true, true) => tracing::info!("all topics are there again"),
            (false, false) => tracing::error!(kafka.topics = ?gone, "topics were deleted; what they held is gone"),
            (false, true) => {
                if let Err(error) = ensure_topics(kafka, client_id, topics, events).await {
                    return error;
                }
            }
            (true, false) => {}
        }
        said = !gone.is_empty();
    }
}

fn gone(asker: &BaseProducer<ClientEvents>, topics: Vec<String>) -> Result<Vec<String>, KafkaError> {
    let ask = |topic: &String| Ok((describe(asker.client(), topic, REQUEST_TIMEOUT)?, topic.clone()));
    let found: Result<Vec<_>, KafkaError> = topics.iter().map(ask).collect();
    serve(asker);
    Ok(found?.into_iter().filter(|(found, _)| found.is_none()).map(|(_, topic)| topic).collect())
}

/// Lets a client say what has happened to it, one event a poll, those of the log among them.
fn serve(asker: &BaseProducer<ClientEvents>) {
    for _ in 0..EVENTS {
        asker.poll(Duration::ZERO);
    }
}

/// Asks by a client that can be polled, since an admin client keeps to itself why brokers do not let it in.
fn existing(asker: &BaseProducer<ClientEvents>) -> Result<Vec<String>, KafkaError> {
    // To ask for a topic by name would let brokers create it with their own defaults.
    let metadata = asker.client().fetch_metadata(None, REQUEST_TIMEOUT);
    serve(asker);
    let metadata = metadata?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// Creates topics; what stands in the way is returned in words.
async fn create(kafka: &Kafka, admin: &AdminClient<ClientEvents>, missing: &[&str]) -> Option<String> {
    let by_hand = format!(
        "create by hand: {} with {} partitions",
        missing.iter().map(|topic| format!("`{topic}`")).collect::<Vec<_>>().join(" and "),
        kafka.partitions,
    );
    if !kafka.create_topics {
        return Some(format!("waiting for topics that do not exist ({by_hand})"));
    }
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|topic| NewTopic::new(topic, kafka.partitions, TopicReplication::Fixed(kafka.replication_factor)))
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT)).request_timeout(Some(REQUEST_TIMEOUT));
    let refusals = match admin.create_topics(&topics, &options).await {
        Ok(results) => results.into_iter().filter_map(Result::err).collect(),
        Err(error) => vec![(missing.join(", "), error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown))],
    };
    // Another process may have been faster.
    let (topic, code) = refusals.into_iter().find(|(_, code)| *code != RDKafkaErrorCode::TopicAlreadyExists)?;
    Some(format!("topic `{topic}` cannot be created: {code} ({by_hand})"))
}
