//! `chaos`: makes everything fail that can, for `CHAOS_SECONDS` from `CHAOS_SEED`, and says whether every result is stored once.
//!
//! `CHAOS_FAULTS` names the faults that are made (all if not set); `each` runs once with each fault alone. `CHAOS_TARGETS` is the
//! number of checks a second.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use local::process::binaries;
use shared::lifecycle::stop_on_signals;
use tests::chaos::{Plan, names, run};
use tokio_util::sync::CancellationToken;

const SECONDS: u64 = 120;
const TARGETS: usize = 240;
/// How often the progress is told where no terminal can be drawn over.
const BETWEEN_LINES: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<ExitCode> {
    let stop = stop_on_signals()?;
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let plan = Plan {
        binaries: binaries()?,
        lasts: Duration::from_secs(variable("CHAOS_SECONDS", SECONDS)?),
        seed: variable("CHAOS_SEED", seed)?,
        faults: names().collect(),
        targets: variable("CHAOS_TARGETS", TARGETS)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let wanted = std::env::var("CHAOS_FAULTS").unwrap_or_default();
    let mut well = true;
    for faults in rounds(&wanted)? {
        if stop.is_cancelled() {
            break;
        }
        let plan = Plan { faults, ..plan.clone() };
        well &= runtime.block_on(round(&plan, &stop))?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T> {
    match std::env::var(name).ok().filter(|text| !text.is_empty()) {
        Some(text) => text.parse().ok().with_context(|| format!("{name}: expected a number, not {text:?}")),
        None => Ok(default),
    }
}

/// The faults of each run.
fn rounds(wanted: &str) -> anyhow::Result<Vec<Vec<&'static str>>> {
    match wanted.trim() {
        "" => return Ok(vec![names().collect()]),
        "each" => return Ok(names().map(|name| vec![name]).collect()),
        _ => {}
    }
    let mut faults = Vec::new();
    for wanted in wanted.split(',').map(str::trim) {
        let Some(name) = names().find(|name| *name == wanted) else {
            bail!("CHAOS_FAULTS: {wanted:?} is none of {}", names().collect::<Vec<_>>().join(", "));
        };
        faults.push(name);
    }
    Ok(vec![faults])
}

async fn round(plan: &Plan, stop: &CancellationToken) -> anyhow::Result<bool> {
    let folder = tempfile::tempdir()?;
    println!("{} s of chaos from seed {}: {}", plan.lasts.as_secs(), plan.seed, plan.faults.join(", "));
    let terminal = std::io::stdout().is_terminal();
    let mut said: Option<Instant> = None;
    let progress = |text: &str| {
        if terminal {
            print!("\r\x1b[K{text}");
            // A progress that is not shown is no reason to stop.
            let _ = std::io::stdout().flush();
        } else if said.is_none_or(|said| said.elapsed() >= BETWEEN_LINES) {
            println!("{text}");
            said = Some(Instant::now());
        }
    };
    let ended = run(plan, folder.path(), stop, progress).await;
    if terminal {
        println!();
    }
    let well = match &ended {
        Ok(report) => {
            print!("{}", report.table());
            println!("{}", report.account);
            report.account.adds_up()
        }
        Err(error) => {
            println!("error: {error:#}");
            false
        }
    };
    if !well {
        println!("the logs are in {}", folder.keep().display());
    }
    Ok(well)
}
