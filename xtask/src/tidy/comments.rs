//! Finds the line comments of Rust source.
//!
//! A small lexer passes over strings, characters and block comments, so that two slashes in a
//! literal are no comment. Lifetimes and raw identifiers are the two traps: each begins like a
//! literal and is none.

/// How a comment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two slashes.
    Plain,
    /// Three slashes: documents the next item.
    Doc,
    /// Two slashes and an exclamation mark: documents the module.
    Header,
}

/// One line comment.
#[derive(Debug, PartialEq, Eq)]
pub struct Comment<'a> {
    /// Its line, from 1.
    pub line: usize,
    /// How it begins.
    pub kind: Kind,
    /// The text after the slashes, without the first blank.
    pub text: &'a str,
    /// Whether no code stands before it.
    pub alone: bool,
}

/// Returns the line comments of `source`, in order.
pub fn comments(source: &str) -> Vec<Comment<'_>> {
    let bytes = source.as_bytes();
    let (mut at, mut line, mut line_start) = (0, 1, 0);
    let mut found = Vec::new();
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let length = match byte {
            b'/' if rest.starts_with(b"//") => {
                let length = rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
                let (kind, text) = kind_and_text(&source[at..at + length]);
                let alone = source[line_start..at].trim().is_empty();
                found.push(Comment { line, kind, text, alone });
                length
            }
            b'/' if rest.starts_with(b"/*") => block_comment(rest),
            b'"' => string(rest),
            b'\'' => quote(rest),
            _ if in_word(byte) => word(rest),
            _ => 1,
        };
        for (index, _) in rest[..length].iter().enumerate().filter(|(_, b)| **b == b'\n') {
            line += 1;
            line_start = at + index + 1;
        }
        at += length;
    }
    found
}

fn kind_and_text(comment: &str) -> (Kind, &str) {
    let (kind, text) = match comment {
        c if c.starts_with("////") => (Kind::Plain, c.trim_start_matches('/')),
        c if c.starts_with("///") => (Kind::Doc, &c[3..]),
        c if c.starts_with("//!") => (Kind::Header, &c[3..]),
        c => (Kind::Plain, &c[2..]),
    };
    (kind, text.strip_prefix(' ').unwrap_or(text).trim_end())
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Returns the length of a block comment, with those nested in it.
fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Returns the length of a string literal, from its quote.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Returns the length of a character literal, or 1 for the quote of a lifetime.
fn quote(bytes: &[u8]) -> usize {
    if let [_, b'\\', _, rest @ ..] = bytes {
        return rest.iter().position(|&b| b == b'\'').map_or(bytes.len(), |end| end + 4);
    }
    let continues = |byte: &&u8| **byte & 0xc0 == 0x80;
    let character = 1 + bytes.iter().skip(2).take_while(continues).count();
    if bytes.get(1 + character) == Some(&b'\'') { character + 2 } else { 1 }
}

/// Returns the length of an identifier or a number; with its raw string, if `bytes` begins one.
fn word(bytes: &[u8]) -> usize {
    let length = bytes.iter().take_while(|b| in_word(**b)).count();
    if !matches!(&bytes[..length], b"r" | b"br" | b"cr") {
        return length;
    }
    let hashes = bytes[length..].iter().take_while(|b| **b == b'#').count();
    let start = length + hashes + 1;
    if bytes.get(start - 1) != Some(&b'"') {
        return length;
    }
    let end = format!("\"{}", "#".repeat(hashes)).into_bytes();
    let text = bytes[start..].windows(end.len()).position(|w| w == end);
    text.map_or(bytes.len(), |text| start + text + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        comments(source).iter().map(|c| c.text).collect()
    }

    #[test]
    fn each_kind_of_comment_is_found_where_it_stands() {
        let source = "//! head\n\n/// doc\nfn f() {} // tail\n    //// divider\n";
        let found = comments(source);
        let place = |i: usize| (found[i].line, found[i].kind, found[i].text, found[i].alone);
        assert_eq!(found.len(), 4);
        assert_eq!(place(0), (1, Kind::Header, "head", true));
        assert_eq!(place(1), (3, Kind::Doc, "doc", true));
        assert_eq!(place(2), (4, Kind::Plain, "tail", false));
        assert_eq!(place(3), (5, Kind::Plain, "divider", true));
    }

    #[test]
    fn slashes_in_a_literal_are_no_comment() {
        assert!(texts(r#"let url = "https://go.dev"; let b = b"//"; let c = c"//";"#).is_empty());
        assert!(texts("let s = r#\"a \" // b\"#; let t = br##\"\"# // c\"##;").is_empty());
        assert_eq!(texts(r#"let s = "\"// no"; // yes"#), ["yes"]);
        assert_eq!(texts("let s = \"one\n// still a string\n\"; // yes"), ["yes"]);
    }

    #[test]
    fn a_quote_is_a_character_or_a_lifetime() {
        assert_eq!(texts("let c = '\"'; // one"), ["one"]);
        assert_eq!(texts(r"let c = ['\'', '\\', '\u{2f}', 'ü', '…']; // two"), ["two"]);
        assert_eq!(texts("fn f<'a>(s: &'a str, r#type: u8) {} // three"), ["three"]);
        assert_eq!(texts("let c = b'\"'; // four"), ["four"]);
    }

    #[test]
    fn lines_are_counted_across_literals_and_blocks() {
        let source = "/* a /* b\n // no */\n */ let s = \"\n\n\"; // here\n// next";
        let found: Vec<_> = comments(source).iter().map(|c| (c.line, c.alone)).collect();
        assert_eq!(found, [(5, false), (6, true)]);
    }

    #[test]
    fn no_cut_of_a_source_panics() {
        let source = "let s = r#\"a\"#; let c = '\\u{2f}'; /* é */ let t = \"\\\"\"; // é";
        for (end, _) in source.char_indices() {
            comments(&source[..end]);
        }
    }
}
