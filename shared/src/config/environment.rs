//! `SECTION_KEY` and `SECTION_KEY_FILE` for every key that the settings have.

use std::collections::BTreeMap;
use std::path::Path;

use ::config::{Map, Source, Value, ValueKind};
use serde_json::Value as Json;

use super::ConfigError;
use super::bounds::read_text;
use super::error::{Fault, one_line};

/// The environment as a value, so that tests bring their own.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process. Variables that are not Unicode are left out.
    pub fn of_process() -> Self {
        let unicode =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self(unicode.collect())
    }

    /// An environment of these pairs and nothing else.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The variables that name keys of the shape, converted to the types that the keys have.
    pub(super) fn collect(&self, shape: &Json) -> Result<Variables, ConfigError> {
        let mut found = BTreeMap::new();
        let sections = shape.as_object().into_iter().flatten();
        for (section, keys) in sections.filter_map(|(section, keys)| Some((section, keys.as_object()?))) {
            for (key, default) in keys {
                let name = format!("{section}_{key}").to_uppercase();
                if let Some((name, text)) = self.lookup(&name)? {
                    let path = format!("{section}.{key}");
                    // A list of options may hold a password, with a comma that makes two items of it.
                    let text_found = if default.is_object() { String::new() } else { format!(", found {text:?}") };
                    let value = convert(&text, default).map_err(|expected| ConfigError::Invalid {
                        place: Some(format!("environment variable {name}")),
                        fault: Fault::new(&path, format!("expected {expected}{text_found}")),
                        hint: kubernetes_hint(section, &text),
                    })?;
                    found.insert(path, Variable { name, text, value });
                }
            }
        }
        Ok(Variables(found))
    }

    fn lookup(&self, name: &str) -> Result<Option<(String, String)>, ConfigError> {
        let file_name = format!("{name}_FILE");
        match (self.0.get(name), self.0.get(&file_name)) {
            (Some(_), Some(_)) => Err(ConfigError::Syntax {
                place: format!("environment variables {name} and {file_name}"),
                message: "only one of the two can be set".to_owned(),
            }),
            (Some(value), None) => Ok(Some((name.to_owned(), value.clone()))),
            (None, Some(path)) => {
                let text = read_text(Path::new(path)).map_err(|error| ConfigError::Syntax {
                    place: format!("environment variable {file_name}"),
                    message: one_line(&format!("cannot read {path}: {error}")),
                })?;
                Ok(Some((file_name, text.trim_end_matches(['\r', '\n']).to_owned())))
            }
            (None, None) => Ok(None),
        }
    }
}

/// The variables that were found, by the key that they set.
#[derive(Clone, Debug)]
pub(super) struct Variables(BTreeMap<String, Variable>);

#[derive(Clone)]
struct Variable {
    name: String,
    text: String,
    value: Value,
}

// The text may be a secret.
impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Variables {
    /// The variable that sets this key, by itself or in a list of several.
    pub(super) fn name_of(&self, key: &str) -> Option<&str> {
        let holds = |(path, variable): &(&String, &Variable)| {
            let Some(rest) = key.strip_prefix(path.as_str()) else { return false };
            let listed = || Some(variable.value.clone().into_table().ok()?.contains_key(rest.strip_prefix('.')?));
            rest.is_empty() || listed().unwrap_or_default()
        };
        self.0.iter().find(holds).map(|(_, variable)| variable.name.as_str())
    }

    pub(super) fn kubernetes_hint(&self, key: &str) -> Option<String> {
        let (section, _) = key.split_once('.')?;
        kubernetes_hint(section, &self.0.get(key)?.text)
    }
}

impl Source for Variables {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.iter().map(|(key, variable)| (key.clone(), variable.value.clone())).collect())
    }
}

/// Kubernetes sets `KAFKA_PORT=tcp://10.0.0.1:9092` and the like for a service named `kafka`.
fn kubernetes_hint(section: &str, text: &str) -> Option<String> {
    let injected = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    injected.then(|| {
        format!(
            "Kubernetes injects such values for a service named `{section}`; set `enableServiceLinks: false` in the pod, or rename the service"
        )
    })
}

/// The text of a variable as the type of the key's default; the error says what was expected.
fn convert(text: &str, default: &Json) -> Result<Value, &'static str> {
    let kind = match default {
        Json::Bool(_) => ValueKind::Boolean(match text {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => return Err("true or false"),
        }),
        Json::Number(number) if number.is_f64() => ValueKind::Float(text.trim().parse().map_err(|_| "a number")?),
        Json::Number(_) => ValueKind::I64(text.trim().parse().map_err(|_| "a whole number")?),
        Json::Array(_) => {
            ValueKind::Array(list(text).map(|item| Value::new(None, ValueKind::String(item.to_owned()))).collect())
        }
        Json::Object(_) => ValueKind::Table(
            list(text)
                .map(|pair| {
                    let (key, value) = pair.split_once('=').ok_or("a list such as `key=value,other=value`")?;
                    Ok((key.trim().to_owned(), Value::new(None, ValueKind::String(value.trim().to_owned()))))
                })
                .collect::<Result<_, &'static str>>()?,
        ),
        Json::Null | Json::String(_) => ValueKind::String(text.to_owned()),
    };
    Ok(Value::new(None, kind))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}
