//! Gatus' configuration: a list of endpoints, each with conditions on what they answer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::conditions::Rules;
use super::notes::{Gravity, INSECURE, Note};
use super::output::{CODES, Harvest, Span, Target, span, statuses};
use super::variables::{Variable, Variables};
use super::yaml::Node;

pub(super) const EXPECTED: &str = "a configuration of Gatus: a mapping with a list of endpoints";

/// What Gatus' endpoints have that do not say otherwise.
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where Gatus says things that are not about endpoints, and what becomes of them.
const SECTIONS: [(&str, &str); 12] = [
    ("alerting", "alerts are made from the rows in Postgres"),
    ("announcements", "they are for Gatus' page"),
    ("connectivity", "a check that fails for reasons of our own says so by itself"),
    ("external-endpoints", "results are not taken from others"),
    ("maintenance", "checks go on; leave its hours out when asking for rows"),
    ("metrics", "admin.listen serves metrics"),
    ("remote", "other instances are not asked"),
    ("security", "it is for Gatus' page"),
    ("storage", "results go to Kafka and Postgres"),
    ("tunneling", "checks go straight to their targets"),
    ("ui", "it is for Gatus' page"),
    ("web", "it is for Gatus' page"),
];

/// What endpoints have that no target can have, and what becomes of it; said once for all of them.
const KINDS: [(&str, &str); 4] = [
    ("alerts", "alerts are made from the rows in Postgres"),
    ("extra-labels", "a target has no labels but its name"),
    ("maintenance-windows", "checks go on; leave their hours out when asking for rows"),
    ("ui", "it is for Gatus' page"),
];

/// The keys of an endpoint that are dealt with.
const KNOWN: [&str; 14] = [
    "enabled",
    "name",
    "group",
    "url",
    "method",
    "body",
    "graphql",
    "headers",
    "interval",
    "conditions",
    "client",
    "dns",
    "ssh",
    "store",
];

/// The targets of configurations of Gatus, which are one: Gatus itself joins the files of a folder.
pub(super) fn import(configurations: &[&Node], variables: &Variables) -> Harvest {
    let endpoints: Vec<&Node> = configurations.iter().flat_map(|config| endpoints(config)).collect();
    let suites: Vec<&Node> = configurations.iter().flat_map(|config| config.items_of("suites")).collect();
    let mut harvest = Harvest::new("endpoint", INTERVAL, TIMEOUT);
    for (section, reason) in SECTIONS {
        if configurations.iter().any(|config| config.get(section).is_some()) {
            harvest.note(Gravity::Harmless, format!("{section}: not carried over: {reason}"));
        }
    }
    for node in &endpoints {
        Endpoint { node, variables, notes: Vec::new() }.read(&mut harvest);
    }
    for suite in suites {
        let name = suite.text_of("name").unwrap_or("a suite");
        harvest.leave_out(name, "a suite: its requests depend on each other");
    }
    for (kind, reason) in KINDS {
        let count = endpoints.iter().filter(|endpoint| endpoint.get(kind).is_some()).count();
        harvest.note_of(count, Gravity::Harmless, &format!("{kind}: not carried over: {reason}"));
    }
    harvest
}

/// Whether a mapping is, or is part of, a configuration of Gatus.
pub(super) fn is_configuration(node: &Node) -> bool {
    let list = |key: &str| node.get(key).is_some_and(|list| list.items().any(|item| item.get("url").is_some()));
    list("endpoints") || list("services") || node.get("suites").is_some_and(|suites| suites.items().any(Node::is_map))
}

/// Whether a mapping is a configuration of Gatus or a file that belongs to one, and has no targets.
pub(super) fn is_without_targets(node: &Node) -> bool {
    let empty = |key: &str| node.get(key).is_some_and(Node::is_list);
    let keys = || node.entries().map(|(key, _)| key);
    empty("endpoints") || node.is_map() && keys().all(|key| SECTIONS.iter().any(|(section, _)| *section == key))
}

