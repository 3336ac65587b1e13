//! One HTTP client for all targets. It keeps no connection, follows no redirect, retries nothing and knows no proxy; its
//! connector goes to the address that the hop was resolved to and notes when the connection stands.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use shared::config::Fault;
use tower::{Layer, Service};

use super::{tls, trace};
use crate::settings;

pub(super) fn client(settings: &settings::Probe) -> Result<reqwest::Client, Fault> {
    reqwest::Client::builder()
        .user_agent(&settings.user_agent)
        .tls_backend_preconfigured(tls::client_config(settings)?)
        .dns_resolver(Arc::new(Pinned))
        .connector_layer(Traced)
        .http1_only()
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
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

/// Notes when the connector begins and when the connection stands, TLS included.
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
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        Box::pin(async move {
            trace::connect_began();
            let connection = connecting.await?;
            trace::established();
            Ok(connection)
        })
    }
}
