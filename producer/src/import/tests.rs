use std::collections::BTreeMap;
use std::fs;

use base64::prelude::{BASE64_STANDARD, Engine};
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
    let mut documents = Documents::default();
    documents.add(text, gatus::is_configuration)?;
    super::of_gatus(&documents, &Variables::default())
}

fn of_blackbox(prometheus: &str, blackbox: &str) -> Result<Harvest, String> {
    of_blackbox_in(&examples(), prometheus, blackbox)
}

fn of_blackbox_in(folder: &Path, prometheus: &str, blackbox: &str) -> Result<Harvest, String> {
    let (mut jobs, mut modules) = (Documents::default(), Documents::default());
    jobs.add(prometheus, prometheus::is_configuration)?;
    modules.add(blackbox, blackbox::is_configuration)?;
    let (jobs, modules) = (jobs.required(prometheus::EXPECTED)?, modules.required(blackbox::EXPECTED)?);
    Ok(prometheus::import(&jobs, &modules, &Beside(folder)))
}

/// Holds an outcome against the files that have the expected one; `GOLDEN=write` writes them anew.
fn check_golden(name: &str, harvest: &Harvest) -> String {
    let file = harvest.file(name).unwrap().unwrap();
    let lines: String = harvest.lines().into_iter().map(|line| line + "\n").collect();
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
fn an_example_of_uptime_kuma() {
    let backup = Node::from_json(include_str!("examples/kuma.json")).unwrap();
    let file = check_golden("kuma.json", &kuma::import(&backup).unwrap());
    let expected = [
        r#"shop/front GET https://shop.example.net/ 120s 30s 200..304 (101) Some("Add to cart \\(1\\)") {} None true"#,
        r#"shop/api POST https://api.example.net/orders 60s 48s 200..299 (100) None {"authorization": "Basic bW9uaXRvcjpub3QgYSByZWFsIG9uZQ==", "content-type": "application/json", "x-from": "monitor"} Some("{\"dry\": true}") false"#,
        r#"switch GET https://192.0.2.7/ 60s 48s 200..299 (100) None {} None true"#,
    ];
    assert_eq!(loaded(&file), expected);
}

#[test]
fn what_is_no_configuration() {
    let gatus = "expected a configuration of Gatus: a mapping with a list of endpoints";
    let table = [
        ("", "nothing"),
        ("a", "a text"),
        ("[a]", "a list"),
        ("modules: {}", "a mapping with modules"),
        ("endpoints: {}", "a mapping with endpoints"),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {a: b}", "a Kubernetes ConfigMap"),
        ("kind: Probe\napiVersion: monitoring.coreos.com/v1\n---\na: 1\n", "a Kubernetes Probe, a mapping with a"),
    ];
    for (text, found) in table {
        assert_eq!(of_gatus(text).unwrap_err(), format!("{gatus}; found {found}"), "{text}");
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
    assert_eq!(harvest.lines(), ["left out: 1 endpoint (a): tcp:// is neither http:// nor https://"]);
    let error = whole(&harvest, Path::new("folder/gatus.yaml")).unwrap_err();
    assert_eq!(error, "folder/gatus.yaml: nothing in it can be a target (left out: 1)");
}

#[test]
fn what_jobs_say() {
    let (blackbox, relabel) =
        ("modules: {http_2xx: {prober: http}}", "{source_labels: [__address__], target_label: __param_target}");
    let table = [
        ("metrics_path: /snmp, params: {module: [if_mib]}", vec![]),
        ("metrics_path: /probe", vec!["left out: 1 target (job j): nothing in it says what the exporter is to probe"]),
        (
            "metrics_path: /probe, relabel_configs: [{action: hashmod}]",
            vec!["left out: 1 target (job j): relabel_configs: the action hashmod is not known here"],
        ),
        (
            "metrics_path: /a/probe, relabel_configs: [RELABEL], static_configs: [{targets: ['a b', 'u:p@', 'a:b?c']}]",
            vec![
                "left out: 1 target (j/http://a b): url: expected a URL such as https://example.net/: invalid international domain name",
                "left out: 1 target (j): url: expected a URL such as https://example.net/: empty host",
                "left out: 1 target (j): url: expected a URL such as https://example.net/: invalid port number",
            ],
        ),
        (
            "metrics_path: /probe, params: {hostname: [b]}, relabel_configs: [RELABEL], static_configs: [{targets: ['https://a']}]",
            vec![
                "may be down: 1 target (j/a): headers.Host: not carried over to TLS, where the URL's host is asked for",
            ],
        ),
        (
            "metrics_path: /probe, params: {target: ['http://a']}, file_sd_configs: [{files: [nowhere/*.yml]}]",
            vec!["left out: job j: nowhere/*.yml: not carried over: there is no such file"],
        ),
    ];
    for (job, expected) in table {
        let prometheus = format!("scrape_configs: [{{job_name: j, {}}}]", job.replace("RELABEL", relabel));
        let harvest = of_blackbox(&prometheus, blackbox).unwrap();
        assert_eq!(harvest.lines(), expected, "{job}");
    }
}

/// Who may say what is to be imported, and where: as it stands in folders and objects of others.
#[test]
fn configurations_are_found_where_they_are() {
    let endpoint = |name: &str| {
        format!("endpoints:\n- {{name: {name}, url: 'https://{name}.example/', conditions: ['[STATUS] == 200']}}\n")
    };
    let within =
        |text: &str, by: usize| text.lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect::<String>();
    let secret = BASE64_STANDARD.encode(endpoint("a"));
    let table = [
        ("documents", format!("{}---\n{}", endpoint("a"), endpoint("b")), vec!["a", "b"]),
        ("a ConfigMap", format!("kind: ConfigMap\ndata:\n  config.yaml: |\n{}", within(&endpoint("a"), 4)), vec!["a"]),
        ("a Secret", format!("kind: Secret\ndata:\n  config.yaml: {secret}\n"), vec!["a"]),
        ("a Secret in clear", format!("kind: Secret\nstringData:\n  x: |\n{}", within(&endpoint("a"), 4)), vec!["a"]),
        ("values of Helm", format!("replicas: 1\nconfig:\n{}", within(&endpoint("a"), 2)), vec!["a"]),
        ("values of a chart around it", format!("gatus:\n  config:\n{}", within(&endpoint("a"), 4)), vec!["a"]),
        (
            "a list of objects",
            format!(
                "kind: List\nitems:\n- kind: Service\n- kind: ConfigMap\n  data:\n    a: |\n{}",
                within(&endpoint("a"), 6)
            ),
            vec!["a"],
        ),
        (
            "a deployment and a ConfigMap",
            format!("kind: Deployment\n---\nkind: ConfigMap\ndata:\n  a: |\n{}", within(&endpoint("a"), 4)),
            vec!["a"],
        ),
        (
            "a folder's parts in one ConfigMap",
            format!("data:\n  a: |\n{}  b: |\n{}", within(&endpoint("a"), 4), within(&endpoint("b"), 4)),
            vec!["a", "b"],
        ),
    ];
    for (what, text, expected) in table {
        let harvest = of_gatus(&text).unwrap_or_else(|error| panic!("{what}: {error}\n{text}"));
        let file = harvest.file(what).unwrap().unwrap();
        let names: Vec<String> = try_load(&file).unwrap().iter().map(|target| target.name.clone()).collect();
        assert_eq!(names, expected, "{what}");
    }
    let jobs = "- job_name: j\n  metrics_path: /probe\n  params: {target: ['http://a/']}\n  static_configs: [{targets: [a]}]\n";
    for prometheus in [
        jobs.to_owned(),
        format!("prometheus:\n  prometheusSpec:\n    additionalScrapeConfigs:\n{}", within(jobs, 4)),
        format!("serverFiles:\n  prometheus.yml:\n    scrape_configs:\n{}", within(jobs, 4)),
    ] {
        let harvest = of_blackbox(&prometheus, "config:\n  modules:\n    http_2xx: {prober: http}\n").unwrap();
        assert_eq!(harvest.counts(), (1, 0), "{prometheus}");
    }
}

#[test]
fn a_folder_is_read_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let read = || Documents::read(folder.path(), gatus::is_configuration);
    assert!(read().unwrap_err().ends_with("there is no file in this folder whose name ends in .yaml or .yml"));
    write("alerting.yaml", "alerting: {slack: {webhook-url: x}}\nstorage: {type: sqlite}\n");
    write("b/two.yml", "endpoints: [{name: two, url: 'https://b.example/', conditions: []}]\n");
    write("a.yaml", "endpoints: [{name: one, url: 'https://a.example/', conditions: ['[STATUS] == 200']}]\n");
    write("..data/a.yaml", "endpoints: [{name: again, url: 'https://a.example/', conditions: []}]\n");
    write("notes.txt", "no: [\n");
    let harvest = super::of_gatus(&read().unwrap(), &Variables::default()).unwrap();
    let expected = [
        "harmless: 1 endpoint (two): has no conditions: any answer is good",
        "harmless: alerting: not carried over: alerts are made from the rows in Postgres",
        "harmless: storage: not carried over: results go to Kafka and Postgres",
    ];
    assert_eq!((harvest.counts(), harvest.lines()), ((2, 0), expected.map(str::to_owned).to_vec()));
    write("c.yaml", "endpoints: [\n");
    assert!(read().unwrap_err().contains("/c.yaml: line 2: "), "it is named");
}

/// What nobody has asked for must not be expected, and what an error page would fail must not be good.
#[test]
fn what_is_expected_without_a_condition_about_the_status() {
    let table = [
        ("[CERTIFICATE_EXPIRATION] > 240h", 900, false),
        ("[RESPONSE_TIME] < 800", 900, false),
        ("[IP] == 192.0.2.1", 900, false),
        ("[CONNECTED] == true", 900, false),
        ("[BODY].state == fine", 100, true),
        ("[HEADER].Server == x", 100, true),
        ("[STATUS] == ${CODE}", 100, true),
        ("[STATUS] = 200", 100, true),
        ("[STATUS] == 200 || [BODY].state == fine", 100, true),
        ("[STATUS] == 200 || [STATUS] == 404", 2, false),
    ];
    for (condition, count, said) in table {
        let text = format!("endpoints: [{{name: a, url: 'https://a.example/', conditions: ['{condition}']}}]");
        let harvest = of_gatus(&text).unwrap();
        let targets = try_load(&harvest.file("a").unwrap().unwrap()).unwrap();
        let good = |code: &u16| targets[0].expected_status.iter().any(|range| range.contains(*code));
        assert_eq!((100..=999).filter(good).count(), count, "{condition}");
        assert_eq!(harvest.lines().iter().any(|line| line.starts_with("may be down: ")), said, "{condition}");
    }
}

#[test]
fn variables_are_filled_in_where_they_are_given() {
    let text = "endpoints:\n- {name: a, url: 'https://a.${ZONE}/', conditions: ['[STATUS] == 200']}\n\
                - {name: b, url: 'https://b.${ZONE}/', conditions: ['[STATUS] == 200']}\n\
                - {name: c, url: 'https://c.example/', headers: {X-Key: $KEY}, conditions: ['[STATUS] == 200']}\n";
    let lines = of_gatus(text).unwrap().lines();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let way_out = "its url has ${ZONE}, which is not filled in here: --env ZONE=VALUE or --env-file FILE fills it in";
    assert_eq!(lines[0], format!("left out: 2 endpoints (a, b): {way_out}"));
    assert!(lines[1].starts_with("may be down: 1 endpoint (c): headers.X-Key: not carried over: $KEY"), "{}", lines[1]);

    let mut documents = Documents::default();
    documents.add(text, gatus::is_configuration).unwrap();
    let zone = Variables::from_pairs(&[("ZONE", "example.org")]);
    let harvest = super::of_gatus(&documents, &zone).unwrap();
    assert_eq!((harvest.counts(), harvest.lines().len()), ((3, 0), 1));
    assert!(harvest.file("a").unwrap().unwrap().contains("url = \"https://b.example.org/\""));
}

/// Where no certificate is verified there is nothing to say of it.
#[test]
fn certificates_that_nobody_verified() {
    let table = [
        ("https://a.example/", "", Some("will be down: 1 endpoint (a): client.insecure: ")),
        ("http://a.example/", "", Some("may be down: 1 endpoint (a): client.insecure: ")),
        ("http://a.example/", ", ignore-redirect: true", None),
    ];
    for (url, client, expected) in table {
        let text = format!(
            "endpoints: [{{name: a, url: '{url}', client: {{insecure: true{client}}}, conditions: ['[STATUS] == 200']}}]"
        );
        let lines = of_gatus(&text).unwrap().lines();
        assert_eq!(lines.len(), usize::from(expected.is_some()), "{url}{client}: {lines:?}");
        assert!(expected.is_none_or(|expected| lines[0].starts_with(expected)), "{lines:?}");
    }
}

#[test]
fn paths_of_a_container_are_looked_for_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["sd/web/one.yml", "sd/web/two.yml", "lone.yml", "prometheus.yml"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("- targets: ['https://{}.example']\n", name.replace(['/', '.'], "-"))).unwrap();
    }
    let table = [
        ("/no/such/prometheus/sd/web/*.yml", vec!["j/sd-web-one-yml.example", "j/sd-web-two-yml.example"]),
        ("/no/such/lone.yml", vec!["j/lone-yml.example"]),
        ("sd/web/t*.yml", vec!["j/sd-web-two-yml.example"]),
        ("/no/such/*.yml", vec![]),
        ("/no/such/other/*.json", vec![]),
    ];
    for (pattern, expected) in table {
        let relabel = "{source_labels: [__address__], target_label: __param_target}";
        let prometheus = format!(
            "scrape_configs: [{{job_name: j, metrics_path: /probe, relabel_configs: [{relabel}], file_sd_configs: [{{files: ['{pattern}']}}]}}]"
        );
        let harvest = of_blackbox_in(folder.path(), &prometheus, "modules: {http_2xx: {prober: http}}").unwrap();
        let lines = harvest.lines();
        if expected.is_empty() {
            let end = pattern.strip_prefix("/no/such/").unwrap();
            let end = if end.contains('/') { end.to_owned() } else { format!("such/{end}") };
            assert!(
                lines.len() == 1 && lines[0].contains(&format!("nor {end} beside the configuration: put it there")),
                "{lines:?}"
            );
            continue;
        }
        assert!(lines.is_empty(), "{pattern}: {lines:?}");
        let targets = try_load(&harvest.file("a").unwrap().unwrap()).unwrap();
        assert_eq!(targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), expected, "{pattern}");
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
