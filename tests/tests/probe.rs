//! The probe against sites and name servers of every character: state, class and phase, one row each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use local::certificate::{Authority, Kind, TLS12, TLS13};
use local::dns::{Answer, DnsServer};
use local::site::{Behaviour, Framing, Response, Site, Step};
use producer::once;
use producer::probe::Probe;
use producer::settings::{Family, Settings};
use producer::targets::load_targets;
use shared::config::{Environment, load};
use shared::message::CheckResult;
use tests::{awake, verdict};
use tokio::net::{TcpSocket, UdpSocket};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Sites, names and certificates for one test.
struct Lab {
    dns: DnsServer,
    authority: Authority,
    settings: Settings,
}

impl Lab {
    async fn new() -> Self {
        let dns = DnsServer::start([("site.test", Answer::from(V4))]).await.unwrap();
        let authority = Authority::new().unwrap();
        let mut settings = Settings::default();
        settings.dns.servers = vec![dns.addr().to_string()];
        settings.dns.timeout = Duration::from_secs(3);
        settings.probe.ca_file = authority.ca_file().display().to_string();
        settings.probe.max_body_bytes = 10_000;
        Self { dns, authority, settings }
    }

    /// Checks a URL once; `fields` are further lines of the target.
    async fn check(&self, url: &str, fields: &str) -> CheckResult {
        Self::check_with(Arc::new(Probe::new(&self.settings).unwrap()), url, fields).await
    }

