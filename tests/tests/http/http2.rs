use std::future::Future;
use std::net::Ipv4Addr;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Connection, SendResponse};
use hyper::http::{HeaderMap, Response};
use tests::verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use super::{Lab, detail};

type Stream = TlsStream<TcpStream>;
type Answer = SendResponse<Bytes>;

/// Serves each connection, with TLS and these protocols, by this, until it is dropped.
struct Server {
    url: String,
    ended: tokio::sync::mpsc::Receiver<()>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start<F: Future<Output = ()> + Send>(
        lab: &Lab,
        protocols: &[&str],
        serve: impl Fn(Stream) -> F + Copy + Send + Sync + 'static,
    ) -> Self {
        let acceptor = lab.authority.valid(&["127.0.0.1"]).acceptor_for(protocols);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://{}/page?a=b", listener.local_addr().unwrap());
        let (end, ended) = tokio::sync::mpsc::channel(100);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, end) = (acceptor.clone(), end.clone());
                visits.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream).await;
                    }
                    let _ = end.send(()).await;
                });
            }
        });
        Self { url, ended, _tasks: tasks }
    }

    /// A server of HTTP/2 that does this with each request, and then what the visitor wants until he goes.
    async fn answering(lab: &Lab, answer: fn(&mut Connection<Stream, Bytes>, Answer)) -> Self {
        let serve = move |stream| async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, response))) = connection.accept().await {
                answer(&mut connection, response);
            }
        };
        Self::start(lab, &["h2"], serve).await
    }
}

