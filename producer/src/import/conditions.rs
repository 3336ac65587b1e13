//! Gatus' conditions, as far as they can be a set of status codes or a regex.

use std::collections::BTreeSet;

use regex::bytes::Regex;

use super::notes::{Gravity, Note};
use super::output::CODES;
use super::patterns::{Wanted, all_of, glob};

/// What a condition asks for.
#[derive(Debug, PartialEq)]
enum Rule {
    /// One of these status codes.
    Codes(BTreeSet<u16>),
    /// A body like this.
    Body(Wanted),
    /// What is so for every target that is up.
    Nothing,
}

/// What all conditions of an endpoint ask for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rules {
    /// `None` where no condition is about the status.
    pub(super) codes: Option<BTreeSet<u16>>,
    pub(super) regex: Option<String>,
    /// Whether something is missing that an error page may fail.
    pub(super) lacks_answer: bool,
    /// What is not carried over.
    pub(super) notes: Vec<Note>,
}

impl Rules {
    pub(super) fn read<'a>(conditions: impl Iterator<Item = &'a str>) -> Self {
        let mut rules = Self::default();
        let mut wanted: Vec<Wanted> = Vec::new();
        for condition in conditions {
            let found = match rule(condition) {
                Err(_) if joined(condition).is_some() => rules.meant(condition),
                Ok(rule) => vec![rule],
                Err(reason) => {
                    rules.lose(condition, &reason);
                    continue;
                }
            };
            for rule in found {
                match rule {
                    Rule::Codes(codes) => {
                        rules.codes = Some(match rules.codes.take() {
                            Some(before) => before.intersection(&codes).copied().collect(),
                            None => codes,
                        });
                    }
                    Rule::Body(one) => wanted.push(one),
                    Rule::Nothing => {}
                }
            }
        }
        let (regex, rest) = all_of(wanted);
        rules.regex = regex;
        for one in rest {
            let text = match one {
                Wanted::Contains(text) | Wanted::Matches(text) => text,
            };
            let kind = "more than one thing that a body has is not carried over: a target has one regex";
            let text = format!("that the body has {text:?} is not carried over: a target has one regex");
            rules.notes.push(Note::of_kind(Gravity::Less, kind, text));
            rules.lacks_answer = true;
        }
        rules
    }

    /// What is meant by a condition with `||` or `&&`, which Gatus does not know.
    fn meant(&mut self, condition: &str) -> Vec<Rule> {
        let rules = joined(condition).and_then(|alternatives| meaning(&alternatives));
        let Some(rules) = rules else {
            let reason = "Gatus knows no || and no &&, and a target can say neither but of status codes and of texts in the body";
            self.lose(condition, reason);
            return Vec::new();
        };
        let kind = "conditions with || or && are taken as they are meant, though Gatus itself knows neither";
        let text =
            format!("condition {condition:?} is taken as it is meant, though Gatus itself knows no || and no &&");
        self.notes.push(Note::of_kind(Gravity::Harmless, kind, text));
        rules
    }

    /// Notes that a condition is not carried over.
    pub(super) fn lose(&mut self, condition: &str, reason: &str) {
        let text = format!("condition {condition:?} is not carried over: {reason}");
        let about = BESIDE_THE_ANSWER.into_iter().find(|about| condition.to_ascii_uppercase().contains(about));
        let kind = match about {
            Some(about) => format!("conditions about {about} are not carried over: {reason}"),
            None => format!("conditions are not carried over: {reason}"),
        };
        let gravity = if reason == NEVER { Gravity::Down } else { Gravity::Less };
        self.notes.push(Note::of_kind(gravity, kind, text));
        self.lacks_answer |= about.is_none();
    }
}

/// What an error page does not fail.
const BESIDE_THE_ANSWER: [&str; 6] =
    ["[RESPONSE_TIME]", "[CERTIFICATE_EXPIRATION]", "[DOMAIN_EXPIRATION]", "[IP]", "[CONNECTED]", "[DNS_RCODE]"];
