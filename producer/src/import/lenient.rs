//! YAML that other parsers read and ours does not: lists in brackets and texts in quotation marks whose lines are not
//! indented.

/// The text with every line that begins within brackets or quotation marks indented. That changes nothing of what it
/// says: white space at the begin of such lines is none of theirs.
pub(super) fn indented(text: &str) -> String {
    let most = text.lines().map(|line| line.len() - line.trim_start().len()).max().unwrap_or_default();
    let indent = " ".repeat(most + 1);
    let mut place = Place::default();
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        let rest = line.trim_start_matches([' ', '\t']);
        let column = line.len() - rest.len();
        if place.is_within() && !rest.trim().is_empty() {
            out.push_str(&indent);
            out.push_str(rest);
        } else {
            out.push_str(line);
        }
        place.read(rest.trim_end(), column);
    }
    out
}

/// Where in a document we are.
#[derive(Debug, Default)]
struct Place {
    brackets: usize,
    quote: Option<char>,
    /// The column that a text after `|` or `>` is indented beyond.
    literal: Option<usize>,
}

impl Place {
    fn is_within(&self) -> bool {
        self.brackets > 0 || self.quote.is_some()
    }

    /// Goes over a line that has this column.
    fn read(&mut self, line: &str, mut column: usize) {
        if let Some(beyond) = self.literal {
            if line.is_empty() || column > beyond {
                return;
            }
            self.literal = None;
        }
        let mut rest = line;
        if !self.is_within() {
            while let Some(item) = rest.strip_prefix("- ") {
                rest = item.trim_start();
                column += line.len() - rest.len();
            }
        }
        // Whether a value or a key may begin here.
        let mut begins = true;
        while let Some(c) = rest.chars().next() {
            if let Some(quote) = self.quote {
                rest = self.quoted(rest, quote);
                begins = false;
                continue;
            }
            let mut length = c.len_utf8();
            let spaced = |rest: &str| rest[length..].is_empty() || rest[length..].starts_with([' ', '\t']);
            match c {
                '#' if begins || rest.len() == line.len() => return,
                ' ' | '\t' if rest[1..].trim_start().starts_with('#') => return,
                ' ' | '\t' => {}
                '\'' | '"' if begins => self.quote = Some(c),
                '[' | '{' if begins || self.brackets > 0 => (self.brackets, begins) = (self.brackets + 1, true),
                ']' | '}' if self.brackets > 0 => (self.brackets, begins) = (self.brackets - 1, false),
                ',' if self.brackets > 0 => begins = true,
                ':' if spaced(rest) || !begins && self.brackets > 0 && rest[1..].starts_with(['[', '{', '"', '\'']) => {
                    begins = true;
                }
                '|' | '>' if begins && self.brackets == 0 => {
                    self.literal = Some(column);
                    return;
                }
                // A name or a kind of what follows.
                '&' | '!' if begins => length = rest.find([' ', '\t']).unwrap_or(rest.len()),
                _ => begins = false,
            }
            rest = &rest[length..];
        }
    }

    /// What follows a text in quotation marks, as far as it ends here.
    fn quoted<'a>(&mut self, rest: &'a str, quote: char) -> &'a str {
        let mut characters = rest.char_indices().peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' if quote == '"' => _ = characters.next(),
                '\'' if quote == '\'' && characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                    _ = characters.next();
                }
                c if c == quote => {
                    self.quote = None;
                    return &rest[at + 1..];
                }
                _ => {}
            }
        }
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::Node;
    use super::super::yaml::tests::show;

    #[test]
    fn what_other_parsers_read() {
        let table = [
            ("a:\n  b: [\n    x, y\n  ]\n  c: 1\n", "{a:{b:[x,y],c:1}}"),
            ("a:\n- b: [\n  'x',\n  \"y\" # why [\n  ]\n  c: 1\n", "{a:[{b:[x,y],c:1}]}"),
            ("a:\n  b: {\n  x: 1,\n  y: [\n]\n}\nc: 2\n", "{a:{b:{x:1,y:[]}},c:2}"),
            ("a:\n  b: [ # more\n\n  x,\n# not this ]\n  y ]\n", "{a:{b:[x,y]}}"),
            ("a:\n  b: 'x\n  y'\n  c: \"x\n\n  y \\\" z\"\n", "{a:{b:x y,c:x\ny \" z}}"),
            ("a:\n  b: |\n    [ this is\n    text\n  c: [\n  1\n  ]\n", "{a:{b:[ this is\ntext\n,c:[1]}}"),
            ("a:\n- b: |\n    [\n  c: [\n  1\n  ]\n", "{a:[{b:[\n,c:[1]}]}"),
            ("a:\n  b: it's [not\n  c: x{y\n  d: [\n  it''s\n  ]\n", "{a:{b:it's [not,c:x{y,d:[it''s]}}"),
            ("a:\n  b: &x [\n  1\n  ]\n  c: *x\n", "{a:{b:[1],c:[1]}}"),
            ("a: [\n\t1,\n\t2\n]\n", "{a:[1,2]}"),
            ("a:\n  b: [\n  http://u:1/?q=x#y,\n  z\n  ]\n", "{a:{b:[http://u:1/?q=x#y,z]}}"),
        ];
        for (text, expected) in table {
            assert_eq!(Node::parse(text).map(|node| show(&node)), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_nobody_reads_stays_refused() {
        for text in ["a: [\n", "a: 'x\n", "a:\n  b: [\n  ]]\n", "a: {\n]\n", "a:\n - b\n c: 1\n"] {
            assert!(Node::parse(text).is_err(), "{text}");
        }
    }
}
