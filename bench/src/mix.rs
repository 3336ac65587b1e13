//! Many targets of mixed intervals, as files that a user could have.

use std::time::Duration;

use crate::counterpart::{Counterpart, DOMAIN};

/// Seconds of the intervals of a mix; the last one is that of most targets.
const SECONDS: [u64; 5] = [1, 5, 15, 60, 300];

/// How many targets have which interval. Targets are called `t0`, `t1`, … in the order of their intervals.
#[derive(Clone, Debug)]
pub(crate) struct Mix([usize; SECONDS.len()]);

/// A format of targets files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Toml,
    Yaml,
    Json,
}

impl Mix {
    /// All of them once a second.
    pub(crate) fn each_second(targets: usize) -> Self {
        Self([targets, 0, 0, 0, 0])
    }

    /// So many targets that come to this many checks a second, or to few if there is no more room: 5 s, 15 s and 60 s have 30 checks a
    /// second each, 1 s has what is missing, and all others have 5 minutes.
    pub(crate) fn of(targets: usize, checks_a_second: f64) -> Self {
        let (mut often, mut mix) = (0, Self::with(targets, 0));
        while mix.rate() < checks_a_second && often < targets / 2 {
            often += 1;
            mix = Self::with(targets, often);
        }
        mix
    }

    fn with(targets: usize, often: usize) -> Self {
        let share = |each: usize| each.min(targets / 10);
        let [few, some, more] = [share(150), share(450), share(1800)];
        Self([often, few, some, more, targets - often - few - some - more])
    }

    /// Checks a second.
    pub(crate) fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 targets")]
        self.0.iter().zip(SECONDS).map(|(count, seconds)| *count as f64 / seconds as f64).sum()
    }

    /// Every target's number and interval.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (usize, Duration)> {
        let intervals = self.0.iter().zip(SECONDS);
        intervals.flat_map(|(count, seconds)| std::iter::repeat_n(Duration::from_secs(seconds), *count)).enumerate()
    }

    /// In words: how many have which interval.
    pub(crate) fn describe(&self) -> String {
        let parts = self.0.iter().zip(SECONDS).filter(|(count, _)| **count > 0);
        let parts: Vec<String> = parts.map(|(count, seconds)| format!("{count} each {seconds} s")).collect();
        format!("{} ({:.0} checks/s)", parts.join(", "), self.rate())
    }

    /// The targets file: a host of its own for each, a pattern that half of them share, and one in a hundred with its own.
    pub(crate) fn file(&self, format: Format, site: &Counterpart) -> String {
        let (scheme, port) = site.site();
        let entries = self.targets().map(|(n, interval)| {
            let fields = [
                Some(("name", name(n))),
                Some(("url", format!("{scheme}://{}.{DOMAIN}:{port}/", name(n)))),
                Some(("interval", format!("{}s", interval.as_secs()))),
                match n % 100 {
                    7 => Some(("regex", format!("all (is|was) well here|site {n} is fine"))),
                    odd if odd % 2 == 1 => Some(("regex", "all is well".to_owned())),
                    _ => None,
                },
            ];
            format.entry(&fields.into_iter().flatten().collect::<Vec<_>>())
        });
        match format {
            Format::Toml => entries.collect(),
            Format::Yaml => entries.fold("targets:\n".to_owned(), |file, entry| file + &entry),
            Format::Json => format!("{{\"targets\": [\n{}\n]}}", entries.collect::<Vec<_>>().join(",\n")),
        }
    }
}

impl Format {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }

    fn entry(self, fields: &[(&str, String)]) -> String {
        let lines = |between: &str, line: &dyn Fn(&str, &str) -> String| {
            fields.iter().map(|(key, value)| line(key, value)).collect::<Vec<_>>().join(between)
        };
        match self {
            Self::Toml => format!("[[targets]]\n{}\n\n", lines("\n", &|key, value| format!("{key} = {value:?}"))),
            Self::Yaml => format!("  - {}\n", lines("\n    ", &|key, value| format!("{key}: {value:?}"))),
            Self::Json => format!("  {{{}}}", lines(", ", &|key, value| format!("{key:?}: {value:?}"))),
        }
    }
}

/// What the target of this number is called.
pub(crate) fn name(n: usize) -> String {
    format!("t{n}")
}
