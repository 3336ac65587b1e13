//! One HTTP client for all targets. It keeps no connection, follows no redirect, retries nothing and knows no proxy; its
//! connector goes to the address that the hop was resolved to, notes when the connection stands, and hands it over.
//!
//! reqwest makes the connection, since it hides it: neither could what comes before an answer be bounded, nor the connection
//! be ended with its check. What is spoken on it is in [`super::connection`].

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connection as Connected;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Method, Request, Response};
use rustls::ClientConfig;
use shared::config::Fault;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};
use url::Url;

use super::connection::Connection;
use super::words::wants_http11;
use super::{tls, trace};
use crate::settings;
use crate::targets::HttpVersion;

/// Any error on the way to a response.
pub(super) type AnyError = Box<dyn Error + Send + Sync>;

/// What all checks ask through.
#[derive(Debug)]
pub(super) struct Client {
    /// Offers HTTP/2 and HTTP/1.1 in the TLS handshake.
    newest: reqwest::Client,
    /// Offers HTTP/1.1 alone.
    http1: reqwest::Client,
    /// What every request says that does not say otherwise.
    headers: HeaderMap,
    /// The tasks that drive connections.
    tasks: TaskTracker,
}

impl Client {
    pub(super) fn new(settings: &settings::Probe) -> Result<Self, Fault> {
        let user_agent = HeaderValue::try_from(&settings.user_agent)
            .map_err(|_| Fault::new("probe.user_agent", "is no value of a header"))?;
        let tls = tls::client_config(settings)?;
        Ok(Self {
            newest: connector(&tls, &["h2", "http/1.1"])?,
            http1: connector(&tls, &["http/1.1"])?,
            headers: HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*")), (USER_AGENT, user_agent)]),
            tasks: TaskTracker::new(),
        })
    }

    /// One request on a connection of its own, up to the response head.
    pub(super) async fn execute(&self, mut request: Request, version: HttpVersion) -> Result<Response, AnyError> {
        for (name, value) in &self.headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        let again = request.try_clone();
        let connection = self.connect(request.url(), version).await?;
        match (connection.ask(request, &self.tasks).await, again) {
            // The server has not looked at the request, and names the way that it takes (RFC 9113, section 7).
            (Err(error), Some(again)) if wants_http11(error.as_ref()) => {
                let connection = self.connect(again.url(), HttpVersion::Http11).await?;
                connection.ask(again, &self.tasks).await
            }
            (outcome, _) => outcome,
        }
    }

    /// A connection that stands, TLS included.
    async fn connect(&self, url: &Url, version: HttpVersion) -> Result<Connection, AnyError> {
        let connector = match version {
            HttpVersion::Newest => &self.newest,
            HttpVersion::Http11 => &self.http1,
        };
        // The connector says that it has handed the connection over, which for the client is an error.
        let outcome = connector.execute(Request::new(Method::GET, url.clone())).await;
        match (trace::take_connection(), outcome) {
            (Some(connection), _) => Ok(connection),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) => Err("the connection was not handed over".into()),
        }
    }
}

/// A client whose only use is to connect.
fn connector(tls: &ClientConfig, protocols: &[&str]) -> Result<reqwest::Client, Fault> {
    let mut tls = tls.clone();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(Pinned))
        .connector_layer(Traced)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        // A connection lives for one request under our own deadline, and needs neither probes nor a shorter one of the kernel's.
        .tcp_keepalive(None)
        .tcp_keepalive_interval(None)
        .tcp_keepalive_retries(None)
        .tcp_user_timeout(None)
        .build()
        .map_err(|error| Fault::new("probe", format!("the HTTP client cannot be built: {error}")))
}

/// Answers with the address that was resolved, timed and guarded before the request.
struct Pinned;

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let address: Result<SocketAddr, _> = trace::address().ok_or_else(|| "no address was resolved".into());
        Box::pin(std::future::ready(address.map(|address| Box::new(std::iter::once(address)) as Addrs)))
    }
}

/// Notes when the connector begins and when the connection stands, TLS included, and hands the connection over.
#[derive(Clone)]
struct Traced;

#[derive(Clone)]
struct TracedConnector<S>(S);

impl<S> Layer<S> for Traced {
    type Service = TracedConnector<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TracedConnector(inner)
    }
}

impl<S, R> Service<R> for TracedConnector<S>
where
    S: Service<R, Error: Into<AnyError>, Future: Send + 'static>,
    S::Response: Connected + Read + Write + Send + Unpin + 'static,
{
    type Response = S::Response;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, AnyError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        Box::pin(async move {
            trace::connect_began();
            let stream = connecting.await.map_err(Into::into)?;
            trace::established(Connection::new(stream));
            Err("handed over".into())
        })
    }
}

#[cfg(test)]
mod tests;
