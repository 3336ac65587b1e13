//! `producer`: see the library for the way of a check.

mod arguments;

use std::convert::Infallible;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arguments::{Args, Command};
use clap::CommandFactory as _;
use comfy_table::Table;
use jiff::Timestamp;
use producer::dispatch::{self, Checker, Tally, give_up_at};
use producer::metrics::{Checks, Probes, Published};
use producer::probe::Probe;
use producer::publish::Summary;
use producer::reload::{self, Mark, Reloads, hangups};
use producer::settings::Settings;
use producer::shards::Shards;
use producer::spool::Spool;
use producer::targets::{Target, load_targets};
use producer::{descriptors, heap, listing, once, publish, replicas, roster};
use serde::Serialize;
use shared::admin::{Metrics, Ready};
use shared::config::{ConfigError, Loaded};
use shared::harmless::harmless;
use shared::lifecycle::stop_on_signals;
use shared::output::print;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many results may wait for the spool, which is a moment at most while the disk is well.
const WAITING: usize = 10_000;

/// What the configuration asks for.
struct Plan {
    loaded: Loaded<Settings>,
    targets: Vec<Arc<Target>>,
    /// The state of the targets file from which they were read, or an earlier one.
    mark: Mark,
    probe: Arc<Probe>,
}

impl Plan {
    fn make(loaded: Loaded<Settings>, needs_kafka: bool) -> Result<Self, ConfigError> {
        let settings = &loaded.settings;
        if needs_kafka {
            settings.kafka.validate().map_err(|fault| loaded.locate(fault))?;
        }
        let mark = Mark::of(settings);
        let targets = load_targets(&loaded)?;
        let probe = Probe::new(settings).map_err(|fault| loaded.locate(fault))?;
        Ok(Self { targets, mark, probe: Arc::new(probe), loaded })
    }
}

fn main() -> ExitCode {
    work().unwrap_or_else(|error| {
        eprintln!("error: {}", harmless(&format!("{error:#}")));
        ExitCode::FAILURE
    })
}

fn work() -> anyhow::Result<ExitCode> {
    let hangups = hangups()?;
    let stop = stop_on_signals()?;
    let args = shared::arguments::parse(Args::heeded);
    descriptors::raise();
    heap::stay_small();
    let runtime = tokio::runtime::Runtime::new()?;
    let ended = runtime.block_on(run(args, hangups, stop));
    // A request to a broker that never answers must not outlast the grace.
    runtime.shutdown_background();
    ended
}

async fn run(args: Args, hangups: mpsc::Receiver<()>, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    if let Some(Command::Completions { shell }) = args.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "producer", &mut script);
        print(script)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Import(import)) = &args.command {
        return Ok(import.run());
    }
    let needs_kafka = !args.once && args.command.is_none();
    let plan = match args.config.start(|loaded| Plan::make(loaded, needs_kafka)) {
        Ok(plan) => plan,
        Err(code) => return Ok(code),
    };
    if let Some(Command::Targets { json }) = args.command {
        return Ok(list_targets(&plan, json)?);
    }
    heap::give_back();
    plan.loaded.settings.log.init();
    if args.once {
        return Ok(check_once(&plan, args.json, &stop).await?);
    }
    watch(plan, hangups, stop).await
}

