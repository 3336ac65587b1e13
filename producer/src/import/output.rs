//! What came of a configuration: targets, what each of them lacks, and the file that says so.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use shared::config::duration;

use super::notes::{Gravity, Note, one_line, summary};
use crate::targets::{MAX_INTERVAL, MIN_INTERVAL, fault_in};

const MAX_NAME_BYTES: usize = 200;
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// All status codes that there are.
pub(super) const CODES: std::ops::RangeInclusive<u16> = 100..=999;

/// A target as the file says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interval: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) regex: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) expected_status: Vec<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) follow_redirects: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, String>,
}

/// A duration as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct Span(#[serde(with = "duration")] pub(super) Duration);

/// A status code, or several as one text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Status {
    Code(u16),
    Range(String),
}

/// What targets have that do not say otherwise.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Defaults {
    pub(super) interval: Span,
    pub(super) timeout: Span,
}

/// What one thing to be checked became.
#[derive(Debug)]
struct Finding {
    name: String,
    /// `None` where it cannot be a target; the last note says why.
    target: Option<Target>,
    notes: Vec<Note>,
}

/// All that came of a configuration.
#[derive(Debug)]
pub(super) struct Harvest {
    pub(super) defaults: Defaults,
    /// What one of the things is called that targets are made of.
    noun: &'static str,
    /// What is true of no single target.
    general: Vec<Note>,
    findings: Vec<Finding>,
    names: HashSet<String>,
}

#[derive(Serialize)]
struct Head {
    defaults: Defaults,
}

#[derive(Serialize)]
struct One<'a> {
    targets: [&'a Target; 1],
}

impl Harvest {
    pub(super) fn new(noun: &'static str, interval: Duration, timeout: Duration) -> Self {
        let defaults = Defaults { interval: Span(interval), timeout: Span(timeout) };
        Self { defaults, noun, general: Vec::new(), findings: Vec::new(), names: HashSet::new() }
    }

    /// Notes something that is true of no single target.
    pub(super) fn note(&mut self, gravity: Gravity, text: impl AsRef<str>) {
        self.general.push(Note::new(gravity, text));
    }

