//! The cookies of one check (RFC 6265): set by a redirect, sent with the hops after it, and forgotten with the check.

use std::net::IpAddr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use reqwest::header::{HeaderMap, HeaderValue, SET_COOKIE};
use url::Url;

/// Longer ones are not kept; as in browsers.
const MAX_BYTES: usize = 4096;
/// More of them are not kept.
const MAX_COOKIES: usize = 100;

/// The cookies that have been set so far.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<Cookie>);

#[derive(Debug)]
struct Cookie {
    name: String,
    value: String,
    domain: String,
    /// Whether it is for that host alone, and not for those below it.
    host_only: bool,
    path: String,
    secure: bool,
}

impl Jar {
    /// Takes what an answer from this URL sets.
    pub(super) fn take(&mut self, url: &Url, headers: &HeaderMap, now: Timestamp) {
        for value in headers.get_all(SET_COOKIE) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let Some((cookie, gone)) = parse(&text, url, now) else { continue };
            let same =
                |one: &Cookie| (&one.name, &one.domain, &one.path) == (&cookie.name, &cookie.domain, &cookie.path);
            self.0.retain(|one| !same(one));
            if !gone && self.0.len() < MAX_COOKIES {
                self.0.push(cookie);
            }
        }
    }

    /// What to send to this URL, beside what was configured for it.
    pub(super) fn header(&self, url: &Url, configured: Option<&HeaderValue>) -> Option<HeaderValue> {
        let mut ours: Vec<&Cookie> = self.0.iter().filter(|cookie| cookie.is_for(url)).collect();
        if ours.is_empty() {
            return configured.cloned();
        }
        ours.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let configured =
            configured.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default();
        let name = |pair: &str| pair.split('=').next().unwrap_or_default().trim().to_owned();
        // What the site has set anew since takes the place of what was configured.
        let kept = configured.split(';').map(str::trim).filter(|pair| !pair.is_empty());
        let kept = kept.filter(|pair| ours.iter().all(|cookie| cookie.name != name(pair))).map(str::to_owned);
        let pairs: Vec<String> = kept.chain(ours.iter().map(|cookie| cookie.pair())).collect();
        let mut value = HeaderValue::try_from(pairs.join("; ")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Cookie {
    fn is_for(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let host_matches = if self.host_only { host == self.domain } else { is_within(host, &self.domain) };
        host_matches && path_matches(url.path(), &self.path) && (!self.secure || url.scheme() == "https")
    }

    fn pair(&self) -> String {
        if self.name.is_empty() { self.value.clone() } else { format!("{}={}", self.name, self.value) }
    }
}

/// The cookie that a header sets, and whether it is to go; none when it is not for whoever sets it.
fn parse(text: &str, url: &Url, now: Timestamp) -> Option<(Cookie, bool)> {
    let mut parts = text.split(';');
    let pair = parts.next()?;
    let (name, value) = pair.split_once('=').unwrap_or(("", pair));
    let (name, value) = (name.trim(), value.trim());
    let odd = |c: char| c.is_ascii_control() && c != '\t';
    if name.is_empty() && value.is_empty() || name.len() + value.len() > MAX_BYTES || pair.contains(odd) {
        return None;
    }
    let host = url.host_str()?;
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        domain: host.to_owned(),
        host_only: true,
        path: default_path(url.path()).to_owned(),
        secure: false,
    };
    let (mut age, mut expires) = (None, None);
    for part in parts {
        let (attribute, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim();
        match attribute.trim().to_ascii_lowercase().as_str() {
            "domain" if !value.is_empty() => {
                let domain = value.strip_prefix('.').unwrap_or(value).to_ascii_lowercase();
                // A domain of a single label is everybody's.
                if domain != host && (!domain.contains('.') || !is_within(host, &domain)) {
                    return None;
                }
                cookie.host_only = !domain.contains('.') || is_address(host);
                cookie.domain = domain;
            }
            "path" if value.starts_with('/') => cookie.path = value.to_owned(),
            "secure" => cookie.secure = true,
            "max-age" => age = value.parse::<i64>().ok().or(age),
            "expires" => expires = date(value).or(expires),
            _ => {}
        }
    }
    // What came in clear may have been set by anybody on the way.
    if cookie.secure && url.scheme() != "https" {
        return None;
    }
    let gone = age.map_or_else(|| expires.is_some_and(|expires| expires <= now), |age| age <= 0);
    Some((cookie, gone))
}

/// Whether a host is this domain, or one below it.
fn is_within(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|above| above.ends_with('.')) && !is_address(host)
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<IpAddr>().is_ok()
}

/// The path of a cookie that names none: all but what stands after the last slash.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(end) => &path[..end],
    }
}

