//! Targets as they are configured, and as the rest of the program knows them: checked once, here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::percent_decode_str;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use shared::config::{ConfigError, Environment, Fault, Loaded, Settings as Checked, duration, load};
use shared::masked;
use shared::message::Http;
use url::{Position, Url};

use crate::pattern::Pattern;
use crate::settings::{Settings, Site};

/// No target is checked more often than this.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// No target is checked less often than this: a week.
pub const MAX_INTERVAL: Duration = Duration::from_secs(7 * 86_400);
const MAX_NAME_BYTES: usize = 200;

/// One URL with its check settings.
#[derive(Debug)]
pub struct Target {
    /// The unique name, which is also the key of its messages.
    pub name: String,
    /// What to ask for, without user information and fragment.
    pub url: Url,
    /// The URL's host, as it is looked up.
    pub host: String,
    /// The time between two slots; whole milliseconds.
    pub interval: Duration,
    /// The deadline of a check.
    pub timeout: Duration,
    /// How to ask.
    pub method: Method,
    /// What to send along, basic authentication from the URL included.
    pub headers: HeaderMap,
    /// What to send as a body.
    pub body: Option<String>,
    /// What the answer's body must match; shared among the targets that say the same, since each has a cache of its own.
    pub regex: Option<Arc<Pattern>>,
    /// Which status codes are good.
    pub expected_status: Vec<StatusRange>,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// What is spoken with the server.
    pub http_version: HttpVersion,
}

impl Target {
    /// The URL as others may see it: in messages, and so in Kafka and Postgres, and in lists.
    pub fn shown_url(&self) -> String {
        masked::url(self.url.as_str())
    }

    /// The part of a message about the request, before any answer.
    pub fn unasked(&self) -> Http {
        let url = self.shown_url();
        // There is no user information, so that nothing before the path is masked. `https://example.net` and
        // `https://example.net/` are the same URL; neither has a path worth a column.
        let path = &url[self.url[..Position::BeforePath].len()..];
        let path = (path != "/").then(|| path.to_owned());
        Http {
            schema: self.url.scheme().to_owned(),
            host: self.host.clone(),
            path,
            url,
            method: self.method.to_string(),
            regex: self.regex.as_ref().map(ToString::to_string),
            ..Http::default()
        }
    }
}

/// Which versions of HTTP a server is offered in the TLS handshake. Without TLS all are asked in HTTP/1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/2 and HTTP/1.1: the server chooses.
    #[default]
    #[serde(rename = "newest")]
    Newest,
    /// HTTP/1.1 alone.
    #[serde(rename = "1.1")]
    Http11,
}

/// An inclusive range of status codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

/// The targets file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TargetsFile {
    defaults: Defaults,
    #[expect(clippy::vec_box, reason = "the allocator keeps up to twice the largest piece that it has seen go")]
    targets: Vec<Box<Entry>>,
}

/// What targets have that do not say otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Defaults {
    #[serde(with = "duration")]
    interval: Duration,
    #[serde(with = "duration")]
    timeout: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        let Site { interval, timeout, .. } = Site::default();
        Self { interval, timeout }
    }
}

/// One `[[targets]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    interval: Option<Written>,
    timeout: Option<Written>,
    #[serde(default)]
    regex: Option<String>,
    #[serde(default = "success")]
    expected_status: Vec<Status>,
    #[serde(default = "yes")]
    follow_redirects: bool,
    #[serde(default)]
    http_version: HttpVersion,
}

/// A duration as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Written(#[serde(with = "duration")] Duration);

/// A status code as a number, or a text such as `"404"`, `"2xx"` or `"200-299"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Status {
    Code(u16),
    Text(String),
}

fn get() -> String {
    "GET".to_owned()
}

fn success() -> Vec<Status> {
    vec![Status::Text("2xx".to_owned())]
}

fn yes() -> bool {
    true
}

impl Checked for TargetsFile {
    fn validate(&self) -> Result<(), Fault> {
        if self.targets.is_empty() {
            return Err(Fault::new("targets", "expected at least one [[targets]]"));
        }
        Ok(())
    }
}

