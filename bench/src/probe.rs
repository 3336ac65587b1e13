//! CPU of a check: ours from the DNS query to the broker's delivery report, body and regex included, beside the floor of the same
//! sockets without a program around them, a bare request of the HTTP client that we build on, and blackbox_exporter.

mod blackbox;
pub(crate) mod clients;
mod remembering;
mod sites;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use local::process::Process;
use tests::admin;
use tokio::time::{Instant, sleep, sleep_until};

use crate::figures::{Goal, Line, median};
use crate::ground::{Ground, Plot};
use crate::usage::cpu;
use clients::Client;
use sites::{HOSTS, PATTERN, Scheme, Sites, host};

/// Checks a second over HTTP; over HTTPS a third of it, since the site's side of the handshakes runs on the same cores.
const RATE: u32 = 3000;
/// A time for allocations, connections and chains to settle.
const SETTLES: Duration = Duration::from_secs(3);

/// What is measured, over one scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Ours,
    Floor(Client),
    Blackbox,
}

pub(crate) async fn run(ground: &Ground) -> anyhow::Result<Vec<Line>> {
    let sites = Sites::start().await?;
    let plot = ground.plot(8).await?;
    let (rounds, lasts) = ground.or_quick((3, Duration::from_secs(5)), (1, Duration::from_secs(4)));
    let mut figures: BTreeMap<(Scheme, Subject), Vec<f64>> = BTreeMap::new();
    for round in 1..=rounds {
        for scheme in Scheme::ALL {
            for subject in subjects(scheme) {
                let micros = match subject {
                    Subject::Ours => ours(&plot, &sites, scheme, lasts).await?,
                    Subject::Floor(client) => clients::measure(client, &sites, scheme, rate(scheme), lasts).await?,
                    Subject::Blackbox => match blackbox::measure(&plot, &sites, scheme, lasts).await? {
                        Some(micros) => micros,
                        None => continue,
                    },
                };
                let name = scheme.name();
                ground.say(&format!("round {round} of {rounds}, {name}: {subject:?} {micros:.0} µs a check"));
                figures.entry((scheme, subject)).or_default().push(micros);
            }
        }
    }
    Ok(lines(figures.into_iter().map(|(key, figures)| (key, median(figures))).collect()))
}

fn rate(scheme: Scheme) -> u32 {
    if scheme == Scheme::Http { RATE } else { RATE / 3 }
}

fn subjects(scheme: Scheme) -> Vec<Subject> {
    let clients = match scheme {
        Scheme::Http => vec![Client::Raw, Client::Reqwest],
        Scheme::Rsa | Scheme::Ec => vec![Client::Raw, Client::RawRemembered, Client::Reqwest],
    };
    let floors = clients.into_iter().map(Subject::Floor);
    [Subject::Ours].into_iter().chain(floors).chain([Subject::Blackbox]).collect()
}

fn lines(figures: BTreeMap<(Scheme, Subject), f64>) -> Vec<Line> {
    let mut lines = Vec::new();
    for scheme in Scheme::ALL {
        let Some(ours) = figures.get(&(scheme, Subject::Ours)) else { continue };
        for subject in subjects(scheme) {
            let (name, goal) = match (scheme, subject) {
                (_, Subject::Ours) => continue,
                (Scheme::Http, Subject::Floor(Client::Raw)) => ("raw socket, raw datagram", Some(Goal::AtMost(2.0))),
                (_, Subject::Floor(Client::Raw)) => ("raw rustls, chain verified each time", None),
                (_, Subject::Floor(Client::RawRemembered)) => ("raw rustls, chain remembered", Some(Goal::AtMost(1.4))),
                (_, Subject::Floor(Client::Reqwest)) => ("bare reqwest, raw datagram", None),
                (_, Subject::Blackbox) => ("blackbox_exporter", Some(Goal::AtMost(0.2))),
            };
            let Some(theirs) = figures.get(&(scheme, subject)) else { continue };
            let what = format!("{}, {}/s", scheme.name(), rate(scheme));
            let line = Line::new(what, "µs", *ours).beside(name, *theirs);
            lines.push(match goal {
                Some(goal) => line.goal(goal),
                None => line,
            });
        }
    }
    lines
}

/// CPU of the real producer for each result that a broker has acknowledged, in microseconds.
async fn ours(plot: &Plot, sites: &Sites, scheme: Scheme, lasts: Duration) -> anyhow::Result<f64> {
    let rate = rate(scheme);
    let mut targets = String::from("[defaults]\ninterval = \"1s\"\n");
    for index in 0..rate {
        let url = sites.url(scheme, &host(index % HOSTS));
        write!(targets, "\n[[targets]]\nname = \"target-{index}\"\nurl = \"{url}\"\nregex = '{PATTERN}'\n")?;
    }
    let targets = plot.file("targets.toml", &targets)?;
    let (dns, ca) = (sites.dns().to_string(), sites.ca_file(scheme).display().to_string());
    let variables = [("SCHEDULE_TARGETS_FILE", targets.as_str()), ("DNS_SERVERS", &dns), ("PROBE_CA_FILE", &ca)];
    let mut producer = plot.start("producer", &variables)?;
    let address = admin::address(&mut producer).await;
    sleep(SETTLES).await;
    let (before, began) = (Used::of(&producer, &address).await?, Instant::now());
    sleep_until(began + lasts).await;
    let after = Used::of(&producer, &address).await?;
    tests::stop(producer).await;
    let checks = after.delivered - before.delivered;
    let expected = f64::from(rate) * lasts.as_secs_f64();
    anyhow::ensure!(
        (0.85..1.15).contains(&(checks / expected)),
        "{checks} results delivered instead of {expected}: this machine has too much else to do"
    );
    anyhow::ensure!(after.down < 0.5, "healthy sites are down");
    Ok((after.cpu - before.cpu).as_secs_f64() * 1e6 / checks)
}

struct Used {
    cpu: Duration,
    delivered: f64,
    down: f64,
}

impl Used {
    async fn of(producer: &Process, address: &str) -> anyhow::Result<Self> {
        let metrics = admin::metrics(address).await;
        let metric = |name: &str| metrics.get(name).copied().with_context(|| format!("no metric {name}"));
        let cpu = cpu(producer.pid().context("the producer has ended")?)?;
        let down = metric("checks_total{state=\"down\"}")?;
        Ok(Self { cpu, delivered: metric("results_delivered_total")?, down })
    }
}
