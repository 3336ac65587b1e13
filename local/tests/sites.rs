//! The websites, visited with bare sockets.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::io::{ErrorKind, Read};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use local::certificate::{Authority, Identity};
use local::site::{Behaviour, Framing, Response, Site};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(100);

/// What came back, as text, and how the connection ended.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> (String, Result<(), ErrorKind>) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end in time");
    (String::from_utf8_lossy(&answer).into_owned(), end.map(drop).map_err(|error| error.kind()))
}

async fn visit(site: &Site, path: &str) -> (String, Result<(), ErrorKind>) {
    talk(TcpStream::connect(site.addr()).await.unwrap(), path).await
}

async fn answer(behaviour: impl Into<Behaviour>) -> String {
    let site = Site::start(behaviour.into()).await.unwrap();
    let (answer, end) = visit(&site, "/").await;
    assert_eq!(end, Ok(()));
    answer
}

#[tokio::test]
async fn sound_answers_go_out_as_told() {
    let site = Site::start(Response::ok("hello").header("X-Kind", "test").into()).await.unwrap();
    assert!(site.url("site.test").starts_with("http://site.test:"));
    let (answer, _) = visit(&site, "/path").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("X-Kind: test\r\n"), "{answer}");
    assert!(answer.ends_with("Content-Length: 5\r\n\r\nhello"), "{answer}");
    assert_eq!((site.hits(), site.connections()), (1, 1));
    assert!(site.last_request().unwrap().starts_with("GET /path HTTP/1.1\r\n"));

    let broken = self::answer(Response::broken()).await;
    assert!(broken.starts_with("HTTP/1.1 500 Internal Server Error\r\n"));
    let chunked = self::answer(Response::ok("abcd").framed(Framing::Chunked)).await;
    assert!(chunked.ends_with("\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"), "{chunked}");
}

#[tokio::test]
async fn bodies_end_too_early() {
    let promised = answer(Response::ok("short").framed(Framing::Promised(100))).await;
    assert!(promised.ends_with("Content-Length: 100\r\n\r\nshort"), "{promised}");
    let endless = answer(Response::ok("abcd").framed(Framing::ChunkedWithoutEnd)).await;
    assert!(endless.ends_with("2\r\nab\r\n2\r\ncd\r\n"), "{endless}");
}

