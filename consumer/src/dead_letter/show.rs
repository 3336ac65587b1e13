//! Dead letters for people and for scripts. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use shared::harmless::harmless;

use super::letter::Letter;

const LONGEST_REASON: usize = 160;
const LONGEST_TARGET: usize = 60;
/// Kinds of reasons that a summary tells apart.
const KINDS: usize = 20;

/// What a list is made of, gathered letter by letter.
#[derive(Debug)]
pub struct List {
    table: Table,
    room: usize,
    hidden: usize,
    kinds: BTreeMap<String, usize>,
}

impl List {
    /// An empty list with room for so many lines.
    pub fn new(room: usize) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["topic", "partition", "offset", "time", "target", "bytes", "retried", "reason"]);
        for index in [1, 2, 5] {
            if let Some(column) = table.column_mut(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { table, room, hidden: 0, kinds: BTreeMap::new() }
    }

    /// Adds a letter, and whether it was sent again.
    pub fn push(&mut self, letter: &Letter, retried: bool) {
        *self.kinds.entry(kind(&letter.reason)).or_default() += 1;
        if self.room == 0 {
            self.hidden += 1;
            return;
        }
        self.room -= 1;
        let (topic, partition, offset) = match &letter.source {
            Some(source) => {
                (line(&source.topic, LONGEST_TARGET), source.partition.to_string(), source.offset.to_string())
            }
            None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
        };
        let bytes = letter.truncated.map_or_else(|| letter.bytes().to_string(), |size| format!("{size} (cut)"));
        self.table.add_row([
            topic,
            partition,
            offset,
            letter.timestamp.and_then(time).unwrap_or_else(|| "-".to_owned()),
            letter.target().map_or_else(|| "-".to_owned(), |target| line(&target, LONGEST_TARGET)),
            bytes,
            if retried { "yes" } else { "no" }.to_owned(),
            line(&letter.reason, LONGEST_REASON),
        ]);
    }

    /// The lines, and how many letters have which reason.
    pub fn print(&self) -> String {
        let count: usize = self.kinds.values().sum();
        if count == 0 {
            return "no dead letters".to_owned();
        }
        let mut text = format!("{}\n", self.table);
        if self.hidden > 0 {
            text.push_str(&format!("… and {} more: --limit shows more of them, --json all\n", self.hidden));
        }
        let mut kinds: Vec<(&String, &usize)> = self.kinds.iter().collect();
        kinds.sort_by_key(|(kind, count)| (std::cmp::Reverse(**count), *kind));
        text.push_str(&format!("\n{count} dead letters by reason:\n"));
        for (kind, count) in kinds.iter().take(KINDS) {
            text.push_str(&format!("{count:>8}  {kind}\n"));
        }
        let others: usize = kinds.iter().skip(KINDS).map(|(_, count)| **count).sum();
        if others > 0 {
            text.push_str(&format!("{others:>8}  other reasons\n"));
        }
        text.trim_end().to_owned()
    }
}

/// A letter as one JSON object. Bytes that are no text are in base64, under a name that says so.
pub fn json(letter: &Letter, retried: bool) -> Value {
    let source = letter.source.as_ref();
    let mut object = json!({
        "topic": source.map(|source| &source.topic),
        "partition": source.map(|source| source.partition),
        "offset": source.map(|source| source.offset),
        "timestamp": letter.timestamp.and_then(time),
        "target": letter.target(),
        "reason": letter.reason,
        "truncated": letter.truncated,
        "retried": retried,
        "dead_letter": {"partition": letter.partition, "offset": letter.offset},
    });
    if let Some(object) = object.as_object_mut() {
        insert(object, "key", letter.key.as_deref());
        insert(object, "payload", letter.payload.as_deref());
    }
    object
}

fn insert(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => object.insert(name.to_owned(), Value::Null),
        Some((_, Ok(text))) => object.insert(name.to_owned(), Value::from(text)),
        Some((bytes, Err(_))) => object.insert(format!("{name}_base64"), BASE64_STANDARD.encode(bytes).into()),
    };
}

fn time(millis: i64) -> Option<String> {
    Some(format!("{:.3}", Timestamp::from_millisecond(millis).ok()?))
}

/// One line that does nothing to a terminal: anybody may have written it.
fn line(text: &str, longest: usize) -> String {
    let safe: String = harmless(text).chars().take(longest + 1).collect();
    match safe.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &safe[..end]),
        None => safe,
    }
}

/// Reasons that differ only in numbers are of one kind.
fn kind(reason: &str) -> String {
    let mut kind = String::new();
    for c in line(reason, LONGEST_REASON).chars() {
        match c {
            '0'..='9' if kind.ends_with('#') => {}
            '0'..='9' => kind.push('#'),
            c => kind.push(c),
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::letter::Source;
    use super::*;

    fn letter(offset: i64, reason: &str, payload: &'static [u8]) -> Letter {
        let source = Some(Source { topic: "checks".to_owned(), partition: 3, offset });
        let (timestamp, payload) = (Some(1_616_980_630_976), Some(Bytes::from_static(payload)));
        Letter { source, timestamp, reason: reason.to_owned(), payload, ..Letter::default() }
    }

    #[test]
    fn a_list_shows_where_why_and_how_many() {
        let mut list = List::new(2);
        list.push(&letter(17, "not JSON: expected value at line 1 column 1", b"\x1b[2J"), false);
        list.push(&letter(18, "\x1b[2Jevil", b"{\"meta\": {\"target\": \"a\\u001b\"}}"), true);
        list.push(&letter(19, "not JSON: expected value at line 1 column 77", b"x"), false);
        let text = list.print();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("partition") && lines[0].contains("offset") && lines[0].contains("reason"), "{text}");
        for part in ["checks", " 3 ", " 17 ", "2021-03-29T01:17:10.976Z", " no ", "at line 1 column 1"] {
            assert!(lines[1].contains(part), "{part:?} in {text}");
        }
        assert!(!text.contains('\x1b'), "{text:?}");
        assert!(text.contains("and 1 more") && text.contains("3 dead letters by reason"), "{text}");
        assert!(text.contains("       2  not JSON: expected value at line # column #"), "{text}");
        assert_eq!(List::new(5).print(), "no dead letters");
    }

    #[test]
    fn json_has_every_byte() {
        let text = json(&letter(17, "why", b"{}"), true);
        assert_eq!((&text["payload"], &text["retried"], &text["offset"]), (&json!("{}"), &json!(true), &json!(17)));
        let bytes = json(&letter(17, "why", b"\xff\x00"), false);
        assert_eq!(bytes["payload_base64"], json!("/wA="));
        assert!(bytes.get("payload").is_none() && bytes["key"].is_null());
    }
}
