//! One connection of a site: one request in, one answer, good or bad, out.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Seen;
use super::behaviour::{Behaviour, Response, Step};

/// A visitor's request is at most this long; a longer one is no request of ours.
const REQUEST_BYTES: usize = 1 << 20;
/// How long a visitor may take to hang up after the answer.
const LINGER: Duration = Duration::from_secs(5);

/// A stream whose connection can be cut with a reset, so that even what was sent may be lost.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming drop of the stream a reset.
    fn reset(&self) -> io::Result<()>;
}

impl Wire for TcpStream {
    fn reset(&self) -> io::Result<()> {
        self.set_zero_linger()
    }
}

impl Wire for TlsStream<TcpStream> {
    fn reset(&self) -> io::Result<()> {
        self.get_ref().0.set_zero_linger()
    }
}

/// Reads one request and does with it what the site is there for.
pub(crate) async fn serve(wire: &mut impl Wire, behaviour: &Behaviour, seen: &Seen) -> io::Result<()> {
    let Some(request) = read_request(wire).await? else { return Ok(()) };
    let number = seen.request(request.clone());
    let mut behaviour = behaviour;
    while let Behaviour::Flaky { every, failure, otherwise } = behaviour {
        behaviour = if number.is_multiple_of(*every) { failure } else { otherwise };
    }
    let mut words = request.split(' ');
    let head_only = words.next() == Some("HEAD");
    let path = words.next().unwrap_or("/");
    match behaviour {
        Behaviour::Respond(response) => respond(wire, response, head_only).await,
        Behaviour::RedirectChain(hops, last) => match next_hop(path, *hops) {
            Some(next) => respond(wire, &Response::redirect(&next), head_only).await,
            None => respond(wire, last, head_only).await,
        },
        Behaviour::RedirectLoop => respond(wire, &Response::redirect(path), head_only).await,
        Behaviour::ResetBeforeHead => wire.reset(),
        Behaviour::ResetInBody(response) => reset_in_body(wire, response).await,
        Behaviour::CloseWithoutAnswer => wire.shutdown().await,
        Behaviour::Garbage => {
            wire.write_all(b"\x00\x01\x02 this is no HTTP\r\n\r\n").await?;
            close(wire).await
        }
        Behaviour::Script(steps) => play(wire, steps).await,
        // A flaky site has been resolved to one of its two faces above; the others come before a request.
        Behaviour::Silent
        | Behaviour::SilentHandshake
        | Behaviour::Flaky { .. }
        | Behaviour::Bare(_)
        | Behaviour::HandshakeUpTo(..) => hold(wire).await,
    }
}

/// Goes through a script; the visitor may end it by hanging up.
pub(crate) async fn play(wire: &mut impl Wire, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => wire.write_all(bytes).await?,
            Step::Flood(bytes) => loop {
                wire.write_all(bytes).await?;
            },
            Step::Dribble(bytes, size, wait) => {
                for piece in bytes.chunks(*size).cycle() {
                    tokio::time::sleep(*wait).await;
                    wire.write_all(piece).await?;
                    wire.flush().await?;
                }
            }
            Step::Listen => drop(wire.read(&mut [0; 4096]).await?),
            Step::Hold => hold(wire).await?,
            Step::Reset => return wire.reset(),
            Step::Leave => return Ok(()),
        }
        wire.flush().await?;
    }
    close(wire).await
}

/// Begins a TLS handshake, lets so many bytes of our side of it through, and goes on with a script.
pub(crate) async fn begin_handshake(
    stream: &mut TcpStream,
    acceptor: TlsAcceptor,
    bytes: u64,
    steps: &[Step],
) -> io::Result<()> {
    let (inner, outer) = tokio::io::duplex(1 << 16);
    let (ours, mut theirs) = tokio::io::split(outer);
    let (mut from_visitor, mut to_visitor) = stream.split();
    let mut ours = ours.take(bytes);
    tokio::select! {
        // Nobody needs the session: a handshake that ends holds still.
        () = async { let _session = acceptor.accept(inner).await; std::future::pending().await } => {}
        _ = async { tokio::io::copy(&mut from_visitor, &mut theirs).await?; std::future::pending::<io::Result<()>>().await } => {}
        sent = tokio::io::copy(&mut ours, &mut to_visitor) => drop(sent?),
    }
    play(stream, steps).await
}

/// Says nothing for as long as the visitor stays.
pub(crate) async fn hold(wire: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    tokio::io::copy(wire, &mut tokio::io::sink()).await.map(drop)
}

async fn read_request(wire: &mut impl Wire) -> io::Result<Option<String>> {
    let mut request = Vec::new();
    while request.len() < REQUEST_BYTES {
        if wire.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if body.len() >= content_length(head) {
            return Ok(Some(text.into_owned()));
        }
    }
    Ok(None)
}

fn content_length(head: &str) -> usize {
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, length)| length.trim().parse().ok()).unwrap_or(0)
}

fn next_hop(path: &str, hops: u32) -> Option<String> {
    let hop: u32 = path.strip_prefix("/hop/").and_then(|hop| hop.parse().ok()).unwrap_or(0);
    (hop < hops).then(|| format!("/hop/{}", hop + 1))
}

async fn respond(wire: &mut impl Wire, response: &Response, head_only: bool) -> io::Result<()> {
    tokio::time::sleep(response.head_delay).await;
    wire.write_all(response.head().as_bytes()).await?;
    wire.flush().await?;
    if !head_only {
        let (first, second) = response.body.split_at(response.body.len() / 2);
        wire.write_all(&response.piece(first)).await?;
        wire.flush().await?;
        tokio::time::sleep(response.body_delay).await;
        wire.write_all(&response.piece(second)).await?;
        wire.write_all(response.end()).await?;
    }
    close(wire).await
}

async fn reset_in_body(wire: &mut impl Wire, response: &Response) -> io::Result<()> {
    let (first, _) = response.body.split_at(response.body.len() / 2);
    wire.write_all(response.head().as_bytes()).await?;
    wire.write_all(&response.piece(first)).await?;
    wire.flush().await?;
    // What a loopback has delivered can still be read after the reset; at most a body larger than the receiver's
    // buffer loses more of itself, which is all the same here.
    wire.reset()
}

/// Ends our side and waits for the visitor to end theirs: closing over unread input would reset the connection and
/// could take the answer's end with it.
async fn close(wire: &mut impl Wire) -> io::Result<()> {
    wire.shutdown().await?;
    // Whoever does not hang up in time has had the whole answer.
    tokio::time::timeout(LINGER, hold(wire)).await.unwrap_or(Ok(()))
}
