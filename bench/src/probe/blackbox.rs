//! Prometheus' blackbox_exporter on the same sites, asked as Prometheus asks it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use local::process::Process;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::SETTLES;
use super::sites::{PATTERN, Scheme, Sites, address};
use crate::ground::Plot;
use crate::usage::cpu;

/// As Debian and as the project itself call it.
const NAMES: [&str; 2] = ["prometheus-blackbox-exporter", "blackbox_exporter"];
/// A rate that leaves it air; its cost a check does not depend on it.
const RATE: u32 = 100;

/// CPU of the exporter for each probe, in microseconds; `None` where it is not installed. It is given the address and not the name,
/// which spares it the lookup that the others make.
pub(super) async fn measure(
    plot: &Plot,
    sites: &Sites,
    scheme: Scheme,
    lasts: Duration,
) -> anyhow::Result<Option<f64>> {
    let Some(program) = program() else { return Ok(None) };
    let config = format!(
        "modules:
  page:
    prober: http
    timeout: 5s
    http:
      preferred_ip_protocol: ip4
      fail_if_body_not_matches_regexp: ['{PATTERN}']
      tls_config:
        ca_file: {}
",
        sites.ca_file(scheme).display()
    );
    let config = plot.file("blackbox.yml", &config)?;
    // Free now; it has no way to be handed a listener.
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let arguments = [format!("--config.file={config}"), format!("--web.listen-address={listen}")];
    let mut exporter =
        Process::start(&program, &arguments.each_ref().map(String::as_str), std::iter::empty::<(_, String)>())?;
    exporter.says("Listening on").await?;
    let pid = exporter.pid().context("the exporter has ended")?;
    let url = format!("http://{listen}/probe?module=page&target={}", sites.url(scheme, &address(0).to_string()));
    let client = reqwest::Client::builder().no_proxy().build()?;
    probe(&client, &url, SETTLES / 2).await?;
    let before = cpu(pid)?;
    let probes = probe(&client, &url, lasts).await?;
    let used = cpu(pid)? - before;
    Ok(Some(used.as_secs_f64() * 1e6 / f64::from(probes)))
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where `local/setup.sh` puts it.
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let folders = std::env::split_paths(&path).chain(cache.map(|cache| cache.join("slotwatch")));
    let mut files = folders.flat_map(|folder| NAMES.map(|name| folder.join(name)));
    files.find(|file| file.is_file())
}

/// Has the site probed for so long, and returns how often it was.
async fn probe(client: &reqwest::Client, url: &str, lasts: Duration) -> anyhow::Result<u32> {
    let mut tick = interval(Duration::from_secs(1) / RATE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut number, mut probes) = (Instant::now(), 0, JoinSet::new());
    while began.elapsed() < lasts {
        tick.tick().await;
        let request = client.get(url);
        probes.spawn(async move {
            let metrics = request.send().await?.text().await?;
            anyhow::ensure!(metrics.contains("\nprobe_success 1"), "the exporter finds the site down: {metrics}");
            Ok(())
        });
        number += 1;
    }
    for ended in probes.join_all().await {
        ended?;
    }
    Ok(number)
}
