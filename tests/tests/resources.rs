//! A producer without descriptors or without a network: what it cannot even ask is no fault of a site.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use local::dns::{Answer, DnsServer};
use local::site::{Response, Site};
use producer::once;
use producer::probe::Probe;
use producer::settings::Settings;
use producer::targets::load_targets;
use shared::config::{Environment, load};
use shared::message::{CheckResult, FailureClass, State};
use tests::{awake, binary, patiently, until};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_descriptors_is_ours() {
    // A name each, so that every lookup is its own.
    let hosts: Vec<String> =
        (0..60).map(|n| if n % 2 == 0 { "127.0.0.1".to_owned() } else { format!("site{n}.test") }).collect();
    let answer = Answer::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let dns = DnsServer::start(hosts.iter().map(|host| (host.as_str(), answer.clone()))).await.unwrap();
    // Slow, so that those who have a descriptor keep it until the others have found none.
    let second = Duration::from_secs(1);
    let site = Site::start(Response::ok("fine").slow(second, Duration::ZERO).into()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    let target = |(n, host): (usize, &String)| format!("[[targets]]\nname = '{n}'\nurl = '{}'\n", site.url(host));
    std::fs::write(&path, hosts.iter().enumerate().map(target).collect::<String>()).unwrap();

    let check = async |limit: &str| -> Vec<CheckResult> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {limit}; exec \"$0\" --once --json")]).arg(binary("producer"));
        command.env("SCHEDULE_TARGETS_FILE", &path).env("DNS_SERVERS", dns.addr().to_string()).env("DNS_TIMEOUT", "5s");
        let output = patiently("the checks", command.output()).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let results: Vec<_> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(results.len(), 60, "{limit}: {}", String::from_utf8_lossy(&output.stderr));
        results
    };
    // A limit that may be raised is none.
    assert!(check("-S -n 20").await.iter().all(|result| result.outcome.state == State::Up));
    let mut seen = BTreeSet::new();
    for limit in ["-n 20", "-n 28", "-n 40"] {
        for result in check(limit).await {
            let failure = result.outcome.failure.as_ref();
            let words =
                failure.map(|failure| (failure.class.as_str().to_owned(), failure.phase.map(|phase| phase.as_str())));
            let verdict = format!("{} {words:?}", result.outcome.state.as_str());
            let fair = [
                "up None",
                "unmeasured Some((\"resources\", Some(\"dns\")))",
                "unmeasured Some((\"resources\", Some(\"connect\")))",
            ];
            assert!(fair.contains(&verdict.as_str()), "{limit}: {result:#?}");
            seen.insert(verdict);
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// The name servers answered a moment ago and are gone now: that says nothing about the sites.
#[tokio::test(flavor = "multi_thread")]
async fn name_servers_that_are_gone_are_ours() {
    let answer = Answer::from(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let dns = DnsServer::start([("site.test", answer)]).await.unwrap();
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    // Whether there is much time to ask again or little.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    let target = |name: &str, timeout: &str| {
        format!("[[targets]]\nname = '{name}'\nurl = '{}'\ntimeout = '{timeout}'\n", site.url("site.test"))
    };
    std::fs::write(&path, target("patient", "10s") + &target("hasty", "4s")).unwrap();
    let address = dns.addr().to_string();
    let variables =
        [("SCHEDULE_TARGETS_FILE", path.to_str().unwrap()), ("DNS_SERVERS", &address), ("DNS_TIMEOUT", "5s")];
    let loaded = load::<Settings>(None, &Environment::from_pairs(variables)).unwrap();
    let targets = load_targets(&loaded).unwrap();
    let probe = Arc::new(Probe::new(&loaded.settings).unwrap());
    let check = async || once::run(&targets, "test", 10, probe.clone()).await;
    let verdicts = |results: &[CheckResult]| -> Vec<_> {
        let class = |result: &CheckResult| result.outcome.failure.as_ref().map(|failure| failure.class.clone());
        results.iter().map(|result| (result.outcome.state, class(result))).collect()
    };
    assert_eq!(verdicts(&check().await), [(State::Up, None), (State::Up, None)]);
    drop(dns);
    until("the end of the name server", async || tokio::net::UdpSocket::bind(&address).await.is_ok()).await;
    let results = awake(check).await;
    let ours = (State::Unmeasured, Some(FailureClass::Resolver));
    assert_eq!(verdicts(&results), [ours.clone(), ours], "{results:#?}");
}