async fn watch(plan: Plan, hangups: mpsc::Receiver<()>, stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let Plan { loaded, targets, mark, probe } = plan;
    let loaded = Arc::new(loaded);
    let settings = &loaded.settings;
    let mut metrics = Metrics::new("producer", env!("CARGO_PKG_VERSION"));
    let most = settings.schedule.max_concurrent as f64;
    metrics.measured("checks_max_concurrent", "Checks that may be under way at the same time", move || most);
    let (mut counts, published) = (Checks::new(&mut metrics), Published::new(&mut metrics, settings.spool.max_bytes));
    counts.probes = settings.metrics.per_target.then(|| Probes::new(&mut metrics));
    let reloads = Reloads::new(&mut metrics);
    let (owner, shards) = watch::channel(if settings.replicas.enabled { Shards::none() } else { Shards::All });
    Shards::show(&mut metrics, &shards);
    let ready = Ready::new(stop.clone());
    let _admin = settings.admin.serve(metrics, ready.clone()).await?;
    let spool = Spool::open(Path::new(&settings.spool.file), settings.spool.max_bytes)?;
    let (sender, results) = mpsc::channel(WAITING);
    let (checks_end, delivery_ends) = (CancellationToken::new(), CancellationToken::new());
    let location = settings.schedule.location.as_str().into();
    let heirs_after = settings.replicas.enabled.then_some(settings.replicas.session_timeout);
    let checker = Checker { probe, location, results: sender, counts, heirs_after, give_up: checks_end.clone() };
    let (reloaded_in, reloaded) = mpsc::channel(1);
    let (changes_in, changes) = mpsc::channel(1);
    let all = targets;
    let targets = shards.borrow().select(&all);
    // They end with this function.
    let mut followers = JoinSet::new();
    followers.spawn(reload::watch(loaded.clone(), mark, hangups, reloaded_in, reloads));
    followers.spawn(roster::follow(all, targets.clone(), reloaded, shards.clone(), changes_in));

    let schedule_ends = CancellationToken::new();
    let membership = async {
        if !settings.replicas.enabled {
            return Ok(());
        }
        let ended = replicas::run(settings, owner, stop.clone(), delivery_ends.clone()).await;
        // Whoever is no member must not go on as one.
        stop.cancel();
        ended
    };
    let begun = async {
        if let Some(Ok(_)) = stop.run_until_cancelled(shards.clone().wait_for(Shards::are_known)).await {
            ready.set();
        }
    };
    let publishing = async {
        let ended =
            publish::run(&settings.kafka, &settings.publish, spool, results, published, delivery_ends.clone()).await;
        // Nobody else would take results.
        stop.cancel();
        ended
    };
    let pipeline = async {
        tokio::join!(
            dispatch::run(targets, changes, settings.schedule.max_concurrent, checker, schedule_ends.clone()),
            publishing,
            membership,
            followed(&mut followers, &stop),
            begun,
        )
    };
    let (tally, summary, membership, following, ()) = tokio::select! {
        done = pipeline => done,
        never = deadlines(settings, &stop, [&schedule_ends, &checks_end, &delivery_ends]) => match never {},
    };
    let summary = summary?;
    report(tally, summary);
    membership.and(following).map(|()| ExitCode::SUCCESS)
}

/// What ends when, once the producer is told to stop: the schedule, checks, deliveries.
async fn deadlines(settings: &Settings, stop: &CancellationToken, ends: [&CancellationToken; 3]) -> Infallible {
    let [schedule_ends, checks_end, delivery_ends] = ends;
    let grace = settings.stop.grace;
    stop.cancelled().await;
    let stopped = Instant::now();
    tokio::time::sleep(handover(settings)).await;
    schedule_ends.cancel();
    tokio::time::sleep_until(give_up_at(stopped, grace)).await;
    checks_end.cancel();
    // However late it is: checks that are given up have a moment to say so.
    let last_words = Instant::now() + Duration::from_millis(50);
    tokio::time::sleep_until(last_words.max(stopped + grace.mul_f32(0.95))).await;
    delivery_ends.cancel();
    std::future::pending().await
}

/// Watches over those who follow the targets: without them, targets that are this replica's by now would go unchecked.
async fn followed(followers: &mut JoinSet<()>, stop: &CancellationToken) -> anyhow::Result<()> {
    if let Some(Some(Err(died))) = stop.run_until_cancelled(followers.join_next()).await {
        stop.cancel();
        anyhow::bail!("following the targets has failed: {died}");
    }
    Ok(())
}

fn list_targets(plan: &Plan, json: bool) -> std::io::Result<ExitCode> {
    let list = listing::list(&plan.targets, &plan.loaded.settings.replicas, Timestamp::now());
    print_list(&list, listing::table, json)?;
    Ok(ExitCode::SUCCESS)
}

/// One line of JSON for each, or a table of all.
fn print_list<T: Serialize>(list: &[T], table: impl Fn(&[T]) -> Table, json: bool) -> std::io::Result<()> {
    let text = if json {
        let line = |item| serde_json::to_string(item).map(|line| line + "\n");
        list.iter().map(line).collect::<Result<String, _>>()?
    } else {
        format!("{}\n", table(list))
    };
    print(text)?;
    Ok(())
}

/// How long checks go on after the stop: until other replicas have heard that this one leaves. One that comes back under its name does not
/// leave.
fn handover(settings: &Settings) -> Duration {
    let replicas = &settings.replicas;
    if replicas.enabled && replicas.instance.is_empty() {
        replicas.handover().min(settings.stop.grace / 4)
    } else {
        Duration::ZERO
    }
}

/// The last lines of the log.
fn report(tally: Tally, summary: Summary) {
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
}

async fn check_once(plan: &Plan, json: bool, stop: &CancellationToken) -> std::io::Result<ExitCode> {
    let schedule = &plan.loaded.settings.schedule;
    let results = tokio::select! {
        results = once::run(&plan.targets, &schedule.location, schedule.max_concurrent, plan.probe.clone()) => results,
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    print_list(&results, once::table, json)?;
    Ok(if once::any_down(&results) { ExitCode::from(1) } else { ExitCode::SUCCESS })
}
