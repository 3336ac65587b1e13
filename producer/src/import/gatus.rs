//! Gatus' configuration: a list of endpoints, each with conditions on what they answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::conditions::Rules;
use super::output::{CODES, Harvest, Span, Target, span, statuses};
use super::yaml::Node;

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

/// The targets of a configuration of Gatus.
///
/// # Errors
/// It is none.
pub(super) fn import(config: &Node) -> Result<Harvest, String> {
    let endpoints = config.get("endpoints").or_else(|| config.get("services"));
    if endpoints.is_none() && config.get("suites").is_none() || endpoints.is_some_and(|list| !list.is_list()) {
        return Err("expected a configuration of Gatus: a mapping with a list of endpoints".to_owned());
    }
    let mut harvest = Harvest::new(INTERVAL, TIMEOUT);
    for (section, reason) in SECTIONS {
        if config.get(section).is_some() {
            harvest.note(format!("{section}: not carried over: {reason}"));
        }
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for endpoint in endpoints.into_iter().flat_map(Node::items) {
        read(endpoint, &mut harvest);
        for (kind, _) in KINDS {
            if endpoint.get(kind).is_some() {
                *kinds.entry(kind).or_default() += 1;
            }
        }
    }
    for suite in config.items_of("suites") {
        let name = suite.text_of("name").unwrap_or("a suite");
        harvest.leave_out(name, "a suite: its requests depend on each other");
    }
    for (kind, reason) in KINDS {
        if let Some(count) = kinds.get(kind) {
            harvest.note(format!("{kind}: not carried over (endpoints that have some: {count}): {reason}"));
        }
    }
    Ok(harvest)
}

fn read(endpoint: &Node, harvest: &mut Harvest) {
    let name = match (endpoint.text_of("group").unwrap_or_default(), endpoint.text_of("name").unwrap_or_default()) {
        ("", name) => name.to_owned(),
        (group, name) => format!("{group}/{name}"),
    };
    let mut notes = Vec::new();
    match target(&name, endpoint, &mut notes) {
        Ok(target) => harvest.add(target, &notes),
        Err(reason) => harvest.leave_out(if name.is_empty() { "an endpoint without a name" } else { &name }, reason),
    }
}

fn target(name: &str, endpoint: &Node, notes: &mut Vec<String>) -> Result<Target, String> {
    if endpoint.truth_of("enabled") == Some(false) {
        return Err("it is not enabled".to_owned());
    }
    let url = url(endpoint)?;
    let rules = Rules::read(conditions(endpoint, notes).iter().map(String::as_str));
    if rules.codes.as_ref().is_some_and(|codes| codes.is_empty()) {
        return Err("no status meets all its conditions".to_owned());
    }
    notes.extend(rules.notes);
    let expected_status = match &rules.codes {
        Some(codes) => statuses(codes),
        None if notes.is_empty() => statuses(&CODES.collect()),
        None => {
            // The conditions that are missing may have been what an error page fails.
            notes.push("expects 2xx, since no condition is about [STATUS]".to_owned());
            Vec::new()
        }
    };
    let timeout = client(endpoint, notes);
    let mut target = Target {
        name: plain(name).unwrap_or_else(|_| name.to_owned()),
        url,
        method: known_text(endpoint, "method", notes),
        interval: duration(endpoint, "interval", notes).filter(|interval| !interval.is_zero()).map(Span),
        timeout: timeout.filter(|timeout| *timeout >= Duration::from_millis(1)).map(Span),
        regex: rules.regex,
        expected_status,
        follow_redirects: endpoint
            .get("client")
            .and_then(|client| client.truth_of("ignore-redirect"))
            .map(|ignore| !ignore),
        headers: headers(endpoint, notes),
        body: None,
    };
    target.body = body(endpoint, &mut target, notes);
    for (key, _) in endpoint.entries() {
        if !KNOWN.contains(&key) && !KINDS.iter().any(|(kind, _)| *kind == key) {
            notes.push(format!("{key}: not carried over"));
        }
    }
    Ok(target)
}

/// The URL, if it is for us.
fn url(endpoint: &Node) -> Result<String, String> {
    if endpoint.get("dns").is_some() {
        return Err("it asks a name server, not a website".to_owned());
    }
    let url = endpoint.text_of("url").ok_or("it has no url")?;
    let url = plain(url).map_err(|variable| format!("its url has {variable}, which is not filled in here"))?;
    match url.split_once("://") {
        Some(("http" | "https", _)) => Ok(url),
        Some((scheme, _)) => Err(format!("{scheme}:// is neither http:// nor https://")),
        None => Err("its url has no scheme".to_owned()),
    }
}

/// The conditions whose text is known.
fn conditions(endpoint: &Node, notes: &mut Vec<String>) -> Vec<String> {
    let mut conditions = Vec::new();
    for condition in endpoint.texts_of("conditions") {
        match plain(condition) {
            Ok(condition) => conditions.push(condition),
            Err(variable) => {
                notes.push(format!("condition {condition:?} is not carried over: {}", unfilled(&variable)));
            }
        }
    }
    if conditions.is_empty() && notes.is_empty() {
        notes.push("has no conditions".to_owned());
    }
    conditions
}

fn headers(endpoint: &Node, notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in endpoint.entries_of("headers") {
        match value.text().map(plain) {
            Some(Ok(value)) => {
                headers.insert(name.to_owned(), value);
            }
            Some(Err(variable)) => notes.push(format!("headers.{name}: not carried over: {}", unfilled(&variable))),
            None => notes.push(format!("headers.{name}: not carried over: expected a text")),
        }
    }
    headers
}

/// The body as Gatus sends it, but for what it draws anew each time.
fn body(endpoint: &Node, target: &mut Target, notes: &mut Vec<String>) -> Option<String> {
    let body = known_text(endpoint, "body", notes);
    let graphql = endpoint.truth_of("graphql") == Some(true);
    let text = |key: &str| endpoint.text_of(key).unwrap_or_default();
    let filled = body.map(|body| {
        let body = body.replace("[ENDPOINT_NAME]", text("name")).replace("[ENDPOINT_GROUP]", text("group"));
        body.replace("[ENDPOINT_URL]", &target.url)
    });
    if filled.as_ref().is_some_and(|body| body.contains("[RANDOM_STRING_")) {
        notes.push("body: [RANDOM_STRING_…] is sent as it stands there".to_owned());
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
fn client(endpoint: &Node, notes: &mut Vec<String>) -> Option<Duration> {
    let client = endpoint.get("client")?;
    for (key, node) in client.entries() {
        let reason = match key {
            "timeout" | "ignore-redirect" => continue,
            // It is for ping only.
            "network" => continue,
            "insecure" if client.truth_of(key) == Some(false) => continue,
            "insecure" => "every certificate is verified; probe.ca_file adds those that sign your own",
            "dns-resolver" => "dns.servers are the same for all targets",
            "oauth2" | "identity-aware-proxy" | "kerberos" => "no tokens are fetched; a header may do",
            "proxy-url" | "tunnel" => "checks go straight to their targets",
            "tls" => "we have no certificate of our own to show",
            _ if node.is_map() => "it is not known here",
            _ => "nothing here corresponds to it",
        };
        notes.push(format!("client.{key}: not carried over: {reason}"));
    }
    duration(client, "timeout", notes)
}

fn duration(node: &Node, key: &str, notes: &mut Vec<String>) -> Option<Duration> {
    let text = known_text(node, key, notes)?;
    let duration = span(&text);
    if duration.is_none() {
        notes.push(format!("{key}: not carried over: {text:?} is no duration"));
    }
    duration
}

/// The text for a key, if nothing in it is to be filled in.
fn known_text(node: &Node, key: &str, notes: &mut Vec<String>) -> Option<String> {
    match plain(node.text_of(key)?) {
        Ok(text) => Some(text).filter(|text| !text.is_empty()),
        Err(variable) => {
            notes.push(format!("{key}: not carried over: {}", unfilled(&variable)));
            None
        }
    }
}

fn unfilled(variable: &str) -> String {
    format!("{variable} is not filled in here, so that no secret gets into a file unseen")
}

/// A text as it is once `$$` stands for `$`, which is how Gatus escapes it.
///
/// # Errors
/// The first variable in it. They are not filled in: what they stand for may be a secret, and may be something else where this runs.
fn plain(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        out.push('$');
        rest = match after.chars().next() {
            Some('$') => &after[1..],
            Some('{') => {
                let name = after.split_once('}').map_or(after, |(name, _)| name);
                return Err(format!("${name}}}"));
            }
            Some(first) if first.is_ascii_alphanumeric() || "_*#@!?-".contains(first) => {
                let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                return Err(format!("${}", if name.is_empty() { first.to_string() } else { name }));
            }
            _ => after,
        };
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let table = [
            ("a", Ok("a")),
            ("a$$b", Ok("a$b")),
            ("5 $", Ok("5 $")),
            ("$.path", Ok("$.path")),
            ("a ${TOKEN} b", Err("${TOKEN}")),
            ("a $TOKEN-b", Err("$TOKEN")),
            ("$1", Err("$1")),
            ("$$$A", Err("$A")),
            ("${A", Err("${A}")),
        ];
        for (text, expected) in table {
            assert_eq!(plain(text), expected.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