const NEVER: &str = "a target is up when it answers, never when it does not";

/// The alternatives of a condition with `||` or `&&`, each with all that it asks for; `None` if it has neither.
fn joined(condition: &str) -> Option<Vec<Vec<String>>> {
    let words: Vec<&str> = condition.split_whitespace().collect();
    let words: Vec<&str> = words
        .iter()
        .map(|word| match word.to_ascii_lowercase().as_str() {
            "or" => "||",
            "and" => "&&",
            _ => *word,
        })
        .collect();
    let text = words.join(" ");
    if !text.contains("||") && !text.contains("&&") {
        return None;
    }
    let subject = OPERATORS.iter().filter_map(|(operator, _)| Some(text.find(operator)? + operator.len())).min();
    // `[STATUS] == 200 || 401` says nothing of what 401 is to be.
    let whole = |part: &str| {
        let has_operator = OPERATORS.iter().any(|(operator, _)| part.contains(operator));
        let before = subject.filter(|_| !has_operator).map_or("", |end| &text[..end]);
        format!("{before}{}", part.trim().trim_matches(|c| c == '(' && !part.contains(')')))
    };
    Some(text.split("||").map(|one| one.split("&&").map(whole).collect()).collect())
}

/// What alternatives come to, where a target can say that.
fn meaning(alternatives: &[Vec<String>]) -> Option<Vec<Rule>> {
    let read = |all: &Vec<String>| all.iter().map(|one| rule(one).ok()).collect::<Option<Vec<Rule>>>();
    if let [all] = alternatives {
        return read(all);
    }
    let (mut codes, mut texts) = (BTreeSet::new(), Vec::new());
    for alternative in alternatives {
        match read(alternative)?.as_slice() {
            [Rule::Body(Wanted::Contains(text))] => texts.push(regex::escape(text)),
            [Rule::Body(Wanted::Matches(regex))] => texts.push(format!("(?:{regex})")),
            all => codes.extend(all_codes(all)?),
        }
    }
    match (codes.is_empty(), texts.is_empty()) {
        (false, true) => Some(vec![Rule::Codes(codes)]),
        (true, false) => Some(vec![Rule::Body(Wanted::Matches(format!("(?:{})", texts.join("|"))))]),
        _ => None,
    }
}

/// The codes that meet all rules; `None` if one is about something else.
fn all_codes(rules: &[Rule]) -> Option<BTreeSet<u16>> {
    let of = |rule: &Rule| if let Rule::Codes(codes) = rule { Some(codes.clone()) } else { None };
    let sets: Vec<BTreeSet<u16>> = rules.iter().map(of).collect::<Option<_>>()?;
    sets.into_iter().reduce(|one, other| one.intersection(&other).copied().collect())
}

/// The operators in the order in which Gatus looks for them.
const OPERATORS: [(&str, Operator); 6] = [
    (" == ", Operator::Equal),
    (" != ", Operator::Unequal),
    (" <= ", Operator::AtMost),
    (" >= ", Operator::AtLeast),
    (" > ", Operator::More),
    (" < ", Operator::Less),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    AtMost,
    AtLeast,
    More,
    Less,
}

impl Operator {
    /// The same with its sides exchanged.
    fn turned(self) -> Self {
        match self {
            Self::AtMost => Self::AtLeast,
            Self::AtLeast => Self::AtMost,
            Self::More => Self::Less,
            Self::Less => Self::More,
            same => same,
        }
    }

    fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::AtMost => left <= right,
            Self::AtLeast => left >= right,
            Self::More => left > right,
            Self::Less => left < right,
        }
    }
}

