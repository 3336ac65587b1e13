//! `bench`: what a check and a row cost, each beside its limit or a peer in the same run. `bench/README.md` has what it said.

mod figures;
mod ground;
mod usage;

mod counterpart;
mod mix;
mod site;
mod slots;
mod watched;
mod witness;

mod database;
mod results;

mod probe;
mod schedule;

mod saturation;

mod sink;

mod freshness;

mod growth;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use figures::{Line, machine, table};
use ground::Ground;
use probe::clients::{self, Task};
use shared::lifecycle::stop_on_signals;

/// Runs the benchmarks and prints a table of each
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Which to run; all of them when none is named
    benchmarks: Vec<Benchmark>,

    /// Short rounds, to see that everything works; the figures mean little
    #[arg(long)]
    quick: bool,

    /// To which millions of rows the table grows, such as 1,10
    #[arg(long, value_delimiter = ',', default_value = "1,10,50")]
    millions: Vec<u16>,

    #[command(subcommand)]
    client: Option<Hidden>,
}

/// What the benchmarks start for themselves.
#[derive(Debug, Subcommand)]
enum Hidden {
    #[command(hide = true)]
    Client(Task),
}

/// A benchmark, in the order of a check's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// CPU of a check
    Probe,
    /// Lateness and memory of many targets
    Schedule,
    /// Checks a second that one process can do, and what happens beyond
    Saturation,
    /// Rows a second from a topic into Postgres
    Sink,
    /// From the end of a check to its row
    Freshness,
    /// Inserts and queries as the table grows
    Growth,
}

impl Benchmark {
    async fn run(self, ground: &Ground) -> anyhow::Result<Vec<Line>> {
        match self {
            Self::Probe => probe::run(ground).await,
            Self::Schedule => schedule::run(ground).await,
            Self::Saturation => saturation::run(ground).await,
            Self::Sink => sink::run(ground).await,
            Self::Freshness => freshness::run(ground).await,
            Self::Growth => growth::run(ground).await,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let stop = stop_on_signals()?;
    let args = Args::parse();
    // Only a second call could fail.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let wanted = if args.benchmarks.is_empty() { Benchmark::value_variants() } else { &args.benchmarks };
    let runtime = tokio::runtime::Runtime::new()?;
    if let Some(Hidden::Client(task)) = args.client {
        return runtime.block_on(clients::run(task)).map(|()| ExitCode::SUCCESS);
    }
    println!("{}", machine());
    let ground = Ground::new(args.quick, args.millions)?;
    let ended = runtime.block_on(stop.run_until_cancelled(async {
        for benchmark in wanted {
            let name = benchmark.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            let began = Instant::now();
            let lines = benchmark.run(&ground).await?;
            println!("\n## {name} ({:.0} s)\n\n{}", began.elapsed().as_secs_f64(), table(&lines));
        }
        anyhow::Ok(())
    }));
    match ended {
        Some(ended) => ended.map(|()| ExitCode::SUCCESS),
        None => Ok(ExitCode::from(130)),
    }
}
