//! Texts from outside on a terminal or in a line: whoever wrote them may want more than to be read.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Whether a character does something to a terminal, ends a line for somebody, or makes a text look like another one.
pub fn is_harmful(c: char) -> bool {
    // Joiners (U+200C, U+200D) stay: whole languages need them.
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text with nothing in it that is not shown as it is: `\n`, `\u{1b}` and the like stand for what would be more than
/// text.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    // A string takes whatever is written.
    let _ = Harmless(&mut shown).write_str(text);
    Cow::Owned(shown)
}

/// Writes texts on as [`harmless`] shows them.
#[derive(Debug)]
pub struct Harmless<W>(pub W);

impl<W: Write> Write for Harmless<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_harmful(*c)) {
            self.0.write_str(&rest[..at])?;
            write!(self.0, "{}", c.escape_default())?;
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_text_is_escaped() {
        let table = [
            ("plain äöü 漢字 👩\u{200d}💻 می\u{200c}خواهم", "plain äöü 漢字 👩\u{200d}💻 می\u{200c}خواهم"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\x1b[2J\x1b]0;title\x07", r"\u{1b}[2J\u{1b}]0;title\u{7}"),
            ("\u{9b}31m\u{85}\x7f\0", r"\u{9b}31m\u{85}\u{7f}\u{0}"),
            ("\u{202e}gpj.exe\u{2066}", r"\u{202e}gpj.exe\u{2066}"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("pay\u{200b}pal\u{feff}\u{e0041}", r"pay\u{200b}pal\u{feff}\u{e0041}"),
        ];
        for (text, expected) in table {
            assert_eq!(harmless(text), expected);
            assert_eq!(harmless(expected), expected);
        }
        for c in ('\0'..=char::MAX).filter(|c| c.is_control()) {
            assert!(!harmless(&c.to_string()).contains(c), "{c:?}");
        }
    }
}
