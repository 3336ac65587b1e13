//! Bad configuration is one clear line and exit code 2; secrets are never shown.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tests::binary;

fn run(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary(name));
    command.args(arguments).env_clear().envs(variables.iter().copied()).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each file in `invalid/` has one fault, and its last line says which message is expected, beginning after the path.
#[test]
fn every_invalid_file_is_refused_with_its_message() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("invalid");
    let mut count = 0;
    for kind in ["producer", "consumer", "targets"] {
        for entry in fs::read_dir(root.join(kind)).unwrap() {
            let path = entry.unwrap().path();
            let file = path.to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let expected = text.lines().last().and_then(|line| line.split_once("expect: ")).expect(file).1;
            let output = match kind {
                "targets" => {
                    let variables = [("SCHEDULE_TARGETS_FILE", file), ("KAFKA_BROKERS", "localhost:9092")];
                    run("producer", &["--check-config"], &variables)
                }
                binary => run(binary, &["--check-config", "--config", file], &[]),
            };
            assert_eq!(output.status.code(), Some(2), "{file}");
            assert_eq!(stderr(&output), format!("error: {file}{expected}\n"), "{file}");
            count += 1;
        }
    }
    assert!(count >= 20, "{count} files");
}

#[test]
fn the_first_mistakes_of_a_newcomer() {
    let site = ("SITE_URL", "http://localhost/");
    let brokers = ("KAFKA_BROKERS", "localhost:9092");
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let table: &[Case<'_>] = &[
        (
            "producer",
            &[site],
            "kafka.brokers: is missing; set it in the configuration file or in the environment variable KAFKA_BROKERS",
        ),
        (
            "consumer",
            &[],
            "kafka.brokers: is missing; set it in the configuration file or in the environment variable KAFKA_BROKERS",
        ),
        (
            "producer",
            &[brokers],
            "site.url: no targets: set site.url (SITE_URL) for a single one, or schedule.targets_file (SCHEDULE_TARGETS_FILE)",
        ),
        (
            "producer",
            &[brokers, site, ("SITE_REGEX", "a(")],
            "environment variable SITE_REGEX: site.regex: bad regex \"a(\": unclosed group",
        ),
        (
            "producer",
            &[brokers, site, ("CONFIG_FILE", "/no/such.toml")],
            "cannot read /no/such.toml: No such file or directory (os error 2)",
        ),
        (
            "consumer",
            &[brokers, ("POSTGRES_PORT", "tcp://10.0.0.1:5432"), ("POSTGRES_HOST", "postgres")],
            "environment variable POSTGRES_PORT: postgres.port: expected a whole number, found \"tcp://10.0.0.1:5432\" (Kubernetes injects such values for a service named `postgres`; set `enableServiceLinks: false` in the pod, or rename the service)",
        ),
    ];
    for (name, variables, expected) in table {
        let output = run(name, &[], variables);
        assert_eq!(output.status.code(), Some(2), "{variables:?}");
        assert_eq!(stderr(&output), format!("error: {expected}\n"));
    }
}

#[test]
fn shipped_files_are_good_once_the_mandatory_keys_are_set() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let file = |name: &str| config.join(name).display().to_string();
    let brokers = ("KAFKA_BROKERS", "localhost:9092");
    let targets = file("targets.toml");
    let producer = run(
        "producer",
        &["--check-config", "--config", &file("producer.toml")],
        &[brokers, ("SCHEDULE_TARGETS_FILE", &targets)],
    );
    assert!(producer.status.success(), "{}", stderr(&producer));
    let postgres = ("POSTGRES_URL", "postgres://localhost/checks");
    let consumer = run("consumer", &["--check-config", "--config", &file("consumer.toml")], &[brokers, postgres]);
    assert!(consumer.status.success(), "{}", stderr(&consumer));
}

#[test]
fn printed_configuration_tells_origins_and_keeps_secrets() {
    let variables = [
        ("KAFKA_BROKERS", "localhost:9092"),
        ("KAFKA_PASSWORD", "s3cret"),
        ("KAFKA_OPTIONS", "ssl.key.password=s3cret"),
        ("POSTGRES_URL", "postgres://me:s3cret@localhost/checks"),
        ("SITE_URL", "http://localhost/"),
    ];
    for name in ["producer", "consumer"] {
        let output = run(name, &["--print-config"], &variables);
        assert!(output.status.success(), "{}", stderr(&output));
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("brokers = \"localhost:9092\"  # environment variable KAFKA_BROKERS"), "{printed}");
        assert!(printed.contains("password = \"<redacted>\""), "{printed}");
        assert!(printed.contains("topic = \"checks\"  # default"), "{printed}");
        assert!(!printed.contains("s3cret"), "{printed}");
    }
}
