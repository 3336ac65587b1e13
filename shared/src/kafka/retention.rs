//! Settings of the topic by which results go before they are stored.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};

use super::{ClientEvents, Kafka};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than this, and an outage of the database loses results.
const SHORT: Duration = Duration::from_secs(3600);
/// Some ten thousand results.
const SMALL: i64 = 16 * 1024 * 1024;

/// Warns of each setting of the results' topic that loses results. Who may not see the settings is not told.
pub async fn warn_of_retention(kafka: &Kafka, client_id: &str, events: &ClientEvents) {
    let config = kafka.client_config(client_id);
    let Ok(admin) = config.create_with_context::<_, AdminClient<ClientEvents>>(events.clone()) else { return };
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    match admin.describe_configs([&ResourceSpecifier::Topic(&kafka.topic)], &options).await {
        Ok(described) => {
            for resource in described.into_iter().flatten() {
                for danger in dangers(|name| resource.get(name)?.value.clone()) {
                    tracing::warn!(kafka.topic, "{danger}");
                }
            }
        }
        Err(error) => tracing::debug!(%error, "the settings of the topic cannot be seen"),
    }
}

fn dangers(setting: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let policy = setting("cleanup.policy").unwrap_or_default();
    let number = |name: &str| setting(name)?.parse::<i64>().ok().filter(|number| *number >= 0);
    let mut dangers = Vec::new();
    if policy.contains("compact") {
        dangers.push(format!(
            "the topic has cleanup.policy={policy}: kafka keeps only the newest result of each target, and others go before they are \
             stored; set it to delete"
        ));
    }
    if policy == "compact" {
        return dangers;
    }
    if let Some(ms) = number("retention.ms").filter(|ms| u128::from(ms.unsigned_abs()) < SHORT.as_millis()) {
        dangers.push(format!(
            "the topic has retention.ms={ms}: results that are not stored within {} s are lost; an hour is the least, days are better",
            ms / 1000
        ));
    }
    if let Some(bytes) = number("retention.bytes").filter(|bytes| *bytes < SMALL) {
        dangers.push(format!(
            "the topic has retention.bytes={bytes}: what exceeds that in a partition is lost before it is stored; set {SMALL} at least, \
             or -1"
        ));
    }
    dangers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_lose_results() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let table: [Case<'_>; 8] = [
            (&[], &[]),
            (&[("cleanup.policy", "delete"), ("retention.ms", "604800000"), ("retention.bytes", "-1")], &[]),
            (&[("cleanup.policy", "delete"), ("retention.ms", "-1")], &[]),
            (&[("cleanup.policy", "compact"), ("retention.ms", "1000")], &["cleanup.policy=compact"]),
            (
                &[("cleanup.policy", "compact,delete"), ("retention.ms", "9")],
                &["policy=compact,delete", "retention.ms=9"],
            ),
            (&[("cleanup.policy", "delete"), ("retention.ms", "300000")], &["within 300 s"]),
            (&[("cleanup.policy", "delete"), ("retention.bytes", "1048576")], &["retention.bytes=1048576"]),
            (&[("retention.ms", "0"), ("retention.bytes", "0")], &["retention.ms=0", "retention.bytes=0"]),
        ];
        for (settings, expected) in table {
            let setting =
                |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            let found = dangers(setting);
            let each =
                found.len() == expected.len() && found.iter().zip(expected).all(|(found, text)| found.contains(text));
            assert!(each, "{settings:?}: {found:?}");
        }
    }
}
