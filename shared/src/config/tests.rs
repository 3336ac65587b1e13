use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Example {
    kafka: Section,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Section {
    brokers: String,
    password: Secret,
    port: u16,
    #[serde(with = "duration")]
    linger: Duration,
    create: bool,
    servers: Vec<String>,
    items: Vec<Item>,
    options: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    name: String,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            password: Secret::default(),
            port: 9092,
            linger: Duration::from_millis(100),
            create: true,
            servers: Vec::new(),
            items: Vec::new(),
            options: BTreeMap::new(),
        }
    }
}

impl Settings for Example {
    fn validate(&self) -> Result<(), Fault> {
        if self.kafka.brokers.is_empty() {
            return Err(Fault::missing("kafka.brokers"));
        }
        match self.kafka.items.iter().position(|item| item.name.is_empty()) {
            Some(index) => Err(Fault::new(format!("kafka.items[{index}].name"), "must not be empty")),
            None => Ok(()),
        }
    }
}

/// Writes `text` to a file `name` in a folder of its own and loads it; places in messages lose the folder.
fn try_load(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Loaded<Example>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    load(Some(&path), &Environment::from_pairs(variables.iter().copied()))
        .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

#[test]
fn formats_agree() {
    let toml = "[kafka]\nbrokers = \"a:1\"\nlinger = \"1m30s\"\nitems = [{ name = \"x\" }]\n";
    let yaml = "kafka:\n  brokers: a:1\n  linger: 1m30s\n  items:\n    - name: x\n";
    let json = "{\n\t\"kafka\": {\"brokers\": \"a:1\", \"linger\": \"1m30s\", \"items\": [{\"name\": \"x\"}]}}";
    let expected = try_load("a.toml", toml, &[]).unwrap().settings;
    assert_eq!(expected.kafka.linger, Duration::from_secs(90));
    for (name, text) in [("a.yaml", yaml), ("a.yml", yaml), ("a.json", json)] {
        assert_eq!(try_load(name, text, &[]).unwrap().settings, expected, "{name}");
    }
}

#[test]
fn environment_wins_over_file_and_converts_to_the_type_of_the_key() {
    let variables = [
        ("KAFKA_BROKERS", "env:1"),
        ("KAFKA_PORT", "1"),
        ("KAFKA_CREATE", "false"),
        ("KAFKA_SERVERS", "a, b"),
        ("KAFKA_OPTIONS", "x.y=1,z=2"),
        ("KAFKA_SERVICE_HOST", "10.0.0.1"),
    ];
    let section = try_load("a.toml", "[kafka]\nbrokers = \"file:1\"\nport = 2\n", &variables).unwrap().settings.kafka;
    assert_eq!(section.brokers, "env:1");
    assert_eq!(section.port, 1);
    assert!(!section.create);
    assert_eq!(section.servers, ["a", "b"]);
    assert_eq!(section.options["x.y"], "1");
}

#[test]
fn a_variable_may_name_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, "s3cret\n").unwrap();
    let path = path.to_str().unwrap();
    let loaded = try_load("a.toml", "[kafka]\nbrokers = \"b\"\n", &[("KAFKA_PASSWORD_FILE", path)]).unwrap();
    assert_eq!(loaded.settings.kafka.password.expose(), "s3cret");

    let both = try_load("a.toml", "", &[("KAFKA_PASSWORD_FILE", path), ("KAFKA_PASSWORD", "x")]).unwrap_err();
    assert_eq!(both, "environment variables KAFKA_PASSWORD and KAFKA_PASSWORD_FILE: only one of the two can be set");
    let absent = try_load("a.toml", "", &[("KAFKA_PASSWORD_FILE", "/no/such/file")]).unwrap_err();
    assert!(absent.starts_with("environment variable KAFKA_PASSWORD_FILE: cannot read /no/such/file: "), "{absent}");
}

#[test]
fn a_key_with_a_line_break_is_said_in_one_line() {
    let refused = try_load("a.yaml", "\"kafka\\n[\": 1\n", &[]).unwrap_err();
    assert_eq!(refused, "a.yaml:1: kafka\\n[: unknown key; known here are kafka");
}

