use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::targets::tests::try_load;

const GATUS: &str = include_str!("examples/gatus.yaml");
const BLACKBOX: &str = include_str!("examples/blackbox.yml");
const PROMETHEUS: &str = include_str!("examples/prometheus.yml");

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/examples")
}

fn of_gatus(text: &str) -> Result<Harvest, String> {
    gatus::import(&*Node::parse(text)?)
}

fn of_blackbox(prometheus: &str, blackbox: &str) -> Result<Harvest, String> {
    let harvest = prometheus::import(&*Node::parse(prometheus)?, &*Node::parse(blackbox)?, &Beside(&examples()));
    harvest.map_err(|error| match error {
        ImportError::Prometheus(message) | ImportError::Blackbox(message) => message,
    })
}

/// Holds an outcome against the files that have the expected one; `GOLDEN=write` writes them anew.
fn check_golden(name: &str, harvest: &Harvest) -> String {
    let file = harvest.file(name).unwrap().unwrap();
    let lines: String = harvest.lines().map(|line| line + "\n").collect();
    for (extension, found) in [("toml", &file), ("stderr", &lines)] {
        let path = examples().join(name).with_extension(extension);
        if std::env::var_os("GOLDEN").is_some() {
            fs::write(&path, found).unwrap();
        }
        assert_eq!(found, &fs::read_to_string(&path).unwrap(), "{}", path.display());
    }
    file
}

/// What a loaded target comes to, in one line.
fn loaded(text: &str) -> Vec<String> {
    let show = |target: &crate::targets::Target| {
        let headers: BTreeMap<_, _> =
            target.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let codes: Vec<u16> =
            (100..=999).filter(|code| target.expected_status.iter().any(|r| r.contains(*code))).collect();
        let codes = format!("{}..{} ({})", codes[0], codes[codes.len() - 1], codes.len());
        format!(
            "{} {} {} {:?} {:?} {codes} {:?} {headers:?} {:?} {}",
            target.name,
            target.method,
            target.url,
            target.interval,
            target.timeout,
            target.regex.as_ref().map(|regex| regex.as_str()),
            target.body,
            target.follow_redirects
        )
    };
    try_load(text).unwrap().iter().map(|target| show(target)).collect()
}

#[test]
fn an_example_of_gatus() {
    let file = check_golden("gatus.yaml", &of_gatus(GATUS).unwrap());
    let expected = [
        r#"core/website GET https://www.example.net/ 30s 5s 200..200 (1) Some("<title>Example \\(Ltd\\.\\)</title>") {} None true"#,
        r#"core/api GET https://api.example.net/health 30s 5s 100..299 (200) None {"accept": "application/json"} None true"#,
        r#"core/api (2) GET https://api.example.net/v2/health 300s 10s 100..999 (900) Some("\\A\\s*pong\\s*\\z") {} None true"#,
        r#"shop/orders POST https://shop.example.net/graphql 60s 10s 200..201 (2) None {"content-type": "application/json"} Some("{\"query\":\"{\\n  orders(first: 1) { id }\\n}\\n\"}") true"#,
        r#"shop/login POST https://shop.example.net/login?from=[ENDPOINT_NAME] 60s 2.5s 300..309 (10) None {"content-type": "application/json"} Some("{\"user\": \"shop-login\", \"price\": \"5 $\"}") false"#,
        r#"intranet "wiki" GET http://wiki.example.net:8080/%C3%A4 60s 10s 100..999 (899) None {} None true"#,
    ];
    assert_eq!(loaded(&file), expected);
}

#[test]
fn an_example_of_blackbox_exporter() {
    let file = check_golden("prometheus.yml", &of_blackbox(PROMETHEUS, BLACKBOX).unwrap());
    let expected = [
        r"blackbox/https://www.example.net GET https://www.example.net/ 15s 5s 200..299 (100) None {} None true",
        r"blackbox/www.example.net/status GET https://www.example.net/status?token=not-a-real-one 15s 5s 200..299 (100) None {} None true",
        r"blackbox/http://www.example.net GET http://www.example.net/ 15s 5s 200..299 (100) None {} None true",
        r"blackbox/example.org GET http://example.org/ 15s 5s 200..299 (100) None {} None true",
        r#"content/https://shop.example.net/health GET https://shop.example.net/health 60s 11.5s 200..302 (4) Some("\\{\"status\":\\s*\"(ok|degraded)\"}") {"accept-language": "en-US"} None false"#,
        r#"content/http://shop.example.net/health GET http://shop.example.net/health 60s 11.5s 200..302 (4) Some("\\{\"status\":\\s*\"(ok|degraded)\"}") {"accept-language": "en-US"} None false"#,
        r#"by-label/api.example.net/orders POST https://api.example.net/orders 15s 9.5s 200..299 (100) None {"authorization": "Basic bW9uaXRvcjpub3QgImEiIHJlYWwgb25l", "content-type": "application/json"} Some("{\"from\": \"monitor\"}") true"#,
    ];
    assert_eq!(loaded(&file), expected);
}

