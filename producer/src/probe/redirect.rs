//! What is asked on each hop, and where a response redirects to.

use hyper::Uri;
use reqwest::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, LOCATION, PROXY_AUTHORIZATION};
use reqwest::{Method, Request, Response, StatusCode};
use shared::masked;
use shared::message::{FailureClass, Phase};
use url::Url;

use super::Broken;
use crate::targets::Target;

/// What is asked on the next hop.
pub(super) struct Ask {
    pub(super) url: Url,
    method: Method,
    headers: HeaderMap,
    body: Option<String>,
}

impl Ask {
    /// What is asked of the target itself.
    pub(super) fn first(target: &Target) -> Self {
        Self {
            url: target.url.clone(),
            method: target.method.clone(),
            headers: target.headers.clone(),
            body: target.body.clone(),
        }
    }

    pub(super) fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = self.headers.clone();
        *request.body_mut() = self.body.clone().map(Into::into);
        request
    }

    /// The request that a redirect asks for (RFC 9110, section 15.4).
    pub(super) fn redirected(self, status: StatusCode, location: &str) -> Result<Self, Broken> {
        let refuse = |why: &str| {
            let location: String = masked::url(location).chars().take(200).collect();
            Broken::theirs(FailureClass::Redirect, Phase::FirstByte, format!("redirected to {location:?}, {why}"))
        };
        let mut url = self.url.join(location).map_err(|_| refuse("which is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse("which is neither http nor https"));
        }
        url.set_fragment(None);
        if Uri::try_from(url.as_str()).is_err() {
            return Err(refuse("which is too long or too odd to be asked for"));
        }
        let mut next = Self { url, ..self };
        let to_get = status == StatusCode::SEE_OTHER && next.method != Method::HEAD
            || matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND) && next.method == Method::POST;
        if to_get {
            next.method = Method::GET;
            next.body = None;
        }
        if next.url.origin() != self.url.origin() {
            for secret in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                next.headers.remove(secret);
            }
        }
        // A name that was meant for this host says nothing to another one.
        if next.url.host() != self.url.host() {
            next.headers.remove(HOST);
        }
        Ok(next)
    }
}

/// Where a response redirects to, if it does.
pub(super) fn redirect(response: &Response) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}
