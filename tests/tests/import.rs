//! `producer import`: what other monitors have in their files becomes a targets file.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tests::binary;
use tokio::process::Command;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../producer/src/import/examples");

async fn producer(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary("producer"));
    command.args(arguments).envs(variables.iter().copied()).env_remove("KAFKA_BROKERS");
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Imports into a file, and lists the targets that the producer finds in it.
async fn targets_of(arguments: &[&str], file: &Path) -> Vec<String> {
    let file = file.to_str().unwrap();
    let imported = producer(&[&["import"], arguments, &["--output", file]].concat(), &[]).await;
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    assert_eq!(text(&imported.stdout), "");
    assert!(text(&imported.stderr).contains("left out: "), "{}", text(&imported.stderr));

    let listed = producer(&["targets", "--json"], &[("SCHEDULE_TARGETS_FILE", file)]).await;
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
    let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].as_str().unwrap().to_owned();
    text(&listed.stdout).lines().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_producer_takes_what_was_imported() {
    let folder = tempfile::tempdir().unwrap();
    let gatus = format!("{EXAMPLES}/gatus.yaml");
    let (blackbox, prometheus) = (format!("{EXAMPLES}/blackbox.yml"), format!("{EXAMPLES}/prometheus.yml"));

    let targets = targets_of(&["gatus", &gatus], &folder.path().join("gatus.toml")).await;
    assert_eq!(targets.len(), 6, "{targets:?}");
    assert!(targets.contains(&"core/website".to_owned()), "{targets:?}");

    let kuma = format!("{EXAMPLES}/kuma.json");
    assert_eq!(targets_of(&["kuma", &kuma], &folder.path().join("kuma.toml")).await.len(), 3);

    let given = ["gatus", &gatus, "--env", "TENANT=www"];
    assert_eq!(targets_of(&given, &folder.path().join("given.toml")).await.len(), 7);

    let arguments = ["blackbox", &blackbox, "--prometheus", &prometheus];
    let targets = targets_of(&arguments, &folder.path().join("blackbox.toml")).await;
    assert_eq!(targets.len(), 7, "{targets:?}");
    assert!(targets.contains(&"by-label/api.example.net/orders".to_owned()), "{targets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_goes_to_standard_output_unless_told_otherwise() {
    let gatus = format!("{EXAMPLES}/gatus.yaml");
    let imported = producer(&["import", "gatus", &gatus], &[]).await;
    assert_eq!(imported.status.code(), Some(0), "{}", text(&imported.stderr));
    assert_eq!(text(&imported.stdout), std::fs::read_to_string(format!("{EXAMPLES}/gatus.toml")).unwrap());
    assert_eq!(text(&imported.stderr), std::fs::read_to_string(format!("{EXAMPLES}/gatus.stderr")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_imported_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (gatus, blackbox) = (format!("{EXAMPLES}/gatus.yaml"), format!("{EXAMPLES}/blackbox.yml"));
    let mine = write("mine.toml", "mine");
    let broken = write("broken.yaml", "endpoints: [\n");
    let empty = write("empty.yaml", "endpoints: []\n");
    let folder_of_nothing = write("nothing", "");
    std::fs::remove_file(&folder_of_nothing).unwrap();
    std::fs::create_dir(&folder_of_nothing).unwrap();
    let nowhere = folder.path().join("nowhere.yaml").display().to_string();
    let table: &[(&[&str], &str)] = &[
        (&["gatus", &nowhere], "cannot read "),
        (&["gatus", &broken], "/broken.yaml: line 2: "),
        (&["gatus", &blackbox], "/blackbox.yml: expected a configuration of Gatus: "),
        (&["gatus", &empty], "/empty.yaml: nothing in it can be a target"),
        (&["gatus", &folder_of_nothing], ": there is no file in this folder whose name ends in .yaml or .yml"),
        (&["gatus", &gatus, "--env-file", &broken], "/broken.yaml:1: expected NAME=VALUE"),
        (&["kuma", &gatus], "/gatus.yaml: expected value at line 1"),
        (&["gatus", &gatus, "--output", &mine], "/mine.toml: is there already, and is not overwritten"),
        (&["blackbox", &blackbox, "--prometheus", &gatus], "/gatus.yaml: expected a configuration of Prometheus: "),
    ];
    for (arguments, expected) in table {
        let refused = producer(&[&["import"], *arguments].concat(), &[]).await;
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&refused.stdout), "", "{arguments:?}");
        let stderr = text(&refused.stderr);
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(expected), "{arguments:?}: {stderr}");
    }
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
}
