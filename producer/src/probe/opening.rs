//! What comes on a connection before an answer has begun: how it begins, and how much of it there may be.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use h2::Reason;
use hyper::Version;

use super::frames::Frames;

/// So many interim answers (1xx) may come before the final one.
const MAX_INTERIM: u32 = 100;
/// So many bytes may come before the end of a response head; interim answers are among them, in HTTP/2 all frames.
const MAX_BYTES: usize = 512 << 10;
const MAX_BYTES_HTTP2: usize = 2 << 20;
/// So many of the first bytes are kept, to tell what a server speaks.
const KEPT: usize = 64;

#[derive(Debug)]
pub(super) struct Opening {
    version: Version,
    ended: AtomicBool,
    interim: AtomicU32,
    http10: AtomicBool,
    read: Mutex<Beginning>,
}

#[derive(Debug, Default)]
struct Beginning {
    bytes: usize,
    frames: Frames,
    first: Vec<u8>,
}

/// What a server speaks that does not answer in HTTP/1.
#[derive(Debug, PartialEq)]
pub(super) enum Tongue {
    /// Nothing came.
    Nothing,
    /// It may be HTTP/1 so far.
    Http1,
    /// Frames of HTTP/2, to a question in HTTP/1.
    Http2,
    /// A record of TLS, to a question without.
    Tls,
    /// Something else, which begins so.
    Other(String),
}

impl Opening {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            ended: AtomicBool::new(false),
            interim: AtomicU32::new(0),
            http10: AtomicBool::new(false),
            read: Mutex::default(),
        }
    }

    /// The response head has come.
    pub(super) fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Whether what comes now goes to the protocol as it is.
    pub(super) fn is_over(&self) -> bool {
        self.version != Version::HTTP_2 && self.ended.load(Relaxed)
    }

    /// Why a server of HTTP/2 goes away, if it has said so.
    pub(super) fn go_away(&self) -> Option<Reason> {
        self.read().frames.go_away()
    }

    pub(super) fn interim_came(&self) {
        self.interim.fetch_add(1, Relaxed);
    }

    /// Whether the answer says that it is HTTP/1.0.
    pub(super) fn is_http10(&self) -> bool {
        self.http10.load(Relaxed)
    }

    fn read(&self) -> MutexGuard<'_, Beginning> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what was read, and returns what the protocol is to see of it.
    pub(super) fn take<'a>(&self, piece: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let http2 = self.version == Version::HTTP_2;
        let mut read = self.read();
        let first = read.bytes == 0;
        read.bytes += piece.len();
        let kept = piece.len().min(KEPT - read.first.len());
        read.first.extend_from_slice(&piece[..kept]);
        let bound = if http2 { MAX_BYTES_HTTP2 } else { MAX_BYTES };
        if read.bytes > bound && !self.ended.load(Relaxed) {
            return Err(io::Error::other(format!("more than {} KiB came before a final answer", bound >> 10)));
        }
        if self.interim.load(Relaxed) > MAX_INTERIM {
            return Err(io::Error::other(format!("more than {MAX_INTERIM} interim answers (1xx) and no final one")));
        }
        if http2 {
            read.frames.take(piece);
        }
        if http2 || !first {
            return Ok(piece);
        }
        let (mended, http10) = mend_status_line(piece);
        self.http10.store(http10, Relaxed);
        Ok(mended)
    }

    pub(super) fn tongue(&self) -> Tongue {
        tongue(&self.read().first)
    }
}

fn tongue(first: &[u8]) -> Tongue {
    const HTTP: &[u8] = b"HTTP/";
    let text = first.trim_ascii_start();
    let compared = text.len().min(HTTP.len());
    match first {
        [] => Tongue::Nothing,
        // A first frame: SETTINGS on stream 0, of whole settings.
        [0, _, length, 4, _, 0, 0, 0, 0, ..] if length % 6 == 0 => Tongue::Http2,
        // An alert or a handshake message.
        [0x15 | 0x16, 3, 0..=4, ..] => Tongue::Tls,
        _ if text[..compared].eq_ignore_ascii_case(&HTTP[..compared]) => Tongue::Http1,
        _ => Tongue::Other(first[..first.len().min(40)].escape_ascii().to_string()),
    }
}

