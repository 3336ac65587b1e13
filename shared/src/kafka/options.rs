//! `[kafka.options]`: dotted keys, quoted or not, with values of any scalar type.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serializer, de};
use serde_json::Value;

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut options = BTreeMap::new();
    flatten(Value::deserialize(deserializer)?, String::new(), &mut options).map_err(de::Error::custom)?;
    Ok(options)
}

/// TOML reads `socket.timeout.ms = 1000` as tables in tables; librdkafka wants the dotted name back.
fn flatten(value: Value, path: String, options: &mut BTreeMap<String, String>) -> Result<(), String> {
    let text = match value {
        Value::Object(keys) => {
            return keys.into_iter().try_for_each(|(key, value)| {
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                flatten(value, path, options)
            });
        }
        Value::String(text) => text,
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Array(_) => return Err(format!("expected a string, number or boolean for `{path}`")),
    };
    options.insert(path, text);
    Ok(())
}

pub(super) fn serialize<S: Serializer>(options: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(options.len()))?;
    for (key, value) in options {
        map.serialize_entry(key, if is_secret(key) { "<redacted>" } else { value })?;
    }
    map.end()
}

/// Whether the value of an option is not to be shown. Secrets have many names here, and what librdkafka does not know may be
/// such a name misspelt.
pub(super) fn is_secret(key: &str) -> bool {
    let words = ["password", "passphrase", "secret", "pem", "jaas", "sasl.oauthbearer.config"];
    let unknown = || {
        let set = ClientConfig::new().set(key, "").create_native_config().map(drop);
        matches!(set, Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)))
    };
    words.iter().any(|word| key.contains(word)) || unknown()
}
