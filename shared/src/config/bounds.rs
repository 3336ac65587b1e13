//! What a file may be, before a parser makes a tree of it: parsers call themselves for every level, and aliases of YAML
//! stand for copies, so that a few lines could take all the stack or all the memory of a process that has work to do.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use toml_parser::Source;
use toml_parser::parser::{Event as TomlEvent, EventKind, RecursionGuard, parse_document};
use yaml_rust2::Event;
use yaml_rust2::parser::Parser;

/// What a file may have: some 200,000 targets.
const MAX_BYTES: u64 = 32 << 20;
/// How many values and keys there may be.
const MAX_NODES: usize = 4_000_000;
/// How deep lists and tables may be in each other.
const MAX_DEPTH: usize = 64;
/// What anchors and aliases may add, in bytes of text and [`NODE`] a value.
const MAX_COPIED: usize = 8 << 20;
/// What a value weighs beside its text.
const NODE: usize = 32;

/// The text of a file, if it is not too large.
///
/// # Errors
/// It cannot be read, is too large, or is no text.
pub fn read_text(path: &Path) -> Result<String, String> {
    read_up_to(path, MAX_BYTES)
}

fn read_up_to(path: &Path, most: u64) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(most + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes as u64 > most => Err(format!("it is larger than {} MiB", most >> 20)),
        // What was cut within a character is too large, too.
        Err(_) if path.metadata().is_ok_and(|file| file.len() > most) => {
            Err(format!("it is larger than {} MiB", most >> 20))
        }
        Err(error) => Err(error.to_string()),
        Ok(_) => Ok(text),
    }
}

/// How much there is so far.
#[derive(Default)]
struct Tally {
    nodes: usize,
    fault: Option<(usize, String)>,
}

impl Tally {
    /// Counts a value or a key at a depth; `at` is where it stands.
    fn count(&mut self, depth: usize, at: usize) {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            self.refuse(at, format!("lists and tables are more than {MAX_DEPTH} levels deep in each other"));
        } else if self.nodes > MAX_NODES {
            self.refuse(at, format!("there are more than {MAX_NODES} values and keys"));
        }
    }

    fn refuse(&mut self, at: usize, message: String) {
        self.fault.get_or_insert((at, message));
    }

    fn ended(self) -> Result<(), (usize, String)> {
        self.fault.map_or(Ok(()), Err)
    }
}

/// Holds a YAML text to the bounds, event by event. What is no YAML is for the parser to say.
///
/// # Errors
/// The line, and what is too much there.
pub(super) fn check_yaml(text: &str) -> Result<(), (usize, String)> {
    let mut parser = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
    let mut tally = Tally::default();
    // What is open: its anchor, and what it weighs.
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut anchors: HashMap<usize, usize> = HashMap::new();
    let mut copied = 0_usize;
    while let Ok((event, mark)) = parser.next_token() {
        let line = mark.line();
        let closed = match event {
            Event::StreamEnd => break,
            Event::Scalar(text, _, anchor, _) => Some((anchor, NODE + text.len())),
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                open.push((anchor, NODE));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop(),
            Event::Alias(anchor) => {
                let weight = anchors.get(&anchor).copied().unwrap_or(NODE);
                copied = copied.saturating_add(weight);
                Some((0, weight))
            }
            _ => continue,
        };
        tally.count(open.len(), line);
        if let Some((anchor, weight)) = closed {
            if anchor > 0 {
                copied = copied.saturating_add(weight);
                anchors.insert(anchor, weight);
            }
            if let Some((_, around)) = open.last_mut() {
                *around = around.saturating_add(weight);
            }
        }
        if copied > MAX_COPIED.saturating_add(text.len()) {
            tally.refuse(line, "its aliases stand for more than a file may have".to_owned());
        }
        if tally.fault.is_some() {
            break;
        }
    }
    tally.ended()
}

/// The same for TOML, whose dotted keys are levels, too. In place of the line it is the offset that an error has.
pub(super) fn check_toml(text: &str) -> Result<(), (usize, String)> {
    let mut tally = Tally::default();
    // The parts of the table's name, of the keys around, and of the key at hand.
    let (mut header, mut around, mut key) = (0_usize, 0_usize, 0_usize);
    let (mut in_header, mut open) = (false, Vec::new());
    let mut receiver = |event: TomlEvent| {
        match event.kind() {
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => (header, key, in_header) = (0, 0, true),
            EventKind::StdTableClose | EventKind::ArrayTableClose => in_header = false,
            EventKind::SimpleKey if in_header => header += 1,
            EventKind::SimpleKey => key += 1,
            EventKind::InlineTableOpen | EventKind::ArrayOpen => {
                open.push(key);
                around += key + 1;
                key = 0;
            }
            EventKind::InlineTableClose | EventKind::ArrayClose => {
                key = open.pop().unwrap_or_default();
                around = around.saturating_sub(key + 1);
            }
            EventKind::Scalar => {}
            EventKind::ValueSep => return key = 0,
            EventKind::Newline if open.is_empty() => return key = 0,
            _ => return,
        }
        tally.count(header + around + key, event.span().start());
    };
    // This parser, too, calls itself for every level. What is no TOML is for the real one to say.
    let mut guard = RecursionGuard::new(&mut receiver, MAX_DEPTH as u32);
    parse_document(&Source::new(text).lex().into_vec(), &mut guard, &mut ());
    tally.ended()
}

/// The same for JSON.
pub(super) fn check_json(text: &str) -> Result<(), (usize, String)> {
    let mut tally = Tally::default();
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => {
                depth += 1;
                tally.count(depth, at);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' | b':' => tally.count(depth, at),
            _ => {}
        }
    }
    tally.ended()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "ä".repeat(1 << 19)).unwrap();
        assert_eq!(read_up_to(&path, 1 << 20).map(|text| text.len()), Ok(1 << 20));
        std::fs::write(&path, "a".to_owned() + &"ä".repeat(1 << 19)).unwrap();
        assert_eq!(read_up_to(&path, 1 << 20), Err("it is larger than 1 MiB".to_owned()));
        assert_eq!(read_up_to(Path::new("/dev/zero"), 1 << 20), Err("it is larger than 1 MiB".to_owned()));
    }

    #[test]
    fn many_values_are_too_many() {
        let many = |separator: &str| vec!["1"; MAX_NODES + 1].join(separator);
        let message = "there are more than 4000000 values and keys";
        assert_eq!(check_json(&format!("[{}]", many(","))).unwrap_err().1, message);
        assert_eq!(check_toml(&format!("a = [{}]", many(","))).unwrap_err().1, message);
        assert!(check_json(&format!("[\"{}\"]", many(","))).is_ok());
    }
}