#[tokio::test]
async fn a_compressed_body_unpacks() {
    let site = Site::start(Response::ok("needle ".repeat(100)).gzip().into()).await.unwrap();
    let mut stream = TcpStream::connect(site.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&answer[body..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, "needle ".repeat(100));
}

#[tokio::test]
async fn slow_sites_take_their_time() {
    let begun = Instant::now();
    answer(Response::ok("slow").slow(MOMENT, MOMENT)).await;
    assert!(begun.elapsed() >= 2 * MOMENT);
}

#[tokio::test]
async fn redirects_lead_on_in_a_circle_or_elsewhere() {
    let chain = Site::start(Behaviour::RedirectChain(2, Response::ok("there"))).await.unwrap();
    assert!(visit(&chain, "/").await.0.contains("Location: /hop/1\r\n"));
    assert!(visit(&chain, "/hop/1").await.0.contains("Location: /hop/2\r\n"));
    assert!(visit(&chain, "/hop/2").await.0.ends_with("there"));
    assert!(answer(Behaviour::RedirectLoop).await.contains("Location: /\r\n"));
    assert!(answer(Response::redirect("https://a.test/")).await.contains("Location: https://a.test/\r\n"));
}

#[tokio::test]
async fn a_flaky_site_fails_in_a_known_rhythm() {
    let failure = Box::new(Response::broken().into());
    let flaky = Behaviour::Flaky { every: 3, failure, otherwise: Box::new(Response::ok("fine").into()) };
    let site = Site::start(flaky).await.unwrap();
    let mut failed = Vec::new();
    for _ in 0..6 {
        failed.push(visit(&site, "/").await.0.starts_with("HTTP/1.1 500"));
    }
    assert_eq!(failed, [false, false, true, false, false, true]);
}

#[tokio::test]
async fn connections_break_where_they_are_told_to() {
    let before = Site::start(Behaviour::ResetBeforeHead).await.unwrap();
    assert_eq!(visit(&before, "/").await, (String::new(), Err(ErrorKind::ConnectionReset)));
    assert_eq!(before.hits(), 1);

    let middle = Site::start(Behaviour::ResetInBody(Response::ok("0123456789"))).await.unwrap();
    let (answer, end) = visit(&middle, "/").await;
    assert!(answer.ends_with("Content-Length: 10\r\n\r\n01234"), "{answer}");
    assert_eq!(end, Err(ErrorKind::ConnectionReset));

    assert_eq!(self::answer(Behaviour::CloseWithoutAnswer).await, "");
    assert!(!self::answer(Behaviour::Garbage).await.starts_with("HTTP"));
}

#[tokio::test]
async fn silent_sites_hold_the_line() {
    let authority = Authority::new().unwrap();
    let identity = authority.valid(&["site.test"]);
    let silent = Site::start(Behaviour::Silent).await.unwrap();
    says_nothing(visit(&silent, "/"), || silent.hits() == 1).await;
    let handshake = Site::start_tls(Behaviour::SilentHandshake, &identity).await.unwrap();
    says_nothing(shake(&handshake, &authority), || handshake.connections() == 1).await;
    assert_eq!(handshake.hits(), 0);
}

/// The site notices the visitor, who waits in vain for a moment from then on.
async fn says_nothing(visit: impl Future, noticed: impl Fn() -> bool) {
    let mut visit = pin!(visit);
    let watch = async {
        while !noticed() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = &mut visit => panic!("the visit has ended"),
        noticed = timeout(PATIENCE, watch) => noticed.unwrap(),
    }
    assert!(timeout(MOMENT, visit).await.is_err());
}

#[tokio::test]
async fn a_dropped_site_is_gone() {
    let site = Site::start(Behaviour::Silent).await.unwrap();
    let mut visitor = TcpStream::connect(site.addr()).await.unwrap();
    let address = site.addr();
    drop(site);
    // The listener goes when the runtime next looks at its task, and takes the connection along.
    assert!(matches!(timeout(PATIENCE, visitor.read(&mut [0])).await.expect("an end in time"), Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).await.is_err());
}

/// A handshake as a careful client makes it, trusting our authority alone.
async fn shake(site: &Site, authority: &Authority) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.ca_file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(site.addr()).await.unwrap();
    let name = ServerName::try_from("site.test").unwrap();
    connector.connect(name, stream).await.map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn certificates_are_good_or_bad_in_the_way_that_they_are_told_to_be() {
    let authority = Authority::new().unwrap();
    let names = ["site.test"];
    let handshake = async |identity: Identity, expected: &str| {
        let site = Site::start_tls(Response::ok("secret").into(), &identity).await.unwrap();
        let error = shake(&site, &authority).await.map(drop).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert_eq!(site.hits(), 0);
    };
    handshake(authority.expired(&names), "Expired").await;
    handshake(authority.wrong_name(), "NotValidForName").await;
    handshake(authority.self_signed(&names), "UnknownIssuer").await;

    let site = Site::start_tls(Response::ok("secret").into(), &authority.expiring(&names, 3)).await.unwrap();
    assert!(site.url("site.test").starts_with("https://"));
    let (answer, end) = talk(shake(&site, &authority).await.unwrap(), "/").await;
    assert!(answer.ends_with("secret"), "{answer}");
    assert_eq!(end, Ok(()));

    let valid = authority.valid(&names);
    let cut = Site::start_tls(Behaviour::ResetInBody(Response::ok("secret")), &valid).await.unwrap();
    let (_, end) = talk(shake(&cut, &authority).await.unwrap(), "/").await;
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}
