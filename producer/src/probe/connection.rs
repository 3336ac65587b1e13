//! What is spoken on a connection: HTTP/1 or HTTP/2, for one request.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper::rt::{Executor, Read, Write};
use hyper::{Uri, Version};
use hyper_util::client::legacy::connect::Connection as Connected;
use reqwest::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use reqwest::{Body, Method, Request, Response};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::BoxError;
use url::Url;

use super::opening::Opening;
use super::wire::{Stream, Wire};
use super::words::Worded;

/// More headers than this are no answer. Browsers bound their bytes alone, which are bounded as well.
const MAX_HEADERS: usize = 2_000;
/// A response head of HTTP/1 may have so many bytes.
const MAX_HEAD: usize = 256 << 10;
/// What a server may send of a body before somebody reads it, in HTTP/2.
const WINDOW: u32 = 256 << 10;
/// How long a connection may take to say good-bye when its check has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection that stands, TLS included.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    version: Version,
}

impl Connection {
    pub(super) fn new<S: Connected + Read + Write + Send + Unpin + 'static>(stream: S) -> Self {
        let version = if stream.connected().is_negotiated_h2() { Version::HTTP_2 } else { Version::HTTP_11 };
        Self { stream: Box::new(stream), version }
    }

    /// Asks, and waits for the head of the response. The connection ends with the response.
    pub(super) async fn ask(self, request: Request, tasks: &TaskTracker) -> Result<Response, BoxError> {
        let request = written(request, self.version)?;
        let opening = Arc::new(Opening::new(self.version));
        let wire = Wire::new(self.stream, opening.clone());
        let over = CancellationToken::new();
        let leash = over.clone().drop_guard();
        let tasks = Leashed { tasks: tasks.clone(), over };
        let answer = match self.version {
            Version::HTTP_2 => ask_http2(wire, request, tasks).await,
            _ => ask_http1(wire, request, tasks, &opening).await,
        };
        let mut response = answer.map_err(|error| Worded::unanswered(error, &opening))?;
        opening.end();
        if opening.is_http10() {
            *response.version_mut() = Version::HTTP_10;
        }
        Ok(response.map(|body| Body::wrap(Rest { body, opening, _leash: leash })).into())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("version", &self.version).finish_non_exhaustive()
    }
}

async fn ask_http1(
    wire: Wire,
    mut request: hyper::Request<Body>,
    tasks: Leashed,
    opening: &Arc<Opening>,
) -> hyper::Result<hyper::Response<Incoming>> {
    let counted = opening.clone();
    hyper::ext::on_informational(&mut request, move |_| counted.interim_came());
    let (mut sender, connection) = http1::Builder::new()
        .title_case_headers(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .handshake(wire)
        .await?;
    // The request is there before the connection is looked at for the first time.
    let answer = sender.send_request(request);
    tasks.execute(async move {
        // How it ends is known from the answer.
        let _ = connection.await;
    });
    answer.await
}

async fn ask_http2(
    wire: Wire,
    request: hyper::Request<Body>,
    tasks: Leashed,
) -> hyper::Result<hyper::Response<Incoming>> {
    let (mut sender, connection) = http2::Builder::new(tasks.clone())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .handshake(wire)
        .await?;
    let answer = sender.send_request(request);
    tasks.execute(async move {
        let _ = connection.await;
    });
    answer.await
}

/// The request as it is written in this version.
fn written(request: Request, version: Version) -> Result<hyper::Request<Body>, BoxError> {
    let host = host(request.url());
    let has_body = request.body().and_then(Body::as_bytes).is_some_and(|body| !body.is_empty());
    let mut request = hyper::Request::<Body>::try_from(request)?;
    let lengthy = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    let headers = request.headers_mut();
    if lengthy && !has_body && !headers.contains_key(TRANSFER_ENCODING) {
        headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
    }
    *request.version_mut() = version;
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    if version == Version::HTTP_2 {
        // A host that was configured stands in the place that HTTP/2 has for it.
        if let Some(host) = request.headers_mut().remove(HOST) {
            uri.authority = Some(host.as_bytes().try_into()?);
        }
    } else {
        request.headers_mut().entry(HOST).or_insert(HeaderValue::try_from(host)?);
        (uri.scheme, uri.authority) = (None, None);
    }
    *request.uri_mut() = Uri::from_parts(uri)?;
    Ok(request)
}

/// The host that a URL names, with the port if it is not the usual one.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Runs the tasks of one connection. They end with it, or soon after it is let go.
#[derive(Clone)]
struct Leashed {
    tasks: TaskTracker,
    over: CancellationToken,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Leashed {
    fn execute(&self, task: F) {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            let mut task = pin!(task);
            tokio::select! {
                () = &mut task => return,
                () = over.cancelled() => {}
            }
            // Who does not read cannot be told good-bye.
            let _ = tokio::time::timeout(FAREWELL, task).await;
        });
    }
}

/// The body, and with it the connection.
struct Rest {
    body: Incoming,
    opening: Arc<Opening>,
    _leash: DropGuard,
}

impl hyper::body::Body for Rest {
    type Data = Bytes;
    type Error = Worded;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Worded>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(|error| Worded::broken_off(error, &self.opening))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