fn path_matches(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || of.ends_with('/') || rest.starts_with('/'))
}

/// A date in any of the ways that servers write it (RFC 6265, section 5.1.1).
fn date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for token in text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').filter(|token| !token.is_empty()) {
        let number = token.parse::<i16>().ok();
        let named = || token.get(..3).map(str::to_ascii_lowercase);
        if time.is_none() && token.contains(':') {
            let mut parts = token.split(':').map(str::parse::<i8>);
            time = Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?));
        } else if day.is_none() && number.is_some_and(|day| (1..=31).contains(&day)) {
            day = number.and_then(|day| i8::try_from(day).ok());
        } else if month.is_none()
            && let Some(at) = MONTHS.iter().position(|month| Some(*month) == named().as_deref())
        {
            month = i8::try_from(at + 1).ok();
        } else if year.is_none()
            && let Some(written) = number
        {
            year = Some(match written {
                70..=99 => written + 1900,
                0..=69 => written + 2000,
                whole => whole,
            });
        }
    }
    let (hour, minute, second) = time?;
    let date = DateTime::new(year?, month?, day?, hour, minute, second, 0).ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-15T12:00:00Z".parse().unwrap()
    }

    /// What is sent to one URL after another one has set these cookies.
    fn sent(from: &str, set: &[&str], to: &str) -> String {
        let mut headers = HeaderMap::new();
        for set in set {
            headers.append(SET_COOKIE, HeaderValue::from_bytes(set.as_bytes()).unwrap());
        }
        let mut jar = Jar::default();
        jar.take(&from.parse().unwrap(), &headers, now());
        let header = jar.header(&to.parse().unwrap(), None);
        header.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn who_is_sent_a_cookie() {
        let table = [
            ("http://a.test/", "a=1", "http://a.test/x", "a=1"),
            ("http://a.test:81/", "a=1", "https://a.test:82/", "a=1"),
            ("http://a.test/", "a=1", "http://b.test/", ""),
            ("http://a.test/", "a=1", "http://www.a.test/", ""),
            ("http://a.test/", "a=1; domain=A.test", "http://www.a.test/", "a=1"),
            ("http://www.a.test/", "a=1; Domain=.a.test", "http://b.a.test/", "a=1"),
            ("http://www.a.test/", "a=1; Domain=a.test", "http://ba.test/", ""),
            ("http://www.a.test/", "a=1; Domain=www.a.test", "http://a.test/", ""),
            ("http://a.test/", "a=1; Domain=b.test", "http://b.test/", ""),
            ("http://a.test/", "a=1; Domain=www.a.test", "http://www.a.test/", ""),
            ("http://a.test/", "a=1; Domain=test", "http://b.test/", ""),
            ("http://a.test/", "a=1; Domain=.", "http://a.test/", ""),
            ("http://localhost/", "a=1; Domain=localhost", "http://localhost/", "a=1"),
            ("http://localhost/", "a=1; Domain=localhost", "http://x.localhost/", ""),
            ("http://a.test/", "a=1; Domain=", "http://a.test/", "a=1"),
            ("http://127.0.0.1/", "a=1; Domain=127.0.0.1", "http://127.0.0.1:8080/", "a=1"),
            ("http://127.0.0.1/", "a=1; Domain=0.0.1", "http://127.0.0.1/", ""),
            ("http://[::1]/", "a=1", "http://[::1]/", "a=1"),
            ("http://a.test/x/y", "a=1", "http://a.test/x/z", "a=1"),
            ("http://a.test/x/y", "a=1", "http://a.test/x", "a=1"),
            ("http://a.test/x/y", "a=1", "http://a.test/xz", ""),
            ("http://a.test/x/y", "a=1", "http://a.test/", ""),
            ("http://a.test/x/y", "a=1; Path=/", "http://a.test/", "a=1"),
            ("http://a.test/x/y", "a=1; path=z", "http://a.test/x/", "a=1"),
            ("https://a.test/", "a=1; Secure", "https://a.test/", "a=1"),
            ("https://a.test/", "a=1; secure; HttpOnly; SameSite=Strict", "http://a.test/", ""),
            ("http://a.test/", "a=1; Secure", "https://a.test/", ""),
            ("http://a.test/", "a=1; Max-Age=0", "http://a.test/", ""),
            ("http://a.test/", "a=1; Max-Age=-5", "http://a.test/", ""),
            ("http://a.test/", "a=1; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://a.test/", "a=1"),
            ("http://a.test/", "a=1; Max-Age=soon", "http://a.test/", "a=1"),
            ("http://a.test/", "a=1; Expires=Thu, 01-Jan-1970 00:00:01 GMT", "http://a.test/", ""),
            ("http://a.test/", "a=1; Expires=Wed, 14 Jan 2026 12:00:00 GMT", "http://a.test/", ""),
            ("http://a.test/", "a=1; Expires=Fri, 16-Jan-26 12:00:00 GMT", "http://a.test/", "a=1"),
            ("http://a.test/", "a=1; Expires=Fri Jan 16 12:00:00 2026", "http://a.test/", "a=1"),
            ("http://a.test/", "a=1; Expires=never", "http://a.test/", "a=1"),
            ("http://a.test/", " a = 1 2 ;x", "http://a.test/", "a=1 2"),
            ("http://a.test/", "a=\"x=y\"", "http://a.test/", "a=\"x=y\""),
            ("http://a.test/", "alone", "http://a.test/", "alone"),
            ("http://a.test/", "=", "http://a.test/", ""),
            ("http://a.test/", "; Path=/", "http://a.test/", ""),
        ];
        for (from, set, to, expected) in table {
            assert_eq!(sent(from, &[set], to), expected, "{from} sets {set:?}, sent to {to}");
        }
    }

    #[test]
    fn cookies_replace_and_delete_each_other() {
        let at = "http://a.test/x/y";
        assert_eq!(sent(at, &["a=1", "b=2", "a=3"], at), "b=2; a=3");
        assert_eq!(sent(at, &["a=1; Path=/", "a=2"], at), "a=2; a=1");
        assert_eq!(sent(at, &["a=1", "a=; Max-Age=0"], at), "");
        let long = format!("a={}", "x".repeat(5000));
        assert_eq!(sent(at, &[&long, "b=2"], at), "b=2");
        let many: Vec<String> = (0..300).map(|n| format!("c{n}=1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(sent(at, &many, at).split("; ").count(), MAX_COOKIES);
    }

    #[test]
    fn what_was_configured_stays_but_for_what_is_set_anew() {
        let url: Url = "http://a.test/".parse().unwrap();
        let configured = HeaderValue::from_static("session=old; lang=de");
        let mut jar = Jar::default();
        assert_eq!(jar.header(&url, Some(&configured)), Some(configured.clone()));
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("session=new"));
        jar.take(&url, &headers, now());
        assert_eq!(jar.header(&url, Some(&configured)).unwrap(), "lang=de; session=new");
        assert_eq!(jar.header(&"http://b.test/".parse().unwrap(), None), None);
    }
}
