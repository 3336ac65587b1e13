//! Variables in a configuration, such as Gatus fills in from its environment. Ours may be another one, and what they
//! stand for may be a secret, so only those are filled in that are given by name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use shared::config::bounds::read_text;

/// The options that give variables.
#[derive(Debug, Default, Args)]
pub(super) struct Given {
    /// Fill in a variable of the configuration
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Fill in the variables that a file has, one NAME=VALUE a line
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

/// Variables by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Given {
    /// # Errors
    /// The file cannot be read, or has a line that gives no variable.
    pub(super) fn read(&self) -> Result<Variables, String> {
        let mut variables = BTreeMap::new();
        if let Some(path) = &self.env_file {
            let text = read_text(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            for (index, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let found = pair(line.strip_prefix("export ").unwrap_or(line));
                let (name, value) =
                    found.map_err(|expected| format!("{}:{}: {expected}", path.display(), index + 1))?;
                let quoted = ['"', '\''].into_iter().find_map(|q| value.strip_prefix(q)?.strip_suffix(q));
                variables.insert(name, quoted.map_or_else(|| value.clone(), str::to_owned));
            }
        }
        variables.extend(self.env.iter().cloned());
        Ok(Variables(variables))
    }
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let name = name.trim();
    let good = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good { Ok((name.to_owned(), value.trim().to_owned())) } else { Err("expected NAME=VALUE") }
}

impl Variables {
    #[cfg(test)]
    pub(super) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// A text as it is once variables are filled in, and `$$` stands for `$`, which is how Gatus escapes it.
    ///
    /// # Errors
    /// The first variable that is not given.
    pub(super) fn fill(&self, text: &str) -> Result<String, Variable> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (name, braces, behind) = match after.chars().next() {
                Some('$') => {
                    out.push('$');
                    rest = &after[1..];
                    continue;
                }
                Some('{') => {
                    let (name, behind) = after[1..].split_once('}').unwrap_or((&after[1..], ""));
                    (name, true, behind)
                }
                Some(first) if first.is_ascii_alphanumeric() || "_*#@!?-".contains(first) => {
                    let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                    let (name, behind) = after.split_at(end.max(1));
                    (name, false, behind)
                }
                _ => {
                    out.push('$');
                    rest = after;
                    continue;
                }
            };
            match self.0.get(name) {
                Some(value) => out.push_str(value),
                None => return Err(Variable { name: name.to_owned(), braces }),
            }
            rest = behind;
        }
        Ok(out + rest)
    }
}

/// A variable that nobody has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    name: String,
    braces: bool,
}

impl Variable {
    /// What is to be done about it.
    pub(super) fn way_out(&self) -> String {
        format!("--env {}=VALUE or --env-file FILE fills it in", self.name)
    }
}

impl std::fmt::Display for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, braces } = self;
        if *braces { write!(f, "${{{name}}}") } else { write!(f, "${name}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let variables = Variables([("HOST".to_owned(), "h$$".to_owned())].into());
        let table = [
            ("a", Ok("a")),
            ("a$$b", Ok("a$b")),
            ("5 $", Ok("5 $")),
            ("$.path", Ok("$.path")),
            ("a ${TOKEN} b", Err("${TOKEN}")),
            ("a $TOKEN-b", Err("$TOKEN")),
            ("$1", Err("$1")),
            ("$?", Err("$?")),
            ("$$$A", Err("$A")),
            ("${A", Err("${A}")),
            ("https://${HOST}/$HOST.", Ok("https://h$$/h$$.")),
            ("$HOSTS", Err("$HOSTS")),
            ("$$HOST", Ok("$HOST")),
        ];
        for (text, expected) in table {
            let found = variables.fill(text).map_err(|variable| variable.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }

    #[test]
    fn what_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.env");
        std::fs::write(&path, "# why\n\nA=1\nexport B = 'b c'\nC=\"x=y\"\nD=\n").unwrap();
        let given = Given { env: vec![pair("A=2").unwrap()], env_file: Some(path.clone()) };
        let expected = [("A", "2"), ("B", "b c"), ("C", "x=y"), ("D", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(given.read(), Ok(Variables(expected.into())));
        std::fs::write(&path, "A=1\nB\n").unwrap();
        assert_eq!(given.read(), Err(format!("{}:2: expected NAME=VALUE", path.display())));
        assert!(pair("A B=1").is_err() && pair("=1").is_err());
    }
}