/// Writes a status line as the parser wants it, where servers err and everybody reads it: the case of `HTTP`, blanks around the
/// status, control bytes in the reason. HTTP/1.0 becomes HTTP/1.1, whose parser knows chunks. Also says whether it was 1.0.
fn mend_status_line(piece: &mut [u8]) -> (&[u8], bool) {
    const HTTP11: &[u8] = b"HTTP/1.1";
    let begin = piece.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    let (minor, blanks) = match &piece[begin..] {
        [h, t1, t2, p, b'/', b'1', b'.', minor @ (b'0' | b'1'), rest @ ..]
            if [*h, *t1, *t2, *p].eq_ignore_ascii_case(b"HTTP") =>
        {
            (*minor, rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count())
        }
        _ => return (piece, false),
    };
    if blanks == 0 {
        return (piece, false);
    }
    let end = begin + HTTP11.len() + blanks;
    let line = piece[end..].iter().position(|byte| *byte == b'\n').map_or(piece.len(), |length| end + length);
    let reason = piece[end..line].len() - usize::from(piece[..line].ends_with(b"\r"));
    for byte in &mut piece[end..end + reason] {
        if byte.is_ascii_control() {
            *byte = b' ';
        }
    }
    let mended = end - 1 - HTTP11.len();
    piece[mended..end - 1].copy_from_slice(HTTP11);
    piece[end - 1] = b' ';
    (&piece[mended..], minor == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_mended_where_everybody_reads_them() {
        let table = [
            ("HTTP/1.1 200 OK\r\nA: b\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n", false),
            ("HTTP/1.0 200 OK\r\nA: b\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n", true),
            ("\r\n\nHTTP/1.1 200 OK\n", "HTTP/1.1 200 OK\n", false),
            ("http/1.1   \t404 Gone\0 away\x01\r\n", "HTTP/1.1 404 Gone  away \r\n", false),
            ("HTTP/1.0 200", "HTTP/1.1 200", true),
            ("HTTP/1.1 200\r\n", "HTTP/1.1 200\r\n", false),
            ("HTTP/1.1 \r\n", "HTTP/1.1 \r\n", false),
            ("HTTP/1.1", "HTTP/1.1", false),
            ("HTTP/2.0 200 OK\r\n", "HTTP/2.0 200 OK\r\n", false),
            ("SSH-2.0-OpenSSH\r\n", "SSH-2.0-OpenSSH\r\n", false),
            ("\r\n", "\r\n", false),
            ("", "", false),
        ];
        for (came, expected, http10) in table {
            let mut piece = came.as_bytes().to_vec();
            let (mended, old) = mend_status_line(&mut piece);
            assert_eq!((mended.escape_ascii().to_string(), old), (expected.escape_default().to_string(), http10));
        }
    }

    #[test]
    fn what_is_spoken_is_told_by_the_first_bytes() {
        let table: [(&[u8], Tongue); 10] = [
            (b"", Tongue::Nothing),
            (b"HT", Tongue::Http1),
            (b"\r\nhttp/1.1 200", Tongue::Http1),
            (b"HTTP/1.1 200 OK\r\n", Tongue::Http1),
            (b"\0\0\0\x04\0\0\0\0\0", Tongue::Http2),
            (b"\0\0\x12\x04\0\0\0\0\0\0\x03", Tongue::Http2),
            (b"\x15\x03\x01\0\x02\x02\x46", Tongue::Tls),
            (b"\x15\x03\x03\0\x02", Tongue::Tls),
            (b"SSH-2.0-x\r\n", Tongue::Other(r"SSH-2.0-x\r\n".to_owned())),
            (b"\xff\xfb\x01", Tongue::Other(r"\xff\xfb\x01".to_owned())),
        ];
        for (first, expected) in table {
            assert_eq!(tongue(first), expected, "{}", first.escape_ascii());
        }
    }

    #[test]
    fn what_comes_before_an_answer_is_bounded() {
        let opening = Opening::new(Version::HTTP_11);
        let mut piece = [b'x'; 4096];
        for _ in 0..MAX_BYTES / 4096 {
            opening.take(&mut piece).unwrap();
        }
        assert!(opening.take(&mut piece).unwrap_err().to_string().contains("512 KiB"));
        let opening = Opening::new(Version::HTTP_11);
        for _ in 0..=MAX_INTERIM {
            opening.take(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec().as_mut()).unwrap();
            opening.interim_came();
        }
        assert!(opening.take(&mut piece).unwrap_err().to_string().contains("100 interim answers"));
    }
}
