use super::*;

fn section(options: &[(&str, &str)]) -> Kafka {
    Kafka {
        brokers: "localhost:9092".to_owned(),
        options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Kafka::default()
    }
}

/// Users of the managed services need all of these, and a library built without them says so only at run time.
#[test]
fn librdkafka_is_built_with_what_users_need() {
    let features = section(&[]).client_config("test").create_native_config().unwrap().get("builtin.features").unwrap();
    let features: Vec<&str> = features.split(',').collect();
    for feature in ["ssl", "sasl", "sasl_scram", "sasl_plain", "lz4", "zstd", "gzip", "snappy"] {
        assert!(features.contains(&feature), "{feature} is not among {features:?}");
    }
}

#[test]
fn faults() {
    let table: [(Kafka, &str); 7] = [
        (Kafka::default(), "kafka.brokers"),
        (Kafka { topic: "a b".to_owned(), ..section(&[]) }, "kafka.topic"),
        (Kafka { partitions: 0, ..section(&[]) }, "kafka.partitions"),
        (Kafka { replication_factor: 0, ..section(&[]) }, "kafka.replication_factor"),
        (Kafka { security_protocol: SecurityProtocol::SaslSsl, ..section(&[]) }, "kafka.username"),
        (Kafka { key_file: "key.pem".to_owned(), ..section(&[]) }, "kafka.certificate_file"),
        (section(&[("no.such.option", "1")]), "kafka.options.no.such.option"),
    ];
    for (kafka, key) in table {
        assert_eq!(kafka.validate().unwrap_err().key, key);
    }
    section(&[("socket.timeout.ms", "1000")]).validate().unwrap();
}

#[test]
fn options_are_flattened_and_their_secrets_redacted() {
    let text = r#"{"brokers": "b", "options": {"socket": {"timeout.ms": 1000, "keepalive": {"enable": true}}, "ssl.key.password": "s3cret"}}"#;
    let kafka: Kafka = serde_json::from_str(text).unwrap();
    assert_eq!(kafka.options["socket.timeout.ms"], "1000");
    assert_eq!(kafka.options["socket.keepalive.enable"], "true");
    assert_eq!(kafka.options["ssl.key.password"], "s3cret");
    assert!(!serde_json::to_string(&kafka).unwrap().contains("s3cret"));
}
