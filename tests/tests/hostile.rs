//! Sites that mean harm: the deadline is kept, memory is bounded, and the verdict names what happened. One run of the real
//! producer, one row a site.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::time::Duration;

use local::certificate::Authority;
use local::dns::{Answer, DnsServer};
use local::process::Process;
use local::site::{Behaviour, Framing, Response, Site, Step};
use shared::message::CheckResult;
use tests::{Proxy, binary, patiently, stalled, verdict};

/// How many sites are asked at a time, and what the producer may have in memory at most, in kB.
const AT_ONCE: usize = 8;
const PEAK: u64 = 64_000;
/// The deadline of what ends by it, that of what ends by itself, and how much later a producer on a busy machine may notice.
const SHORT: Duration = Duration::from_secs(4);
const LONG: Duration = Duration::from_secs(30);
const MARGIN: Duration = Duration::from_secs(1);

const OK: &str = "HTTP/1.1 200 OK\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const GZIP: &str = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";

/// A name, what the site does, whether it has TLS, and the verdict that is right.
#[derive(Debug)]
struct Row(&'static str, Behaviour, bool, &'static str);

fn plain(name: &'static str, behaviour: impl Into<Behaviour>, verdict: &'static str) -> Row {
    Row(name, behaviour.into(), false, verdict)
}

fn tls(name: &'static str, behaviour: impl Into<Behaviour>, verdict: &'static str) -> Row {
    Row(name, behaviour.into(), true, verdict)
}

/// This text in answer to a request, and then a last step.
fn then(text: &str, last: Step) -> Behaviour {
    Behaviour::Script(vec![Step::send(text), last])
}

/// This text in answer to a request, and then an orderly end.
fn says(text: &str) -> Behaviour {
    Behaviour::Script(vec![Step::send(text)])
}