/// File name, text, variables, message.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn faults_are_one_line_with_place_key_and_expectation() {
    let table: &[Case] = &[
        ("a.toml", "[kafka]\nbroker = \"b\"\n", &[], "a.toml:2: kafka.broker: unknown key; did you mean `brokers`?"),
        ("a.toml", "\n[kafak]\nbrokers = \"b\"\n", &[], "a.toml:2: kafak: unknown key; did you mean `kafka`?"),
        (
            "a.toml",
            "[kafka]\nbrokers = \"b\"\nport = \"many\"\n",
            &[],
            "a.toml:3: kafka.port: expected a whole number, found a string",
        ),
        (
            "a.toml",
            "[kafka]\nbrokers = \"b\"\nport = 70000\n",
            &[],
            "a.toml:3: kafka.port: invalid value: integer `70000`, expected u16",
        ),
        (
            "a.toml",
            "[kafka]\nbrokers = \"b\"\nlinger = 5\n",
            &[],
            "a.toml:3: kafka.linger: expected a string such as \"100ms\", found a whole number",
        ),
        (
            "a.toml",
            "[kafka]\nbrokers = 'b'\nitems = [\n{ name = 'x' },\n{ nam = 'y' }]\n",
            &[],
            "a.toml:5: kafka.items[1].nam: unknown field `nam`, expected `name`",
        ),
        (
            "a.toml",
            "[kafka]\nbrokers = 'b'\nitems = [\n{ name = 'x' },\n{ name = '' }]\n",
            &[],
            "a.toml:5: kafka.items[1].name: must not be empty",
        ),
        (
            "a.yaml",
            "kafka:\n  brokers: b\n  items:\n    - name: x\n    - name: ''\n",
            &[],
            "a.yaml:5: kafka.items[1].name: must not be empty",
        ),
        (
            "a.json",
            "{\"kafka\": {\n\"brokers\": 1}}",
            &[],
            "a.json:2: kafka.brokers: expected a string, found a whole number",
        ),
        (
            "a.toml",
            "[kafka]\nport = 1\n",
            &[],
            "a.toml:1: kafka.brokers: is missing; set it in the configuration file or in the environment variable KAFKA_BROKERS",
        ),
        ("a.toml", "[kafka\n", &[], "a.toml:1: unclosed table, expected `]`"),
        ("a.yaml", "kafka: [\n", &[], "a.yaml:2: while parsing a node, did not find expected node content"),
        ("a.json", "{\n", &[], "a.json:2: EOF while parsing an object at line 2 column 0"),
        ("a.txt", "", &[], "a.txt: the name of a configuration file ends in .toml, .yaml, .yml or .json"),
        (
            "a.toml",
            "",
            &[("KAFKA_CREATE", "maybe")],
            "environment variable KAFKA_CREATE: kafka.create: expected true or false, found \"maybe\"",
        ),
        (
            "a.toml",
            "[kafka]\nbrokers = \"b\"\n",
            &[("KAFKA_LINGER", "soon")],
            "environment variable KAFKA_LINGER: kafka.linger: expected a duration such as \"500ms\", \"10s\" or \"1h30m\", found \"soon\"",
        ),
        (
            "a.toml",
            "[kafka]\nbrokers = \"b\"\n",
            &[("KAFKA_PORT", "tcp://10.0.0.1:9092")],
            "environment variable KAFKA_PORT: kafka.port: expected a whole number, found \"tcp://10.0.0.1:9092\" (Kubernetes injects such values for a service named `kafka`; set `enableServiceLinks: false` in the pod, or rename the service)",
        ),
    ];
    for (name, text, variables, expected) in table {
        let message = try_load(name, text, variables).expect_err(expected);
        assert!(!message.contains('\n'), "{message}");
        // An expectation that ends in a blank is the begin of the message; the rest is a parser's own wording.
        let good = if expected.ends_with(' ') { message.starts_with(expected) } else { message == *expected };
        assert!(good, "\n got: {message}\nwant: {expected}");
    }
}

/// Found by random files and variables: an error without its place, and one of two lines.
#[test]
fn files_without_sections_and_names_with_line_ends() {
    let table: &[Case] = &[
        ("a.json", "null", &[], "a.json: invalid type: unit value, expected a map"),
        ("a.yaml", "kafka\n", &[], "a.yaml: invalid type: string \"kafka\", expected a map"),
        (
            "a.toml",
            "",
            &[("KAFKA_BROKERS_FILE", "/no\n/such")],
            "environment variable KAFKA_BROKERS_FILE: cannot read /no /such: No such file or directory (os error 2)",
        ),
    ];
    for (name, text, variables, expected) in table {
        assert_eq!(try_load(name, text, variables).expect_err(expected), *expected);
    }
}

