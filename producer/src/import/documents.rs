//! Where a configuration stands: in a file or the files of a folder, in one of several documents, within a Kubernetes
//! object or Helm's values.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::prelude::{BASE64_STANDARD, Engine};
use shared::config::bounds::read_text;

use super::of;
use super::yaml::Node;

/// How deep a configuration is looked for.
const MAX_DEPTH: usize = 10;

/// The configurations in a file or folder, and the documents in which there is none.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) configurations: Vec<Rc<Node>>,
    pub(super) others: Vec<Rc<Node>>,
}

impl Documents {
    /// Reads a file, or all files of YAML of a folder as Gatus does.
    ///
    /// # Errors
    /// One cannot be read, is not YAML, or there is none.
    pub(super) fn read(path: &Path, is_configuration: fn(&Node) -> bool) -> Result<Self, String> {
        let mut files = Vec::new();
        if path.is_dir() {
            walk(path, &mut files, 0).map_err(|error| of(path, &error.to_string()))?;
            if files.is_empty() {
                return Err(of(path, "there is no file in this folder whose name ends in .yaml or .yml"));
            }
        } else {
            files.push(path.to_owned());
        }
        let mut documents = Self::default();
        for file in files {
            let text = read_text(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            documents.add(&text, is_configuration).map_err(|message| of(&file, &message))?;
        }
        Ok(documents)
    }

    /// Adds what a text has.
    ///
    /// # Errors
    /// It is not YAML.
    pub(super) fn add(&mut self, text: &str, is_configuration: fn(&Node) -> bool) -> Result<(), String> {
        for document in Node::parse_all(text)? {
            let before = self.configurations.len();
            search(&document, is_configuration, 0, &mut self.configurations);
            if self.configurations.len() == before {
                self.others.push(document);
            }
        }
        Ok(())
    }

    /// The configurations.
    ///
    /// # Errors
    /// There is none, where this was expected.
    pub(super) fn required(&self, expected: &str) -> Result<Vec<&Node>, String> {
        if self.configurations.is_empty() {
            return Err(self.none(expected));
        }
        Ok(self.configurations.iter().map(Rc::as_ref).collect())
    }

    /// What was expected, and what there is in its place.
    pub(super) fn none(&self, expected: &str) -> String {
        let found: Vec<String> = self.others.iter().map(|node| describe(node)).collect();
        let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
        format!("expected {expected}; found {found}")
    }
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> std::io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        // A ConfigMap's own folders (`..data`) are hidden; what is in them stands beside them, too.
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, files, depth + 1)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    Ok(())
}

/// Looks for configurations in a document: in what it has, and in texts that are documents themselves.
fn search(node: &Rc<Node>, is_configuration: fn(&Node) -> bool, depth: usize, found: &mut Vec<Rc<Node>>) {
    if is_configuration(node) {
        found.push(node.clone());
        return;
    }
    if depth == MAX_DEPTH {
        return;
    }
    if let Some(text) = node.text().filter(|text| text.contains('\n')) {
        within(text, is_configuration, depth, found);
    }
    if node.text_of("kind") == Some("Secret") {
        for (_, value) in node.entries_of("data") {
            let bytes = BASE64_STANDARD.decode(value.text().unwrap_or_default()).unwrap_or_default();
            within(&String::from_utf8_lossy(&bytes), is_configuration, depth, found);
        }
    }
    for child in node.children() {
        search(child, is_configuration, depth + 1, found);
    }
}

fn within(text: &str, is_configuration: fn(&Node) -> bool, depth: usize, found: &mut Vec<Rc<Node>>) {
    for document in Node::parse_all(text).unwrap_or_default() {
        search(&document, is_configuration, depth + 1, found);
    }
}

/// What a document is, in words.
fn describe(node: &Node) -> String {
    let keys: Vec<&str> = node.entries().map(|(key, _)| key).take(5).collect();
    match (node.text_of("apiVersion"), node.text_of("kind")) {
        (Some(_), Some(kind)) => format!("a Kubernetes {kind}"),
        _ if !keys.is_empty() => format!("a mapping with {}", keys.join(", ")),
        _ if node.is_list() => "a list".to_owned(),
        _ if node.text().is_some() => "a text".to_owned(),
        _ => "nothing".to_owned(),
    }
}
