//! blackbox_exporter's modules: how something is probed. What is probed stands in Prometheus' configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};

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
}

/// What came of the modules: those that can be part of a target, or why not; and what is missing in them.
#[derive(Debug, Default)]
pub(super) struct Modules {
    by_name: BTreeMap<String, Result<Module, String>>,
    pub(super) notes: Vec<String>,
}

impl Modules {
    /// The modules that are named, for what is wrong with one that nobody uses is nobody's business.
    ///
    /// # Errors
    /// The configuration is none of blackbox_exporter.
    pub(super) fn read(config: &Node, named: &BTreeSet<String>) -> Result<Self, String> {
        if !config.get("modules").is_some_and(Node::is_map) {
            return Err("expected a configuration of blackbox_exporter: a mapping with modules".to_owned());
        }
        let mut modules = Self::default();
        for (name, node) in config.entries_of("modules").filter(|(name, _)| named.contains(*name)) {
            let mut notes = Vec::new();
            let module = Module::read(node, &mut notes);
            modules.notes.extend(notes.into_iter().map(|note| format!("module {name}: {note}")));
            modules.by_name.insert(name.to_owned(), module);
        }
        Ok(modules)
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
    fn read(node: &Node, notes: &mut Vec<String>) -> Result<Self, String> {
        match node.text_of("prober") {
            Some("http") => {}
            Some(prober) => return Err(format!("its prober is {prober}, and only http is known here")),
            None => return Err("it has no prober".to_owned()),
        }
        let timeout = node.text_of("timeout").and_then(|text| {
            let timeout = span(text);
            if timeout.is_none() {
                notes.push(format!("timeout: not carried over: {text:?} is no duration"));
            }
            timeout.filter(|timeout| !timeout.is_zero())
        });
        let nothing = Node::default();
        let http = node.get("http").unwrap_or(&nothing);
        let mut template = Target {
            method: http.text_of("method").map(str::to_owned),
            body: http.text_of("body").map(str::to_owned).filter(|body| !body.is_empty()),
            expected_status: statuses(&codes(http, notes)?),
            headers: headers(http, notes),
            regex: regex(http, notes),
            ..Target::default()
        };
        let unfollowed =
            http.truth_of("follow_redirects") == Some(false) || http.truth_of("no_follow_redirects") == Some(true);
        template.follow_redirects = unfollowed.then_some(false);
        for (key, node) in http.entries() {
            if let Some(reason) = missing(key, node) {
                notes.push(format!("{key}: not carried over: {reason}"));
            }
        }
        let yes = |key: &str| http.truth_of(key) == Some(true);
        Ok(Self { timeout, template, fail_if_ssl: yes("fail_if_ssl"), fail_if_not_ssl: yes("fail_if_not_ssl") })
    }

    /// This module's target for a URL that Prometheus has scraped through it.
    pub(super) fn target(&self, name: String, url: String, scrape: Scrape, notes: &mut Vec<String>) -> Target {
        let https = url.starts_with("https://");
        let follows = self.template.follow_redirects.is_none();
        if self.fail_if_ssl && (https || follows) {
            notes.push("fail_if_ssl: not carried over: HTTPS is no failure here".to_owned());
        }
        if self.fail_if_not_ssl && !https {
            notes.push("fail_if_not_ssl: not carried over: plain HTTP is no failure here".to_owned());
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

fn codes(http: &Node, notes: &mut Vec<String>) -> Result<BTreeSet<u16>, String> {
    if http.truth_of("accept_any_response") == Some(true) {
        return Ok(CODES.collect());
    }
    let mut codes = BTreeSet::new();
    let mut any = false;
    for text in http.texts_of("valid_status_codes") {
        any = true;
        match text.parse().ok().filter(|code| CODES.contains(code)) {
            Some(code) => _ = codes.insert(code),
            None => notes.push(format!("valid_status_codes: {text:?} is not carried over: no status code")),
        }
    }
    match (any, codes.is_empty()) {
        (false, _) => Ok((200..300).collect()),
        (true, true) => Err("valid_status_codes has no status code".to_owned()),
        (true, false) => Ok(codes),
    }
}

fn headers(http: &Node, notes: &mut Vec<String>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in http.entries_of("headers") {
        match value.text() {
            Some(value) => _ = headers.insert(name.to_owned(), value.to_owned()),
            None => notes.push(format!("headers.{name}: not carried over: expected a text")),
        }
    }
    if let Some(authorization) = authorization(http, notes) {
        headers.insert("Authorization".to_owned(), authorization);
    }
    headers
}

/// The header that the module's credentials come to. Those in files stay there.
fn authorization(http: &Node, notes: &mut Vec<String>) -> Option<String> {
    let mut elsewhere = |node: &Node, section: &str, keys: &[&str]| {
        for key in keys.iter().filter(|key| node.get(key).is_some()) {
            notes.push(format!("{section}{key}: not carried over: put what it holds into the header Authorization"));
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

fn regex(http: &Node, notes: &mut Vec<String>) -> Option<String> {
    let wanted = http.texts_of("fail_if_body_not_matches_regexp").map(go).collect();
    let (regex, rest) = all_of(wanted);
    for one in rest {
        let text = match one {
            Wanted::Contains(text) | Wanted::Matches(text) => text,
        };
        notes.push(format!("fail_if_body_not_matches_regexp: {text:?} is not carried over: a target has one regex"));
    }
    for text in http.texts_of("fail_if_body_matches_regexp") {
        let text = from_go(text);
        notes.push(format!(
            "fail_if_body_matches_regexp: {text:?} is not carried over: a regex says what is in a body, not what is not"
        ));
    }
    regex
}

/// Why something that a module says for HTTP is not carried over; `None` if it is, or says nothing.
fn missing(key: &str, node: &Node) -> Option<&'static str> {
    let off = node.text() == Some("false") || node.is_list() && node.items().next().is_none();
    let reason = match key {
        "valid_status_codes" | "accept_any_response" | "method" | "headers" | "body" => return None,
        "follow_redirects" | "no_follow_redirects" | "fail_if_ssl" | "fail_if_not_ssl" => return None,
        "fail_if_body_matches_regexp" | "fail_if_body_not_matches_regexp" => return None,
        "basic_auth" | "authorization" | "bearer_token" | "bearer_token_file" => return None,
        "preferred_ip_protocol" | "ip_protocol_fallback" => "dns.prefer is the same for all targets",
        "tls_config" => return tls(node),
        // What is demanded of an answer is seldom more than what comes anyway.
        "compression" if matches!(node.text(), Some("" | "gzip" | "identity")) => return None,
        "compression" => "a body is decompressed when it is gzip, as we ask for",
        "body_size_limit" => "probe.max_body_bytes is the same for all targets",
        "body_file" => "put what it holds into body",
        "valid_http_versions" => "checks speak HTTP/1.1, whatever else the server can",
        "enable_http2" if off => return None,
        "enable_http2" | "enable_http3" if !off => "checks speak HTTP/1.1",
        "oauth2" => "no tokens are fetched; a header may do",
        "fail_if_header_matches" | "fail_if_header_not_matches" => "headers of the answer are not looked at",
        "fail_if_body_json_matches_cel" | "fail_if_body_json_not_matches_cel" => {
            "a body is searched with a regex, not read as JSON"
        }
        "proxy_url"
        | "proxy_from_environment"
        | "no_proxy"
        | "proxy_connect_header"
        | "skip_resolve_phase_with_proxy" => "checks go straight to their targets",
        _ => "nothing here corresponds to it",
    };
    (!off || key == "ip_protocol_fallback").then_some(reason)
}

fn tls(node: &Node) -> Option<&'static str> {
    let says = |key: &str| node.get(key).is_some_and(|node| node.text() != Some("false"));
    if says("insecure_skip_verify") {
        Some("every certificate is verified; probe.ca_file adds those that sign your own")
    } else if says("ca_file") || says("ca") {
        Some("probe.ca_file names CA certificates for all targets")
    } else if says("cert_file") || says("cert") {
        Some("we have no certificate of our own to show")
    } else {
        node.entries()
            .any(|(key, _)| says(key))
            .then_some("a certificate is verified for the URL's host, from TLS 1.2 on")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one module of a text, and what is missing in it.
    fn module(http: &str) -> (Result<Module, String>, Vec<String>) {
        let text = format!("prober: http\nhttp: {{{http}}}\n");
        let mut notes = Vec::new();
        (Module::read(&Node::parse(&text).unwrap(), &mut notes), notes)
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
            ("preferred_ip_protocol: ip4", "preferred_ip_protocol: not carried over: dns.prefer"),
            ("ip_protocol_fallback: false", "ip_protocol_fallback: not carried over: dns.prefer"),
            ("tls_config: {insecure_skip_verify: true}", "tls_config: not carried over: every certificate"),
            ("tls_config: {ca_file: a}", "tls_config: not carried over: probe.ca_file"),
            ("tls_config: {server_name: a}", "tls_config: not carried over: a certificate is verified"),
            ("valid_http_versions: [HTTP/1.1]", "valid_http_versions: not carried over"),
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
            assert!(notes.len() == 1 && notes[0].starts_with(expected), "{http}: {notes:?}");
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
