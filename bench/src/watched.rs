//! A real producer on a mix of targets for a while: what it used meanwhile, and what stands in its topic afterwards.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, getpid};

use crate::counterpart::Counterpart;
use crate::ground::{Ground, PATIENCE};
use crate::mix::{Format, Mix};
use crate::slots::Run;
use crate::usage;
use crate::witness::Witness;

/// What is to be watched.
pub(crate) struct Watch<'a> {
    pub(crate) what: &'a str,
    pub(crate) mix: &'a Mix,
    pub(crate) lasts: Duration,
    /// Further variables of the producer.
    pub(crate) more: &'a [(&'static str, &'a str)],
}

/// What was seen.
pub(crate) struct Seen {
    pub(crate) run: Run,
    /// Resident memory in bytes at the end.
    pub(crate) resident: f64,
    /// Most resident memory in bytes, until a third of the time and until the end.
    pub(crate) peak: [f64; 2],
    /// CPU time of the producer and of its counterpart.
    pub(crate) cpu: [Duration; 2],
    /// By how much a bare thread overslept, in milliseconds, sorted.
    pub(crate) overslept: Vec<f64>,
}

impl Watch<'_> {
    /// Runs the producer, and holds that each slot has one result.
    pub(crate) async fn run(&self, ground: &Ground, site: &Counterpart) -> anyhow::Result<Seen> {
        let Self { what, mix, lasts, more } = self;
        ground.say(&format!("{what}: {}, {} s, load {}", mix.describe(), lasts.as_secs(), usage::load()));
        let plot = ground.plot(4).await?;
        let file = plot.file("targets.toml", &mix.file(Format::Toml, site))?;
        let (dns, own) = (site.dns.to_string(), usage::cpu(getpid())?);
        let mut variables = vec![("SCHEDULE_TARGETS_FILE", file.as_str()), ("DNS_SERVERS", &dns)];
        variables.extend(more.iter().copied());
        let mut producer = plot.start("producer", &variables)?;
        let pid: Pid = producer.pid().context("the producer has ended")?;
        tokio::time::timeout(PATIENCE, producer.says("scheduling started")).await??;
        let (began, witness) = (Instant::now(), Witness::start());
        tokio::time::sleep(*lasts / 3).await;
        let (_, early) = usage::memory(pid)?;

        tokio::time::sleep(lasts.saturating_sub(began.elapsed())).await;
        let overslept = witness.end();
        let cpu = [usage::cpu(pid)?, usage::cpu(getpid())?.saturating_sub(own)];
        let (resident, late) = usage::memory(pid)?;
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 bytes")]
        let [resident, early, late] = [resident, early, late].map(|bytes| bytes as f64);
        let producer = tests::stop(producer).await;
        let bound = |field| tests::logged(&producer, field);
        let run = Run::read(&plot, (bound("schedule.started_at_ms"), bound("schedule.stopped_at_ms"))).await?;
        run.hold_complete(mix)?;
        let share = |cpu: Duration| 100.0 * cpu.as_secs_f64() / lasts.as_secs_f64();
        ground.say(&format!(
            "  {:?}; producer {:.0} % and counterpart {:.0} % of a core",
            run.verdicts(),
            share(cpu[0]),
            share(cpu[1])
        ));
        Ok(Seen { run, resident, peak: [early, late], cpu, overslept })
    }
}
