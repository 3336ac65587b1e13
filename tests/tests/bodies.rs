//! What comes with an answer: bodies of every kind, at a cost that is bounded, and cookies that only one check knows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::sync::Arc;

use local::site::{Behaviour, Response, Site, Step};
use producer::once;
use producer::probe::Probe;
use producer::settings::Settings;
use producer::targets::load_targets;
use shared::config::{Environment, load};
use shared::message::CheckResult;
use tests::{awake, verdict};

/// A target of this URL, with further lines.
struct Ask(String, &'static str);

/// Checks all of them at the same time.
async fn check(settings: &Settings, asks: &[Ask]) -> Vec<CheckResult> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    let target = |(index, Ask(url, fields)): (usize, &Ask)| {
        let timeout = if fields.contains("timeout") { "" } else { "timeout = '20s'" };
        format!("[[targets]]\nname = '{index}'\nurl = '{url}'\n{timeout}\n{fields}\n")
    };
    let text: String = asks.iter().enumerate().map(target).collect();
    std::fs::write(&path, text).unwrap();
    let variables = [("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())];
    let targets = load_targets(&load(None, &Environment::from_pairs(variables)).unwrap()).unwrap();
    let probe = Arc::new(Probe::new(settings).unwrap());
    awake(async || once::run(&targets, "test", asks.len(), probe.clone()).await).await
}

async fn check_one(response: impl Into<Behaviour>, fields: &'static str) -> CheckResult {
    let site = Site::start(response.into()).await.unwrap();
    check(&Settings::default(), &[Ask(site.url("127.0.0.1"), fields)]).await.remove(0)
}

fn detail(result: &CheckResult) -> &str {
    result.outcome.failure.as_ref().map_or("", |failure| &failure.detail)
}

/// A page may be made so that a search for the pattern takes minutes. That is nobody's trouble but its own target's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_made_for_the_pattern_delays_nobody() {
    let hostile = Site::start(Response::ok("status page ".repeat(80_000)).into()).await.unwrap();
    let healthy = Site::start(Response::ok("all ok here ".repeat(2000)).into()).await.unwrap();
    let slow = r"timeout = '4s'
regex = '(?s-u)status.{0,1000}ok|page.{0,1000}fine|(?:tat|age).{0,1000}good'";
    let mut asks: Vec<Ask> = (0..6).map(|_| Ask(hostile.url("127.0.0.1"), slow)).collect();
    // Neighbours with no pattern, with one that is searched for at once, and with one for which there are threads.
    for fields in ["", "regex = 'ok here'", r"regex = '(?i)no[a-z]{1,30}|here\s+(all|some)\s+ok\b'"] {
        asks.extend((0..6).map(|_| Ask(healthy.url("127.0.0.1"), fields)));
    }
    let results = check(&Settings::default(), &asks).await;
    for result in &results[..6] {
        assert_eq!(verdict(result), "unmeasured resources", "{result:#?}");
        assert!(detail(result).contains("regex \"(?s-u)status"), "{result:#?}");
        assert_eq!((result.http.status_code, result.http.regex_found), (Some(200), None));
    }
    for result in &results[6..] {
        assert_eq!(verdict(result), "up", "{result:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_checks_hold_together_is_bounded_and_given_back() {
    let mut settings = Settings::default();
    settings.probe.max_memory_bytes = 4 << 20;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let held = Behaviour::Script(vec![Step::send(head), Step::Send(vec![b'x'; 900_000]), Step::Hold]);
    let site = Site::start(held).await.unwrap();
    let asks: Vec<Ask> = (0..12).map(|_| Ask(site.url("127.0.0.1"), "timeout = '6s'\nregex = 'y'")).collect();
    let results = check(&settings, &asks).await;
    let verdicts: Vec<String> = results.iter().map(verdict).collect();
    let (full, rest): (Vec<_>, Vec<_>) =
        verdicts.iter().partition(|verdict| *verdict == "unmeasured resources transfer");
    assert!(!full.is_empty() && rest.iter().all(|verdict| *verdict == "down timeout transfer"), "{verdicts:?}");
    let said = results.iter().find(|result| verdict(result).starts_with("unmeasured")).unwrap();
    assert!(detail(said).contains("probe.max_memory_bytes (4194304)"), "{said:#?}");

    // One after the other they have room, for nothing is kept.
    let probe = Arc::new(Probe::new(&settings).unwrap());
    let page = Site::start(Response::ok("x".repeat(900_000) + "y").into()).await.unwrap();
    let variables = [("SITE_URL", page.url("127.0.0.1")), ("SITE_REGEX", "y".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let targets = load_targets(&load(None, &Environment::from_pairs(variables)).unwrap()).unwrap();
    for round in 0..10 {
        let results = awake(async || once::run(&targets, "test", 1, probe.clone()).await).await;
        assert_eq!(verdict(&results[0]), "up", "{round}: {results:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codings_and_charsets() {
    let page = || Response::ok("<h1>Welcome</h1>");
    let welcome = "regex = 'Welcome'";
    let latin = |kind: &str| Response::ok(b"Verf\xfcgbar".to_vec()).header("Content-Type", kind);
    // `<h1>Welcome</h1>` in brotli.
    let br = b"\x1b\x0f\x00\xf8\xa5\x63\x78\x7c\xd0\xd4\x20\xa5\x94\x30\x1a\x75\x8a\x0f\x0e".to_vec();
    let table: Vec<(&str, Response, &str, &str)> = vec![
        ("gzip", page().gzip(), welcome, "up"),
        ("br", Response::ok(br).header("Content-Encoding", "BR"), welcome, "up"),
        ("says gzip", page().header("Content-Encoding", "gzip"), "", "down content transfer"),
        ("says nothing", Response::ok("").header("Content-Encoding", "gzip"), "", "up"),
        ("unknown", page().header("Content-Encoding", "none"), welcome, "up"),
        ("unknown, unasked", page().header("Content-Encoding", "compress"), "", "up"),
        ("unknown, absent", page().header("Content-Encoding", "compress"), "regex = 'bye'", "down content"),
        ("latin", latin("text/html; charset=iso-8859-1"), "regex = '^Verfügbar$'", "up"),
        ("as bytes", latin("text/html"), r"regex = '^Verf(?-u:\xfc)gbar$'", "up"),
    ];
    for (name, response, fields, expected) in table {
        let fields: &'static str = String::from(fields).leak();
        let result = check_one(response, fields).await;
        assert_eq!(verdict(&result), expected, "{name}: {result:#?}");
        if name == "unknown, absent" {
            assert!(detail(&result).contains("coding \"compress\""), "{result:#?}");
        }
    }
    let gzip = check_one(page().gzip(), welcome).await;
    assert_eq!(gzip.http.body_bytes, Some(16), "{gzip:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_a_check_are_sent_on_and_forgotten() {
    // The first request of each check is sent on to itself, with cookies.
    let login = Response::redirect("/welcome").header("Set-Cookie", "session=1; Path=/; HttpOnly");
    let login = login.header("Set-Cookie", "other=2; Path=/elsewhere");
    let behaviour = Behaviour::Flaky {
        every: 2,
        failure: Box::new(Response::ok("inside").into()),
        otherwise: Box::new(login.into()),
    };
    let site = Site::start(behaviour).await.unwrap();
    let asks = [Ask(site.url("127.0.0.1"), "regex = 'inside'\nheaders = { Cookie = 'lang=de' }")];
    for _ in 0..2 {
        let result = check(&Settings::default(), &asks).await.remove(0);
        assert_eq!(verdict(&result), "up", "{result:#?}");
        assert_eq!(result.http.final_url, Some(site.url("127.0.0.1") + "welcome"));
        let last = site.last_request().unwrap().to_lowercase();
        assert!(last.contains("cookie: lang=de; session=1\r\n"), "{last}");
    }
    let unfollowed = [Ask(site.url("127.0.0.1"), "follow_redirects = false\nexpected_status = [302]")];
    let result = check(&Settings::default(), &unfollowed).await.remove(0);
    assert_eq!((verdict(&result).as_str(), result.http.final_url), ("up", None));
    let last = site.last_request().unwrap().to_lowercase();
    assert!(!last.contains("cookie"), "cookies are forgotten with their check: {last}");
    assert!(last.contains("accept-encoding: gzip, deflate, br, zstd\r\n"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_bodies_stay_with_their_origin() {
    let other = Site::start(Response::ok("fine").into()).await.unwrap();
    let away = |status| Response::new(status, "Away", "").header("Location", &other.url("127.0.0.1"));
    let fields = "method = 'POST'\nbody = 's3cret'\nheaders = { X-Api-Key = 's3cret', Accept = 'text/html' }";
    let kept = check_one(away(303), fields).await;
    assert_eq!(verdict(&kept), "up", "{kept:#?}");
    let last = other.last_request().unwrap().to_lowercase();
    assert!(!last.contains("s3cret") && last.contains("accept: text/html"), "{last}");
    let refused = check_one(away(307), fields).await;
    assert_eq!(verdict(&refused), "down redirect first_byte", "{refused:#?}");
    assert_eq!(other.hits(), 1, "the body went nowhere");

    let mut settings = Settings::default();
    settings.probe.allow_ports = vec![other.addr().port()];
    let hop = Site::start(Response::redirect(&other.url("127.0.0.1")).into()).await.unwrap();
    let asks = [Ask(other.url("127.0.0.1"), ""), Ask(hop.url("127.0.0.1"), "")];
    let verdicts: Vec<String> = check(&settings, &asks).await.iter().map(verdict).collect();
    assert_eq!(verdicts, ["up", "down blocked connect"]);
}
