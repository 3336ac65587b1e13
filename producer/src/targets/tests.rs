use super::*;

/// The targets of a file with this text.
pub(crate) fn try_load(text: &str) -> Result<Vec<Arc<Target>>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    std::fs::write(&path, text).unwrap();
    let environment = Environment::from_pairs([("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())]);
    let settings = load::<Settings>(None, &environment).unwrap();
    load_targets(&settings).map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
}

fn try_site(variables: &[(&str, &str)]) -> Result<Vec<Arc<Target>>, String> {
    let settings = load::<Settings>(None, &Environment::from_pairs(variables.iter().copied()));
    settings.and_then(|settings| load_targets(&settings)).map_err(|error| error.to_string())
}

#[test]
fn everything_that_a_target_can_say() {
    let text = r#"
        [defaults]
        interval = "30s"
        [[targets]]
        name = "short"
        url = "https://example.net"
        [[targets]]
        name = "long"
        url = "http://user:p%40ss@example.net:8080/a?b=c#d"
        method = "POST"
        headers = { "X-A" = "1" }
        body = "{}"
        interval = "5s"
        timeout = "1500ms"
        regex = "You\\s+may"
        expected_status = [201, "3xx", "401-403"]
        follow_redirects = false
    "#;
    let targets = try_load(text).unwrap();
    let [short, long] = &targets[..] else { panic!("{targets:?}") };
    assert_eq!((short.interval.as_secs(), short.timeout.as_secs()), (30, 10));
    assert_eq!((short.method.as_str(), short.follow_redirects), ("GET", true));
    assert_eq!(long.url.as_str(), "http://example.net:8080/a?b=c");
    assert_eq!(long.unasked().path.as_deref(), Some("/a?b=c"));
    assert_eq!(long.headers["authorization"], "Basic dXNlcjpwQHNz");
    assert_eq!(long.headers["x-a"], "1");
    assert_eq!((long.interval.as_millis(), long.timeout.as_millis()), (5000, 1500));
    assert!(long.expected_status.iter().any(|range| range.contains(402)));
    let said: Vec<String> = long.expected_status.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["201", "3xx", "401-403"]);
    assert!(!long.follow_redirects);
}

#[test]
fn the_single_site_needs_no_file() {
    let [site] =
        &try_site(&[("SITE_URL", "https://example.net/x"), ("SITE_REGEX", "ok"), ("SITE_INTERVAL", "5s")]).unwrap()[..]
    else {
        panic!("one target")
    };
    assert_eq!(site.name, "example.net");
    assert_eq!(site.interval.as_secs(), 5);
    assert_eq!(site.regex.as_ref().unwrap().as_str(), "ok");
}

#[test]
fn sites_that_cannot_be() {
    let table: &[(&[(&str, &str)], &str)] = &[
        (
            &[],
            "site.url: no targets: set site.url (SITE_URL) for a single one, or schedule.targets_file (SCHEDULE_TARGETS_FILE)",
        ),
        (
            &[("SITE_URL", "x")],
            "environment variable SITE_URL: site.url: expected a URL such as https://example.net/: relative URL without a base",
        ),
        (
            &[("SITE_URL", "ftp://x")],
            "environment variable SITE_URL: site.url: expected a URL such as https://example.net/: the scheme must be http or https",
        ),
        (
            &[("SITE_URL", "http://x"), ("SITE_REGEX", "(")],
            "environment variable SITE_REGEX: site.regex: bad regex \"(\": unclosed group",
        ),
        (
            &[("SITE_URL", "http://x"), ("SCHEDULE_TARGETS_FILE", "t.toml")],
            "environment variable SCHEDULE_TARGETS_FILE: schedule.targets_file: site.url and schedule.targets_file are both set; only one of them can be",
        ),
        (
            &[("SCHEDULE_TARGETS_FILE", "/no/such.toml")],
            "cannot read /no/such.toml: No such file or directory (os error 2)",
        ),
        (
            &[("SITE_URL", &format!("http://x/{}", "y".repeat(70_000)))],
            "environment variable SITE_URL: site.url: expected a URL such as https://example.net/: it is too long or too odd to be asked for",
        ),
    ];
    for (variables, expected) in table {
        assert_eq!(try_site(variables).unwrap_err(), *expected);
    }
}

/// A URL may hold a password; no message repeats it.
#[test]
fn messages_do_not_repeat_urls() {
    let error = try_site(&[("SITE_URL", "ftp://user:s3cret@x")]).unwrap_err();
    assert!(!error.contains("s3cret"), "{error}");
}