    /// Notes something that so many have, unless nobody has it.
    pub(super) fn note_of(&mut self, count: usize, gravity: Gravity, text: &str) {
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            self.note(gravity, format!("{count} {}{plural}: {text}", self.noun));
        }
    }

    /// Notes that something is left out altogether.
    pub(super) fn leave_out(&mut self, name: &str, reason: impl AsRef<str>) {
        let notes = vec![Note::new(Gravity::LeftOut, reason)];
        self.findings.push(Finding { name: one_line(name), target: None, notes });
    }

    /// Takes a target with what could not be carried over, or leaves it out if our own rules say that it cannot be.
    pub(super) fn add(&mut self, mut target: Target, mut notes: Vec<Note>) {
        let wanted = std::mem::take(&mut target.name);
        target.name = self.unique(&wanted);
        if target.name != wanted {
            let kind = "called otherwise here, since the name is taken or none that a target can have";
            let text =
                format!("called {:?} here, since {wanted:?} is taken or no name that a target can have", target.name);
            notes.push(Note::of_kind(Gravity::Harmless, kind, text));
        }
        self.fit(&mut target, &mut notes);
        notes.retain_mut(|note| note.applies_to(&target));
        let mut fault = fault_of(&target);
        if let Err((key, message)) = &fault
            && key == "regex"
        {
            notes.push(Note::new(Gravity::Less, format!("its regex is not carried over: {message}")));
            target.regex = None;
            fault = fault_of(&target);
        }
        let name = target.name.clone();
        let target = match fault {
            Ok(()) => Some(target),
            Err((key, message)) => {
                notes.push(Note::new(Gravity::LeftOut, format!("{key}: {message}")));
                self.names.remove(&name);
                None
            }
        };
        self.findings.push(Finding { name, target, notes });
    }

    /// Drops what the defaults say anyway, and brings durations within our bounds.
    fn fit(&self, target: &mut Target, notes: &mut Vec<Note>) {
        let mut bound = |what: &str, span: &mut Option<Span>, default: Span, bounded: fn(Duration) -> Duration| {
            if let Some(Span(found)) = *span
                && bounded(found) != found
            {
                *span = Some(Span(bounded(found)));
                let text = format!("{what}: {:?} here, for {found:?} is out of bounds", bounded(found));
                notes.push(Note::of_kind(Gravity::Harmless, format!("{what}: brought within our bounds"), text));
            }
            *span = span.filter(|span| *span != default);
        };
        bound("interval", &mut target.interval, self.defaults.interval, fit_interval);
        bound("timeout", &mut target.timeout, self.defaults.timeout, fit_timeout);
        target.follow_redirects = target.follow_redirects.filter(|follow| !follow);
        target.method = target.method.take().map(|method| method.to_ascii_uppercase()).filter(|method| method != "GET");
    }

    fn unique(&mut self, wanted: &str) -> String {
        let clean: String = wanted.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let clean = if clean.trim().is_empty() { "unnamed" } else { clean.trim() };
        let with = |end: &str| format!("{}{end}", &clean[..clean.floor_char_boundary(MAX_NAME_BYTES - end.len())]);
        let numbers = (2_usize..).map(|number| format!(" ({number})"));
        let name = std::iter::once(String::new())
            .chain(numbers)
            .map(|end| with(&end))
            .find(|name| !self.names.contains(name))
            .unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    /// How many targets there are, and how many things could be none.
    pub(super) fn counts(&self) -> (usize, usize) {
        let targets = self.findings.iter().filter(|finding| finding.target.is_some()).count();
        (targets, self.findings.len() - targets)
    }

    /// What to tell whoever asked: a line for each kind of thing that is not carried over, the worst first.
    pub(super) fn lines(&self) -> Vec<String> {
        // Of what is left out nothing else is worth a word.
        let of = |finding: &'_ Finding| finding.notes.len().saturating_sub(1) * usize::from(finding.target.is_none());
        let of_targets = self
            .findings
            .iter()
            .flat_map(|finding| finding.notes.iter().skip(of(finding)).map(|note| (Some(finding.name.as_str()), note)));
        summary(self.noun, self.general.iter().map(|note| (None, note)).chain(of_targets))
    }

    /// The file; `None` if it would have no target.
    ///
    /// # Errors
    /// A fault of this program: what was checked one by one must be good together.
    pub(super) fn file(&self, origin: &str) -> Result<Option<String>, String> {
        if self.counts().0 == 0 {
            return Ok(None);
        }
        let mut text = format!("# Targets from {}.\n", one_line(origin));
        let left_out = self.findings.iter().filter(|finding| finding.target.is_none());
        let left_out = left_out.filter_map(|finding| Some(format!("{}: {}", finding.name, finding.notes.last()?)));
        for line in self.general.iter().map(Note::to_string).chain(left_out) {
            let _ = writeln!(text, "# {line}");
        }
        text.push('\n');
        text.push_str(&toml::to_string_pretty(&Head { defaults: self.defaults }).map_err(|error| error.to_string())?);
        for finding in &self.findings {
            let Some(target) = &finding.target else { continue };
            text.push('\n');
            for note in &finding.notes {
                let _ = writeln!(text, "# {note}");
            }
            text.push_str(&written(target).map_err(|error| error.to_string())?);
        }
        fault_in(&text).map_err(|fault| format!("{}: {}", fault.key, fault.message))?;
        Ok(Some(text))
    }
}

fn written(target: &Target) -> Result<String, toml::ser::Error> {
    toml::to_string(&One { targets: [target] })
}

/// What our own rules say of a target: the key that is wrong, and how.
fn fault_of(target: &Target) -> Result<(), (String, String)> {
    let text = written(target).map_err(|error| (String::new(), error.to_string()))?;
    fault_in(&text).map_err(|fault| {
        let key = fault.key.strip_prefix("targets[0].").unwrap_or(&fault.key).to_owned();
        (key, one_line(&fault.message))
    })
}