fn bodies() -> Vec<Row> {
    let bomb = || Step::Flood(Response::ok(vec![0; 4 << 20]).gzip().body);
    // A header, and then blocks of no bytes.
    let nothing = || Step::Send(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    let nothing = || Behaviour::Script(vec![Step::send(GZIP), nothing(), Step::stream(&[0, 0, 0, 0xff, 0xff])]);
    let empties = || Step::Flood(Response::ok("").gzip().body.repeat(500));
    vec![
        plain("endless body", then(&format!("{OK}\r\n"), Step::flood("x")), "up"),
        plain("endless chunks", then(CHUNKED, Step::flood("5\r\nhello\r\n")), "up"),
        plain("one endless chunk", then(&format!("{CHUNKED}fffffffffffffff\r\n"), Step::flood("x")), "up"),
        plain(
            "enormous length",
            then(&format!("{OK}Content-Length: 9223372036854775807\r\n\r\n"), Step::flood("x")),
            "up",
        ),
        plain("gzip bomb", then(GZIP, bomb()), "up"),
        plain("gzip of nothing, for ever", nothing(), "up"),
        plain("endless gzips", then(GZIP, empties()), "up"),
        plain("no gzip", then(GZIP, Step::flood("x")), "down content transfer"),
        plain("cut gzip", then(GZIP, Step::Send(bomb_begin())), "down partial_response transfer"),
        plain("dribbled body", then(&format!("{OK}\r\n"), dribble("x")), "down timeout transfer"),
        plain("dribbled chunks", then(CHUNKED, dribble("1\r\nx\r\n")), "down timeout transfer"),
        plain("dribbled chunk size", then(CHUNKED, dribble("0")), "down timeout transfer"),
        plain("held body", then(&format!("{OK}Content-Length: 5\r\n\r\nab"), Step::Hold), "down timeout transfer"),
        plain(
            "endless chunk extension",
            then(&format!("{CHUNKED}1;"), Step::flood("x")),
            "down partial_response transfer",
        ),
        plain(
            "endless trailers",
            then(&format!("{CHUNKED}0\r\n"), Step::flood("X: y\r\n")),
            "down partial_response transfer",
        ),
        plain(
            "reset after the head",
            then(&format!("{OK}Content-Length: 5\r\n\r\n"), Step::Reset),
            "down partial_response transfer",
        ),
        plain(
            "reset in the body",
            then(&format!("{OK}Content-Length: 5\r\n\r\nab"), Step::Reset),
            "down partial_response transfer",
        ),
        plain("reset without a length", then(&format!("{OK}\r\nab"), Step::Reset), "down partial_response transfer"),
        plain("reset in a chunk", then(&format!("{CHUNKED}5\r\nab"), Step::Reset), "down partial_response transfer"),
        plain(
            "reset between chunks",
            then(&format!("{CHUNKED}2\r\nab\r\n"), Step::Reset),
            "down partial_response transfer",
        ),
        plain("too long", says(&format!("{OK}Content-Length: 2\r\n\r\nabcde")), "up"),
        plain("too short", says(&format!("{OK}Content-Length: 9\r\n\r\nabcde")), "down partial_response transfer"),
        plain(
            "length and chunks",
            says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "up",
        ),
        plain("bad chunk size", says(&format!("{CHUNKED}zz\r\nab\r\n0\r\n\r\n")), "down partial_response transfer"),
        plain(
            "negative chunk size",
            says(&format!("{CHUNKED}-1\r\nab\r\n0\r\n\r\n")),
            "down partial_response transfer",
        ),
        plain("huge chunk size", says(&format!("{CHUNKED}fffffffffffffffff\r\nab")), "down partial_response transfer"),
        plain("chunk without end", says(&format!("{CHUNKED}2\r\nabcd\r\n0\r\n\r\n")), "down partial_response transfer"),
    ]
}

fn heads() -> Vec<Row> {
    const BROKEN: &str = "down protocol first_byte";
    vec![
        plain("endless headers", then(OK, Step::flood("X-A: b\r\n")), BROKEN),
        plain("endless header", then(&format!("{OK}X-A: "), Step::flood("b")), BROKEN),
        plain("endless header name", then(OK, Step::flood("b")), BROKEN),
        plain("endless status line", then("HTTP/1.1 200 ", Step::flood("O")), BROKEN),
        plain("endless version", then("HTTP/", Step::flood("1")), BROKEN),
        plain("endless empty lines", then("", Step::flood("\r\n")), BROKEN),
        plain("endless 100", then("", Step::stream(b"HTTP/1.1 100 Continue\r\n\r\n")), BROKEN),
        plain("endless 103", then("", Step::stream(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")), BROKEN),
        plain("dribbled head", then(OK, dribble("X-A: b\r\n")), "down timeout first_byte"),
        plain("dribbled reason", then("HTTP/1.1 200 ", dribble("O")), "down timeout first_byte"),
        plain("held head", then("HTTP/1.1 200 OK\r\nContent-", Step::Hold), "down timeout first_byte"),
        plain("reset on accept", Behaviour::Bare(vec![Step::Reset]), "down protocol first_byte|down connect connect"),
        plain("reset before the head", Behaviour::Bare(vec![Step::Listen, Step::Reset]), BROKEN),
        plain("reset in the head", then("HTTP/1.1 200 OK\r\nContent-", Step::Reset), BROKEN),
        plain("end in the head", says("HTTP/1.1 200 OK\r\nContent-"), BROKEN),
        plain("two lengths", says(&format!("{OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc")), BROKEN),
        plain("negative length", says(&format!("{OK}Content-Length: -2\r\n\r\nab")), BROKEN),
        plain("length that is none", says(&format!("{OK}Content-Length: two\r\n\r\nab")), BROKEN),
        plain("length beyond numbers", says(&format!("{OK}Content-Length: 99999999999999999999\r\n\r\nab")), BROKEN),
        plain("status of two digits", says("HTTP/1.1 99 Odd\r\n\r\n"), BROKEN),
        plain("status of four digits", says("HTTP/1.1 2000 Odd\r\n\r\n"), BROKEN),
        plain("status beyond all", says("HTTP/1.1 999 Odd\r\n\r\n"), "down http_status"),
        plain(
            "another protocol",
            says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            "down http_status",
        ),
        plain("no version", says("200 OK\r\n\r\n"), BROKEN),
        plain("a later version", says("HTTP/3.0 200 OK\r\n\r\n"), BROKEN),
        plain("only a body", says("<html>fine</html>"), BROKEN),
        plain("a NUL in a header", says(&format!("{OK}X-A: \0\r\n\r\n")), BROKEN),
    ]
}

fn redirects(back: &str) -> Vec<Row> {
    const REFUSED: &str = "down redirect first_byte";
    let to = |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    vec![
        plain("redirect to itself", Behaviour::RedirectLoop, REFUSED),
        plain("redirect to and fro", Response::redirect(back), REFUSED),
        plain(
            "redirect and endless body",
            then("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", Step::flood("x")),
            REFUSED,
        ),
        plain(
            "endless location",
            then("HTTP/1.1 302 Found\r\nLocation: /", Step::flood("x")),
            "down protocol first_byte",
        ),
        plain("long location", says(&to(&("/".to_owned() + &"x".repeat(100_000)))), REFUSED),
        plain("no URL", says(&to("http://[::1")), REFUSED),
        plain("a file", says(&to("file:///etc/passwd")), REFUSED),
        plain(
            "bytes",
            Behaviour::Script(vec![Step::Send(b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe://\xff\r\n\r\n".to_vec())]),
            REFUSED,
        ),
        plain("a name that is none", says(&to("http://nowhere.test/")), "down dns dns"),
        plain("dribbled redirect", then("HTTP/1.1 302 Found\r\nLocation: /", dribble("x")), "down timeout first_byte"),
    ]
}

fn handshakes() -> Vec<Row> {
    const BROKEN: &str = "down tls tls";
    let flood = |bytes: &[u8]| Behaviour::Bare(vec![Step::Listen, Step::Flood(bytes.repeat(1000))]);
    let after = |bytes: u64, step: Step| Behaviour::HandshakeUpTo(bytes, vec![step]);
    let huge = [&[0x16, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff][..], &[0; 16_380]].concat();
    vec![
        tls("silent", Behaviour::SilentHandshake, "down timeout tls"),
        tls("held after a byte", after(1, Step::Hold), "down timeout tls"),
        tls("held in the hello", after(50, Step::Hold), "down timeout tls"),
        tls("held after the hello", after(140, Step::Hold), "down timeout tls"),
        tls("held in the certificate", after(500, Step::Hold), "down timeout tls"),
        tls("dribbled hello", after(5, dribble("\0")), "down timeout tls|down tls tls"),
        tls("reset at the hello", Behaviour::Bare(vec![Step::Listen, Step::Reset]), BROKEN),
        tls("reset in the hello", after(50, Step::Reset), BROKEN),
        tls("reset in the certificate", after(500, Step::Reset), BROKEN),
        tls("end in the certificate", Behaviour::HandshakeUpTo(500, vec![]), BROKEN),
        tls("endless warnings", flood(&[0x15, 3, 3, 0, 2, 1, 90]), BROKEN),
        tls("endless changes of cipher", flood(&[0x14, 3, 3, 0, 1, 1]), BROKEN),
        tls("endless empty records", flood(&[0x16, 3, 3, 0, 0]), BROKEN),
        tls("endless message", flood(&huge), BROKEN),
        tls("endless garbage", flood(b"garbage "), BROKEN),
        tls("plain HTTP", Behaviour::Bare(vec![Step::Listen, Step::send("HTTP/1.1 400 No\r\n\r\n")]), BROKEN),
        tls("garbage in the certificate", Behaviour::HandshakeUpTo(400, vec![Step::flood("x")]), BROKEN),
        tls("endless body inside", then(&format!("{OK}\r\n"), Step::flood("x")), "up"),
        tls("reset before the head inside", Behaviour::ResetBeforeHead, "down protocol first_byte"),
        tls("reset in the body inside", then(&format!("{OK}\r\nab"), Step::Reset), "down partial_response transfer"),
        tls("dribbled body inside", then(&format!("{OK}\r\n"), dribble("x")), "down timeout transfer"),
        tls("cut length inside", Response::ok("fine").framed(Framing::Promised(9)), "down partial_response transfer"),
    ]
}

fn dribble(text: &str) -> Step {
    Step::Dribble(text.as_bytes().to_vec(), 1, Duration::from_millis(20))
}

fn bomb_begin() -> Vec<u8> {
    let mut whole = Response::ok("some text that is not finished").gzip().body;
    whole.truncate(20);
    whole
}

/// Waits for the end and returns what the process had in memory at most, in kB.
async fn peak(process: &mut Process) -> u64 {
    let pid = process.pid().unwrap().as_raw_nonzero();
    let mut peak = 0;
    let watch = async {
        loop {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let now = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            peak = now.unwrap_or(peak).max(peak);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        status = patiently("all checks", process.wait()) => { status.unwrap(); }
        () = watch => {}
    }
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_sites() {
    let dns = DnsServer::start([("site.test", Answer::from(std::net::IpAddr::from([127, 0, 0, 1])))]).await.unwrap();
    let authority = Authority::new().unwrap();
    let identity = authority.valid(&["site.test"]);
    // Two sites that send visitors to each other: the way back leads through a relay, whose address is known before.
    let relay = Proxy::unconnected().await.unwrap();
    let back =
        Site::start(Response::redirect(&format!("http://site.test:{}/", relay.addr().port())).into()).await.unwrap();

    let rows: Vec<Row> =
        [bodies(), heads(), redirects(&back.url("site.test")), handshakes()].into_iter().flatten().collect();
    let (mut sites, mut left) = (Vec::new(), Vec::new());
    for row @ Row(name, behaviour, tls, verdict) in &rows {
        let site = match tls {
            true => Site::start_tls(behaviour.clone(), &identity).await.unwrap(),
            false => Site::start(behaviour.clone()).await.unwrap(),
        };
        if *name == "redirect to and fro" {
            relay.lead_to(site.addr());
        }
        let timeout = timeout(verdict).as_secs();
        let url = site.url("site.test");
        left.push((row, format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ntimeout = '{timeout}s'\n")));
        sites.push(site);
    }
    let variables = [
        ("SCHEDULE_MAX_CONCURRENT", AT_ONCE.to_string()),
        ("DNS_SERVERS", dns.addr().to_string()),
        ("DNS_TIMEOUT", "20s".to_owned()),
        ("PROBE_CA_FILE", authority.ca_file().display().to_string()),
    ];
    let mut wrong = Vec::new();
    // Those whose deadline came while the machine stood still are asked again.
    for _ in 0..3 {
        let asked = std::mem::take(&mut left);
        let targets: String = asked.iter().map(|(_, target)| target.as_str()).collect();
        let results = ask(&targets, &variables).await;
        assert_eq!(results.len(), asked.len());
        for ((row, target), result) in asked.into_iter().zip(results) {
            let Row(name, _, _, expected) = row;
            assert_eq!(result.meta.target, *name);
            let took = result.dns.elapsed.unwrap_or_default() + result.http.elapsed.unwrap_or_default();
            let in_time = Duration::from_micros(took) <= timeout(expected) + MARGIN;
            let as_expected = expected.split('|').any(|expected| verdict(&result) == expected);
            if stalled(&result) && timeout(expected) == SHORT {
                left.push((row, target));
            } else if !in_time || result.http.redirects > 10 || !as_expected {
                wrong.push(format!("{name}: {} after {took} µs, {:?}", verdict(&result), result.outcome.failure));
            }
        }
        if left.is_empty() {
            break;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(left.is_empty(), "deadlines are never seen: {left:#?}");
}

/// Asks each target once, with little memory.
async fn ask(targets: &str, variables: &[(&'static str, String)]) -> Vec<CheckResult> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    std::fs::write(&path, targets).unwrap();
    let file = ("SCHEDULE_TARGETS_FILE", path.display().to_string());
    let variables = variables.iter().cloned().chain([file]);
    let mut producer = Process::start(&binary("producer"), &["--once", "--json"], variables).unwrap();
    let peak = peak(&mut producer).await;
    assert!(peak > 0 && peak < PEAK, "{peak} kB in memory");
    producer.log().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn timeout(verdict: &str) -> Duration {
    if verdict.contains("timeout") { SHORT } else { LONG }
}
