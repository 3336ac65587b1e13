//! Prometheus' relabelling, as far as it decides what is probed.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

use super::patterns::from_go;
use super::yaml::Node;

pub(super) type Labels = BTreeMap<String, String>;

/// One of `relabel_configs`.
#[derive(Debug)]
pub(super) struct Step {
    sources: Vec<String>,
    separator: String,
    regex: Regex,
    target: String,
    replacement: String,
    action: Action,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    Lowercase,
    Uppercase,
    LabelMap,
    LabelDrop,
    LabelKeep,
}

impl Step {
    /// # Errors
    /// What is not known here.
    pub(super) fn read(node: &Node) -> Result<Self, String> {
        let action = match node.text_of("action").unwrap_or("replace").to_ascii_lowercase().as_str() {
            "replace" => Action::Replace,
            "keep" => Action::Keep,
            "drop" => Action::Drop,
            "keepequal" => Action::KeepEqual,
            "dropequal" => Action::DropEqual,
            "lowercase" => Action::Lowercase,
            "uppercase" => Action::Uppercase,
            "labelmap" => Action::LabelMap,
            "labeldrop" => Action::LabelDrop,
            "labelkeep" => Action::LabelKeep,
            other => return Err(format!("the action {other} is not known here")),
        };
        let regex = from_go(node.text_of("regex").unwrap_or("(.*)"));
        let regex = RegexBuilder::new(&format!("^(?s:{regex})$"))
            .size_limit(1 << 20)
            .build()
            .map_err(|_| format!("the regex {regex:?} is not known here"))?;
        let text = |key: &str, default: &str| node.text_of(key).unwrap_or(default).to_owned();
        Ok(Self {
            sources: node.texts_of("source_labels").map(str::to_owned).collect(),
            separator: text("separator", ";"),
            regex,
            target: text("target_label", ""),
            replacement: text("replacement", "$1"),
            action,
        })
    }

    /// Whether this decides what is probed, and how.
    pub(super) fn sets_probe(&self) -> bool {
        self.target == "__param_target"
    }

    /// The labels after this step; `None` if there is no target any more.
    fn apply(&self, mut labels: Labels) -> Option<Labels> {
        let label = |name: &String| labels.get(name).cloned().unwrap_or_default();
        let value = self.sources.iter().map(label).collect::<Vec<_>>().join(&self.separator);
        match self.action {
            Action::Replace => {
                if let Some(found) = self.regex.captures(&value) {
                    let expand = |template: &str| {
                        let mut out = String::new();
                        found.expand(template, &mut out);
                        out
                    };
                    set(&mut labels, &expand(&self.target), expand(&self.replacement));
                }
            }
            Action::Lowercase => set(&mut labels, &self.target, value.to_lowercase()),
            Action::Uppercase => set(&mut labels, &self.target, value.to_uppercase()),
            Action::Keep if !self.regex.is_match(&value) => return None,
            Action::Drop if self.regex.is_match(&value) => return None,
            Action::KeepEqual if label(&self.target) != value => return None,
            Action::DropEqual if label(&self.target) == value => return None,
            Action::Keep | Action::Drop | Action::KeepEqual | Action::DropEqual => {}
            Action::LabelMap => {
                let mapped: Vec<(String, String)> = labels
                    .iter()
                    .filter(|(name, _)| self.regex.is_match(name))
                    .map(|(name, value)| (self.regex.replace(name, &self.replacement).into_owned(), value.clone()))
                    .collect();
                mapped.into_iter().for_each(|(name, value)| set(&mut labels, &name, value));
            }
            Action::LabelDrop => labels.retain(|name, _| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name, _| self.regex.is_match(name)),
        }
        Some(labels)
    }
}

/// An empty label is none.
fn set(labels: &mut Labels, name: &str, value: String) {
    if value.is_empty() {
        labels.remove(name);
    } else if !name.is_empty() {
        labels.insert(name.to_owned(), value);
    }
}

/// The labels after all steps; `None` if a step drops the target.
pub(super) fn relabel(steps: &[Step], labels: Labels) -> Option<Labels> {
    steps.iter().try_fold(labels, |labels, step| step.apply(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let table = [
            (
                "[{source_labels: [__address__], target_label: __param_target}]",
                "__address__=x;y __param_target=x;y a=B",
            ),
            ("[{target_label: __address__, replacement: 'b:1'}]", "__address__=b:1 a=B"),
            (
                "[{source_labels: [__address__], regex: '(.*);(.*)', target_label: m, replacement: '$2'}]",
                "__address__=x;y a=B m=y",
            ),
            ("[{source_labels: [__address__], regex: 'x', target_label: m}]", "__address__=x;y a=B"),
            (
                "[{source_labels: [a, a], separator: '-', target_label: m, replacement: '<${1}>'}]",
                "__address__=x;y a=B m=<B-B>",
            ),
            ("[{target_label: a, replacement: ''}]", "__address__=x;y"),
            ("[{source_labels: [a], regex: 'B|C', action: keep}]", "__address__=x;y a=B"),
            ("[{source_labels: [a], regex: 'C', action: keep}]", "dropped"),
            ("[{source_labels: [a], regex: 'B', action: drop}]", "dropped"),
            ("[{source_labels: [a], target_label: a, action: lowercase}]", "__address__=x;y a=b"),
            ("[{source_labels: [a], target_label: a, action: keepequal}]", "__address__=x;y a=B"),
            ("[{source_labels: [a], target_label: a, action: dropequal}]", "dropped"),
            ("[{regex: '(a)', replacement: '${1}_b', action: labelmap}]", "__address__=x;y a=B a_b=B"),
            ("[{regex: '__.*', action: labeldrop}]", "a=B"),
            ("[{regex: '__.*', action: labelkeep}]", "__address__=x;y"),
            (
                "[{source_labels: [a], modulus: 4, target_label: m, action: hashmod}]",
                "! the action hashmod is not known here",
            ),
            ("[{regex: '('}]", "! the regex \"(\" is not known here"),
        ];
        for (text, expected) in table {
            let labels = Labels::from([("__address__", "x;y"), ("a", "B")].map(|(k, v)| (k.to_owned(), v.to_owned())));
            let node = Node::parse(text).unwrap();
            let steps: Result<Vec<Step>, String> = node.items().map(Step::read).collect();
            let found = match steps.map(|steps| relabel(&steps, labels)) {
                Err(error) => format!("! {error}"),
                Ok(None) => "dropped".to_owned(),
                Ok(Some(labels)) => {
                    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
                }
            };
            assert_eq!(found, expected, "{text}");
        }
    }
}
