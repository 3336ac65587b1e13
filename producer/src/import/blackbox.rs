//! blackbox_exporter's modules: how something is probed. What is probed stands in Prometheus' configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::notes::{Gravity, INSECURE, Note};
use super::output::{CODES, Span, Target, fit_timeout, span, statuses};
use super::patterns::{Wanted, all_of, from_go, go};
use super::yaml::Node;

/// Prometheus tells the exporter how long it waits, and the exporter keeps this much of it for the answer.
const OFFSET: Duration = Duration::from_millis(500);

/// A module, as far as it can be part of a target.
#[derive(Debug)]
pub(super) struct Module {
    timeout: Option<Duration>,
    template: Target,
    fail_if_ssl: bool,
    fail_if_not_ssl: bool,
    /// What is missing in it, and so in each of its targets.
    notes: Vec<Note>,
}

/// What came of the modules: those that can be part of a target, or why not.
#[derive(Debug, Default)]
pub(super) struct Modules {
    by_name: BTreeMap<String, Result<Module, String>>,
}

pub(super) const EXPECTED: &str = "a configuration of blackbox_exporter: a mapping with modules";

/// Whether a mapping is a configuration of blackbox_exporter.
pub(super) fn is_configuration(node: &Node) -> bool {
    let mut modules = node.entries_of("modules").peekable();
    node.get("modules").is_some_and(Node::is_map)
        && (modules.peek().is_none() || modules.any(|(_, module)| module.get("prober").is_some()))
}

impl Modules {
    /// The modules that are named, for what is wrong with one that nobody uses is nobody's business.
    pub(super) fn read(configurations: &[&Node], named: &BTreeSet<String>) -> Self {
        let mut modules = Self::default();
        let all = configurations.iter().flat_map(|config| config.entries_of("modules"));
        for (name, node) in all.filter(|(name, _)| named.contains(*name)) {
            modules.by_name.insert(name.to_owned(), Module::read(node));
        }
        modules
    }

    pub(super) fn get(&self, name: &str) -> Result<&Module, String> {
        match self.by_name.get(name) {
            Some(Ok(module)) => Ok(module),
            Some(Err(reason)) => Err(format!("module {name}: {reason}")),
            None => Err(format!("there is no module {name}")),
        }
    }
}

impl Module {
    fn read(node: &Node) -> Result<Self, String> {
        match node.text_of("prober") {
            Some("http") => {}
            Some(prober) => return Err(format!("its prober is {prober}, and only http is known here")),
            None => return Err("it has no prober".to_owned()),
        }
        let mut notes = Vec::new();
        let timeout = node.text_of("timeout").and_then(|text| {
            let timeout = span(text);
            if timeout.is_none() {
                let text = format!("timeout: not carried over: {text:?} is no duration");
                notes.push(Note::new(Gravity::Harmless, text));
            }
            timeout.filter(|timeout| !timeout.is_zero())
        });
        let nothing = Node::default();
        let http = node.get("http").unwrap_or(&nothing);
        let mut template = Target {
            method: http.text_of("method").map(str::to_owned),
            body: http.text_of("body").map(str::to_owned).filter(|body| !body.is_empty()),
            expected_status: statuses(&codes(http, &mut notes)?),
            headers: headers(http, &mut notes),
            regex: regex(http, &mut notes),
            ..Target::default()
        };
        let unfollowed =
            http.truth_of("follow_redirects") == Some(false) || http.truth_of("no_follow_redirects") == Some(true);
        template.follow_redirects = unfollowed.then_some(false);
        for (key, node) in http.entries() {
            if let Some((gravity, reason)) = missing(key, node) {
                notes.push(Note::new(gravity, format!("{key}: not carried over: {reason}")));
            }
        }
        let yes = |key: &str| http.truth_of(key) == Some(true);
        let (fail_if_ssl, fail_if_not_ssl) = (yes("fail_if_ssl"), yes("fail_if_not_ssl"));
        Ok(Self { timeout, template, fail_if_ssl, fail_if_not_ssl, notes })
    }