fn rule(condition: &str) -> Result<Rule, String> {
    let (text, operator) = OPERATORS
        .into_iter()
        .find(|(text, _)| condition.contains(text))
        .ok_or("it is no condition: expected two values and an operator between them")?;
    let sides: Vec<&str> = condition.split(text).map(str::trim).collect();
    let [left, right] = sides[..] else { return Err("it has more than two sides".to_owned()) };
    let placeholder = |side: &str| side.to_ascii_uppercase();
    let (subject, operator, value) = match placeholder(left).as_str() {
        "[STATUS]" | "[BODY]" | "[CONNECTED]" => (placeholder(left), operator, right),
        _ => match placeholder(right).as_str() {
            subject @ ("[STATUS]" | "[BODY]" | "[CONNECTED]") => (subject.to_owned(), operator.turned(), left),
            _ => return Err(reason(left, right).to_owned()),
        },
    };
    if value.starts_with('[') && value.contains(']') || value.starts_with("len(") || value.starts_with("has(") {
        return Err("it compares with something that is not known beforehand".to_owned());
    }
    match subject.as_str() {
        "[STATUS]" => codes(operator, value).map(Rule::Codes),
        "[BODY]" => body(operator, value),
        // A target that nobody answers for is down anyway.
        _ if operator.holds(i64::from(value == "true"), 1) => Ok(Rule::Nothing),
        _ => Err(NEVER.to_owned()),
    }
}

/// Why something other than the status and the whole body cannot be asked for.
fn reason(left: &str, right: &str) -> &'static str {
    let text = format!("{left} {right}").to_ascii_uppercase();
    let table = [
        (
            "[RESPONSE_TIME]",
            "no target is down for being slow before its timeout; how long it took is in every row, as http_elapsed",
        ),
        (
            "[CERTIFICATE_EXPIRATION]",
            "only an expired certificate makes a target down; when it ends is in every row, as certificate_expires_at",
        ),
        ("[DOMAIN_EXPIRATION]", "nobody is asked when a domain ends"),
        ("[HEADER]", "headers of the answer are not looked at"),
        ("[BODY]", "a body is searched with a regex, not read as JSON; a regex may do"),
        ("[IP]", "which address answered makes no target down; it is in every row"),
        ("[DNS_RCODE]", "a name is either found or the target is down"),
        ("[CONTEXT]", "checks know nothing of each other"),
    ];
    let of = |(placeholder, _): &&(&str, &str)| text.contains(placeholder);
    table.iter().find(of).map_or("it is about nothing that is known here", |(_, reason)| reason)
}

fn codes(operator: Operator, value: &str) -> Result<BTreeSet<u16>, String> {
    let equality = matches!(operator, Operator::Equal | Operator::Unequal);
    let holds: Box<dyn Fn(u16) -> bool> = if let Some(pattern) = inside(value, "pat(") {
        let regex = match glob(pattern)? {
            None => String::new(),
            Some(Wanted::Contains(text)) => regex::escape(&text),
            Some(Wanted::Matches(regex)) => regex,
        };
        let regex = Regex::new(&regex).map_err(|_| "its pattern is too large")?;
        Box::new(move |code| regex.is_match(code.to_string().as_bytes()) == (operator == Operator::Equal))
    } else if let Some(options) = inside(value, "any(") {
        let options: BTreeSet<String> = options.split(',').map(|option| option.trim().to_owned()).collect();
        Box::new(move |code| options.contains(&code.to_string()) == (operator == Operator::Equal))
    } else {
        let number = number(value).ok_or("expected a number")?;
        Box::new(move |code| operator.holds(code.into(), number))
    };
    if !equality && value.ends_with(')') {
        return Err("pat() and any() are only equal or not".to_owned());
    }
    Ok(CODES.filter(|code| holds(*code)).collect())
}

/// Gatus cuts off what is behind the point.
fn number(text: &str) -> Option<i64> {
    text.split_once('.').map_or(text, |(whole, _)| whole).parse().ok()
}

