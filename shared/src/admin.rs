//! The admin port: `/livez`, `/readyz` and `/metrics`, over plain HTTP, for orchestrators and for Prometheus.
//!
//! - `/livez` is 200 for as long as the process lives. It asks nobody: an outage of Kafka or Postgres must not become a restart of ours.
//! - `/readyz` is 200 from when the process has begun its work until it is told to stop. Trouble later on is a matter of metrics.
//! - `/metrics` is the OpenMetrics text that Prometheus reads.
//!
//! A connection is for one request, and is served at once, whoever else is connected: where there are too many, the
//! oldest goes.

mod metrics;
mod visitors;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body as _, Bytes};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use visitors::{Visit, Visitors};

use crate::config::Fault;

pub use metrics::{Label, Metrics};
pub use prometheus_client::collector::Collector;
pub use prometheus_client::encoding::DescriptorEncoder;
pub use prometheus_client::metrics::MetricType;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

/// How long a connection may take, from its begin to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be accepted, for want of descriptors for instance.
const AGAIN: Duration = Duration::from_millis(100);
/// From how many bytes on an answer is kept for few at the same time: beyond what the kernel takes from us at once.
const LARGE: u64 = 16 << 10;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The `[admin]` section.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port to listen on; empty for no admin port.
    pub listen: String,
}

impl Admin {
    /// Checks the section.
    ///
    /// # Errors
    /// Something that is no address with a port.
    pub fn validate(&self) -> Result<(), Fault> {
        if self.listen.is_empty() || self.listen.parse::<SocketAddr>().is_ok() {
            return Ok(());
        }
        Err(Fault::new(
            "admin.listen",
            format!("expected an address and a port, such as 0.0.0.0:9465, found {:?}", self.listen),
        ))
    }

    /// Begins to serve, where an address is set.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve(&self, mut metrics: Metrics, ready: Ready) -> io::Result<Option<Server>> {
        if self.listen.is_empty() {
            return Ok(None);
        }
        let asked = ready.clone();
        metrics.measured("ready", "Whether /readyz says so", move || f64::from(u8::from(asked.is_set())));
        let at = |error: io::Error| io::Error::new(error.kind(), format!("admin.listen {}: {error}", self.listen));
        let listener = TcpListener::bind(&self.listen).await.map_err(at)?;
        let address = listener.local_addr().map_err(at)?;
        tracing::info!(admin.address = %address, "serving /livez, /readyz and /metrics");
        let mut task = JoinSet::new();
        task.spawn(accept(listener, Arc::new(Answers { metrics, ready })));
        Ok(Some(Server { address, _task: task }))
    }
}

/// Serves until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    _task: JoinSet<()>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Whether the process does its work: from when it is set until the stop.
#[derive(Clone, Debug)]
pub struct Ready {
    begun: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Ready {
    /// Not ready yet.
    pub fn new(stop: CancellationToken) -> Self {
        Self { begun: Arc::default(), stop }
    }

    /// To be called when the work has begun.
    pub fn set(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.begun.load(Ordering::Relaxed) && !self.stop.is_cancelled()
    }
}

#[derive(Debug)]
struct Answers {
    metrics: Metrics,
    ready: Ready,
}

impl Answers {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        }
        match path {
            "/livez" => response(StatusCode::OK, TEXT, "alive\n"),
            "/readyz" if self.ready.is_set() => response(StatusCode::OK, TEXT, "ready\n"),
            "/readyz" => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n"),
            "/metrics" => response(StatusCode::OK, OPEN_METRICS, self.metrics.text()),
            _ => response(StatusCode::NOT_FOUND, TEXT, "here are /livez, /readyz and /metrics\n"),
        }
    }
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

async fn accept(listener: TcpListener, answers: Arc<Answers>) {
    let visitors = Arc::new(Visitors::default());
    let mut connections = JoinSet::new();
    loop {
        let full = visitors.full_until();
        tokio::select! {
            accepted = listener.accept(), if full.is_none() => match accepted {
                Ok((stream, _)) => {
                    visitors.enter(|visit| connections.spawn(serve(stream, answers.clone(), visit)));
                }
                Err(error) => {
                    tracing::debug!(%error, "the admin port accepts no connection");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = async { sleep_until(full.unwrap_or_else(Instant::now)).await }, if full.is_some() => visitors.oldest_goes(),
        }
    }
}

async fn serve(stream: TcpStream, answers: Arc<Answers>, visit: Visit) {
    let service = service_fn(|request: Request<_>| {
        let answer = answers.answer(request.method(), request.uri().path());
        if answer.body().size_hint().exact().is_some_and(|bytes| bytes > LARGE) {
            visit.takes_much();
        }
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    // A connection is for one request: whoever keeps one open keeps others out.
    let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin port broke off"),
        Err(_) => tracing::debug!("a connection to the admin port took too long"),
    }
}

#[cfg(test)]
mod tests;