    /// This module's target for a URL that Prometheus has scraped through it.
    pub(super) fn target(&self, name: String, url: String, scrape: Scrape, notes: &mut Vec<Note>) -> Target {
        let https = url.starts_with("https://");
        let follows = self.template.follow_redirects.is_none();
        notes.extend(self.notes.iter().cloned());
        if self.fail_if_ssl && (https || follows) {
            notes.push(Note::new(Gravity::Less, "fail_if_ssl: not carried over: HTTPS is no failure here"));
        }
        if self.fail_if_not_ssl && !https {
            notes.push(Note::new(Gravity::Less, "fail_if_not_ssl: not carried over: plain HTTP is no failure here"));
        }
        Target {
            name,
            url,
            interval: Some(Span(scrape.interval)),
            timeout: Some(Span(scrape.limit(self.timeout))),
            ..self.template.clone()
        }
    }
}

/// How often Prometheus scrapes, and how long it waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scrape {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Scrape {
    /// The timeout of a probe: the module's, if Prometheus waits as long.
    pub(super) fn limit(self, module: Option<Duration>) -> Duration {
        let most = self.timeout.checked_sub(OFFSET).filter(|most| !most.is_zero());
        fit_timeout(match (module, most) {
            (Some(module), Some(most)) => module.min(most),
            (Some(module), None) => module,
            (None, Some(most)) => most,
            (None, None) => self.timeout,
        })
    }
}

fn codes(http: &Node, notes: &mut Vec<Note>) -> Result<BTreeSet<u16>, String> {
    if http.truth_of("accept_any_response") == Some(true) {
        return Ok(CODES.collect());
    }
    let mut codes = BTreeSet::new();
    let mut any = false;
    for text in http.texts_of("valid_status_codes") {
        any = true;
        match text.parse().ok().filter(|code| CODES.contains(code)) {
            Some(code) => _ = codes.insert(code),
            None => {
                let text = format!("valid_status_codes: {text:?} is not carried over: no status code");
                notes.push(Note::new(Gravity::Harmless, text));
            }
        }
    }
    match (any, codes.is_empty()) {
        (false, _) => Ok((200..300).collect()),
        (true, true) => Err("valid_status_codes has no status code".to_owned()),
        (true, false) => Ok(codes),
    }
}

fn headers(http: &Node, notes: &mut Vec<Note>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in http.entries_of("headers") {
        match value.text() {
            Some(value) => _ = headers.insert(name.to_owned(), value.to_owned()),
            None => {
                let text = format!("headers.{name}: not carried over: expected a text");
                notes.push(Note::new(Gravity::MayBeDown, text));
            }
        }
    }
    if let Some(authorization) = authorization(http, notes) {
        headers.insert("Authorization".to_owned(), authorization);
    }
    headers
}

/// The header that the module's credentials come to. Those in files stay there.
fn authorization(http: &Node, notes: &mut Vec<Note>) -> Option<String> {
    let mut elsewhere = |node: &Node, section: &str, keys: &[&str]| {
        for key in keys.iter().filter(|key| node.get(key).is_some()) {
            let text = format!("{section}{key}: not carried over: put what it holds into the header Authorization");
            notes.push(Note::new(Gravity::MayBeDown, text));
        }
    };
    elsewhere(http, "", &["bearer_token_file"]);
    if let Some(basic) = http.get("basic_auth") {
        elsewhere(basic, "basic_auth.", &["username_file", "username_ref", "password_file", "password_ref"]);
        let (username, password) = (basic.text_of("username"), basic.text_of("password"));
        if let (Some(username), Some(password)) = (username, password) {
            return Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))));
        }
    }
    if let Some(authorization) = http.get("authorization") {
        elsewhere(authorization, "authorization.", &["credentials_file", "credentials_ref"]);
        if let Some(credentials) = authorization.text_of("credentials") {
            return Some(format!("{} {credentials}", authorization.text_of("type").unwrap_or("Bearer")));
        }
    }
    http.text_of("bearer_token").map(|token| format!("Bearer {token}"))
}

fn regex(http: &Node, notes: &mut Vec<Note>) -> Option<String> {
    let wanted = http.texts_of("fail_if_body_not_matches_regexp").map(go).collect();
    let (regex, rest) = all_of(wanted);
    for one in rest {
        let text = match one {
            Wanted::Contains(text) | Wanted::Matches(text) => text,
        };
        let text = format!("fail_if_body_not_matches_regexp: {text:?} is not carried over: a target has one regex");
        notes.push(Note::new(Gravity::Less, text));
    }
    for text in http.texts_of("fail_if_body_matches_regexp") {
        let text = from_go(text);
        let reason = "a regex says what is in a body, not what is not";
        let text = format!("fail_if_body_matches_regexp: {text:?} is not carried over: {reason}");
        notes.push(Note::new(Gravity::Less, text));
    }
    regex
}