fn body(operator: Operator, value: &str) -> Result<Rule, String> {
    if operator != Operator::Equal {
        return Err("a regex says what is in a body, not what is not".to_owned());
    }
    if let Some(pattern) = inside(value, "pat(") {
        return Ok(glob(pattern)?.map_or(Rule::Nothing, Rule::Body));
    }
    let options = match inside(value, "any(") {
        Some(options) => options.split(',').map(|option| regex::escape(option.trim())).collect::<Vec<_>>().join("|"),
        None => regex::escape(value),
    };
    let options = if options.contains('|') { format!("(?:{options})") } else { options };
    // Gatus, too, compares without the white space around the body.
    Ok(Rule::Body(Wanted::Matches(format!(r"\A\s*{options}\s*\z"))))
}

fn inside<'a>(value: &'a str, function: &str) -> Option<&'a str> {
    value.strip_prefix(function)?.strip_suffix(')')
}

#[cfg(test)]
mod tests {
    use super::super::output::statuses;
    use super::*;

    fn shown(rules: &Rules) -> String {
        match &rules.codes {
            None => "any".to_owned(),
            Some(codes) if codes.is_empty() => "never".to_owned(),
            Some(codes) => statuses(codes)
                .iter()
                .map(|status| serde_json::to_string(status).unwrap().replace('"', ""))
                .collect::<Vec<_>>()
                .join(" "),
        }
    }

    #[test]
    fn conditions_that_gatus_does_not_know_are_taken_as_they_are_meant() {
        let table = [
            ("[STATUS] == 200 || [STATUS] == 503", "200 503", ""),
            ("[STATUS] == 200 || 301 || 302", "200 301-302", ""),
            ("[STATUS]  ==  204  OR  [STATUS] == 200", "200 204", ""),
            ("[STATUS] >= 200 && [STATUS] < 300", "", ""),
            ("[STATUS] >= 200 and [STATUS] < 202 or [STATUS] == 404", "200-201 404", ""),
            ("[BODY] == pat(*ok*) || [BODY] == pat(*fi?e*)", "any", "(?:ok|(?:(?s)fi.e))"),
            ("[STATUS] == 200 && [BODY] == pat(*ok*)", "200", "ok"),
        ];
        for (condition, codes, regex) in table {
            let rules = Rules::read([condition].into_iter());
            assert_eq!(
                (shown(&rules).as_str(), rules.regex.as_deref().unwrap_or_default()),
                (codes, regex),
                "{condition}"
            );
            let [note] = &rules.notes[..] else { panic!("{condition}: {:?}", rules.notes) };
            assert!(note.gravity == Gravity::Harmless && note.to_string().contains("knows no || and no &&"), "{note}");
        }
        for condition in ["[STATUS] == 200 || [BODY] == ok", "[STATUS] == 200 || [RESPONSE_TIME] < 5", "a || b"] {
            let rules = Rules::read([condition].into_iter());
            assert_eq!((&rules.codes, &rules.regex), (&None, &None), "{condition}");
            assert!(rules.notes[0].to_string().contains("knows no || and no &&"), "{:?}", rules.notes);
        }
        // Where it is part of what a body has to be, it is no operator.
        assert_eq!(Rules::read(["[BODY] == pat(*a || b*)"].into_iter()).regex.as_deref(), Some(r"a \|\| b"));
    }

