//! YAML as other tools read it: with anchors, aliases and merge keys (`<<`), and every scalar as its text.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use yaml_rust2::Event;
use yaml_rust2::parser::Parser;
use yaml_rust2::scanner::TScalarStyle;

use super::lenient::indented;

/// What aliases may make of a file: they can be nested so that a screenful stands for more nodes than memory has room for.
const MAX_NODES: usize = 1_000_000;
/// How deep collections may be in each other, so that nobody who follows them runs out of stack.
const MAX_DEPTH: usize = 64;

/// A node of a document; those behind an alias are shared.
#[derive(Debug)]
pub(super) struct Node {
    kind: Kind,
    /// How many nodes it stands for, itself and those behind aliases counted.
    size: usize,
}

#[derive(Debug)]
enum Kind {
    Null,
    Scalar(String),
    List(Vec<Rc<Node>>),
    Map(BTreeMap<String, Rc<Node>>),
}

impl Default for Node {
    fn default() -> Self {
        Self { kind: Kind::Null, size: 1 }
    }
}

impl Node {
    /// The first document of a text.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Rc<Self>, String> {
        Ok(Self::parse_all(text)?.into_iter().next().unwrap_or_default())
    }

    /// The documents of a text.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub(super) fn parse_all(text: &str) -> Result<Vec<Rc<Self>>, String> {
        Self::documents(text).or_else(|error| Self::documents(&indented(text)).map_err(|_| error))
    }

    fn documents(text: &str) -> Result<Vec<Rc<Self>>, String> {
        let mut parser = Parser::new_from_str(text.trim_start_matches('\u{feff}'));
        let mut tree = Tree::default();
        let mut documents = Vec::new();
        // Event by event: the parser's own loader calls itself for every level, however many there are.
        loop {
            let (event, mark) = parser
                .next_token()
                .map_err(|error| format!("line {}: {}", error.marker().line().max(1), error.info()))?;
            match event {
                Event::DocumentEnd => documents.extend(std::mem::take(&mut tree).root),
                Event::StreamEnd => return Ok(documents),
                _ => {}
            }
            tree.take(event).map_err(|message| format!("line {}: {message}", mark.line()))?;
        }
    }

    /// The same for JSON, which may have what YAML has not: tabs.
    pub(super) fn from_json(text: &str) -> Result<Rc<Self>, String> {
        serde_json::from_str(text).map(Self::of_json).map_err(|error| error.to_string())
    }

    fn of_json(value: serde_json::Value) -> Rc<Self> {
        use serde_json::Value;
        let kind = match value {
            Value::Null => Kind::Null,
            Value::String(text) => Kind::Scalar(text),
            Value::Bool(_) | Value::Number(_) => Kind::Scalar(value.to_string()),
            Value::Array(items) => Kind::List(items.into_iter().map(Self::of_json).collect()),
            Value::Object(entries) => {
                Kind::Map(entries.into_iter().map(|(key, value)| (key, Self::of_json(value))).collect())
            }
        };
        Rc::new(Self { kind, size: 1 })
    }

    /// What a mapping has for a key, if it is anything.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.get(key).map(Rc::as_ref).filter(|node| !matches!(node.kind, Kind::Null))
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        if let Kind::Scalar(text) = &self.kind { Some(text) } else { None }
    }

    /// The text that a mapping has for a key.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Self::text)
    }

    /// Whether a mapping says yes to a key. These are the words of YAML 1.1, which both tools take.
    pub(super) fn truth_of(&self, key: &str) -> Option<bool> {
        match self.text_of(key)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        }
    }

    /// What is in a collection.
    pub(super) fn children(&self) -> Box<dyn Iterator<Item = &Rc<Self>> + '_> {
        match &self.kind {
            Kind::List(items) => Box::new(items.iter()),
            Kind::Map(entries) => Box::new(entries.values()),
            _ => Box::new(std::iter::empty()),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// The items of a list, none of anything else.
    pub(super) fn items(&self) -> impl Iterator<Item = &Self> {
        let items: &[Rc<Self>] = if let Kind::List(items) = &self.kind { items } else { &[] };
        items.iter().map(Rc::as_ref)
    }

    /// The items of the list that a mapping has for a key.
    pub(super) fn items_of(&self, key: &str) -> impl Iterator<Item = &Self> {
        self.get(key).into_iter().flat_map(Self::items)
    }

    /// The texts in the list that a mapping has for a key.
    pub(super) fn texts_of(&self, key: &str) -> impl Iterator<Item = &str> {
        self.items_of(key).filter_map(Self::text)
    }

    /// The entries of a mapping that are not null, by their keys; none of anything else.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let entries = if let Kind::Map(entries) = &self.kind { Some(entries) } else { None };
        let entries = entries.into_iter().flatten().map(|(key, node)| (key.as_str(), node.as_ref()));
        entries.filter(|(_, node)| !matches!(node.kind, Kind::Null))
    }

    /// The entries of the mapping that a mapping has for a key.
    pub(super) fn entries_of(&self, key: &str) -> impl Iterator<Item = (&str, &Self)> {
        self.get(key).into_iter().flat_map(Self::entries)
    }
}

/// A document as far as it has been read.
#[derive(Default)]
struct Tree {
    root: Option<Rc<Node>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
}