/// Why something that a module says for HTTP is not carried over, and what comes of that; `None` if it is, or says nothing.
fn missing(key: &str, node: &Node) -> Option<(Gravity, &'static str)> {
    let off = node.text() == Some("false") || node.is_list() && node.items().next().is_none();
    if off {
        return None;
    }
    Some(match key {
        "valid_status_codes" | "accept_any_response" | "method" | "headers" | "body" => return None,
        "follow_redirects" | "no_follow_redirects" | "fail_if_ssl" | "fail_if_not_ssl" => return None,
        "fail_if_body_matches_regexp" | "fail_if_body_not_matches_regexp" => return None,
        "basic_auth" | "authorization" | "bearer_token" | "bearer_token_file" => return None,
        // dns.prefer asks for IPv4 first, and goes on to IPv6.
        "preferred_ip_protocol" if node.text() == Some("ip4") => return None,
        "preferred_ip_protocol" => (Gravity::Harmless, "dns.prefer is the same for all targets"),
        "ip_protocol_fallback" => return None,
        "tls_config" => return tls(node),
        // What is demanded of an answer is seldom more than what comes anyway.
        "compression" if matches!(node.text(), Some("" | "gzip" | "identity")) => return None,
        "compression" => (Gravity::Less, "a body is decompressed when it is gzip, as we ask for"),
        "body_size_limit" => (Gravity::Harmless, "probe.max_body_bytes is the same for all targets"),
        "body_file" => (Gravity::MayBeDown, "put what it holds into body"),
        "valid_http_versions" if node.items().any(|version| version.text() == Some("HTTP/1.1")) => return None,
        "valid_http_versions" => (Gravity::Less, "which version of HTTP answers makes no target down"),
        "enable_http2" | "enable_http3" => (Gravity::Harmless, "which version of HTTP answers makes no target down"),
        "oauth2" => (Gravity::MayBeDown, "no tokens are fetched; a header may do"),
        "fail_if_header_matches" | "fail_if_header_not_matches" => {
            (Gravity::Less, "headers of the answer are not looked at")
        }
        "fail_if_body_json_matches_cel" | "fail_if_body_json_not_matches_cel" => {
            (Gravity::Less, "a body is searched with a regex, not read as JSON")
        }
        "proxy_url"
        | "proxy_from_environment"
        | "no_proxy"
        | "proxy_connect_header"
        | "skip_resolve_phase_with_proxy" => (Gravity::MayBeDown, "checks go straight to their targets"),
        _ => (Gravity::Less, "nothing here corresponds to it"),
    })
}

