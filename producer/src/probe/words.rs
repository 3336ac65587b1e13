//! What went wrong on a connection, in words that a site's owner can act on.

use std::error::Error;
use std::fmt;
use std::io;

use h2::Reason;

use super::opening::{Opening, Tongue};
use super::tls;

/// An error of a protocol, and its words.
#[derive(Debug)]
pub(super) struct Worded {
    words: String,
    source: hyper::Error,
}

impl Worded {
    /// No complete response head came.
    pub(super) fn unanswered(source: hyper::Error, opening: &Opening) -> Self {
        Self { words: unanswered(&source, opening), source }
    }

    /// The body broke off.
    pub(super) fn broken_off(source: hyper::Error, opening: &Opening) -> Self {
        let words = http2(&source, opening).unwrap_or_else(|| root_cause(&source));
        Self { words, source }
    }
}

impl fmt::Display for Worded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl Error for Worded {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

fn unanswered(error: &hyper::Error, opening: &Opening) -> String {
    if let Some(words) = http2(error, opening).or_else(|| tls::in_words(error)) {
        return words;
    }
    if let Some(error) = find::<io::Error>(error) {
        return error.to_string();
    }
    if error.is_parse_too_large() {
        return "the response head has too many headers, or too many bytes".to_owned();
    }
    match opening.tongue() {
        Tongue::Http2 => "the server speaks HTTP/2 without TLS (prior knowledge), which is not supported".to_owned(),
        Tongue::Tls => "the server speaks TLS on this port: its URL begins with https".to_owned(),
        Tongue::Other(begin) => format!("the answer is not HTTP, it begins with \"{begin}\""),
        Tongue::Nothing if error.is_incomplete_message() => {
            "the server closed the connection without an answer".to_owned()
        }
        Tongue::Http1 if error.is_incomplete_message() => {
            "the server closed the connection in the middle of the response head".to_owned()
        }
        _ => root_cause(error),
    }
}

/// Whether a server asks to be asked in HTTP/1.1.
pub(super) fn wants_http11(error: &(dyn Error + 'static)) -> bool {
    find::<h2::Error>(error).is_some_and(|error| error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED))
}

/// What HTTP/2 says of the end; nothing where it has no part in it.
fn http2(error: &hyper::Error, opening: &Opening) -> Option<String> {
    let said = find::<h2::Error>(error);
    let reset = said.filter(|error| error.is_remote() && error.is_reset()).and_then(h2::Error::reason);
    if let Some(reason) = reset {
        return Some(format!("the server reset the HTTP/2 stream: {reason:?}"));
    }
    if let Some(reason) = opening.go_away() {
        return Some(format!("the server closed the HTTP/2 connection: {reason:?}"));
    }
    // So HTTP/2 calls the end of a connection on which something was still to come.
    let io = said.and_then(h2::Error::get_io).or_else(|| find(error));
    if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return Some("the server closed the connection".to_owned());
    }
    Some(format!("the server broke the rules of HTTP/2: {:?}", said?.reason()?))
}

/// The innermost reason, or the words that were found for it. The outer ones may repeat the URL, which may hold secrets.
pub(super) fn root_cause(error: &(dyn Error + 'static)) -> String {
    match find::<Worded>(error) {
        Some(worded) => worded.to_string(),
        None => tls::in_words(error).unwrap_or_else(|| innermost(error).to_string()),
    }
}

pub(super) fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// An error of this type, wherever it is wrapped: also in I/O errors, which do not name what they wrap as their source.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}