/// The targets of these settings, from the targets file or from `[site]`.
///
/// # Errors
/// The first fault found, with the place where it stands.
pub fn load_targets(settings: &Loaded<Settings>) -> Result<Vec<Arc<Target>>, ConfigError> {
    let Settings { schedule, site, .. } = &settings.settings;
    if schedule.targets_file.is_empty() {
        let target = parse_site(site).map_err(|fault| settings.locate(fault))?;
        return Ok(vec![Arc::new(target)]);
    }
    if !site.url.is_empty() {
        let both = "site.url and schedule.targets_file are both set; only one of them can be";
        return Err(settings.locate(Fault::new("schedule.targets_file", both)));
    }
    // What is read and what is made of it do not mingle in one heap, so that the trees of many targets can be given back.
    apart(|| {
        let file: Loaded<TargetsFile> = load(Some(Path::new(&schedule.targets_file)), &Environment::default())?;
        apart(|| parse_file(&file.settings)).map_err(|fault| file.locate(fault))
    })
}

/// What is wrong with a targets file of this text; its place is for whoever wrote the text to find.
pub(crate) fn fault_in(text: &str) -> Result<(), Fault> {
    let file: TargetsFile = toml::from_str(text).map_err(|error| Fault::new("targets", error.message()))?;
    file.validate()?;
    parse_file(&file).map(|_| ())
}

/// Does something on a thread, and so on a heap, of its own.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

fn parse_file(file: &TargetsFile) -> Result<Vec<Arc<Target>>, Fault> {
    let mut names = HashSet::new();
    let mut patterns = Patterns::default();
    let mut targets = Vec::with_capacity(file.targets.len());
    for (index, entry) in file.targets.iter().enumerate() {
        let key = |field: &str| format!("targets[{index}].{field}");
        let target =
            parse(entry, &file.defaults, &mut patterns).map_err(|fault| Fault::new(key(&fault.key), fault.message))?;
        if !names.insert(&entry.name) {
            return Err(Fault::new(key("name"), format!("duplicate target name {:?}", entry.name)));
        }
        targets.push(Arc::new(target));
    }
    Ok(targets)
}

fn parse_site(site: &Site) -> Result<Target, Fault> {
    if site.url.is_empty() {
        return Err(Fault::new(
            "site.url",
            "no targets: set site.url (SITE_URL) for a single one, or schedule.targets_file (SCHEDULE_TARGETS_FILE)",
        ));
    }
    let name = match (&site.name, Url::parse(&site.url)) {
        (name, Ok(url)) if name.is_empty() => url.host_str().unwrap_or(&site.url).to_owned(),
        (name, _) => name.clone(),
    };
    let entry = Entry {
        name,
        url: site.url.clone(),
        method: get(),
        headers: BTreeMap::new(),
        body: None,
        interval: Some(Written(site.interval)),
        timeout: Some(Written(site.timeout)),
        regex: (!site.regex.is_empty()).then(|| site.regex.clone()),
        expected_status: success(),
        follow_redirects: true,
        http_version: HttpVersion::default(),
    };
    parse(&entry, &Defaults::default(), &mut Patterns::default())
        .map_err(|fault| Fault::new(format!("site.{}", fault.key), fault.message))
}

/// Compiled patterns by their text: many targets often share one.
#[derive(Default)]
struct Patterns(HashMap<String, Arc<Pattern>>);

impl Patterns {
    fn compile(&mut self, text: &str) -> Result<Arc<Pattern>, Fault> {
        if let Some(regex) = self.0.get(text) {
            return Ok(regex.clone());
        }
        let regex =
            Pattern::compile(text).map_err(|reason| Fault::new("regex", format!("bad regex {text:?}: {reason}")))?;
        let regex = Arc::new(regex);
        self.0.insert(text.to_owned(), regex.clone());
        Ok(regex)
    }
}