fn tls(node: &Node) -> Option<(Gravity, &'static str)> {
    let says = |key: &str| node.get(key).is_some_and(|node| node.text() != Some("false"));
    if says("insecure_skip_verify") {
        Some((Gravity::Down, INSECURE))
    } else if says("ca_file") || says("ca") {
        Some((Gravity::Down, "its CA is not known here: name it in probe.ca_file, which is the same for all targets"))
    } else if says("cert_file") || says("cert") {
        Some((Gravity::MayBeDown, "we have no certificate of our own to show"))
    } else {
        let any = node.entries().any(|(key, _)| says(key));
        any.then_some((Gravity::MayBeDown, "a certificate is verified for the URL's host, from TLS 1.2 on"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one module of a text, and what is missing in it.
    fn module(http: &str) -> (Result<Module, String>, Vec<String>) {
        let text = format!("prober: http\nhttp: {{{http}}}\n");
        let module = Module::read(&Node::parse(&text).unwrap());
        let notes = module.iter().flat_map(|module| module.notes.iter().map(Note::to_string)).collect();
        (module, notes)
    }

    #[test]
    fn what_is_carried_over() {
        let show = |http: &str| {
            let (module, notes) = module(http);
            assert!(notes.is_empty(), "{http}: {notes:?}");
            let mut value = serde_json::to_value(module.unwrap().template).unwrap();
            value.as_object_mut().unwrap().retain(|key, _| key != "name" && key != "url");
            value.to_string()
        };
        let table = [
            ("", r"{}"),
            ("valid_status_codes: []", r"{}"),
            ("valid_status_codes: [200, 301, 302]", r#"{"expected_status":[200,"301-302"]}"#),
            ("accept_any_response: true", r#"{"expected_status":["100-999"]}"#),
            ("method: POST, body: '{}'", r#"{"body":"{}","method":"POST"}"#),
            ("headers: {Host: a}", r#"{"headers":{"Host":"a"}}"#),
            ("follow_redirects: false", r#"{"follow_redirects":false}"#),
            ("no_follow_redirects: true", r#"{"follow_redirects":false}"#),
            ("no_follow_redirects: false", r"{}"),
            ("basic_auth: {username: u, password: p}", r#"{"headers":{"Authorization":"Basic dTpw"}}"#),
            ("bearer_token: t", r#"{"headers":{"Authorization":"Bearer t"}}"#),
            ("authorization: {type: Token, credentials: t}", r#"{"headers":{"Authorization":"Token t"}}"#),
            ("fail_if_body_not_matches_regexp: ['{\"up\"']", r#"{"regex":"\\{\"up\""}"#),
            ("fail_if_body_not_matches_regexp: [red, sun]", r#"{"regex":"(?s)red(?-u:.)*sun|sun(?-u:.)*red"}"#),
            ("fail_if_body_matches_regexp: [], tls_config: {insecure_skip_verify: false}", r"{}"),
            ("compression: gzip, enable_http2: false", r"{}"),
            ("preferred_ip_protocol: ip4, ip_protocol_fallback: false", r"{}"),
            ("valid_http_versions: [HTTP/1.0, HTTP/1.1, HTTP/2.0]", r"{}"),
        ];
        for (http, expected) in table {
            assert_eq!(show(http), expected, "{http}");
        }
    }

    #[test]
    fn what_is_not() {
        let table = [
            ("fail_if_body_matches_regexp: [bad]", "fail_if_body_matches_regexp: \"bad\" is not"),
            ("fail_if_body_not_matches_regexp: ['a+', 'b+']", "fail_if_body_not_matches_regexp: \"b+\" is not"),
            ("preferred_ip_protocol: ip6", "preferred_ip_protocol: not carried over: dns.prefer"),
            ("tls_config: {insecure_skip_verify: true}", "tls_config: not carried over: every certificate"),
            ("tls_config: {ca_file: a}", "tls_config: not carried over: its CA is not known here"),
            ("tls_config: {server_name: a}", "tls_config: not carried over: a certificate is verified"),
            ("valid_http_versions: [HTTP/2.0]", "valid_http_versions: not carried over"),
            ("body_size_limit: 10MB", "body_size_limit: not carried over: probe.max_body_bytes"),
            ("compression: br", "compression: not carried over"),
            ("basic_auth: {username: u, password_file: f}", "basic_auth.password_file: not carried over"),
            ("oauth2: {client_id: a}", "oauth2: not carried over"),
            ("fail_if_header_matches: [{header: a, regexp: b}]", "fail_if_header_matches: not carried over"),
            ("valid_status_codes: [20, 200]", "valid_status_codes: \"20\" is not carried over"),
            ("what: 1", "what: not carried over: nothing"),
        ];
        for (http, expected) in table {
            let (module, notes) = module(http);
            assert!(module.is_ok(), "{http}");
            assert!(notes.len() == 1 && notes[0].contains(expected), "{http}: {notes:?}");
        }
        assert!(module("valid_status_codes: [20]").0.is_err());
    }

    #[test]
    fn timeouts() {
        let millis = Duration::from_millis;
        let table = [
            (Some(5_000), 10_000, 5_000),
            (Some(15_000), 10_000, 9_500),
            (None, 10_000, 9_500),
            (Some(5_000), 400, 5_000),
            (None, 400, 400),
        ];
        for (module, scrape, expected) in table {
            let scrape = Scrape { interval: millis(60_000), timeout: millis(scrape) };
            assert_eq!(scrape.limit(module.map(millis)), millis(expected), "{module:?} {scrape:?}");
        }
    }

    #[test]
    fn what_depends_on_the_url() {
        let scrape = Scrape { interval: Duration::from_secs(60), timeout: Duration::from_secs(10) };
        let table = [
            ("fail_if_not_ssl: true", "https://a/", 0),
            ("fail_if_not_ssl: true", "http://a/", 1),
            ("fail_if_ssl: true", "https://a/", 1),
            ("fail_if_ssl: true", "http://a/", 1),
            ("fail_if_ssl: true, follow_redirects: false", "http://a/", 0),
        ];
        for (http, url, expected) in table {
            let mut notes = Vec::new();
            module(http).0.unwrap().target("a".to_owned(), url.to_owned(), scrape, &mut notes);
            assert_eq!(notes.len(), expected, "{http} {url}: {notes:?}");
        }
    }
}
