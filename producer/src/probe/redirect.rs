//! What is asked on each hop, and where a response redirects to.

use hyper::Uri;
use reqwest::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, COOKIE, EXPECT, HOST,
    HeaderMap, HeaderName, HeaderValue, LOCATION, PRAGMA, RANGE, TRAILER, TRANSFER_ENCODING, USER_AGENT,
};
use reqwest::{Method, Request, Response, StatusCode};
use shared::masked;
use shared::message::{FailureClass, Phase};
use url::Url;

use super::Broken;
use super::body::ACCEPTED;
use super::cookies::Jar;
use crate::targets::{HttpVersion, Target, take_user};

/// What is asked on the next hop.
pub(super) struct Ask {
    pub(super) url: Url,
    method: Method,
    headers: HeaderMap,
    body: Option<String>,
    pub(super) http_version: HttpVersion,
}

impl Ask {
    /// What is asked of the target itself.
    pub(super) fn first(target: &Target) -> Self {
        Self {
            url: target.url.clone(),
            method: target.method.clone(),
            headers: target.headers.clone(),
            body: target.body.clone(),
            http_version: target.http_version,
        }
    }

    pub(super) fn request(&self, cookies: &Jar) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        if !headers.contains_key(RANGE) {
            // A part of what is coded is not coded.
            headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static(ACCEPTED));
        }
        if let Some(value) = cookies.header(&self.url, self.headers.get(COOKIE)) {
            headers.insert(COOKIE, value);
        }
        *request.body_mut() = self.body.clone().map(Into::into);
        request
    }

    /// The request that a redirect asks for (RFC 9110, section 15.4).
    pub(super) fn redirected(self, status: StatusCode, location: &str) -> Result<Self, Broken> {
        let refuse = |why: &str| {
            let detail = format!("redirected to {:?}, {why}", shown(location));
            Broken::theirs(FailureClass::Redirect, Phase::FirstByte, detail)
        };
        let mut url = self.url.join(location).map_err(|_| refuse("which is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("which is neither http nor https"));
        }
        if url.port() == Some(0) {
            return Err(refuse("whose port 0 cannot be connected to"));
        }
        let authorization = take_user(&mut url);
        url.set_fragment(None);
        if Uri::try_from(url.as_str()).is_err() {
            return Err(refuse("which is too long or too odd to be asked for"));
        }
        let mut next = Self { url, ..self };
        if becomes_get(status, &next.method) {
            next.method = Method::GET;
            next.body = None;
            next.headers = next.headers.into_iter().filter_map(without_body).collect();
        }
        if !is_trusted(&self.url, &next.url) {
            if next.body.is_some() {
                return Err(refuse("another origin, which the body of the request is not sent on to"));
            }
            next.headers = next.headers.into_iter().filter_map(harmless).collect();
        }
        // A name that was meant for this host says nothing to another one.
        if next.url.host() != self.url.host() {
            next.headers.remove(HOST);
        }
        if let Some(authorization) = authorization {
            next.headers.insert(AUTHORIZATION, authorization);
        }
        Ok(next)
    }
}

/// Whether a redirect makes a GET of what was asked.
fn becomes_get(status: StatusCode, method: &Method) -> bool {
    status == StatusCode::SEE_OTHER && *method != Method::HEAD
        || matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) && *method == Method::POST
}

/// Whether what was meant for one URL may be told to another one: of the same origin, or of the same host where TLS begins.
fn is_trusted(from: &Url, to: &Url) -> bool {
    let upgraded = from.scheme() == "http" && to.scheme() == "https" && from.host() == to.host();
    from.origin() == to.origin() || upgraded
}

type Header = (Option<HeaderName>, HeaderValue);

/// A header of a request that has a body no longer.
fn without_body((name, value): Header) -> Option<(HeaderName, HeaderValue)> {
    let about_bodies = |name: &HeaderName| {
        [TRANSFER_ENCODING, EXPECT, TRAILER].contains(name) || name.as_str().starts_with("content-")
    };
    // A target's headers have one value each.
    name.filter(|name| !about_bodies(name)).map(|name| (name, value))
}

/// A header that strangers may see: any other one may be a key, whatever its name.
fn harmless((name, value): Header) -> Option<(HeaderName, HeaderValue)> {
    let harmless = [ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, PRAGMA, RANGE, USER_AGENT];
    // The host is looked at by itself.
    name.filter(|name| harmless.contains(name) || *name == HOST).map(|name| (name, value))
}

/// A location as far as it may be told: without what may give access.
pub(super) fn shown(location: &str) -> String {
    let shown = match Url::parse(location) {
        Ok(mut url) => {
            take_user(&mut url);
            masked::url(url.as_str())
        }
        // In what is no URL a password may stand anywhere before the last such sign.
        Err(_) => match location.rsplit_once('@') {
            Some((_, rest)) => format!("...@{rest}"),
            None => masked::url(location),
        },
    };
    shown.chars().take(200).collect()
}

/// Where a response redirects to, if it does.
pub(super) fn redirect(response: &Response) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    location(response.headers().get(LOCATION)?)
}

/// An empty location leads nowhere, as in browsers. Bytes that are no ASCII stay what they are, whatever they stand for.
fn location(value: &HeaderValue) -> Option<String> {
    let location = value.as_bytes().trim_ascii();
    let escape = |byte: &u8| if byte.is_ascii() { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    (!location.is_empty()).then(|| location.iter().map(escape).collect())
}

#[cfg(test)]
mod tests;