/// An answer with this body, or the begin of one.
fn page(mut answer: Answer, body: &'static str, last: bool) -> h2::SendStream<Bytes> {
    let mut stream = answer.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), last).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_http2_are_understood() {
    type Case = (&'static str, fn(&mut Connection<Stream, Bytes>, Answer), &'static str, &'static str);
    let table: [Case; 7] = [
        ("page", |_, answer| drop(page(answer, "fine", true)), "up", ""),
        ("head alone", |_, mut answer| drop(answer.send_response(Response::new(()), true)), "up", ""),
        ("trailers", |_, answer| page(answer, "fine", false).send_trailers(HeaderMap::new()).unwrap(), "up", ""),
        (
            "go away",
            |connection, _| connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
            "down protocol first_byte",
            "the server closed the HTTP/2 connection: ENHANCE_YOUR_CALM",
        ),
        (
            "refused",
            |_, mut answer| answer.send_reset(Reason::REFUSED_STREAM),
            "down protocol first_byte",
            "the server reset the HTTP/2 stream: REFUSED_STREAM",
        ),
        (
            "404",
            |_, mut answer| {
                drop(answer.send_response(Response::builder().status(404).body(()).unwrap(), true));
            },
            "down http_status",
            "unexpected status 404",
        ),
        (
            "a head of 100 kB",
            |_, mut answer| {
                let large = Response::builder().header("x-large", "x".repeat(100_000)).body(()).unwrap();
                answer.send_response(large, true).unwrap();
            },
            "up",
            "",
        ),
    ];
    let lab = Lab::new();
    for (name, answer, expected, words) in table {
        let mut server = Server::answering(&lab, answer).await;
        let result = lab.check(&server.url, "").await;
        assert_eq!(verdict(&result), expected, "{name}: {result:#?}");
        assert!(detail(&result).contains(words), "{name}: {result:#?}");
        assert_eq!(result.http.reason, None, "{name}: {result:#?}");
        if result.http.status_code.is_some() {
            assert_eq!(result.http.version.as_deref(), Some("HTTP/2.0"), "{name}: {result:#?}");
        }
        // Nothing is asked twice, and no connection stays.
        server.ended.recv().await.unwrap();
        assert!(server.ended.try_recv().is_err(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_http2_end_with_their_check() {
    let lab = Lab::new();
    let mut silent = Server::answering(&lab, |_, answer| std::mem::forget(answer)).await;
    let result = lab.check(&silent.url, "timeout = '2s'").await;
    assert_eq!(verdict(&result), "down timeout first_byte", "{result:#?}");
    assert!(result.http.phases.tls.is_some() && result.http.phases.first_byte.is_some(), "{result:#?}");
    silent.ended.recv().await.unwrap();
    let mut halting = Server::answering(&lab, |_, answer| std::mem::forget(page(answer, "fi", false))).await;
    let result = lab.check(&halting.url, "timeout = '2s'").await;
    assert_eq!(verdict(&result), "down timeout transfer", "{result:#?}");
    halting.ended.recv().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_are_bounded() {
    let lab = Lab::new();
    // A SETTINGS frame, and PINGs or interim answers without end.
    let pings = |stream| flood(stream, b"\0\0\x08\x06\0\0\0\0\0pingping");
    let interim = |stream| flood(stream, b"\0\0\x05\x01\x04\0\0\0\x01\x08\x03103");
    let server = Server::start(&lab, &["h2"], pings).await;
    let result = lab.check(&server.url, "timeout = '1h'").await;
    assert_eq!(verdict(&result), "down protocol first_byte", "{result:#?}");
    let server = Server::start(&lab, &["h2"], interim).await;
    let result = lab.check(&server.url, "timeout = '1h'").await;
    assert_eq!(verdict(&result), "down protocol first_byte", "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_in_the_body_is_part_of_a_response() {
    const HEAD: &[u8] = b"\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x02\0\0\0\0\0\x01fi";
    const RESET: &[u8] = b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x02";
    const GO_AWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x0b";
    let lab = Lab::new();
    let reset = |stream| say(stream, [HEAD, RESET].concat());
    let go_away = |stream| say(stream, [HEAD, GO_AWAY].concat());
    let close = |stream| say(stream, HEAD.to_vec());
    let servers = [
        (Server::start(&lab, &["h2"], reset).await, "the server reset the HTTP/2 stream: INTERNAL_ERROR"),
        (Server::start(&lab, &["h2"], go_away).await, "the server closed the HTTP/2 connection: ENHANCE_YOUR_CALM"),
        (Server::start(&lab, &["h2"], close).await, "the server closed the connection"),
    ];
    for (server, words) in servers {
        let result = lab.check(&server.url, "").await;
        assert_eq!(verdict(&result), "down partial_response transfer", "{words}: {result:#?}");
        assert!(detail(&result).ends_with(words), "{words}: {result:#?}");
    }
}

/// Waits for a request, says this, and closes.
async fn say(mut stream: Stream, frames: Vec<u8>) {
    request_came(&mut stream).await;
    stream.write_all(&frames).await.unwrap();
    let _ = stream.shutdown().await;
}

async fn flood(mut stream: Stream, frame: &[u8]) {
    let block = frame.repeat(1_000);
    request_came(&mut stream).await;
    while stream.write_all(&block).await.is_ok() {}
}

/// Begins as servers do, and reads what comes up to the end of a request's head.
async fn request_came(stream: &mut Stream) {
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.flush().await.unwrap();
    stream.read_exact(&mut [0; 24]).await.unwrap();
    let mut header = [0; 9];
    while header[3] != 1 {
        stream.read_exact(&mut header).await.unwrap();
        let mut body = vec![0; usize::from(header[1]) << 8 | usize::from(header[2])];
        stream.read_exact(&mut body).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_http11_is_asked_in_it() {
    let lab = Lab::new();
    // In HTTP/2 it refuses, and in HTTP/1.1 it answers.
    let serve = |mut stream: Stream| async move {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut response))) = connection.accept().await {
                response.send_reset(Reason::HTTP_1_1_REQUIRED);
            }
        } else {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine").await;
            let _ = stream.shutdown().await;
        }
    };
    let mut both = Server::start(&lab, &["h2", "http/1.1"], serve).await;
    let result = lab.check(&both.url, "method = 'POST'\nbody = 'x'").await;
    assert_eq!((verdict(&result).as_str(), result.http.version.as_deref()), ("up", Some("HTTP/1.1")), "{result:#?}");
    both.ended.recv().await.unwrap();
    both.ended.recv().await.unwrap();
    // A target that is held to HTTP/1.1 is asked once.
    let result = lab.check(&both.url, "http_version = '1.1'").await;
    assert_eq!((verdict(&result).as_str(), result.http.version.as_deref()), ("up", Some("HTTP/1.1")), "{result:#?}");
    both.ended.recv().await.unwrap();
    assert!(both.ended.try_recv().is_err());
    let newer = Server::start(&lab, &["h2"], serve).await;
    let result = lab.check(&newer.url, "http_version = '1.1'").await;
    assert_eq!(verdict(&result), "down tls tls", "{result:#?}");
}
