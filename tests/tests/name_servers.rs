//! Name servers that fail and come back, and such as answer oddly: no healthy site is blamed for them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use local::dns::{Answer, DnsServer, Script, reply_to};
use local::site::{Response, Site};
use producer::once;
use producer::probe::Probe;
use producer::settings::{Family, Settings};
use producer::targets::{Target, load_targets};
use shared::config::{Environment, load};
use shared::message::{CheckResult, State};
use tests::{awake, patiently, stalled, until, verdict};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn targets(list: &str) -> Vec<Arc<Target>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    std::fs::write(&path, list).unwrap();
    let variables = [("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())];
    load_targets(&load::<Settings>(None, &Environment::from_pairs(variables)).unwrap()).unwrap()
}

fn settings(servers: &[&str], timeout: Duration) -> Settings {
    let mut settings = Settings::default();
    settings.dns.servers = servers.iter().map(ToString::to_string).collect();
    settings.dns.timeout = timeout;
    settings
}

async fn check(settings: &Settings, target: &str) -> CheckResult {
    let (probe, targets) = (Arc::new(Probe::new(settings).unwrap()), targets(target));
    awake(async || once::run(&targets, "test", 10, probe.clone()).await).await.remove(0)
}

/// Healthy sites, several to a name, checked at many instants of an outage.
struct Crowd {
    site: Site,
    dns: DnsServer,
}

impl Crowd {
    const NAMES: usize = 30;
    const CHECKS: usize = 120;

    async fn new() -> Self {
        let names = (0..Self::NAMES).map(|n| (format!("site{n}.test"), Answer::from(V4)));
        let dns = DnsServer::start(names).await.unwrap();
        Self { site: Site::start(Response::ok("fine").into()).await.unwrap(), dns }
    }

    /// Begins a check every 40 ms, some of them hasty.
    fn begin(&self, settings: &Settings) -> JoinSet<CheckResult> {
        let probe = Arc::new(Probe::new(settings).unwrap());
        let began = Instant::now();
        let target = |n: usize| {
            let (url, timeout) = (self.site.url(&format!("site{}.test", n % Self::NAMES)), [4, 4, 1][n % 3]);
            format!("[[targets]]\nname = '{n}'\nurl = '{url}'\ntimeout = '{timeout}s'\n")
        };
        let targets = targets(&(0..Self::CHECKS).map(target).collect::<String>());
        let check = |(n, target): (usize, Arc<Target>)| {
            let (probe, begin) = (probe.clone(), began + Duration::from_millis(40) * u32::try_from(n).unwrap());
            async move {
                tokio::time::sleep_until(begin).await;
                once::run(&[target], "test", 1, probe).await.remove(0)
            }
        };
        targets.into_iter().enumerate().map(check).collect()
    }

    async fn blames_nobody(&self, what: &str, checks: JoinSet<CheckResult>) {
        let results = patiently("the checks", checks.join_all()).await;
        let down: Vec<_> = results.iter().filter(|result| result.outcome.state == State::Down).collect();
        assert!(down.is_empty(), "{what}: {} down, as {:#?}", down.len(), down[0]);
        let up = results.iter().filter(|result| result.outcome.state == State::Up).count();
        // Whoever has time left when the name servers are back measures the site.
        let standstill = results.iter().any(stalled);
        assert!(up >= Self::CHECKS / 3 || standstill, "{what}: {up} up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn name_servers_that_fail_and_come_back_make_nobody_down() {
    let crowd = Crowd::new().await;
    let address = crowd.dns.addr().to_string();
    let alone = settings(&[&address], Duration::from_secs(1));
    let ms = Duration::from_millis;
    for (answer, outages) in [
        (Answer::Silent, [(300, 1700), (200, 900), (100, 1300)]),
        (Answer::ServFail, [(300, 1700), (200, 900), (100, 1300)]),
        (Answer::Refused, [(700, 30), (30, 1030), (15, 2000)]),
        (Answer::Silent, [(600, 5), (5, 500), (1, 3000)]),
    ] {
        let checks = crowd.begin(&alone);
        for (well, ill) in outages {
            tokio::time::sleep(ms(well)).await;
            crowd.dns.set_all(Some(answer.clone()));
            tokio::time::sleep(ms(ill)).await;
            crowd.dns.set_all(None);
        }
        crowd.blames_nobody(&format!("{answer:?}"), checks).await;
    }
    // The port is closed, and nothing says that a server was ever there.
    let checks = crowd.begin(&alone);
    for (well, ill) in [(300, 1500), (100, 1000)] {
        tokio::time::sleep(ms(well)).await;
        crowd.dns.close().await;
        tokio::time::sleep(ms(ill)).await;
        until("the port", async || crowd.dns.reopen().await.is_ok()).await;
    }
    crowd.blames_nobody("closed", checks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_name_servers_one_that_comes_back_suffices() {
    let crowd = Crowd::new().await;
    let dead = UdpSocket::bind((V4, 0)).await.unwrap();
    let (dead, alive) = (dead.local_addr().unwrap().to_string(), crowd.dns.addr().to_string());
    for servers in [[&dead, &alive], [&alive, &dead]] {
        let checks = crowd.begin(&settings(&servers.map(String::as_str), Duration::from_millis(500)));
        for (well, ill) in [(300, 1100), (200, 700), (50, 1500)] {
            tokio::time::sleep(Duration::from_millis(well)).await;
            crowd.dns.set_all(Some(Answer::Silent));
            tokio::time::sleep(Duration::from_millis(ill)).await;
            crowd.dns.set_all(None);
        }
        crowd.blames_nobody(&format!("{servers:?}"), checks).await;
    }
}

/// However little time a check has, it is for two rounds; and a site whose name servers are dead is down in all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_own_servers_fail_is_down_with_any_deadline() {
    let dns = DnsServer::start([("site.test", Answer::from(V4))]).await.unwrap();
    let silent = UdpSocket::bind((V4, 0)).await.unwrap();
    let (alive, dead) = (dns.addr().to_string(), silent.local_addr().unwrap().to_string());
    for answer in [Answer::Silent, Answer::ServFail, Answer::OnlyOf(V6)] {
        dns.set("site.test", answer.clone());
        for (timeout, patience) in [("2s", 2), ("2s", 10), ("3s", 1)] {
            for servers in [&[alive.as_str()][..], &[&alive, &alive], &[&dead, &alive]] {
                let mut settings = settings(servers, Duration::from_secs(patience));
                settings.dns.prefer = Family::Ipv4Only;
                let target = format!("[[targets]]\nname = 'x'\nurl = 'http://site.test/'\ntimeout = '{timeout}'\n");
                let result = check(&settings, &target).await;
                assert_eq!(verdict(&result), "down dns dns", "{answer:?} {timeout} {servers:?}: {result:#?}");
            }
        }
    }
    let settings = settings(&[&dead], Duration::from_secs(2));
    let result = check(&settings, "[[targets]]\nname = 'x'\nurl = 'http://site.test/'\ntimeout = '2s'\n").await;
    assert_eq!(verdict(&result), "unmeasured resolver dns", "{result:#?}");
}

fn is_for(query: &Message, kind: RecordType) -> bool {
    query.queries[0].query_type() == kind
}

fn with(query: &Message, addresses: &[IpAddr]) -> Option<Message> {
    let mut reply = reply_to(query);
    let name = query.queries[0].name().clone();
    for data in addresses.iter().map(|address| RData::from(*address)) {
        if is_for(query, data.record_type()) {
            reply.add_answer(Record::from_rdata(name.clone(), 1, data));
        }
    }
    Some(reply)
}

fn refused(query: &Message, code: ResponseCode) -> Option<Message> {
    let mut reply = reply_to(query);
    reply.metadata.response_code = code;
    Some(reply)
}

fn alias(query: &Message, of: &str, code: ResponseCode) -> Option<Message> {
    let mut reply = refused(query, code)?;
    let data = RData::CNAME(CNAME(Name::from_ascii(of).unwrap()));
    reply.add_answer(Record::from_rdata(query.queries[0].name().clone(), 1, data));
    Some(reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_kind() {
    let dns = DnsServer::start([("real.test", Answer::from(V4))]).await.unwrap();
    let sites = [Site::start(Response::ok("fine").into()).await.unwrap()];
    let mut settings = settings(&[&dns.addr().to_string()], Duration::from_secs(1));
    let table: [(&str, Script, &str, &str); 17] = [
        ("1,100 bytes in one datagram", |query, _, _| with(query, &[V4; 40]), "up", ""),
        ("10,000 bytes in one datagram", |query, _, _| with(query, &[V4; 600]), "up", ""),
        ("FORMERR for EDNS", |query, _, _| old(query, ResponseCode::FormErr), "up", ""),
        ("NOTIMP for EDNS", |query, _, _| old(query, ResponseCode::NotImp), "up", ""),
        ("silence for EDNS", |query, _, _| query.edns.is_none().then(|| with(query, &[V4]))?, "up", ""),
        ("the first is lost", |query, nth, _| (nth > 0).then(|| with(query, &[V4]))?, "up", ""),
        (
            "SERVFAIL at first",
            |query, nth, _| if nth == 0 { refused(query, ResponseCode::ServFail) } else { with(query, &[V4]) },
            "up",
            "",
        ),
        ("no datagrams", |query, _, tcp| tcp.then(|| with(query, &[V4]))?, "up", ""),
        ("cut datagrams", |query, _, tcp| cut(query, tcp, &[]), "up", ""),
        ("cut datagrams with a part", |query, _, _| cut(query, false, &[V4]), "up", ""),
        ("A does not exist", |query, _, _| only_v6(query, Some(ResponseCode::NXDomain)), "up", ""),
        ("A fails", |query, _, _| only_v6(query, Some(ResponseCode::ServFail)), "up", ""),
        ("A is silent", |query, _, _| only_v6(query, None), "up", ""),
        ("an alias to be asked for", |query, _, _| alias(query, "real.test.", ResponseCode::NoError), "up", ""),
        (
            "an alias that is gone",
            |query, _, _| alias(query, "gone.test.", ResponseCode::NXDomain),
            "down dns dns",
            "site.test is an alias of gone.test, which does not exist",
        ),
        (
            "an alias to be asked for that is gone",
            |query, _, _| alias(query, "gone.test.", ResponseCode::NoError),
            "down dns dns",
            "site.test is an alias of gone.test, which does not exist",
        ),
        (
            "aliases in a circle",
            |query, _, _| alias(query, "site.test.", ResponseCode::NoError),
            "down dns dns",
            "aliases without end",
        ),
    ];
    for (what, script, expected, detail) in table {
        dns.set("site.test", Answer::Scripted(script));
        settings.dns.prefer = Family::Ipv4;
        let site = if what.starts_with("A ") { None } else { Some(&sites[0]) };
        let url = site.map_or_else(|| "http://site.test:1/".to_owned(), |site| site.url("site.test"));
        let result = check(&settings, &format!("[[targets]]\nname = 'x'\nurl = '{url}'\ntimeout = '8s'\n")).await;
        match site {
            Some(_) => assert_eq!(verdict(&result), expected, "{what}: {result:#?}"),
            None => assert_eq!(result.dns.ip.as_deref(), Some("::1"), "{what}: {result:#?}"),
        }
        assert!(result.dns.error.as_deref().unwrap_or_default().contains(detail), "{what}: {result:#?}");
    }
}

fn old(query: &Message, code: ResponseCode) -> Option<Message> {
    if query.edns.is_some() { refused(query, code) } else { with(query, &[V4]) }
}

fn cut(query: &Message, tcp: bool, part: &[IpAddr]) -> Option<Message> {
    let mut reply = with(query, if tcp { &[V4] } else { part })?;
    reply.metadata.truncation = !tcp;
    Some(reply)
}

fn only_v6(query: &Message, code: Option<ResponseCode>) -> Option<Message> {
    if is_for(query, RecordType::AAAA) { with(query, &[V6]) } else { refused(query, code?) }
}

/// The usual case costs one datagram, and a name server that is slow but there is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn one_question_for_a_quick_answer_and_time_for_a_slow_one() {
    let names = [("site.test", Answer::from(V4)), ("slow.test", Answer::Delayed(Duration::from_secs(3), vec![V4]))];
    let dns = DnsServer::start(names).await.unwrap();
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let settings = settings(&[&dns.addr().to_string()], Duration::from_secs(1));
    let target = |name: &str| format!("[[targets]]\nname = 'x'\nurl = '{}'\ntimeout = '20s'\n", site.url(name));
    let result = check(&settings, &target("site.test")).await;
    assert_eq!((verdict(&result).as_str(), dns.queries("site.test")), ("up", 1), "{result:#?}");
    let result = check(&settings, &target("slow.test")).await;
    assert_eq!(verdict(&result), "up", "{result:#?}");
    assert!(result.dns.elapsed >= Some(2_900_000), "{result:#?}");
}

/// Hosts have names that no domain may have.
#[tokio::test(flavor = "multi_thread")]
async fn host_names_of_whatever_characters() {
    let hosts = ["my_app.test", "_status.test", "a._b.test", "-a.b-.test", "r3---sn-4g5e6nz7.test", "123.test"];
    let dns = DnsServer::start(hosts.map(|host| (host, Answer::from(V4)))).await.unwrap();
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let settings = settings(&[&dns.addr().to_string()], Duration::from_secs(1));
    for host in hosts {
        let result = check(&settings, &format!("[[targets]]\nname = 'x'\nurl = '{}'\n", site.url(host))).await;
        assert_eq!(verdict(&result), "up", "{host}: {result:#?}");
    }
    let url = site.url(&format!("{}.test", "a".repeat(64)));
    let result = check(&settings, &format!("[[targets]]\nname = 'x'\nurl = '{url}'\n")).await;
    assert_eq!(verdict(&result), "down dns dns", "{result:#?}");
}
