//! The text of a body: which characters its bytes stand for, by its byte order mark, its `Content-Type`, or itself, as browsers find out.

use std::sync::LazyLock;

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};
use regex::bytes::Regex;
use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// How much of a body is looked at for what it says of itself.
pub(super) const LOOKED_AT: usize = 1024;
/// How many bytes are decoded at a time, and what they may become.
const PIECE: usize = 2048;

/// What the response says of its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// The encoding that `Content-Type` names.
    encoding: Option<&'static Encoding>,
    /// Whether the body is of a kind that may name one itself.
    asked: bool,
}

impl Said {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        // Of several, browsers go by the last.
        let Some(value) = headers.get_all(CONTENT_TYPE).iter().next_back() else {
            return Self { encoding: None, asked: true };
        };
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let mut parts = value.split(';');
        let kind = parts.next().unwrap_or_default();
        let label = parts.filter_map(|part| part.trim().strip_prefix("charset")?.trim_start().strip_prefix('=')).next();
        let label = label.map(|label| label.trim().trim_matches(['"', '\'']));
        let encoding = label.and_then(|label| Encoding::for_label(label.as_bytes()));
        Self { encoding, asked: kind.contains("html") || kind.contains("xml") }
    }

    /// How the bytes that begin like this become text: a decoder where they are not UTF-8, and how many are a mark that is no text.
    pub(super) fn decide(self, start: &[u8]) -> (Option<Decoder>, usize) {
        if let Some((encoding, mark)) = Encoding::for_bom(start) {
            return (decoder(encoding), mark);
        }
        let encoding = self.encoding.or_else(|| if self.asked { named_within(start) } else { None });
        (encoding.and_then(decoder), 0)
    }
}

/// UTF-8 stays as it is, so that a pattern can also be about bytes that are none.
fn decoder(encoding: &'static Encoding) -> Option<Decoder> {
    (encoding != UTF_8).then(|| encoding.new_decoder_without_bom_handling())
}

/// What a page of HTML or a document of XML says of itself.
fn named_within(start: &[u8]) -> Option<&'static Encoding> {
    static META: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let meta = r#"(?i-u)<meta\s[^>]*?charset\s*=\s*["']?([a-z0-9_:.-]+)"#;
        let xml = r#"\A\s*<\?xml\s[^>]*?encoding\s*=\s*["']([a-z0-9_:.-]+)"#;
        Regex::new(&format!("{meta}|{xml}")).ok()
    });
    let found = META.as_ref()?.captures(start)?;
    let encoding = Encoding::for_label(found.get(1).or_else(|| found.get(2))?.as_bytes())?;
    // Whoever can read this has not two bytes a character.
    Some(match encoding {
        utf16 if utf16 == UTF_16BE || utf16 == UTF_16LE => UTF_8,
        own if own == X_USER_DEFINED => WINDOWS_1252,
        other => other,
    })
}

/// Decodes bytes, a piece at a time.
pub(super) fn decode<E>(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    last: bool,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    // No encoding has characters that take more than three times their bytes.
    let mut text = [0; 3 * PIECE + 16];
    loop {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let (_, read, written, _) = decoder.decode_to_utf8(piece, &mut text, last && piece.len() == bytes.len());
        take(&text[..written])?;
        bytes = &bytes[read..];
        if bytes.is_empty() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn text(content_type: Option<&str>, body: &[u8]) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        if let Some(value) = content_type {
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
        }
        let (decoder, mark) = Said::of(&headers).decide(&body[..body.len().min(LOOKED_AT)]);
        let Some(mut decoder) = decoder else { return body[mark..].to_vec() };
        let mut all = Vec::new();
        let end: Result<(), Infallible> = decode(&mut decoder, &body[mark..], true, |text| {
            all.extend_from_slice(text);
            Ok(())
        });
        end.unwrap();
        all
    }

    #[test]
    fn bytes_become_text() {
        let latin = b"Verf\xfcgbar";
        let meta = |label: &str| [format!("<meta charset={label}>").as_bytes(), latin].concat();
        let table: Vec<(Option<&str>, Vec<u8>, &str)> = vec![
            (Some("text/html; charset=ISO-8859-1"), latin.to_vec(), "Verfügbar"),
            (Some("text/plain;Charset=\"latin1\""), latin.to_vec(), "Verfügbar"),
            (Some("text/html; x=y; charset = windows-1252"), b"\x80 5".to_vec(), "€ 5"),
            (Some("text/html; charset=shift_jis"), b"\x93\xfa\x96\x7b".to_vec(), "日本"),
            (Some("text/html;charset=gbk"), b"\xd6\xd0\xce\xc4".to_vec(), "中文"),
            (Some("text/html;charset=koi8-r"), b"\xcd\xc9\xd2".to_vec(), "мир"),
            (Some("text/html;charset=utf-16be"), b"\0o\0k".to_vec(), "ok"),
            (Some("text/html;charset=utf-16"), b"o\0k\0".to_vec(), "ok"),
            (Some("text/html;charset=utf-8"), b"\xff\xfeo\0k\0".to_vec(), "ok"),
            (None, b"\xfe\xff\0o\0k".to_vec(), "ok"),
            (Some("text/html;charset=latin1"), b"\xef\xbb\xbfok".to_vec(), "ok"),
            (Some("text/html"), meta("windows-1251"), "<meta charset=windows-1251>Verfьgbar"),
            (Some("text/html"), meta("'iso-8859-15'"), "<meta charset='iso-8859-15'>Verfügbar"),
            (Some("text/html;charset=latin1"), meta("koi8-r"), "<meta charset=koi8-r>Verfügbar"),
            (
                Some("application/xml"),
                b"<?xml version='1.0' encoding='latin1'?>\xfc".to_vec(),
                "<?xml version='1.0' encoding='latin1'?>ü",
            ),
        ];
        for (content_type, body, expected) in table {
            let text = text(content_type, &body);
            assert_eq!(String::from_utf8_lossy(&text), expected, "{content_type:?} {body:?}");
        }
        let long = "ü".repeat(10_000);
        let latin = vec![0xfc; 10_000];
        assert_eq!(text(Some("text/html; charset=latin1"), &latin), long.as_bytes());
    }

    #[test]
    fn bytes_of_which_nothing_is_said_stay() {
        let latin = b"<p>Verf\xfcgbar";
        for content_type in
            [None, Some("text/html"), Some("text/html; charset=nonsense"), Some("text/html; charset=utf-8")]
        {
            assert_eq!(text(content_type, latin), latin, "{content_type:?}");
        }
        let json = b"{\"page\": \"<meta charset=koi8-r>\xfc\"}";
        assert_eq!(text(Some("application/json"), json), json);
    }
}
