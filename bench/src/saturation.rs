//! Checks a second that one process sustains, and what becomes of slots beyond that.
//!
//! All targets are checked each second. The sites share the machine, so the figure is that of both; what counts is that beyond it slots are
//! said to be missed, that no healthy site is said to be down, and that lateness and memory keep their bounds.

use std::time::Duration;

use crate::counterpart::Counterpart;
use crate::figures::{Goal, Line, quantile};
use crate::ground::Ground;
use crate::mix::Mix;
use crate::slots::{Run, lateness};
use crate::watched::{Seen, Watch};

const FIRST: usize = 1000;
const GROWTH: f64 = 1.25;
/// The share of missed slots that is too much.
const MISSED: f64 = 0.01;

pub(crate) async fn run(ground: &Ground) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for tls in [false, true] {
        let site = Counterpart::start(tls)?;
        lines.extend(saturate(ground, &site, if tls { "HTTPS" } else { "HTTP" }).await?);
    }
    Ok(lines)
}

async fn saturate(ground: &Ground, site: &Counterpart, what: &str) -> anyhow::Result<Vec<Line>> {
    let seconds = |full, quick| Duration::from_secs(ground.or_quick(full, quick));
    let ca_file = site.ca_file();
    let more = [("PROBE_CA_FILE", ca_file.as_str())];
    let watch = async |targets: usize, lasts: Duration| {
        Watch { what, mix: &Mix::each_second(targets), lasts, more: &more }.run(ground, site).await
    };
    let (mut targets, mut sustained) = (FIRST, 0);
    loop {
        let seen = watch(targets, seconds(8, 2)).await?;
        if missed(&seen.run) > MISSED {
            break;
        }
        sustained = targets;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "thousands"
        )]
        let next = (targets as f64 * GROWTH) as usize;
        targets = ground.or_quick(next, next * 2);
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let mut lines = vec![Line::new(format!("{what}: sustained, under 1 % missed"), "checks/s", sustained as f64)];
    for tenths in [15, 20] {
        let seen = watch(targets * tenths / 10, seconds(30, 4)).await?;
        lines.extend(beyond(
            &format!("{what} at {:.1} times that", f64::from(u32::try_from(tenths).unwrap_or(0)) / 10.0),
            &seen,
        ));
    }
    Ok(lines)
}

fn beyond(what: &str, seen: &Seen) -> Vec<Line> {
    let counts = seen.run.verdicts();
    #[expect(clippy::cast_precision_loss, reason = "counts of one run")]
    let count = |of: &dyn Fn(&str) -> bool| {
        counts.iter().filter(|(verdict, _)| of(verdict)).map(|(_, count)| *count).sum::<usize>() as f64
    };
    let late = lateness(seen.run.regular());
    let line = |of: &str, unit, figure| Line::new(format!("{what}: {of}"), unit, figure);
    vec![
        line("slots missed", "%", missed(&seen.run) * 100.0),
        line("healthy sites said to be down", "slots", count(&|verdict| verdict.starts_with("down")))
            .goal(Goal::AtMost(0.0)),
        line("slots unmeasured", "slots", count(&|verdict| verdict.starts_with("unmeasured"))),
        line("lateness p99", "ms", quantile(&late, 0.99)),
        line("lateness max", "ms", quantile(&late, 1.0)).goal(Goal::AtMost(1000.0)),
        line("most memory", "MB", seen.peak[1] / 1e6)
            .beside("in the first third of the time", seen.peak[0] / 1e6)
            .goal(Goal::AtMost(1.1)),
    ]
}

/// The share of slots that passed without a check.
fn missed(run: &Run) -> f64 {
    let (mut missed, mut all) = (0.0, 0.0);
    for done in run.regular() {
        all += 1.0;
        missed += f64::from(u8::from(done.missed));
    }
    missed / all
}