/// Checks one entry; the keys of faults are those of the entry.
fn parse(entry: &Entry, defaults: &Defaults, patterns: &mut Patterns) -> Result<Target, Fault> {
    let (url, authorization) = parse_url(&entry.url)?;
    parse_name(&entry.name)?;
    let interval = entry.interval.map_or(defaults.interval, |written| written.0);
    let timeout = entry.timeout.map_or(defaults.timeout, |written| written.0);
    parse_times(interval, timeout)?;
    let method = Method::from_bytes(entry.method.as_bytes())
        .ok()
        .filter(|method| *method != Method::CONNECT && entry.method.chars().all(|c| c.is_ascii_uppercase()))
        .ok_or_else(|| {
            Fault::new("method", format!("expected a method such as GET, HEAD or POST, found {:?}", entry.method))
        })?;
    let mut headers = parse_headers(&entry.headers)?;
    if let Some(authorization) = authorization {
        headers.entry(reqwest::header::AUTHORIZATION).or_insert(authorization);
    }
    let expected_status = entry.expected_status.iter().map(parse_status).collect::<Result<Vec<_>, _>>()?;
    if expected_status.is_empty() {
        return Err(Fault::new("expected_status", "expected at least one status, such as 200 or \"2xx\""));
    }
    let regex = entry.regex.as_deref().map(|text| patterns.compile(text)).transpose()?;
    if regex.is_some() && method == Method::HEAD {
        return Err(Fault::new("regex", "the answer to HEAD has no body that a regex could match"));
    }
    Ok(Target {
        name: entry.name.clone(),
        host: url.host_str().unwrap_or_default().to_owned(),
        url,
        interval,
        timeout,
        method,
        headers,
        body: entry.body.clone(),
        regex,
        expected_status,
        follow_redirects: entry.follow_redirects,
        http_version: entry.http_version,
    })
}

fn parse_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        let expected = format!("expected 1 to {MAX_NAME_BYTES} bytes without control characters, found {name:?}");
        return Err(Fault::new("name", expected));
    }
    Ok(())
}

/// The URL to ask for, and the header that user information in it stands for.
fn parse_url(text: &str) -> Result<(Url, Option<HeaderValue>), Fault> {
    // Neither the text nor the parsed URL is repeated in messages: it may hold a password.
    let fault = |reason: &str| Fault::new("url", format!("expected a URL such as https://example.net/: {reason}"));
    let mut url = Url::parse(text).map_err(|error| fault(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fault("the scheme must be http or https"));
    }
    if url.port() == Some(0) {
        return Err(fault("port 0 cannot be connected to"));
    }
    let authorization = take_user(&mut url);
    url.set_fragment(None);
    if hyper::Uri::try_from(url.as_str()).is_err() {
        return Err(fault("it is too long or too odd to be asked for"));
    }
    Ok((url, authorization))
}

/// Takes user information out of a URL, and makes of it the header that it stands for.
pub(crate) fn take_user(url: &mut Url) -> Option<HeaderValue> {
    let authorization = basic_authorization(url);
    // Neither can fail for a URL that has a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    authorization
}

/// The header that user information in a URL stands for (RFC 7617).
fn basic_authorization(url: &Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(credentials))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn parse_times(interval: Duration, timeout: Duration) -> Result<(), Fault> {
    if interval < MIN_INTERVAL || interval > MAX_INTERVAL || !interval.subsec_nanos().is_multiple_of(1_000_000) {
        return Err(Fault::new("interval", format!("expected whole milliseconds from 1s to 168h, found {interval:?}")));
    }
    if timeout.is_zero() || timeout > Duration::from_secs(3600) {
        return Err(Fault::new("timeout", format!("expected more than 0s and at most 1h, found {timeout:?}")));
    }
    Ok(())
}

fn parse_headers(entries: &BTreeMap<String, String>) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::with_capacity(entries.len());
    for (name, value) in entries {
        let key = format!("headers.{name}");
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Fault::new(&key, "is no name of a header"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| Fault::new(&key, "is no value of a header"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn parse_status(status: &Status) -> Result<StatusRange, Fault> {
    let range = match status {
        Status::Code(code) => Some((*code, *code)),
        Status::Text(text) => match text.split_once('-') {
            Some((first, last)) => first.trim().parse().ok().zip(last.trim().parse().ok()),
            None => match text.strip_suffix("xx") {
                Some(class) => {
                    class.parse().ok().filter(|class| *class < 10).map(|class: u16| (class * 100, class * 100 + 99))
                }
                None => text.parse().ok().map(|code| (code, code)),
            },
        },
    };
    match range {
        Some((first, last)) if (100..=999).contains(&first) && (first..=999).contains(&last) => {
            Ok(StatusRange { first, last })
        }
        _ => Err(Fault::new("expected_status", "expected statuses such as 200, \"2xx\" or \"200-299\"")),
    }
}

impl StatusRange {
    /// Whether the range has this code.
    pub fn contains(self, code: u16) -> bool {
        (self.first..=self.last).contains(&code)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(formatter, "{first}")
        } else if first % 100 == 0 && *last == first + 99 {
            write!(formatter, "{}xx", first / 100)
        } else {
            write!(formatter, "{first}-{last}")
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
