//! A configuration file: its text for the `config` crate, and, when something is wrong, the line of every key for our messages.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{FileFormat, FileSourceString, Map, Source, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use yaml_rust2::Event;
use yaml_rust2::parser::{MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;

use super::error::one_line;
use super::{ConfigError, bounds};

#[derive(Debug)]
pub(super) struct File {
    pub(super) name: String,
    text: String,
    format: FileFormat,
}

impl File {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => FileFormat::Toml,
            Some("yaml" | "yml") => FileFormat::Yaml,
            Some("json") => FileFormat::Json,
            _ => {
                let message = "the name of a configuration file ends in .toml, .yaml, .yml or .json".to_owned();
                return Err(ConfigError::Syntax { place: name, message });
            }
        };
        let text = bounds::read_text(path).map_err(|reason| ConfigError::Read { path: path.to_owned(), reason })?;
        let file = Self { name, text, format };
        file.check_bounds()?;
        Ok(file)
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        let Self { name, text, format } = self;
        let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
        let fault = match format {
            FileFormat::Toml => bounds::check_toml(text).map_err(|(at, message)| (line_of(at), message)),
            FileFormat::Json => bounds::check_json(text).map_err(|(at, message)| (line_of(at), message)),
            _ => bounds::check_yaml(text),
        };
        fault.map_err(|(line, message)| at(name, line, &message))
    }

    /// The line of every key.
    ///
    /// # Errors
    /// The file is not what its extension says.
    pub(super) fn lines(&self) -> Result<BTreeMap<String, usize>, ConfigError> {
        let Self { name, text, format } = self;
        match format {
            FileFormat::Toml => toml_lines(name, text),
            FileFormat::Json => json_lines(name, text),
            _ => yaml_lines(text).map_err(|(line, message)| at(name, line, &message)),
        }
    }

    pub(super) fn source(&self) -> Content {
        Content(::config::File::from_str(&self.text, self.format))
    }
}

/// What a file has, for the `config` crate.
#[derive(Clone, Debug)]
pub(super) struct Content(::config::File<FileSourceString, FileFormat>);

/// A key that the `config` crate would take for a place in a list, and make the list as long as that.
#[derive(Debug)]
pub(super) struct OddKey(pub(super) String);

impl std::fmt::Display for OddKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no key", self.0)
    }
}

impl std::error::Error for OddKey {}

impl Source for Content {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        let found = self.0.collect()?;
        match found.keys().find(|key| key.contains('[')) {
            Some(key) => Err(::config::ConfigError::Foreign(Box::new(OddKey(key.clone())))),
            None => Ok(found),
        }
    }
}

fn at(name: &str, line: usize, message: &str) -> ConfigError {
    ConfigError::Syntax { place: format!("{name}:{line}"), message: one_line(message) }
}

fn toml_lines(name: &str, text: &str) -> Result<BTreeMap<String, usize>, ConfigError> {
    let ends: Vec<usize> = text.match_indices('\n').map(|(end, _)| end).collect();
    let line_of = |offset: usize| ends.partition_point(|end| *end < offset) + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let line = line_of(error.span().map_or(0, |span| span.start));
        at(name, line, error.message())
    })?;
    let mut lines = BTreeMap::new();
    toml_table(table.get_ref(), "", &line_of, &mut lines);
    Ok(lines)
}

fn toml_table(
    table: &DeTable<'_>,
    prefix: &str,
    line_of: &dyn Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) {
    for (key, value) in table {
        let path = join(prefix, key.get_ref());
        lines.insert(path.clone(), line_of(key.span().start));
        toml_value(value, &path, line_of, lines);
    }
}

fn toml_value(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    line_of: &dyn Fn(usize) -> usize,
    lines: &mut BTreeMap<String, usize>,
) {
    match value.get_ref() {
        DeValue::Table(table) => toml_table(table, path, line_of, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.insert(path.clone(), line_of(item.span().start));
                toml_value(item, &path, line_of, lines);
            }
        }
        _ => {}
    }
}

fn json_lines(name: &str, text: &str) -> Result<BTreeMap<String, usize>, ConfigError> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| at(name, error.line(), &error.to_string()))?;
    // Nearly all JSON is YAML. Where it is not (tabs), messages go without a line.
    Ok(yaml_lines(text).unwrap_or_default())
}

fn yaml_lines(text: &str) -> Result<BTreeMap<String, usize>, (usize, String)> {
    let mut walk = YamlWalk::default();
    Parser::new_from_str(text)
        .load(&mut walk, false)
        .map_err(|error| (error.marker().line(), error.info().to_owned()))?;
    Ok(walk.lines)
}

/// Follows the parser's events and remembers at which path it stands.
#[derive(Default)]
struct YamlWalk {
    lines: BTreeMap<String, usize>,
    open: Vec<Node>,
}

enum Node {
    /// A mapping at a path; the key whose value comes next.
    Mapping { path: String, key: Option<String> },
    /// A sequence at a path; the index of the next item.
    Sequence { path: String, next: usize },
}

impl YamlWalk {
    /// The path of the node that begins here, and its line noted; `None` for a key of a mapping.
    fn begin(&mut self, line: usize) -> String {
        let path = match self.open.last_mut() {
            None => String::new(),
            Some(Node::Mapping { path, key }) => join(path, &key.take().unwrap_or_default()),
            Some(Node::Sequence { path, next }) => {
                *next += 1;
                format!("{path}[{}]", *next - 1)
            }
        };
        self.lines.entry(path.clone()).or_insert(line);
        path
    }
}

impl MarkedEventReceiver for YamlWalk {
    fn on_event(&mut self, event: Event, mark: Marker) {
        match event {
            Event::MappingStart(..) => {
                let path = self.begin(mark.line());
                self.open.push(Node::Mapping { path, key: None });
            }
            Event::SequenceStart(..) => {
                let path = self.begin(mark.line());
                self.open.push(Node::Sequence { path, next: 0 });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
            }
            Event::Scalar(text, ..) => {
                if let Some(Node::Mapping { path, key: key @ None }) = self.open.last_mut() {
                    self.lines.insert(join(path, &text), mark.line());
                    *key = Some(text);
                } else {
                    self.begin(mark.line());
                }
            }
            Event::Alias(_) => {
                self.begin(mark.line());
            }
            _ => {}
        }
    }
}

fn join(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") }
}
