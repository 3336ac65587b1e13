//! What other tools say about a text, as a regex of ours.

/// What a body must be like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// This text is somewhere in it.
    Contains(String),
    /// This regex matches.
    Matches(String),
}

impl Wanted {
    fn regex(&self) -> String {
        match self {
            Self::Contains(text) => regex::escape(text),
            Self::Matches(regex) => regex.clone(),
        }
    }
}

/// One regex for all that is wanted, and what did not fit into it.
pub(super) fn all_of(mut wanted: Vec<Wanted>) -> (Option<String>, Vec<Wanted>) {
    let mut seen = Vec::new();
    wanted.retain(|one| !seen.contains(one) && (seen.push(one.clone()), true).1);
    if let Some(orders) = texts(&wanted).and_then(|texts| in_any_order(&texts)) {
        return (Some(orders), Vec::new());
    }
    let mut wanted = wanted.into_iter();
    (wanted.next().map(|first| first.regex()), wanted.collect())
}

/// The texts, where nothing but texts is wanted; without those that are part of others, which say nothing more.
fn texts(wanted: &[Wanted]) -> Option<Vec<&str>> {
    let texts: Option<Vec<&str>> =
        wanted.iter().map(|one| if let Wanted::Contains(text) = one { Some(text.as_str()) } else { None }).collect();
    let texts = texts?;
    let within_another = |text: &str| texts.iter().any(|other| *other != text && other.contains(text));
    Some(texts.iter().copied().filter(|text| !within_another(text)).collect())
}

/// Any bytes, also such as are no text: pages have them, and other tools pass over them.
const ANYTHING: &str = "(?-u:.)*";

/// A regex for all of two or three texts, in any order. That is only the same as all of them where none can begin within another.
fn in_any_order(texts: &[&str]) -> Option<String> {
    if !(1..=3).contains(&texts.len()) {
        return None;
    }
    let overlap =
        |a: &str, b: &str| a.char_indices().skip(1).any(|(start, _)| b.starts_with(a.get(start..).unwrap_or_default()));
    if texts.iter().any(|a| texts.iter().any(|b| a != b && overlap(a, b))) {
        return None;
    }
    let escaped: Vec<String> = texts.iter().map(|text| regex::escape(text)).collect();
    let orders: &[&[usize]] = match escaped.len() {
        1 => return escaped.into_iter().next(),
        2 => &[&[0, 1], &[1, 0]],
        _ => &[&[0, 1, 2], &[0, 2, 1], &[1, 0, 2], &[1, 2, 0], &[2, 0, 1], &[2, 1, 0]],
    };
    let order = |order: &&[usize]| order.iter().map(|one| escaped[*one].as_str()).collect::<Vec<_>>().join(ANYTHING);
    Some(format!("(?s){}", orders.iter().map(order).collect::<Vec<_>>().join("|")))
}

/// What a pattern with `*` and `?` wants of a text without the white space around it; `None` if that is nothing. `*` stands for line breaks,
/// too. Gatus looks past slashes on both sides, which nobody means, so ours count.
///
/// # Errors
/// It has classes of characters, which nearly nobody means.
pub(super) fn glob(pattern: &str) -> Result<Option<Wanted>, &'static str> {
    let mut pieces = vec![String::new()];
    let mut literal = true;
    let mut regexes = vec![String::new()];
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let (text, regex) = match character {
            '[' => return Err("a class of characters in a pattern"),
            '*' => {
                pieces.push(String::new());
                regexes.push(String::new());
                continue;
            }
            '?' => {
                literal = false;
                (String::new(), ".".to_owned())
            }
            '\\' => match characters.next() {
                Some(escaped) => (escaped.to_string(), regex::escape(&escaped.to_string())),
                None => return Err("a pattern that ends with a backslash"),
            },
            other => (other.to_string(), regex::escape(&other.to_string())),
        };
        pieces.last_mut().into_iter().for_each(|piece| piece.push_str(&text));
        regexes.last_mut().into_iter().for_each(|piece| piece.push_str(&regex));
    }
    let (open_start, open_end) =
        (pattern.starts_with('*'), regexes.len() > 1 && regexes.last().is_some_and(String::is_empty));
    let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
    if let (true, true, true, Some(text), None) = (literal, open_start, open_end, filled.next(), filled.next()) {
        return Ok(Some(Wanted::Contains(text.clone())));
    }
    // Several stars in a row are one.
    let inner: Vec<String> = regexes.into_iter().filter(|regex| !regex.is_empty()).collect();
    if inner.is_empty() && open_start {
        return Ok(None);
    }
    let start = if open_start { "" } else { r"\A\s*" };
    let end = if open_end { "" } else { r"\s*\z" };
    Ok(Some(Wanted::Matches(format!("(?s){start}{}{end}", inner.join(ANYTHING)))))
}

/// What a regex wants of a text.
pub(super) fn go(regex: &str) -> Wanted {
    if regex::escape(regex) == regex { Wanted::Contains(regex.to_owned()) } else { Wanted::Matches(from_go(regex)) }
}