/// The nearest interval that we can have.
pub(super) fn fit_interval(interval: Duration) -> Duration {
    let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

/// The nearest timeout that we can have.
pub(super) fn fit_timeout(timeout: Duration) -> Duration {
    timeout.clamp(Duration::from_millis(1), MAX_TIMEOUT)
}

/// Codes as a target says them: classes, ranges and codes; nothing for 2xx, which is what a target expects anyway.
pub(super) fn statuses(codes: &BTreeSet<u16>) -> Vec<Status> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for code in codes {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *code => *last = *code,
            _ => ranges.push((*code, *code)),
        }
    }
    if ranges == [(200, 299)] {
        return Vec::new();
    }
    let status = |(first, last)| match (first, last) {
        _ if first == last => Status::Code(first),
        _ if first % 100 == 0 && last == first + 99 => Status::Range(format!("{}xx", first / 100)),
        _ => Status::Range(format!("{first}-{last}")),
    };
    ranges.into_iter().map(status).collect()
}

/// A duration as Go and Prometheus write it: `1m30s`, `1.5h`, `500ms`, `1d`; or 0.
pub(super) fn span(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "y" => 31_536_000.0,
            _ => return None,
        };
        let nanos = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(nanos)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            ("0", Some(0)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("250ms", Some(250)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1 s", None),
            ("1.2.3s", None),
            ("999999999999999999999999y", None),
        ];
        for (text, millis) in table {
            assert_eq!(span(text).map(|span| span.as_millis()), millis, "{text}");
        }
    }

    #[test]
    fn codes() {
        let show = |codes: &[u16]| format!("{:?}", statuses(&codes.iter().copied().collect()));
        assert_eq!(show(&[200]), "[Code(200)]");
        assert_eq!(show(&[204, 200, 201]), "[Range(\"200-201\"), Code(204)]");
        assert_eq!(show(&(200..300).collect::<Vec<_>>()), "[]");
        assert_eq!(show(&(300..400).collect::<Vec<_>>()), "[Range(\"3xx\")]");
        assert_eq!(show(&CODES.collect::<Vec<_>>()), "[Range(\"100-999\")]");
    }

    #[test]
    fn names_are_unique_and_ours() {
        let mut harvest = Harvest::new("endpoint", Duration::from_secs(60), Duration::from_secs(10));
        let long = "ä".repeat(150);
        let names = ["a", "a", "a\nb", "", &long, &long].map(|name| {
            let target = Target { name: name.to_owned(), url: "https://example.net/".to_owned(), ..Target::default() };
            harvest.add(target, Vec::new());
            harvest.findings.last().unwrap().name.clone()
        });
        assert_eq!(names[..4], ["a", "a (2)", "a b", "unnamed"]);
        assert_eq!((names[4].len(), names[5].len()), (200, 200));
        assert_eq!(harvest.counts(), (6, 0));
        let all_but_the_first = [
            "harmless: 5 endpoints (a (2), a b, unnamed, …): called otherwise here, since the name is taken or none that a target can have",
        ];
        assert_eq!(harvest.lines(), all_but_the_first);
    }

    #[test]
    fn what_our_rules_refuse_is_left_out() {
        let mut harvest = Harvest::new("endpoint", Duration::from_secs(60), Duration::from_secs(10));
        let good = Target { name: "x".to_owned(), url: "https://example.net/".to_owned(), ..Target::default() };
        harvest.add(Target { url: "ftp://example.net/".to_owned(), ..good.clone() }, Vec::new());
        harvest.add(Target { method: Some("CONNECT".to_owned()), ..good.clone() }, Vec::new());
        harvest.add(Target { regex: Some("(".to_owned()), ..good.clone() }, Vec::new());
        harvest.add(
            Target { interval: Some(Span(Duration::from_millis(1))), timeout: Some(Span(Duration::MAX)), ..good },
            Vec::new(),
        );
        assert_eq!(harvest.counts(), (2, 2));
        let lines = harvest.lines();
        assert_eq!(lines.len(), 6, "{lines:#?}");
        assert!(lines[0].starts_with("left out: 1 endpoint (x): url: expected a URL"), "{lines:#?}");
        let regex = "checks less: 1 endpoint (x): its regex is not carried over: bad regex \"(\": unclosed group";
        assert_eq!(lines[2], regex);
    }
}