    /// The same with a probe that has checked before.
    async fn check_with(probe: Arc<Probe>, url: &str, fields: &str) -> CheckResult {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.toml");
        let timeout = if fields.contains("timeout") { "" } else { "timeout = '20s'" };
        std::fs::write(&path, format!("[[targets]]\nname = 'x'\nurl = '{url}'\n{timeout}\n{fields}\n")).unwrap();
        let variables = [("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())];
        let targets = load_targets(&load(None, &Environment::from_pairs(variables)).unwrap()).unwrap();
        awake(async || once::run(&targets, "test", 10, probe.clone()).await).await.remove(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_sites() {
    let lab = Lab::new().await;
    let page = || Response::ok("<h1>Welcome</h1>");
    let slow = Duration::from_secs(60);
    let soon = "timeout = '4s'";
    let big = "x".repeat(20_000) + "needle";
    let table: Vec<(&str, Behaviour, &str, &str)> = vec![
        ("healthy", page().into(), "", "up"),
        ("chunked", page().framed(Framing::Chunked).into(), "", "up"),
        ("until close", page().framed(Framing::UntilClose).into(), "", "up"),
        ("gzip", page().gzip().into(), "regex = 'Welcome'", "up"),
        ("cut chunks", page().framed(Framing::ChunkedWithoutEnd).into(), "", "down partial_response transfer"),
        ("cut length", page().framed(Framing::Promised(999)).into(), "", "down partial_response transfer"),
        ("reset in body", Behaviour::ResetInBody(page()), "", "down partial_response transfer"),
        ("reset before head", Behaviour::ResetBeforeHead, "", "down protocol first_byte"),
        ("close", Behaviour::CloseWithoutAnswer, "", "down protocol first_byte"),
        ("garbage", Behaviour::Garbage, "", "down protocol first_byte"),
        ("silent", Behaviour::Silent, soon, "down timeout first_byte"),
        ("slow head", page().slow(slow, Duration::ZERO).into(), soon, "down timeout first_byte"),
        ("slow body", page().slow(Duration::ZERO, slow).into(), soon, "down timeout transfer"),
        ("redirects", Behaviour::RedirectChain(10, page()), "", "up"),
        ("too many redirects", Behaviour::RedirectChain(11, page()), "", "down redirect first_byte"),
        ("redirect loop", Behaviour::RedirectLoop, "", "down redirect first_byte"),
        ("redirect not followed", Behaviour::RedirectLoop, "follow_redirects = false", "down http_status"),
        ("redirect as expected", Behaviour::RedirectLoop, "follow_redirects = false\nexpected_status = ['3xx']", "up"),
        ("redirect to mail", Response::redirect("mailto:a@b").into(), "", "down redirect first_byte"),
        ("redirect to nowhere", Response::redirect("http://nowhere.test/").into(), "", "down dns dns"),
        ("not found", Response::new(404, "Not Found", "").into(), "", "down http_status"),
        ("big body", Response::ok(big.clone()).into(), "", "up"),
        ("needle after the bound", Response::ok(big).into(), "regex = 'needle'", "down content"),
    ];
    for (name, behaviour, fields, expected) in table {
        let site = Site::start(behaviour).await.unwrap();
        let result = lab.check(&site.url("site.test"), fields).await;
        assert_eq!(verdict(&result), expected, "{name}: {result:#?}");
        assert!(result.http.body_bytes.unwrap_or_default() <= 10_000, "{name}: {result:#?}");
        phases_add_up(name, &result);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_sites() {
    let lab = Lab::new().await;
    const MEMBERS: &str = "the server wants a client certificate";
    let page = || Behaviour::from(Response::ok("fine"));
    let alert = |number| Behaviour::Bare(vec![Step::Listen, Step::Send(vec![0x15, 3, 3, 0, 2, 2, number])]);
    let hung_up = Behaviour::Bare(vec![Step::Listen]);
    let names = ["site.test"];
    let table = [
        ("valid", page(), lab.authority.valid(&names), "up", ""),
        ("expired", page(), lab.authority.expired(&names), "down tls tls", "expired on 20"),
        ("wrong name", page(), lab.authority.wrong_name(), "down tls tls", "is not for the name site.test"),
        ("self-signed", page(), lab.authority.self_signed(&names), "down tls tls", "is self-signed"),
        (
            "not its key",
            page(),
            lab.authority.valid(&names).copied(),
            "down tls tls",
            "did not prove that it has the key",
        ),
        ("only old versions", alert(70), lab.authority.valid(&names), "down tls tls", "no TLS version in common"),
        ("only old ciphers", alert(40), lab.authority.valid(&names), "down tls tls", "no cipher suite or key exchange"),
        ("unknown name", alert(112), lab.authority.valid(&names), "down tls tls", "does not know this host name"),
        ("broken", alert(80), lab.authority.valid(&names), "down tls tls", "reports an internal error"),
        ("hung up", hung_up, lab.authority.valid(&names), "down tls tls", "the server closed the connection"),
        ("members only, TLS 1.2", page(), lab.authority.demanding(&names, &TLS12), "down tls tls", MEMBERS),
        ("members only, TLS 1.3", page(), lab.authority.demanding(&names, &TLS13), "down tls tls", MEMBERS),
        ("no answer", Behaviour::CloseWithoutAnswer, lab.authority.valid(&names), "down protocol first_byte", ""),
        ("no handshake", Behaviour::SilentHandshake, lab.authority.valid(&names), "down timeout tls", "TLS handshake"),
        ("reset", Behaviour::ResetBeforeHead, lab.authority.valid(&names), "down protocol first_byte", "reset"),
    ];
    for (name, behaviour, identity, expected, detail) in table {
        let site = Site::start_tls(behaviour, &identity).await.unwrap();
        // Long for what answers, short for what never does.
        let fields = if expected.contains("timeout") { "timeout = '4s'" } else { "" };
        let result = lab.check(&site.url("site.test"), fields).await;
        assert_eq!(verdict(&result), expected, "{name}: {result:#?}");
        let said = result.outcome.failure.as_ref().map(|failure| failure.detail.clone()).unwrap_or_default();
        assert!(said.contains(detail), "{name}: {said}");
        assert!(result.http.phases.tls.is_some(), "{name}: {result:#?}");
        phases_add_up(name, &result);
    }
    let plain = Site::start(page()).await.unwrap();
    let result = lab.check(&plain.url("site.test").replace("http:", "https:"), "timeout = '4s'").await;
    assert_eq!(verdict(&result), "down timeout tls", "a site that has no TLS waits for a request: {result:#?}");
}

/// That a chain is known excuses neither another one nor somebody who has not its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_whose_chain_is_remembered() {
    let mut lab = Lab::new().await;
    let chains = [
        (Authority::new().unwrap(), Kind::P256, true),
        (Authority::with_intermediate(Kind::P384).unwrap(), Kind::P256, true),
        (Authority::with_intermediate(Kind::Rsa2048).unwrap(), Kind::Rsa2048, true),
        (Authority::with_intermediate(Kind::P256).unwrap(), Kind::P256, false),
    ];
    for (authority, kind, remember) in chains {
        lab.settings.probe.ca_file = authority.ca_file().display().to_string();
        lab.settings.probe.remember_chains = remember;
        let probe = Arc::new(Probe::new(&lab.settings).unwrap());
        let names = ["site.test"];
        let good = authority.of_kind(&names, kind);
        let table = [
            ("expired", authority.expired(&names), "expired on 20"),
            ("wrong name", authority.wrong_name(), "site.test"),
            ("self-signed", authority.self_signed(&names), "is self-signed"),
            ("without its key", good.copied(), "did not prove that it has the key"),
        ];
        let site = Site::start_tls(Response::ok("fine").into(), &good).await.unwrap();
        let url = site.url("site.test");
        let mut expires_at = None;
        for (name, identity, detail) in table {
            site.change_identity(&good);
            for _ in 0..2 {
                let result = Lab::check_with(probe.clone(), &url, "").await;
                assert_eq!(verdict(&result), "up", "before {name}: {result:#?}");
                let seen = result.http.certificate_expires_at.unwrap();
                assert_eq!(*expires_at.get_or_insert(seen), seen, "known again or not, the end is known");
            }
            site.change_identity(&identity);
            for _ in 0..2 {
                let result = Lab::check_with(probe.clone(), &url, "").await;
                assert_eq!(verdict(&result), "down tls tls", "{name}: {result:#?}");
                let said = result.outcome.failure.unwrap().detail;
                assert!(said.contains(detail), "{name}: {said}");
            }
        }
        // A renewed certificate is another one: its own end counts.
        site.change_identity(&authority.expiring(&names, 3));
        let result = Lab::check_with(probe.clone(), &url, "").await;
        assert_eq!(verdict(&result), "up", "{result:#?}");
        assert!(result.http.certificate_expires_at < expires_at, "{result:#?}");
    }
}

/// The phases of a request take no longer than the request, and none has a time that never began.
fn phases_add_up(name: &str, result: &CheckResult) {
    let phases = &result.http.phases;
    let all = [phases.redirect, phases.connect, phases.tls, phases.first_byte, phases.transfer];
    let sum: u64 = all.iter().flatten().sum();
    assert!(sum <= result.http.elapsed.unwrap() + 10, "{name}: {result:#?}");
    assert_eq!(phases.redirect.is_some(), result.http.redirects > 0 && phases.connect.is_some(), "{name}: {result:#?}");
    let in_order = [phases.connect, phases.first_byte, phases.transfer];
    assert!(in_order.windows(2).all(|pair| pair[0].is_some() || pair[1].is_none()), "{name}: {result:#?}");
    assert!(result.dns.elapsed.is_some() && result.dns.ip.as_deref() == Some("127.0.0.1"), "{name}: {result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn name_servers() {
    let mut lab = Lab::new().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let url = site.url("name.test");
    // Whoever gets no answer asks for as long as there is time.
    let soon = "timeout = '6s'";
    let table = [
        (Answer::from(V4), "up", ""),
        (Answer::Delayed(Duration::from_millis(100), vec![V4]), "up", ""),
        (Answer::Addresses(vec![]), "down dns dns", "no address"),
        (Answer::ServFail, "down dns dns", "name servers answer"),
        (Answer::Refused, "down dns dns", "name servers answer"),
        (Answer::Silent, "down dns dns", "which answer other questions"),
    ];
    for (answer, expected, detail) in table {
        lab.dns.set("name.test", answer.clone());
        let result = lab.check(&url, soon).await;
        assert_eq!(verdict(&result), expected, "{answer:?}: {result:#?}");
        assert!(result.dns.error.as_deref().unwrap_or_default().contains(detail), "{answer:?}: {result:#?}");
        assert!(result.dns.start.is_some() && result.dns.elapsed.is_some(), "{answer:?}: {result:#?}");
    }
    lab.dns.remove("name.test");
    assert_eq!(verdict(&lab.check(&url, "").await), "down dns dns");

    // Nothing is cached: each check asks anew, some more than once.
    lab.dns.set("name.test", Answer::from(V4));
    let before = lab.dns.queries("name.test");
    lab.check(&url, "").await;
    lab.check(&url, "").await;
    assert!(lab.dns.queries("name.test") >= before + 2);

    // One that fails at one family knows the other.
    lab.dns.set("name.test", Answer::OnlyOf(V4));
    lab.settings.dns.prefer = Family::Ipv6;
    assert_eq!(verdict(&lab.check(&url, "").await), "up");
    lab.settings.dns.prefer = Family::Ipv4;

    // One that has lost those that it asks itself fails at everything: that is no trouble of the site's.
    for answer in [Answer::ServFail, Answer::Refused] {
        lab.dns.set("name.test", answer.clone());
        lab.dns.set("", answer.clone());
        let result = lab.check(&url, soon).await;
        assert_eq!(verdict(&result), "unmeasured resolver dns", "{answer:?}: {result:#?}");
        assert!(result.dns.error.as_deref().unwrap_or_default().contains("for the root, too"), "{result:#?}");
    }
    lab.dns.remove("");
    lab.dns.set("name.test", Answer::from(V4));

    // The first name server is dead, the second one answers.
    let silent = UdpSocket::bind((V4, 0)).await.unwrap();
    let dead = silent.local_addr().unwrap().to_string();
    let alive = lab.dns.addr().to_string();
    lab.settings.dns.servers = vec![dead.clone(), alive];
    assert_eq!(verdict(&lab.check(&url, "").await), "up");

    // No name server answers anything: that is our trouble, not the site's.
    lab.settings.dns.servers = vec![dead];
    let result = lab.check(&url, soon).await;
    assert_eq!(verdict(&result), "unmeasured resolver dns", "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn address_families() {
    let mut lab = Lab::new().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let both = vec![V4, V6];
    let table = [
        (Family::Ipv4, both.clone(), Some("127.0.0.1")),
        (Family::Ipv6, both.clone(), Some("::1")),
        (Family::Ipv4, vec![V6], Some("::1")),
        (Family::Ipv6, vec![V4], Some("127.0.0.1")),
        (Family::Ipv4Only, vec![V6], None),
        (Family::Ipv6Only, vec![V4], None),
    ];
    for (prefer, addresses, expected) in table {
        lab.dns.set("both.test", Answer::Addresses(addresses.clone()));
        lab.settings.dns.prefer = prefer;
        let result = lab.check(&site.url("both.test"), "").await;
        // The site listens on one of them only; here it counts which one comes first.
        let before = result.dns.failed_addresses.first().map(|address| address.ip.as_str());
        assert_eq!(before.or(result.dns.ip.as_deref()), expected, "{prefer:?} of {addresses:?}: {result:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_file_and_literal_addresses() {
    let lab = Lab::new().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let named = lab.check(&site.url("localhost"), "").await;
    assert_eq!((verdict(&named).as_str(), lab.dns.queries("localhost")), ("up", 0), "{named:#?}");
    assert!(named.dns.elapsed.is_some());
    let literal = lab.check(&site.url("127.0.0.1"), "").await;
    assert_eq!(verdict(&literal), "up");
    assert_eq!((literal.dns.start, literal.dns.elapsed), (None, None), "nothing was looked up");
    assert_eq!(literal.dns.ip.as_deref(), Some("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guard_sees_every_hop() {
    let mut lab = Lab::new().await;
    let inner = Site::start(Behaviour::Respond(Response::ok("secret"))).await.unwrap();
    lab.settings.probe.allow_private = false;
    for host in ["site.test", "127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "[::]", "0.0.0.0", "2130706433"] {
        let result = lab.check(&inner.url(host), "").await;
        assert_eq!(verdict(&result), "down blocked connect", "{host}: {result:#?}");
    }
    // A site that may be asked sends us to one that may not, by address and by name.
    lab.settings.probe.allow_networks = vec!["127.0.0.1".to_owned()];
    lab.dns.set("rebind.test", Answer::Rebinding(V4, [127, 0, 0, 2].into()));
    lab.dns.set("inner.test", Answer::from(IpAddr::from([127, 0, 0, 2])));
    let hosts = [
        "127.0.0.2",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.2]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        "inner.test",
        "rebind.test",
    ];
    for host in hosts {
        let hop = Site::start(Behaviour::Respond(Response::redirect(&inner.url(host)))).await.unwrap();
        // The same name leads to the hop first, and inside when it is asked for again.
        let name = if host == "rebind.test" { host } else { "site.test" };
        let result = lab.check(&hop.url(name), "").await;
        assert_eq!(verdict(&result), "down blocked connect", "{host}: {result:#?}");
        assert_eq!((hop.connections(), result.http.redirects), (1, 1), "{host}");
    }
    assert_eq!(inner.connections(), 0, "nothing was connected to");
    assert_eq!(verdict(&lab.check(&inner.url("127.0.0.1"), "").await), "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent() {
    let lab = Lab::new().await;
    let site = Site::start(Behaviour::Respond(Response::ok("fine"))).await.unwrap();
    let url = site.url("site.test").replace("http://", "http://me:secret@") + "path?q=1";
    let result = lab.check(&url, "method = 'POST'\nbody = 'hello'\nheaders = { X-One = '1' }").await;
    assert_eq!(verdict(&result), "up", "{result:#?}");
    let request = site.last_request().unwrap();
    let lower = request.to_lowercase();
    assert!(request.starts_with("POST /path?q=1 HTTP/1.1\r\n"), "{request}");
    for header in ["x-one: 1", "authorization: basic bwu6c2vjcmv0", "user-agent: slotwatch/", "host: site.test:"] {
        assert!(lower.contains(header), "{header} in {request}");
    }
    assert!(!serde_json::to_string(&result).unwrap().contains("secret"), "{result:#?}");

    // Secrets do not follow a redirect to another origin.
    let hop = Site::start(Behaviour::Respond(Response::redirect(&site.url("site.test")))).await.unwrap();
    let url = hop.url("site.test").replace("http://", "http://me:secret@");
    assert_eq!(verdict(&lab.check(&url, "").await), "up");
    assert!(!site.last_request().unwrap().to_lowercase().contains("authorization"));
    assert!(hop.last_request().unwrap().to_lowercase().contains("authorization"));

    // Nor does the name of a host to another host.
    let named = "headers = { Host = 'shop.test' }";
    assert_eq!(verdict(&lab.check(&hop.url("127.0.0.1"), named).await), "up");
    assert!(hop.last_request().unwrap().to_lowercase().contains("host: shop.test\r\n"));
    assert!(site.last_request().unwrap().to_lowercase().contains("host: site.test:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    let lab = Lab::new().await;
    // Bound, so that nobody else gets the port, but not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(V4, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let result = lab.check(&format!("http://site.test:{port}/"), "").await;
    assert_eq!(verdict(&result), "down connect connect", "{result:#?}");
    assert!(result.http.phases.connect.is_some() && result.http.phases.first_byte.is_none());
}