#[test]
fn nothing_set_anywhere_names_the_variable() {
    let error = load::<Example>(None, &Environment::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "kafka.brokers: is missing; set it in the configuration file or in the environment variable KAFKA_BROKERS"
    );
}

#[test]
fn printed_settings_are_toml_with_origins_and_without_secrets() {
    let variables = [("KAFKA_PASSWORD", "s3cret"), ("KAFKA_OPTIONS", "x.y=1")];
    let printed = try_load("a.toml", "[kafka]\nbrokers = \"b\"\n", &variables).unwrap().print().unwrap();
    assert!(!printed.contains("s3cret"));
    assert!(printed.contains("password = \"<redacted>\"  # environment variable KAFKA_PASSWORD\n"), "{printed}");
    assert!(printed.contains("a.toml:2\n"), "{printed}");
    assert!(printed.contains("port = 9092  # default\n"), "{printed}");
    assert!(printed.contains("[kafka.options]\n\"x.y\" = \"1\"  # environment variable KAFKA_OPTIONS\n"), "{printed}");
    assert!(toml::from_str::<toml::Value>(&printed).is_ok(), "{printed}");
}

/// Each would end the process: parsers call themselves for every level, and aliases, lists and places in lists take memory.
#[test]
fn what_would_take_all_stack_or_memory_is_refused_in_one_line() {
    let levels = |from: usize| {
        (from..10)
            .map(|n| format!("x{n}: &b{n} [{}]\n", vec![format!("*b{}", n - 1); 10].join(",")))
            .collect::<String>()
    };
    let bomb = "x0: &b0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned() + &levels(1);
    let hashes = "a: &a {x: 1}\n".to_owned()
        + &(0..40)
            .map(|n| {
                format!(
                    "a{n}: &a{n} {{x: *{0}, y: *{0}}}\n",
                    if n == 0 { "a".to_owned() } else { format!("a{}", n - 1) }
                )
            })
            .collect::<String>();
    let long = format!("a: &a '{}'\nb: [{}]\n", "x".repeat(1_000_000), vec!["*a"; 1_000].join(","));
    let nested = "kafka: {brokers: b}\n".to_owned() + &bomb;
    let deep = "lists and tables are more than 64 levels deep in each other";
    let much = "its aliases stand for more than a file may have";
    let inline = "{a.b.c.d.e.f.g.h.i.j = ".repeat(70);
    let table: [(&str, String, usize, &str); 13] = [
        ("a.yaml", bomb, 5, much),
        ("a.yml", hashes, 15, much),
        ("a.yaml", long, 2, much),
        ("a.yaml", nested, 6, much),
        ("a.yaml", "- ".repeat(100_000), 1, deep),
        ("a.yaml", "? ".repeat(100_000), 1, deep),
        ("a.yaml", (0..200).map(|n| " ".repeat(n) + "a:\n").collect(), 65, deep),
        ("a.json", "[".repeat(100_000), 1, deep),
        ("a.json", "{\"a\":\n".repeat(100_000), 65, deep),
        ("a.toml", format!("x = {inline}"), 1, deep),
        ("a.toml", format!("\n[{}]\n", ["a"; 70].join(".")), 2, deep),
        ("a.toml", format!("\n{} = 1\n", ["'a'"; 100_000].join(".")), 2, deep),
        ("a.toml", format!("a = {}", "[".repeat(100_000)), 1, deep),
    ];
    for (name, text, line, message) in table {
        let refused = try_load(name, &text, &[]).unwrap_err();
        assert_eq!(refused, format!("{name}:{line}: {message}"), "{}", &text[..60.min(text.len())]);
    }
    for key in ["kafka[4000000000000]", "kafka[-4000000000000]", "kafka.servers[4000000000000]"] {
        for (name, text) in [
            ("a.yaml", format!("{key}: 1\n")),
            ("a.toml", format!("'{key}' = 1\n")),
            ("a.json", format!("{{\"{key}\": 1}}")),
        ] {
            let refused = try_load(name, &text, &[]).unwrap_err();
            assert_eq!(refused, format!("{name}:1: {key}: unknown key; known here are kafka"));
        }
    }
}

/// What people write is far from the bounds: anchors around a whole list, and defaults that each target repeats.
#[test]
fn aliases_are_for_use() {
    let item = "    - &one {name: x}\n".to_owned() + &"    - *one\n".repeat(20_000);
    let text = format!("kafka: &all\n  brokers: b\n  items: &items\n{item}");
    assert_eq!(try_load("a.yaml", &text, &[]).unwrap().settings.kafka.items.len(), 20_001);
}
