//! `producer`: see the library for the way of a check.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use producer::dispatch::{self, Checker, give_up_at};
use producer::metrics::{Checks, Published};
use producer::probe::Probe;
use producer::settings::Settings;
use producer::spool::Spool;
use producer::targets::{Target, load_targets};
use producer::{heap, once, publish};
use shared::admin::{Metrics, Ready};
use shared::config::{Cli, ConfigError, Loaded};
use shared::lifecycle::stop_on_signals;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many results may wait for the spool, which is a moment at most while the disk is well.
const WAITING: usize = 10_000;

/// Times DNS and HTTP checks on a fixed schedule and publishes the results to Kafka
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    config: Cli,

    /// Check every target once, print the results and exit: 0 if all are up, 1 if not. Needs no Kafka
    #[arg(long)]
    once: bool,

    /// With --once: print the messages as JSON, one a line
    #[arg(long, requires = "once")]
    json: bool,
}

/// What the configuration asks for.
struct Plan {
    settings: Settings,
    targets: Vec<Arc<Target>>,
    probe: Arc<Probe>,
}

impl Plan {
    fn make(loaded: &Loaded<Settings>, needs_kafka: bool) -> Result<Self, ConfigError> {
        let settings = loaded.settings.clone();
        if needs_kafka {
            settings.kafka.validate().map_err(|fault| loaded.locate(fault))?;
        }
        let targets = load_targets(loaded)?;
        let probe = Probe::new(&settings).map_err(|fault| loaded.locate(fault))?;
        Ok(Self { settings, targets, probe: Arc::new(probe) })
    }
}

fn main() -> ExitCode {
    work().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn work() -> anyhow::Result<ExitCode> {
    let stop = stop_on_signals()?;
    let args = Args::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(run(args, stop));
    // A request to a broker that never answers must not outlast the grace.
    runtime.shutdown_background();
    ended
}

async fn run(args: Args, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let plan = match args.config.start(|loaded| Plan::make(loaded, !args.once)) {
        Ok(plan) => plan,
        Err(code) => return Ok(code),
    };
    heap::give_back();
    plan.settings.log.init();
    if args.once {
        return Ok(check_once(&plan, args.json, &stop).await?);
    }
    watch(plan, stop).await
}

async fn watch(plan: Plan, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let Plan { settings, targets, probe } = plan;
    let mut metrics = Metrics::new("producer", env!("CARGO_PKG_VERSION"));
    let (counts, published) = (Checks::new(&mut metrics), Published::new(&mut metrics, settings.spool.max_bytes));
    let ready = Ready::new(stop.clone());
    let _admin = settings.admin.serve(metrics, ready.clone()).await?;
    let spool = Spool::open(Path::new(&settings.spool.file), settings.spool.max_bytes)?;
    let (sender, results) = mpsc::channel(WAITING);
    let (checks_end, delivery_ends) = (CancellationToken::new(), CancellationToken::new());
    let location = settings.schedule.location.as_str().into();
    let checker = Checker { probe, location, results: sender, counts, give_up: checks_end.clone() };

    let grace = settings.stop.grace;
    let deadlines = async {
        stop.cancelled().await;
        let stopped = Instant::now();
        tokio::time::sleep_until(give_up_at(stopped, grace)).await;
        checks_end.cancel();
        tokio::time::sleep_until(stopped + grace.mul_f32(0.95)).await;
        delivery_ends.cancel();
        std::future::pending::<()>().await;
    };
    ready.set();
    let pipeline = async {
        tokio::join!(
            dispatch::run(targets, settings.schedule.max_concurrent, checker, stop.clone()),
            publish::run(&settings.kafka, &settings.publish, spool, results, published, delivery_ends.clone()),
        )
    };
    let (tally, summary) = tokio::select! {
        done = pipeline => done,
        () = deadlines => unreachable!("the deadlines end nothing by themselves"),
    };
    let summary = summary?;
    tracing::info!(
        checks.due = tally.due,
        checks.missed = tally.missed,
        results.delivered = summary.delivered,
        results.refused = summary.refused,
        results.dropped = summary.dropped,
        results.spooled = summary.spooled,
        "producer stopped"
    );
    if summary.spooled > 0 {
        tracing::warn!(results.spooled = summary.spooled, "results wait in the spool for the next start");
    }
    if summary.lost > 0 {
        tracing::error!(results.lost = summary.lost, "results are lost: they could not be spooled");
    }
    Ok(ExitCode::SUCCESS)
}

async fn check_once(plan: &Plan, json: bool, stop: &CancellationToken) -> std::io::Result<ExitCode> {
    let schedule = &plan.settings.schedule;
    let results = tokio::select! {
        results = once::run(&plan.targets, &schedule.location, schedule.max_concurrent, plan.probe.clone()) => results,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    if json {
        for result in &results {
            println!("{}", serde_json::to_string(result)?);
        }
    } else {
        println!("{}", once::table(&results));
    }
    Ok(if once::any_down(&results) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