fn endpoints(config: &Node) -> impl Iterator<Item = &Node> {
    config.get("endpoints").or_else(|| config.get("services")).into_iter().flat_map(Node::items)
}

/// An endpoint, and what is missing of it in its target.
struct Endpoint<'a> {
    node: &'a Node,
    variables: &'a Variables,
    notes: Vec<Note>,
}

impl Endpoint<'_> {
    fn read(mut self, harvest: &mut Harvest) {
        let text = |key: &str| self.node.text_of(key).unwrap_or_default();
        let name = match (text("group"), text("name")) {
            ("", name) => name.to_owned(),
            (group, name) => format!("{group}/{name}"),
        };
        let name = self.variables.fill(&name).unwrap_or(name);
        match self.target(&name) {
            Ok(target) => harvest.add(target, self.notes),
            Err(reason) => {
                harvest.leave_out(if name.is_empty() { "an endpoint without a name" } else { &name }, reason);
            }
        }
    }

    fn note(&mut self, gravity: Gravity, text: impl AsRef<str>) {
        self.notes.push(Note::new(gravity, text));
    }

    fn target(&mut self, name: &str) -> Result<Target, String> {
        let node = self.node;
        if node.truth_of("enabled") == Some(false) {
            return Err("it is not enabled".to_owned());
        }
        let url = self.url()?;
        let (codes, regex) = self.conditions()?;
        let timeout = self.client();
        let mut target = Target {
            name: name.to_owned(),
            url,
            method: self.known_text("method"),
            interval: self.duration(node, "interval").filter(|interval| !interval.is_zero()).map(Span),
            timeout: timeout.filter(|timeout| *timeout >= Duration::from_millis(1)).map(Span),
            regex,
            expected_status: statuses(&codes),
            follow_redirects: node
                .get("client")
                .and_then(|client| client.truth_of("ignore-redirect"))
                .map(|ignore| !ignore),
            headers: self.headers(),
            body: None,
        };
        target.body = self.body(&mut target);
        for (key, _) in node.entries() {
            if !KNOWN.contains(&key) && !KINDS.iter().any(|(kind, _)| *kind == key) {
                self.note(Gravity::Less, format!("{key}: not carried over"));
            }
        }
        Ok(target)
    }

    /// The URL, if it is for us.
    fn url(&self) -> Result<String, String> {
        if self.node.get("dns").is_some() {
            return Err("it asks a name server, not a website".to_owned());
        }
        let url = self.node.text_of("url").ok_or("it has no url")?;
        let url = self.variables.fill(url).map_err(|variable| {
            format!("its url has {variable}, which is not filled in here: {}", variable.way_out())
        })?;
        match url.split_once("://") {
            Some(("http" | "https", _)) => Ok(url),
            Some((scheme, _)) => Err(format!("{scheme}:// is neither http:// nor https://")),
            None => Err("its url has no scheme".to_owned()),
        }
    }

    /// The status codes and the regex that the conditions come to.
    fn conditions(&mut self) -> Result<(BTreeSet<u16>, Option<String>), String> {
        let written: Vec<&str> = self.node.texts_of("conditions").collect();
        let filled: Vec<_> = written.iter().map(|text| (*text, self.variables.fill(text))).collect();
        let known = filled.iter().filter_map(|(_, filled)| filled.as_deref().ok());
        let mut rules = Rules::read(known);
        for (text, variable) in filled.iter().filter_map(|(text, filled)| Some((text, filled.as_ref().err()?))) {
            rules.lose(text, &unfilled(variable));
        }
        if rules.codes.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err("no status meets all its conditions".to_owned());
        }
        self.notes.extend(rules.notes);
        if written.is_empty() {
            self.note(Gravity::Harmless, "has no conditions: any answer is good");
        }
        let codes = rules.codes.unwrap_or_else(|| match rules.lacks_answer {
            false => CODES.collect(),
            true => {
                let text = "expects 2xx, since no condition is about [STATUS], and an error page may fail those that are not carried over";
                self.note(Gravity::MayBeDown, text);
                (200..300).collect()
            }
        });
        Ok((codes, rules.regex))
    }

    fn headers(&mut self) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::new();
        for (name, value) in self.node.entries_of("headers") {
            let reason = match value.text().map(|text| self.variables.fill(text)) {
                Some(Ok(value)) => {
                    headers.insert(name.to_owned(), value);
                    continue;
                }
                Some(Err(variable)) => unfilled(&variable),
                None => "expected a text".to_owned(),
            };
            let text = |of: &str| format!("{of}: not carried over: {reason}");
            self.notes.push(Note::of_kind(Gravity::MayBeDown, text("headers"), text(&format!("headers.{name}"))));
        }
        headers
    }

    /// The body as Gatus sends it, but for what it draws anew each time.
    fn body(&mut self, target: &mut Target) -> Option<String> {
        let body = self.known_text("body");
        let graphql = self.node.truth_of("graphql") == Some(true);
        let text = |key: &str| self.node.text_of(key).unwrap_or_default();
        let filled = body.map(|body| {
            let body = body.replace("[ENDPOINT_NAME]", text("name")).replace("[ENDPOINT_GROUP]", text("group"));
            body.replace("[ENDPOINT_URL]", &target.url)
        });
        if filled.as_ref().is_some_and(|body| body.contains("[RANDOM_STRING_")) {
            self.note(Gravity::MayBeDown, "body: [RANDOM_STRING_…] is sent as it stands there");
        }
        if !graphql {
            return filled;
        }
        if !target.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
            target.headers.insert("Content-Type".to_owned(), "application/json".to_owned());
        }
        filled.map(|query| serde_json::json!({ "query": query }).to_string())
    }

    /// The timeout that the client has, and notes on what else it has.
    fn client(&mut self) -> Option<Duration> {
        let client = self.node.get("client")?;
        for (key, node) in client.entries() {
            let (gravity, reason) = match key {
                "timeout" | "ignore-redirect" => continue,
                // It is for ping only.
                "network" => continue,
                "insecure" if client.truth_of(key) == Some(false) => continue,
                "insecure" => (Gravity::Down, INSECURE),
                "dns-resolver" => (Gravity::MayBeDown, "dns.servers are the same for all targets"),
                "oauth2" | "identity-aware-proxy" | "kerberos" => {
                    (Gravity::MayBeDown, "no tokens are fetched; a header may do")
                }
                "proxy-url" | "tunnel" => (Gravity::MayBeDown, "checks go straight to their targets"),
                "tls" => (Gravity::MayBeDown, "we have no certificate of our own to show"),
                _ if node.is_map() => (Gravity::Less, "it is not known here"),
                _ => (Gravity::Less, "nothing here corresponds to it"),
            };
            self.note(gravity, format!("client.{key}: not carried over: {reason}"));
        }
        self.duration(client, "timeout")
    }

    fn duration(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let text = node.text_of(key)?;
        let (duration, reason) = match self.variables.fill(text) {
            Ok(text) => (span(&text), format!("{text:?} is no duration")),
            Err(variable) => (None, unfilled(&variable)),
        };
        if duration.is_none() && !text.is_empty() {
            self.note(Gravity::Harmless, format!("{key}: not carried over: {reason}"));
        }
        duration
    }

    /// The text for a key, if all of it is known.
    fn known_text(&mut self, key: &str) -> Option<String> {
        match self.variables.fill(self.node.text_of(key)?) {
            Ok(text) => Some(text).filter(|text| !text.is_empty()),
            Err(variable) => {
                self.note(Gravity::MayBeDown, format!("{key}: not carried over: {}", unfilled(&variable)));
                None
            }
        }
    }
}

fn unfilled(variable: &Variable) -> String {
    format!("{variable} is not filled in here, so that no secret gets into a file unseen; {}", variable.way_out())
}