#[test]
fn what_is_no_configuration() {
    let gatus = "expected a configuration of Gatus: a mapping with a list of endpoints";
    for text in ["", "a", "[a]", "modules: {}", "endpoints: {}"] {
        assert_eq!(of_gatus(text).unwrap_err(), gatus, "{text}");
    }
    assert_eq!(
        of_gatus("endpoints: [").unwrap_err(),
        "line 2: while parsing a node, did not find expected node content"
    );
    for (prometheus, blackbox, tool) in [
        ("modules: {}", BLACKBOX, "Prometheus"),
        (PROMETHEUS, "endpoints: []", "blackbox_exporter"),
        (PROMETHEUS, "modules: []", "blackbox_exporter"),
    ] {
        let error = of_blackbox(prometheus, blackbox).unwrap_err();
        assert!(error.starts_with(&format!("expected a configuration of {tool}: ")), "{error}");
    }
}

#[test]
fn no_target_at_all() {
    let harvest = of_gatus("endpoints: [{name: a, url: 'tcp://a:1', conditions: []}]").unwrap();
    assert_eq!(harvest.lines().collect::<Vec<_>>(), ["a: left out: tcp:// is neither http:// nor https://"]);
    let error = whole(&harvest, Path::new("folder/gatus.yaml")).unwrap_err();
    assert_eq!(error, "folder/gatus.yaml: nothing in it can be a target (left out: 1)");
}

#[test]
fn what_jobs_say() {
    let (blackbox, relabel) =
        ("modules: {http_2xx: {prober: http}}", "{source_labels: [__address__], target_label: __param_target}");
    let table = [
        ("metrics_path: /snmp, params: {module: [if_mib]}", vec![]),
        ("metrics_path: /probe", vec!["job j: left out: nothing in it says what the exporter is to probe"]),
        (
            "metrics_path: /probe, relabel_configs: [{action: hashmod}]",
            vec!["job j: left out: relabel_configs: the action hashmod is not known here"],
        ),
        (
            "metrics_path: /a/probe, relabel_configs: [RELABEL], static_configs: [{targets: ['a b', 'u:p@', 'a:b?c']}]",
            vec![
                "j/http://a b: left out: url: expected a URL such as https://example.net/: invalid international domain name",
                "j: left out: url: expected a URL such as https://example.net/: empty host",
                "j: left out: url: expected a URL such as https://example.net/: invalid port number",
            ],
        ),
        (
            "metrics_path: /probe, params: {hostname: [b]}, relabel_configs: [RELABEL], static_configs: [{targets: ['https://a']}]",
            vec!["j/a: headers.Host: not carried over to TLS, where the URL's host is asked for"],
        ),
        (
            "metrics_path: /probe, params: {target: ['http://a']}, file_sd_configs: [{files: [nowhere/*.yml]}]",
            vec!["job j: nowhere/*.yml: not carried over: No such file or directory (os error 2)"],
        ),
    ];
    for (job, expected) in table {
        let prometheus = format!("scrape_configs: [{{job_name: j, {}}}]", job.replace("RELABEL", relabel));
        let harvest = of_blackbox(&prometheus, blackbox).unwrap();
        assert_eq!(harvest.lines().collect::<Vec<_>>(), expected, "{job}");
    }
}

