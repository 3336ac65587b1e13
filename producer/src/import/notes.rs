//! What of another monitor's configuration is not in the targets file, and what comes of that.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use shared::harmless::harmless;

use super::output::Target;

/// What comes of something that is not carried over, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Gravity {
    /// There is no target.
    LeftOut,
    /// The target is down from the first check on, where the other monitor says up.
    Down,
    /// The same, if the site minds.
    MayBeDown,
    /// The target is up where the other monitor says down.
    Less,
    /// Nothing that a check could show.
    Harmless,
}

impl fmt::Display for Gravity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeftOut => "left out",
            Self::Down => "will be down",
            Self::MayBeDown => "may be down",
            Self::Less => "checks less",
            Self::Harmless => "harmless",
        })
    }
}

/// One thing that is not carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) gravity: Gravity,
    /// What is said once for all that have it.
    kind: String,
    /// What is said of the one.
    text: String,
}

impl Note {
    /// A note whose words are the same for all that have it.
    pub(super) fn new(gravity: Gravity, text: impl AsRef<str>) -> Self {
        Self::of_kind(gravity, &text, &text)
    }

    /// A note that says more of the one than `kind`, which is said of all that have the like.
    pub(super) fn of_kind(gravity: Gravity, kind: impl AsRef<str>, text: impl AsRef<str>) -> Self {
        Self { gravity, kind: one_line(kind.as_ref()), text: one_line(text.as_ref()) }
    }
}

impl Note {
    /// Whether it says something of this target: no certificate is verified where there is none.
    pub(super) fn applies_to(&mut self, target: &Target) -> bool {
        if self.kind.contains(INSECURE) && !target.url.starts_with("https://") {
            self.gravity = Gravity::MayBeDown;
            return target.follow_redirects.is_none();
        }
        true
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.gravity, self.text)
    }
}

/// What comes of targets whose certificates nobody has verified.
pub(super) const INSECURE: &str = "every certificate is verified: it will be down from the first check on, unless its certificate is \
                                   signed by a CA that is known; probe.ca_file adds those that sign your own";

/// How many names a line has room for.
const NAMES: usize = 3;

/// A line for each kind of note, the worst first and of these the most frequent: how many have it, and who they are.
/// `noun` is what one of them is called. Notes without a name are true of all.
pub(super) fn summary<'a>(noun: &str, notes: impl Iterator<Item = (Option<&'a str>, &'a Note)>) -> Vec<String> {
    let mut kinds: Vec<(&Note, Vec<&str>)> = Vec::new();
    let mut known: HashMap<(Gravity, &str), usize> = HashMap::new();
    for (name, note) in notes {
        let place = *known.entry((note.gravity, &note.kind)).or_insert_with(|| {
            kinds.push((note, Vec::new()));
            kinds.len() - 1
        });
        let names = &mut kinds[place].1;
        if let Some(name) = name.filter(|name| names.last() != Some(name)) {
            names.push(name);
        }
    }
    kinds.sort_by_key(|(note, names)| (note.gravity, Reverse(names.len())));
    kinds.into_iter().map(|(note, names)| line(noun, note, &names)).collect()
}

fn line(noun: &str, note: &Note, names: &[&str]) -> String {
    let Note { gravity, kind, text } = note;
    let more = if names.len() > NAMES { ", …" } else { "" };
    let shown = names[..names.len().min(NAMES)].join(", ");
    match names.len() {
        0 => format!("{gravity}: {kind}"),
        1 => format!("{gravity}: 1 {noun} ({shown}): {text}"),
        count => format!("{gravity}: {count} {noun}s ({shown}{more}): {kind}"),
    }
}

/// A text for one line of a terminal or a comment.
pub(super) fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    harmless(&spaced).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_kind_and_the_worst_first() {
        let notes = [
            (Some("a"), Note::of_kind(Gravity::Less, "limits", "limit of 1 s")),
            (Some("a"), Note::of_kind(Gravity::Less, "limits", "limit of 2 s")),
            (None, Note::new(Gravity::Harmless, "pages")),
            (Some("b"), Note::of_kind(Gravity::Less, "limits", "limit of 3 s")),
            (Some("c"), Note::new(Gravity::Down, "certificates\n")),
            (Some("d"), Note::new(Gravity::Less, "limits")),
            (Some("e"), Note::new(Gravity::Less, "limits")),
            (Some("f\u{1b}"), Note::new(Gravity::LeftOut, "icmp")),
            (Some("f"), Note::new(Gravity::Less, "colours")),
        ];
        let lines = summary("target", notes.iter().map(|(name, note)| (*name, note)));
        let expected = [
            "left out: 1 target (f\u{1b}): icmp",
            "will be down: 1 target (c): certificates ",
            "checks less: 4 targets (a, b, d, …): limits",
            "checks less: 1 target (f): colours",
            "harmless: pages",
        ];
        assert_eq!(lines, expected);
    }
}