/// A collection whose end is still to come.
enum Open {
    List { anchor: usize, size: usize, items: Vec<Rc<Node>> },
    Map { anchor: usize, size: usize, entries: BTreeMap<String, Rc<Node>>, merged: Vec<Rc<Node>>, key: Option<String> },
}

impl Tree {
    fn take(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let null = style == TScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
                let kind = if null { Kind::Null } else { Kind::Scalar(text) };
                self.close(Node { kind, size: 1 }, anchor)
            }
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).ok_or("an alias within what it stands for")?.clone();
                self.place(node)
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::List { anchor, size: 1, items: Vec::new() }),
            Event::MappingStart(anchor, _) => {
                let (entries, merged) = (BTreeMap::new(), Vec::new());
                self.begin(Open::Map { anchor, size: 1, entries, merged, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { anchor, size, items }) => self.close(Node { kind: Kind::List(items), size }, anchor),
                Some(Open::Map { anchor, size, entries, merged, .. }) => {
                    self.close(Node { kind: Kind::Map(merge(entries, &merged)?), size }, anchor)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels"));
        }
        if matches!(self.open.last(), Some(Open::Map { key: None, .. })) {
            return Err("a key that is no text".to_owned());
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        let node = Rc::new(node);
        // 0 is no anchor.
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        self.place(node)
    }

    /// Puts a node where the document stands.
    fn place(&mut self, node: Rc<Node>) -> Result<(), String> {
        let size = match self.open.last_mut() {
            None => {
                self.root = Some(node);
                return Ok(());
            }
            Some(Open::List { size, items, .. }) => {
                *size += node.size;
                items.push(node);
                size
            }
            Some(Open::Map { size, entries, merged, key, .. }) => {
                match key.take() {
                    None => *key = Some(node.text().unwrap_or_default().to_owned()),
                    Some(key) => {
                        *size += node.size;
                        if key == "<<" {
                            merged.push(node);
                        } else {
                            match entries.entry(key) {
                                Entry::Vacant(place) => _ = place.insert(node),
                                Entry::Occupied(place) => {
                                    return Err(format!("the key {:?} a second time", place.key()));
                                }
                            }
                        }
                    }
                }
                size
            }
        };
        if *size > MAX_NODES {
            return Err(format!("more than {MAX_NODES} nodes, aliases resolved"));
        }
        Ok(())
    }
}

/// The entries of a mapping with those that it merges in; its own win, then those of earlier ones.
fn merge(
    mut entries: BTreeMap<String, Rc<Node>>,
    merged: &[Rc<Node>],
) -> Result<BTreeMap<String, Rc<Node>>, &'static str> {
    for node in merged {
        let sources = if let Kind::List(sources) = &node.kind { sources } else { std::slice::from_ref(node) };
        for source in sources {
            let Kind::Map(source) = &source.kind else { return Err("<< merges something that is no mapping") };
            for (key, node) in source {
                entries.entry(key.clone()).or_insert_with(|| node.clone());
            }
        }
    }
    Ok(entries)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn show(node: &Node) -> String {
        match &node.kind {
            Kind::Null => "~".to_owned(),
            Kind::Scalar(text) => text.clone(),
            Kind::List(items) => format!("[{}]", items.iter().map(|item| show(item)).collect::<Vec<_>>().join(",")),
            Kind::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(key, node)| format!("{key}:{}", show(node))).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    #[test]
    fn what_documents_say() {
        let (deep, deeper) = ("- ".repeat(100), "[".repeat(100_000));
        let wide = "a: &a [1,1,1,1,1,1,1,1,1,1]\n".to_owned()
            + &(0..10)
                .map(|level| {
                    let from = if level == 0 { "a".to_owned() } else { format!("b{}", level - 1) };
                    format!("b{level}: &b{level} [{}]\n", vec![format!("*{from}"); 10].join(","))
                })
                .collect::<String>();
        let table = [
            ("", "~"),
            ("a: 1\nb: ~\nc: ''\n", "{a:1,b:~,c:}"),
            ("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3\n", "{a:{b:1,c:2},d:{b:1,c:3}}"),
            ("x: &x {a: 1}\ny: &y {a: 2, b: 2}\nz: {<<: [*x, *y]}\n", "{x:{a:1},y:{a:2,b:2},z:{a:1,b:2}}"),
            ("x: &x {a: 1}\ny: &y {<<: *x, b: 2}\nz: {<<: *y}\n", "{x:{a:1},y:{a:1,b:2},z:{a:1,b:2}}"),
            ("a: 1\n---\nb: 2\n", "{a:1}"),
            ("\u{feff}a: 1\n", "{a:1}"),
            ("a: 1\na: 2\n", "! line 2: the key \"a\" a second time"),
            ("a: &a [*a]\n", "! line 1: an alias within what it stands for"),
            ("a: *nobody\n", "! line 1: while parsing node, found unknown anchor"),
            ("a: {<<: 1}\n", "! line 1: << merges something that is no mapping"),
            ("[a]: 1\n", "! line 1: a key that is no text"),
            (&deep, "! line 1: more than 64 levels"),
            (&deeper, "! line 1: recursion limit exceeded"),
            (&wide, "! line 6: more than 1000000 nodes, aliases resolved"),
        ];
        for (text, expected) in table {
            let found = Node::parse(text).map_or_else(|error| format!("! {error}"), |node| show(&node));
            assert_eq!(found, expected, "{}", &text[..text.len().min(100)]);
        }
    }
}