/// Whether what comes of some text is refused, or loads with as many targets as it says.
fn well(harvest: Result<Harvest, String>) -> Result<(), TestCaseError> {
    let Ok(harvest) = harvest else { return Ok(()) };
    for line in harvest.lines() {
        prop_assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    if let Some(file) = harvest.file("some\nfile.yaml").map_err(TestCaseError::fail)? {
        let targets = try_load(&file).map_err(|error| TestCaseError::fail(format!("{error}\n{file}")))?;
        prop_assert_eq!(targets.len(), harvest.counts().0);
    }
    Ok(())
}

/// Texts that mean something to one of the tools, or to nobody.
fn scalar() -> impl Strategy<Value = String> {
    let known = [
        "https://example.net/",
        "http://u:p@h:1/?q#f",
        "https://",
        "http://[::1",
        "tcp://a:1",
        "icmp://a",
        "${A}",
        "$$",
        "a",
        "",
        "true",
        "false",
        "~",
        "0",
        "200",
        "99999999999999999999",
        "1m",
        "1ns",
        "9999d",
        "GET",
        "get",
        "CONNECT",
        "HEAD",
        "http",
        "tcp",
        "m",
        "[STATUS] == 200",
        "[STATUS] < any(1)",
        "[STATUS] == pat(**2?)",
        "[BODY] == pat(*\u{0}\n*)",
        "[BODY] == any(,|)",
        "[BODY] == pat([)",
        " == ",
        "(",
        "[[a-]",
        "a{9999}{9999}",
        "\\",
        "\\Q",
        "$1",
        "${x}",
        "__address__",
        "__param_target",
        "__param_module",
        "__scrape_interval__",
        "keep",
        "labelmap",
        "targets/*",
        "\u{7f}",
        "ä\u{2028}",
    ];
    prop_oneof![6 => select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn key() -> impl Strategy<Value = String> {
    let known = [
        "endpoints",
        "suites",
        "name",
        "group",
        "url",
        "method",
        "body",
        "graphql",
        "headers",
        "interval",
        "conditions",
        "client",
        "timeout",
        "insecure",
        "ignore-redirect",
        "enabled",
        "alerts",
        "modules",
        "m",
        "http_2xx",
        "prober",
        "http",
        "valid_status_codes",
        "fail_if_body_not_matches_regexp",
        "basic_auth",
        "username",
        "password",
        "tls_config",
        "scrape_configs",
        "job_name",
        "params",
        "module",
        "target",
        "metrics_path",
        "static_configs",
        "file_sd_configs",
        "files",
        "targets",
        "labels",
        "relabel_configs",
        "source_labels",
        "target_label",
        "regex",
        "replacement",
        "action",
        "scrape_interval",
        "scrape_timeout",
        "global",
        "<<",
    ];
    prop_oneof![9 => select(known.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// JSON, which is YAML.
fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = scalar().prop_map(serde_json::Value::String);
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::Array),
            prop::collection::btree_map(key(), inner, 0..6).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

/// Something with the shape of the real thing and any values.
fn entry(keys: &'static [&'static str]) -> impl Strategy<Value = serde_json::Value> {
    let value = prop_oneof![3 => scalar().prop_map(serde_json::Value::String), 1 => any_value()];
    prop::collection::btree_map(select(keys.to_vec()), value, 0..keys.len())
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

const ENDPOINT: &[&str] = &["name", "group", "method", "body", "graphql", "headers", "interval", "client", "enabled"];
const HTTP: &[&str] =
    &["method", "body", "headers", "valid_status_codes", "tls_config", "no_follow_redirects", "fail_if_ssl"];
const STEP: &[&str] = &["source_labels", "regex", "target_label", "replacement", "action", "separator"];
const URL: &str = "https://example.net/";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_text(text in any::<String>()) {
        well(of_gatus(&text))?;
        well(of_blackbox(&text, BLACKBOX))?;
        well(of_blackbox(PROMETHEUS, &text))?;
    }

    #[test]
    fn broken_files(at in any::<Index>(), cut in any::<Index>(), pieces in prop::collection::vec(scalar(), 0..3)) {
        let broken = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let place = at.index(bytes.len());
            bytes.splice(place..(place + cut.index(40)).min(bytes.len()), pieces.concat().into_bytes());
            String::from_utf8_lossy(&bytes).into_owned()
        };
        well(of_gatus(&broken(GATUS)))?;
        well(of_blackbox(&broken(PROMETHEUS), BLACKBOX))?;
        well(of_blackbox(PROMETHEUS, &broken(BLACKBOX)))?;
    }

    #[test]
    fn any_values(value in any_value()) {
        let text = value.to_string();
        well(of_gatus(&text))?;
        well(of_blackbox(&text, BLACKBOX))?;
        well(of_blackbox(PROMETHEUS, &text))?;
    }

    #[test]
    fn any_endpoint(mut endpoint in entry(ENDPOINT), conditions in prop::collection::vec(scalar(), 0..4), url in scalar(), own in any::<bool>()) {
        endpoint["url"] = if own { url } else { URL.to_owned() }.into();
        endpoint["conditions"] = conditions.into();
        well(of_gatus(&serde_json::json!({ "endpoints": [endpoint.clone(), endpoint] }).to_string()))?;
    }

    #[test]
    fn any_module_and_job(
        http in entry(HTTP),
        regexes in prop::collection::vec(scalar(), 0..3),
        timeout in scalar(),
        steps in prop::collection::vec(entry(STEP), 0..3),
        address in scalar(),
        times in (scalar(), scalar()),
    ) {
        let mut http = http;
        http["fail_if_body_not_matches_regexp"] = regexes.into();
        let blackbox = serde_json::json!({ "modules": { "m": { "prober": "http", "timeout": timeout, "http": http } } });
        let prometheus = serde_json::json!({ "global": { "scrape_interval": times.0 }, "scrape_configs": [{
            "job_name": "j",
            "metrics_path": "/probe",
            "scrape_timeout": times.1,
            "params": { "module": ["m"], "target": [URL] },
            "static_configs": [{ "targets": [address, URL] }],
            "relabel_configs": steps,
        }]});
        well(of_blackbox(&prometheus.to_string(), &blackbox.to_string()))?;
    }
}
