//! Hosts with several addresses, some of them dead, forbidden or nonsense.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use local::dns::{Answer, DnsServer};
use local::site::{Response, Site};
use producer::once;
use producer::probe::Probe;
use producer::settings::{Family, Settings};
use producer::targets::load_targets;
use shared::config::{Environment, load};
use shared::message::CheckResult;
use tests::{awake, verdict};
use tokio::net::{TcpSocket, TcpStream};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HERE6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Nobody listens there on the site's port.
const REFUSES: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

struct Lab {
    dns: DnsServer,
    settings: Settings,
}

impl Lab {
    async fn new() -> Self {
        let dns = DnsServer::start([("site.test", Answer::from(HERE))]).await.unwrap();
        let mut settings = Settings::default();
        settings.dns.servers = vec![dns.addr().to_string()];
        Self { dns, settings }
    }

    async fn check(&self, url: &str, timeout: &str) -> CheckResult {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.toml");
        std::fs::write(&path, format!("[[targets]]\nname = 'x'\nurl = '{url}'\ntimeout = '{timeout}'\n")).unwrap();
        let variables = [("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())];
        let targets = load_targets(&load(None, &Environment::from_pairs(variables)).unwrap()).unwrap();
        let probe = Arc::new(Probe::new(&self.settings).unwrap());
        awake(async || once::run(&targets, "test", 10, probe.clone()).await).await.remove(0)
    }
}

/// What was tried before the address that the check went to.
fn failed(result: &CheckResult) -> Vec<&str> {
    result.dns.failed_addresses.iter().map(|address| address.ip.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_address_is_tried() {
    let mut lab = Lab::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let table: [(&[IpAddr], Family, &str, &[&str]); 6] = [
        (&[HERE], Family::Ipv4, "up", &[]),
        (&[REFUSES, HERE], Family::Ipv4, "up", &["127.0.0.66"]),
        (&[Ipv4Addr::new(224, 0, 0, 1).into(), REFUSES, HERE], Family::Ipv4Only, "up", &["224.0.0.1", "127.0.0.66"]),
        (&[HERE6, HERE], Family::Ipv6, "up", &["::1"]),
        (&[HERE6, HERE], Family::Ipv6Only, "down connect connect", &[]),
        (&[REFUSES, IpAddr::from([127, 0, 0, 67])], Family::Ipv4, "down connect connect", &["127.0.0.66"]),
    ];
    for (addresses, prefer, expected, tried) in table {
        lab.dns.set("site.test", Answer::Addresses(addresses.to_vec()));
        lab.settings.dns.prefer = prefer;
        let result = lab.check(&site.url("site.test"), "20s").await;
        assert_eq!(verdict(&result), expected, "{addresses:?}: {result:#?}");
        assert_eq!(failed(&result), tried, "{addresses:?}: {result:#?}");
        match expected {
            "up" => assert_eq!(result.dns.ip.as_deref(), Some("127.0.0.1"), "{result:#?}"),
            _ => {
                let detail = &result.outcome.failure.as_ref().unwrap().detail;
                let named = |ip: &str| detail.contains(ip);
                assert!(failed(&result).into_iter().all(named) && named(result.dns.ip.as_ref().unwrap()), "{detail}");
            }
        }
    }
    // On a hop that a redirect leads to, too.
    lab.settings.dns.prefer = Family::Ipv4;
    lab.dns.set("site.test", Answer::Addresses(vec![REFUSES, HERE]));
    let hop = Site::start(Response::redirect(&site.url("site.test")).into()).await.unwrap();
    let result = lab.check(&hop.url("127.0.0.1"), "20s").await;
    assert_eq!((verdict(&result).as_str(), failed(&result).len()), ("up", 0), "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_address_leaves_time_for_the_next() {
    let lab = Lab::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let port = site.addr().port();
    // A full queue of connections takes no more of them.
    let silent = IpAddr::from([127, 0, 0, 68]);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(silent, port)).unwrap();
    let _listener = socket.listen(1).unwrap();
    let mut filling = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect((silent, port))).await {
        filling.push(stream);
    }
    lab.dns.set("site.test", Answer::Addresses(vec![silent, HERE]));
    let result = lab.check(&site.url("site.test"), "6s").await;
    assert_eq!(verdict(&result), "up", "{result:#?}");
    assert_eq!(failed(&result), ["127.0.0.68"], "{result:#?}");
    let (connect, elapsed) = (result.http.phases.connect.unwrap(), result.http.elapsed.unwrap());
    assert!(
        connect < elapsed && elapsed >= 1_900_000,
        "the time of the dead one counts, but not as this one's: {result:#?}"
    );
    // Where it is the only one, it has all the time.
    lab.dns.set("site.test", Answer::from(silent));
    let result = lab.check(&site.url("site.test"), "3s").await;
    assert_eq!(verdict(&result), "down timeout connect", "{result:#?}");
    assert!(result.http.elapsed.unwrap() >= 2_900_000, "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_is_never_connected_to() {
    let mut lab = Lab::new().await;
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    lab.settings.probe.allow_private = false;
    lab.settings.probe.allow_networks = vec!["127.0.0.66".to_owned()];
    for addresses in [vec![HERE, REFUSES], vec![REFUSES, HERE], vec![HERE, REFUSES, HERE6]] {
        lab.dns.set("site.test", Answer::Addresses(addresses.clone()));
        let result = lab.check(&site.url("site.test"), "20s").await;
        assert_eq!(verdict(&result), "down connect connect", "{addresses:?}: {result:#?}");
    }
    lab.dns.set("site.test", Answer::Addresses(vec![HERE, HERE6]));
    assert_eq!(verdict(&lab.check(&site.url("site.test"), "20s").await), "down blocked connect");
    assert_eq!(site.connections(), 0);
    // Those that may be asked are.
    lab.settings.probe.allow_networks = vec!["127.0.0.1".to_owned()];
    lab.dns.set("site.test", Answer::Addresses(vec![REFUSES, HERE]));
    let result = lab.check(&site.url("site.test"), "20s").await;
    assert_eq!((verdict(&result).as_str(), failed(&result)), ("up", vec!["127.0.0.66"]), "{result:#?}");
    assert!(result.dns.failed_addresses[0].detail.contains("not a public address"), "{result:#?}");
}

/// A name that points at what is no host is its owner's mistake.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_no_site_can_have() {
    let lab = Lab::new().await;
    let table = [
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("127.255.255.255", "broadcast"),
        ("0.0.0.0", "no host"),
        ("::", "no host"),
        ("ff02::1", "multicast"),
        ("fe80::216:dff:fe2c:4900", "link-local"),
    ];
    for (address, detail) in table {
        lab.dns.set("site.test", Answer::from(address.parse::<IpAddr>().unwrap()));
        let result = lab.check("http://site.test/", "20s").await;
        assert_eq!(verdict(&result), "down connect connect", "{address}: {result:#?}");
        let said = result.outcome.failure.unwrap().detail;
        assert!(said.contains(detail) && said.contains(address), "{address}: {said}");
    }
}
