//! What a site can be told to do.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

/// The character of a site.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Answers every request alike.
    Respond(Response),
    /// Sends a visitor on from `/` to `/hop/1`, `/hop/2` and so on, and answers after this many redirects.
    RedirectChain(u32, Response),
    /// Redirects every path to itself.
    RedirectLoop,
    /// Every `every`-th request, beginning with that number, gets `failure`; the others get `otherwise`.
    Flaky {
        /// The period of the failure.
        every: u64,
        /// What goes wrong.
        failure: Box<Behaviour>,
        /// What happens as a rule.
        otherwise: Box<Behaviour>,
    },
    /// Reads the request and resets the connection before any answer.
    ResetBeforeHead,
    /// Resets the connection when half of the body has gone out.
    ResetInBody(Response),
    /// Closes the connection in an orderly way, without any answer.
    CloseWithoutAnswer,
    /// Reads the request and never answers.
    Silent,
    /// Accepts the connection and never says a word, not even of TLS.
    SilentHandshake,
    /// Answers with something that is not HTTP.
    Garbage,
    /// Reads a request and then plays these steps, on a site with TLS inside of it.
    Script(Vec<Step>),
    /// Plays these steps on the bare connection as soon as it stands, even where the URL says TLS.
    Bare(Vec<Step>),
    /// Sends this many bytes of its side of the TLS handshake, and then plays these steps on the bare connection.
    HandshakeUpTo(u64, Vec<Step>),
}

/// One step of a script; after the last one the connection is closed.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes again and again, for as long as the visitor stays.
    Flood(Vec<u8>),
    /// Sends these bytes again and again, in pieces of so many after a wait each.
    Dribble(Vec<u8>, usize, Duration),
    /// Reads whatever comes first.
    Listen,
    /// Says nothing for as long as the visitor stays.
    Hold,
    /// Resets the connection.
    Reset,
    /// Closes the connection, without TLS's word for it.
    Leave,
}

impl Step {
    /// Sends a text.
    pub fn send(text: &str) -> Step {
        Step::Send(text.as_bytes().to_vec())
    }

    /// Floods with a text.
    pub fn flood(text: &str) -> Step {
        Step::Flood(block(text.as_bytes()))
    }

    /// Sends bytes again and again, one and a half megabytes of them a second.
    pub fn stream(bytes: &[u8]) -> Step {
        let block = block(bytes);
        let size = block.len();
        Step::Dribble(block, size, Duration::from_millis(10))
    }
}

/// Some 16 kB of the same.
fn block(bytes: &[u8]) -> Vec<u8> {
    bytes.repeat(1 + (1 << 14) / bytes.len().max(1))
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// A true `Content-Length`.
    Length,
    /// A `Content-Length` of this many bytes, whatever the body really has.
    Promised(u64),
    /// Chunks, and the chunk that ends them.
    Chunked,
    /// Chunks, and no end.
    ChunkedWithoutEnd,
    /// Nothing: the body ends with the connection.
    UntilClose,
}

/// An answer, sound unless made otherwise.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// Headers besides those of the framing.
    pub headers: Vec<(String, String)>,
    /// The body as it goes out.
    pub body: Vec<u8>,
    /// How its end is told.
    pub framing: Framing,
    /// The wait before the head.
    pub head_delay: Duration,
    /// The wait in the middle of the body.
    pub body_delay: Duration,
}

impl Response {
    /// An answer with this status.
    pub fn new(status: u16, reason: &str, body: impl Into<Vec<u8>>) -> Response {
        Response {
            status,
            reason: reason.to_owned(),
            headers: vec![("Content-Type".to_owned(), "text/html; charset=utf-8".to_owned())],
            body: body.into(),
            framing: Framing::Length,
            head_delay: Duration::ZERO,
            body_delay: Duration::ZERO,
        }
    }

    /// 200 OK with this body.
    pub fn ok(body: impl Into<Vec<u8>>) -> Response {
        Response::new(200, "OK", body)
    }

    /// 500 Internal Server Error.
    pub fn broken() -> Response {
        Response::new(500, "Internal Server Error", "something broke\n")
    }

    /// 302 Found, to this URL.
    pub fn redirect(url: &str) -> Response {
        Response::new(302, "Found", "").header("Location", url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits before the head and again in the middle of the body.
    #[must_use]
    pub fn slow(mut self, head: Duration, body: Duration) -> Response {
        (self.head_delay, self.body_delay) = (head, body);
        self
    }

    /// Tells the end of the body in another way.
    #[must_use]
    pub fn framed(mut self, framing: Framing) -> Response {
        self.framing = framing;
        self
    }

    /// Compresses the body.
    #[must_use]
    pub fn gzip(mut self) -> Response {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let written = encoder.write_all(&self.body);
        self.body = written.and_then(|()| encoder.finish()).expect("memory takes every write");
        self.header("Content-Encoding", "gzip")
    }

    /// The head as it goes over the wire.
    pub(crate) fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\nConnection: close\r\n", self.status, self.reason);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.framing {
            Framing::Length => head += &format!("Content-Length: {}\r\n", self.body.len()),
            Framing::Promised(length) => head += &format!("Content-Length: {length}\r\n"),
            Framing::Chunked | Framing::ChunkedWithoutEnd => head += "Transfer-Encoding: chunked\r\n",
            Framing::UntilClose => {}
        }
        head + "\r\n"
    }

    /// A piece of the body as it goes over the wire; an empty one would end chunks too early.
    pub(crate) fn piece(&self, body: &[u8]) -> Vec<u8> {
        if !self.is_chunked() || body.is_empty() {
            return body.to_vec();
        }
        [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
    }

    /// What tells the end.
    pub(crate) fn end(&self) -> &'static [u8] {
        if self.framing == Framing::Chunked { b"0\r\n\r\n" } else { b"" }
    }

    fn is_chunked(&self) -> bool {
        matches!(self.framing, Framing::Chunked | Framing::ChunkedWithoutEnd)
    }
}

impl From<Response> for Behaviour {
    fn from(response: Response) -> Behaviour {
        Behaviour::Respond(response)
    }
}