    #[test]
    fn conditions() {
        let table: &[(&[&str], &str, &str)] = &[
            (&["[STATUS] == 200"], "200", ""),
            (&["200 == [STATUS]"], "200", ""),
            (&["[status] == 200"], "200", ""),
            (&["[STATUS] < 300"], "100-299", ""),
            (&["300 > [STATUS]"], "100-299", ""),
            (&["[STATUS] >= 200", "[STATUS] < 300"], "", ""),
            (&["[STATUS] <= 299.9", "[STATUS] > 199"], "", ""),
            (&["[STATUS] == any(200, 201,429)"], "200-201 429", ""),
            (&["[STATUS] != any(200, 201)", "[STATUS] < 203"], "1xx 202", ""),
            (&["[STATUS] == pat(2*)"], "", ""),
            (&["[STATUS] == pat(*)"], "100-999", ""),
            (&["[STATUS] == pat(4?4)"], "404 414 424 434 444 454 464 474 484 494", ""),
            (&["[STATUS] != pat(5*)"], "100-499 600-999", ""),
            (&["[STATUS] == 200", "[STATUS] == 201"], "never", ""),
            (&["[STATUS] == 200", "[CONNECTED] == true"], "200", ""),
            (&["[BODY] == pat(*<h1>Hi</h1>*)"], "any", "<h1>Hi</h1>"),
            (&["[BODY] == pat(*a.b*c*)"], "any", r"(?s)a\.b(?-u:.)*c"),
            (&["[BODY] == pong"], "any", r"\A\s*pong\s*\z"),
            (&["pong == [BODY]"], "any", r"\A\s*pong\s*\z"),
            (&["[BODY] == any(ok, fine.)"], "any", r"\A\s*(?:ok|fine\.)\s*\z"),
            (&["[BODY] == pat(*)"], "any", ""),
            (&["[BODY] == pat(*red*)", "[BODY] == pat(*sun*)"], "any", "(?s)red(?-u:.)*sun|sun(?-u:.)*red"),
        ];
        for (conditions, codes, regex) in table {
            let rules = Rules::read(conditions.iter().copied());
            assert_eq!(shown(&rules), *codes, "{conditions:?}");
            assert_eq!(rules.regex.unwrap_or_default(), *regex, "{conditions:?}");
            assert!(rules.notes.is_empty(), "{conditions:?}: {:?}", rules.notes);
        }
    }

    #[test]
    fn conditions_that_are_not_carried_over() {
        let table = [
            ("[RESPONSE_TIME] < 500", "http_elapsed"),
            ("[CERTIFICATE_EXPIRATION] > 48h", "certificate_expires_at"),
            ("[DOMAIN_EXPIRATION] > 720h", "when a domain ends"),
            ("[BODY].status == UP", "not read as JSON"),
            ("len([BODY].items) > 5", "not read as JSON"),
            ("has([BODY].error) == false", "not read as JSON"),
            ("[HEADER].Content-Type == text/html", "headers of the answer"),
            ("[IP] == 127.0.0.1", "which address"),
            ("[DNS_RCODE] == NOERROR", "a name is either"),
            ("[CONNECTED] == false", "never when it does not"),
            ("[BODY] != pat(*error*)", "not what is not"),
            ("[BODY] == pat(*[ab]*)", "class of characters"),
            ("[STATUS] == [CONTEXT].code", "not known beforehand"),
            ("[STATUS] == many", "expected a number"),
            ("[STATUS] < any(1, 2)", "only equal or not"),
            ("[STATUS] = 200", "it is no condition"),
            ("[STATUS] == 200 == 201", "more than two sides"),
            ("1 == 1", "nothing that is known"),
        ];
        for (condition, reason) in table {
            let rules = Rules::read([condition].into_iter());
            assert_eq!((&rules.codes, &rules.regex), (&None, &None), "{condition}");
            let [note] = &rules.notes[..] else { panic!("{condition}: {:?}", rules.notes) };
            let note = note.to_string();
            let gravity = if reason == "never when it does not" { "will be down" } else { "checks less" };
            assert!(note.starts_with(&format!("{gravity}: condition {condition:?} is not carried over: ")), "{note}");
            assert!(note.contains(reason), "{note}");
            let beside = BESIDE_THE_ANSWER.iter().any(|about| condition.contains(about));
            assert_eq!(rules.lacks_answer, !beside, "{condition}");
        }
        let rules = Rules::read(["[BODY] == pat(*ab*)", "[BODY] == pat(*bc*)"].into_iter());
        assert_eq!(rules.regex.as_deref(), Some("ab"));
        let notes: Vec<String> = rules.notes.iter().map(Note::to_string).collect();
        assert_eq!(notes, ["checks less: that the body has \"bc\" is not carried over: a target has one regex"]);
        assert!(rules.lacks_answer);
    }
}
