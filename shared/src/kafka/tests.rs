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

/// Whoever writes a key wrong may have written a secret.
#[test]
fn a_fault_of_an_option_shows_no_secret() {
    let table = [
        ("sasl.pasword", "s3cret", "No such configuration property: \"sasl.pasword\""),
        (
            "socket.timeout.ms",
            "soon",
            "Invalid value for configuration property \"socket.timeout.ms\" (value \"soon\")",
        ),
    ];
    for (key, value, message) in table {
        assert_eq!(section(&[(key, value)]).validate().unwrap_err().message, message);
    }
    let jaas = section(&[("sasl.jaas.config", "s3cret")]).validate().unwrap_err();
    assert!(!jaas.message.contains("s3cret"), "{}", jaas.message);
}

/// A file that cannot be used is found before anything starts.
#[test]
fn faults_of_files() {
    let by_tls = |kafka: Kafka| Kafka { security_protocol: SecurityProtocol::Ssl, ..kafka };
    let table = [
        (Kafka { ca_file: "/no/such.pem".to_owned(), ..section(&[]) }, "kafka.ca_file"),
        (Kafka { ca_file: "/dev/null".to_owned(), ..section(&[]) }, "kafka.ca_file"),
        (
            Kafka { certificate_file: "/no/such.crt".to_owned(), key_file: "/no/such.key".to_owned(), ..section(&[]) },
            "kafka.certificate_file",
        ),
        (section(&[("ssl.keystore.location", "/no/such.p12")]), "kafka"),
    ];
    for (kafka, key) in table {
        let fault = by_tls(kafka).validate().unwrap_err();
        assert_eq!(fault.key, key, "{}", fault.message);
    }
}

#[test]
fn options_that_may_be_secrets() {
    let shown =
        ["debug", "socket.timeout.ms", "sasl.mechanisms", "ssl.ca.location", "ssl.endpoint.identification.algorithm"];
    let hidden =
        ["sasl.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret", "sasl.pasword"];
    for (keys, secret) in [(shown, false), (hidden, true)] {
        for key in keys {
            assert_eq!(options::is_secret(key), secret, "{key}");
        }
    }
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