/// A regex of Go's package `regexp` in the syntax of ours. They differ where Go takes a character for itself that means something to us, or
/// nothing at all: a brace that counts nothing, brackets and doubled operators in a class, some escapes, `\Q…\E`.
pub(super) fn from_go(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len() + 8);
    let mut rest = regex;
    let mut in_class = false;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        rest = match character {
            '\\' if after.starts_with('Q') && !in_class => {
                let quoted = &after[1..];
                let (quoted, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                out.push_str(&regex::escape(quoted));
                after
            }
            '\\' => match after.chars().next() {
                Some(escaped) if escaped.is_ascii_punctuation() => {
                    out.push_str(&literal(escaped));
                    &after[1..]
                }
                Some(escaped) => {
                    out.push('\\');
                    out.push(escaped);
                    let after = &after[escaped.len_utf8()..];
                    // The name of a class or a code, in braces that are no count.
                    let braced =
                        if "pPx".contains(escaped) { after.find('}').filter(|_| after.starts_with('{')) } else { None };
                    let (name, after) = after.split_at(braced.map_or(0, |end| end + 1));
                    out.push_str(name);
                    after
                }
                None => {
                    out.push('\\');
                    after
                }
            },
            '[' if in_class && after.starts_with(':') && after.contains(":]") => {
                let (name, after) = rest.split_at(rest.find(":]").map_or(rest.len(), |end| end + 2));
                out.push_str(name);
                after
            }
            '[' if in_class => {
                out.push_str(r"\[");
                after
            }
            '[' => {
                let negated = after.starts_with('^');
                out.push_str(if negated { "[^" } else { "[" });
                let after = if negated { &after[1..] } else { after };
                // A bracket that comes first is one of the class.
                in_class = true;
                match after.strip_prefix(']') {
                    Some(after) => {
                        out.push_str(r"\]");
                        after
                    }
                    None => after,
                }
            }
            ']' => {
                in_class = false;
                out.push(']');
                after
            }
            '&' | '~' | '-' if in_class && after.starts_with(character) => {
                out.push_str(&literal(character));
                after
            }
            '{' if !in_class && !counts(after) => {
                out.push_str(r"\{");
                after
            }
            other => {
                out.push(other);
                after
            }
        };
    }
    out
}

/// A character that means itself in a class as well as outside.
fn literal(character: char) -> String {
    match character {
        // Escaped they are boundaries of words.
        '<' | '>' | '_' => character.to_string(),
        other => format!("\\{other}"),
    }
}

/// Whether what follows a brace is a count: `2}`, `2,}` or `2,3}`.
fn counts(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    !least.is_empty() && [least, most].iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use regex::bytes::Regex;

    use super::*;

    fn of_globs(patterns: &[&str]) -> String {
        let wanted = patterns.iter().filter_map(|pattern| glob(pattern).unwrap()).collect();
        let (regex, rest) = all_of(wanted);
        format!("{}{}", regex.unwrap_or_default(), if rest.is_empty() { "" } else { " …" })
    }

    #[test]
    fn globs() {
        let table: &[(&[&str], &str)] = &[
            (&[], ""),
            (&["*"], ""),
            (&["***"], ""),
            (&[""], r"(?s)\A\s*\s*\z"),
            (&["*a.b*"], r"a\.b"),
            (&["**a**"], "a"),
            (&["a*b"], r"(?s)\A\s*a(?-u:.)*b\s*\z"),
            (&["*a*b*"], "(?s)a(?-u:.)*b"),
            (&["*a?b*"], "(?s)a.b"),
            (&[r"*1\*2*"], r"1\*2"),
            (&["ok"], r"(?s)\A\s*ok\s*\z"),
            (&["*red*", "*sun*"], "(?s)red(?-u:.)*sun|sun(?-u:.)*red"),
            // "twone" has both.
            (&["*one*", "*two*"], "one …"),
            (&["*one*", "*one*"], "one"),
            (&["*one*", "*someone*"], "someone"),
            // "abc" has both, but one begins within the other.
            (&["*ab*", "*bc*"], "ab …"),
            (&["*one*", "two*"], "one …"),
        ];
        for (patterns, expected) in table {
            assert_eq!(of_globs(patterns), *expected, "{patterns:?}");
        }
        assert!(glob("[a]").is_err() && glob("\\").is_err());
        let three = Regex::new(&of_globs(&["*a*", "*b*", "*c*"])).unwrap();
        assert!(three.is_match(b"b\nc\na") && !three.is_match(b"bc"));
    }

    #[test]
    fn regexes_of_go() {
        let table: &[(&str, &str, &[&str], &[&str])] = &[
            (r#"{"status":"(ok|up)"}"#, r#"\{"status":"(ok|up)"}"#, &[r#"{"status":"up"}"#], &["up"]),
            ("a{2}b{1,}c{1,2}", "a{2}b{1,}c{1,2}", &["aabcc"], &["abc"]),
            (r"[[a]x", r"[\[a]x", &["[x", "ax"], &["x"]),
            (r"[]a]x", r"[\]a]x", &["]x", "ax"], &["x"]),
            (r"[[:digit:]x]+", "[[:digit:]x]+", &["1x"], &["y"]),
            (r"[a&&b~~]z", r"[a\&&b\~~]z", &["&z", "~z", "bz"], &["cz"]),
            (r"\Qa.b{\E+", r"a\.b\{+", &["a.b{{"], &["axb{"]),
            (r"\<b\>\/", r"<b>\/", &["<b>/"], &["b"]),
            (r"\p{Greek}\x{41}", r"\p{Greek}\x{41}", &["αA"], &["aA"]),
            (r"^\d+ items?$", r"^\d+ items?$", &["12 items"], &["x items"]),
        ];
        for (regex, expected, matching, others) in table {
            assert_eq!(from_go(regex), *expected);
            let compiled = Regex::new(expected).unwrap_or_else(|error| panic!("{regex}: {error}"));
            matching.iter().for_each(|text| assert!(compiled.is_match(text.as_bytes()), "{regex} and {text}"));
            others.iter().for_each(|text| assert!(!compiled.is_match(text.as_bytes()), "{regex} and {text}"));
        }
        assert_eq!(go("Welcome"), Wanted::Contains("Welcome".to_owned()));
    }
}
