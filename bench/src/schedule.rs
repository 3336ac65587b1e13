//! How late checks begin, and what many targets take: memory, and time to load.
//!
//! Checks are real ones: HTTP with DNS, to a counterpart that shares the machine. *Idle* is a mix of intervals with few checks a second;
//! *half load* is one for which the producer and its counterpart take half of the machine's cores.

use std::time::{Duration, Instant};

use crate::counterpart::Counterpart;
use crate::figures::{Goal, Line, quantile};
use crate::ground::{Ground, PATIENCE};
use crate::mix::{Format, Mix};
use crate::slots::lateness;
use crate::watched::{Seen, Watch};

const IDLE_RATE: f64 = 200.0;
/// Each second, to see what a check costs and so what half load is.
const TRIAL_TARGETS: usize = 1000;
/// As far as a mix of 10,000 targets goes.
const MOST_RATE: f64 = 4000.0;

pub(crate) async fn run(ground: &Ground) -> anyhow::Result<Vec<Line>> {
    let site = Counterpart::start(false)?;
    let (some, many) = ground.or_quick((10_000, 100_000), (1_000, 10_000));
    let seconds = |full, quick| Duration::from_secs(ground.or_quick(full, quick));
    let watch =
        async |what: &str, mix: &Mix, lasts: Duration| Watch { what, mix, lasts, more: &[] }.run(ground, &site).await;
    let mut lines = Vec::new();
    for format in [Format::Toml, Format::Yaml, Format::Json] {
        lines.push(load(ground, &site, many, format).await?);
    }
    let single = watch("one target", &Mix::each_second(1), seconds(10, 2)).await?;
    let half = half_load(&watch("a trial", &Mix::each_second(TRIAL_TARGETS), seconds(10, 2)).await?);
    for (targets, lasts) in [(some, seconds(30, 3)), (many, seconds(45, 3))] {
        let idle = watch("idle", &Mix::of(targets, IDLE_RATE), lasts).await?;
        lines.extend(lateness_lines(&format!("{targets} targets idle"), &idle, 1.0));
        lines.push(memory_line(&format!("{targets} targets idle"), targets, &idle, &single));
        if targets == some {
            lines.push(
                Line::new(format!("{targets} targets idle: memory in all"), "MB", idle.resident / 1e6)
                    .goal(Goal::AtMost(40.0)),
            );
        }
        let busy = watch("half load", &Mix::of(targets, half), lasts).await?;
        lines.extend(lateness_lines(&format!("{targets} targets half load"), &busy, 5.0));
    }
    Ok(lines)
}

/// Checks a second that take half of the machine, by what each took here.
fn half_load(trial: &Seen) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "they are few")]
    let (checks, cores) = (
        trial.run.regular().count() as f64,
        std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64),
    );
    let each = trial.cpu.iter().sum::<Duration>().as_secs_f64() / checks;
    (cores / 2.0 / each).min(MOST_RATE)
}

/// From the start of the process until it schedules.
async fn load(ground: &Ground, site: &Counterpart, targets: usize, format: Format) -> anyhow::Result<Line> {
    let plot = ground.plot(1).await?;
    let text = Mix::of(targets, IDLE_RATE).file(format, site);
    let file = plot.file(&format!("targets.{}", format.extension()), &text)?;
    let dns = site.dns.to_string();
    let began = Instant::now();
    let mut producer = plot.start("producer", &[("SCHEDULE_TARGETS_FILE", &file), ("DNS_SERVERS", &dns)])?;
    tokio::time::timeout(PATIENCE, producer.says("scheduling started")).await??;
    let took = began.elapsed().as_secs_f64();
    ground.say(&format!("{targets} targets of {} are scheduled after {took:.2} s", format.extension()));
    // It is killed here: nobody needs what it has begun.
    let what = format!("from start to first slot, {targets} targets in {}", format.extension().to_uppercase());
    Ok(Line::new(what, "s", took).goal(Goal::AtMost(3.0)))
}

fn lateness_lines(what: &str, seen: &Seen, goal: f64) -> Vec<Line> {
    let caught_up = seen.run.caught_up_at();
    let settled = lateness(seen.run.regular().filter(|done| done.slot > caught_up));
    let first = lateness(seen.run.regular().filter(|done| done.slot <= caught_up));
    let line = |of: &str, slots: &[f64], share| {
        let line = Line::new(format!("{what}: lateness {of}"), "ms", quantile(slots, share));
        line.beside("a bare thread's sleep", quantile(&seen.overslept, share))
    };
    let mut lines = Vec::new();
    if !settled.is_empty() {
        let p99 = quantile(&settled, 0.99);
        lines.push(line("p50", &settled, 0.5));
        lines.push(Line::new(format!("{what}: lateness p99"), "ms", p99).goal(Goal::AtMost(goal)));
        lines.push(line("p99, the same", &settled, 0.99));
        lines.push(line("max", &settled, 1.0));
    }
    #[expect(clippy::cast_precision_loss, reason = "seconds of one run")]
    let lasted = (caught_up - seen.run.bounds.0) as f64 / 1000.0;
    lines.push(Line::new(format!("{what}: catching up took"), "s", lasted));
    if !first.is_empty() {
        lines.push(line("p99 of slots due meanwhile", &first, 0.99));
    }
    lines
}

fn memory_line(what: &str, targets: usize, seen: &Seen, single: &Seen) -> Line {
    #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 targets")]
    let each = (seen.resident - single.resident) / targets as f64 / 1000.0;
    Line::new(format!("{what}: memory of a target"), "kB", each).goal(Goal::AtMost(1.0))
}
