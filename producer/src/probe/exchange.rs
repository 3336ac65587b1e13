//! The hops of one check: resolve, guard, connect, ask, read; once more for each redirect.

use std::error::Error;
use std::sync::Arc;

use hyper::ext::ReasonPhrase;
use jiff::Timestamp;
use reqwest::{Response, Version};
use shared::masked;
use shared::message::{FailureClass, Phase};
use tokio::time::Instant;

use super::cookies::Jar;
use super::redirect::{Ask, redirect, shown};
use super::trace::Trace;
use super::words::root_cause;
use super::{Broken, Check, Probe, tls};
use crate::targets::Target;

impl Probe {
    /// Goes from hop to hop until an answer is no redirect, and reads its body.
    pub(super) async fn follow(&self, target: &Target, check: &mut Check) -> Result<(), Broken> {
        let (mut ask, mut cookies) = (Ask::first(target), Jar::default());
        loop {
            let response = self.hop(&ask, &cookies, check).await?;
            let Some(location) = redirect(&response).filter(|_| target.follow_redirects) else {
                return self.read(response, target.regex.is_some(), check).await;
            };
            if check.http.redirects == self.max_redirects {
                let detail = format!("more than {} redirects, at last to {:?}", self.max_redirects, shown(&location));
                return Err(Broken::theirs(FailureClass::Redirect, Phase::FirstByte, detail));
            }
            cookies.take(&ask.url, response.headers(), Timestamp::now());
            ask = ask.redirected(response.status(), &location)?;
            check.http.redirects += 1;
            check.http.final_url = Some(masked::url(ask.url.as_str()));
        }
    }

    /// One request, up to the response head.
    async fn hop(&self, ask: &Ask, cookies: &Jar, check: &mut Check) -> Result<Response, Broken> {
        let first = check.http_began.is_none();
        // A deadline that strikes in a later hop's lookup strikes in that lookup.
        check.trace = Arc::new(Trace::default());
        let found = self.locate(&ask.url, check, first).await?;
        let began = Instant::now();
        match first {
            true => check.http_began = Some(began),
            false => check.last_hop_began = Some(began),
        }
        let response = self.reach((ask, cookies), found, check, first).await?;
        check.trace.head_came();
        check.http.status_code = Some(response.status().as_u16());
        check.http.reason = reason(&response).filter(|_| response.version() < Version::HTTP_2);
        check.http.version = Some(format!("{:?}", response.version()));
        Ok(response)
    }
}

/// The reason phrase as the server sent it; hyper keeps it apart only when it is not the usual one.
fn reason(response: &Response) -> Option<String> {
    match response.extensions().get::<ReasonPhrase>() {
        Some(phrase) => Some(String::from_utf8_lossy(phrase.as_bytes()).into_owned()),
        None => response.status().canonical_reason().map(ToOwned::to_owned),
    }
}

/// What stopped a request before its response head was complete. The phase is where we stand, not what the error says.
pub(super) fn broken(trace: &Trace, error: &(dyn Error + 'static)) -> Broken {
    let phase = trace.phase();
    match phase {
        Phase::Tls => Broken::theirs(FailureClass::Tls, phase, tls::failed(trace, error)),
        // With TLS 1.3 a server says only after the handshake that it does not take us without a certificate.
        Phase::FirstByte if tls::wants_a_certificate(trace, error) => {
            Broken::theirs(FailureClass::Tls, Phase::Tls, tls::failed(trace, error))
        }
        Phase::FirstByte => {
            Broken::theirs(FailureClass::Protocol, phase, format!("no complete response: {}", root_cause(error)))
        }
        _ => Broken::theirs(FailureClass::Connect, phase, format!("no connection: {}", root_cause(error))),
    }
}
