//! Divides Markdown into blocks: paragraphs, list items, headings, cells of tables.
//!
//! The comments of Rust source are Markdown, too. Code is no prose: a fence, and lines that are
//! indented by four blanks after an empty one. HTML comments are left out as well.

/// The sort of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A paragraph or a list item.
    Paragraph,
    /// A heading.
    Heading,
    /// A cell of a table's first row.
    Label,
    /// Any other cell.
    Cell,
}

/// A piece of prose without a break in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// Its sort.
    pub kind: Kind,
    /// The label of the column, if it is a cell.
    pub label: String,
    /// The lines, each with its number in the file.
    pub lines: Vec<(usize, String)>,
}

/// A text in blocks.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The blocks, in order.
    pub blocks: Vec<Block>,
    /// The targets of link definitions (`[name]: target`), with their lines.
    pub definitions: Vec<(usize, String)>,
}

/// Divides `lines`, each with its number in the file.
pub fn parse<'a>(lines: impl IntoIterator<Item = (usize, &'a str)>) -> Parsed {
    let mut parser = Parser::default();
    for (number, line) in lines {
        parser.line(number, line);
    }
    parser.close();
    parser.parsed
}

#[derive(Default)]
struct Parser {
    parsed: Parsed,
    /// The paragraph that the next line may continue.
    open: Option<Block>,
    /// The fence that is open: its character and its length.
    fence: Option<(char, usize)>,
    in_html: bool,
    /// The column at which the text of the current list item begins.
    item: usize,
    /// The labels of the table that is open.
    labels: Option<Vec<String>>,
}

impl Parser {
    fn line(&mut self, number: usize, line: &str) {
        let body = line.trim();
        if self.in_html {
            self.in_html = !body.contains("-->");
            return;
        }
        let ticks = fence(body);
        if let Some((open, length)) = self.fence {
            if ticks.is_some_and(|(c, n)| c == open && n >= length && body.chars().all(|b| b == c)) {
                self.fence = None;
            }
            return;
        }
        if ticks.is_some() {
            self.close();
            self.fence = ticks;
            return;
        }
        if body.is_empty() {
            self.close();
            self.labels = None;
            return;
        }
        if body.starts_with("<!--") {
            self.close();
            self.in_html = !body.contains("-->");
            return;
        }
        let indent = line.len() - line.trim_start().len();
        if self.open.is_none() {
            if indent < self.item {
                self.item = 0;
            }
            if indent >= self.item + 4 {
                return;
            }
        }
        let body = body.trim_start_matches(['>', ' ']);
        if body.starts_with('|') {
            return self.row(number, body);
        }
        self.labels = None;
        self.text(number, indent, body);
    }

    /// Takes a line that is neither code nor a table's.
    fn text(&mut self, number: usize, indent: usize, body: &str) {
        if let Some(text) = heading(body) {
            self.close();
            self.parsed.blocks.push(block(Kind::Heading, "", number, text));
            return;
        }
        let is_underline = |c: char| body.len() > 1 && body.chars().all(|b| b == c);
        if is_underline('=') || is_underline('-') {
            if let Some(open) = &mut self.open {
                open.kind = Kind::Heading;
            }
            return self.close();
        }
        if let Some(target) = definition(body) {
            self.close();
            self.parsed.definitions.push((number, target.to_string()));
            return;
        }
        // Only a list goes on with a number; text may happen to begin a line with one.
        let may_be_number = self.open.is_none() || self.item > 0 || body.starts_with("1.");
        if let Some(length) = marker(body).filter(|length| *length == 2 || may_be_number) {
            self.close();
            self.item = indent + length;
            self.open = Some(block(Kind::Paragraph, "", number, body[length..].trim_start()));
            return;
        }
        match &mut self.open {
            Some(open) => open.lines.push((number, body.to_string())),
            None => self.open = Some(block(Kind::Paragraph, "", number, body)),
        }
    }

    fn row(&mut self, number: usize, body: &str) {
        self.close();
        let cells = cells(body);
        let Some(labels) = &self.labels else {
            for cell in cells.iter().filter(|c| !c.is_empty()) {
                self.parsed.blocks.push(block(Kind::Label, "", number, cell));
            }
            self.labels = Some(cells);
            return;
        };
        if cells.iter().all(|c| c.chars().all(|c| "-: ".contains(c))) {
            return;
        }
        for (column, cell) in cells.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
            let label = labels.get(column).map_or("", |l| l);
            self.parsed.blocks.push(block(Kind::Cell, label, number, cell));
        }
    }

    fn close(&mut self) {
        self.parsed.blocks.extend(self.open.take());
    }
}

fn block(kind: Kind, label: &str, number: usize, text: &str) -> Block {
    Block { kind, label: label.to_string(), lines: vec![(number, text.to_string())] }
}

/// Returns the character and the length of the fence that `body` begins with.
fn fence(body: &str) -> Option<(char, usize)> {
    let first = body.chars().next().filter(|c| "`~".contains(*c))?;
    let length = body.chars().take_while(|c| *c == first).count();
    // A line that has all of its ticks at the start and others later is inline code.
    let inline = first == '`' && body[length..].contains('`');
    (length >= 3 && !inline).then_some((first, length))
}

fn heading(body: &str) -> Option<&str> {
    let level = body.bytes().take_while(|b| *b == b'#').count();
    let text = body[level..].strip_prefix(' ')?;
    (1..=6).contains(&level).then(|| text.trim_end_matches('#').trim())
}

/// Returns the target of a link definition.
fn definition(body: &str) -> Option<&str> {
    let (name, target) = body.strip_prefix('[')?.split_once("]: ")?;
    (!name.starts_with('^') && !target.trim().contains(' ')).then(|| target.trim())
}

/// Returns the length of the list marker that `body` begins with, its blank included.
fn marker(body: &str) -> Option<usize> {
    let digits = body.bytes().take_while(u8::is_ascii_digit).count();
    let marks = if digits > 0 { &['.', ')'][..] } else { &['-', '*', '+'][..] };
    body[digits..].strip_prefix(marks)?.strip_prefix(' ').map(|_| digits + 2)
}

/// Returns the cells of a table's row; `\|` divides none.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim();
    let row = row.strip_prefix('|').unwrap_or(row);
    let row = if row.ends_with("\\|") { row } else { row.strip_suffix('|').unwrap_or(row) };
    let hidden = row.replace("\\|", "\u{1}");
    hidden.split('|').map(|c| c.trim().replace('\u{1}', "|")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(text: &str) -> Vec<(Kind, String)> {
        let parsed = parse((1..).zip(text.lines()));
        let text = |b: &Block| b.lines.iter().map(|l| l.1.as_str()).collect::<Vec<_>>().join(" ");
        parsed.blocks.iter().map(|b| (b.kind, text(b))).collect()
    }

    fn paragraphs(text: &str) -> Vec<String> {
        blocks(text).into_iter().map(|b| b.1).collect()
    }

    #[test]
    fn code_is_no_prose() {
        assert_eq!(paragraphs("a\n```rust\nlet x;\n```\nb"), ["a", "b"]);
        assert_eq!(paragraphs("a\n\n~~~\n```\nx\n~~~\n\nb"), ["a", "b"]);
        assert_eq!(paragraphs("````\n```\nx\n````\nb"), ["b"]);
        assert_eq!(paragraphs("a\n\n    let x;\n    let y;\n\nb"), ["a", "b"]);
        assert_eq!(paragraphs("- a\n\n  ```\n  x\n  ```\n- b"), ["a", "b"]);
        assert_eq!(paragraphs("<!-- a\n b -->\nc"), ["c"]);
    }

    #[test]
    fn a_list_item_is_a_block_with_its_continuation() {
        assert_eq!(paragraphs("text:\n- a\n  b\n* c\n1. d\n12) e"), ["text:", "a b", "c", "d", "e"]);
        assert_eq!(paragraphs("as in\n1996. So"), ["as in 1996. So"]);
        assert_eq!(paragraphs("- a\n  - b\n    c\n\n  d"), ["a", "b c", "d"]);
        assert_eq!(paragraphs("a\n    deep, but a continuation"), ["a deep, but a continuation"]);
    }

    #[test]
    fn headings_quotes_and_cells_are_told_apart() {
        let expect = [(Kind::Heading, "H".into()), (Kind::Paragraph, "q r".into())];
        assert_eq!(blocks("## H\n> q\n> r"), expect);
        assert_eq!(blocks("Title\n=====")[0].0, Kind::Heading);
        let table = blocks("| a | b |\n|---|--:|\n| `x \\| y` | z |");
        let expect = [(Kind::Label, "a"), (Kind::Label, "b"), (Kind::Cell, "`x | y`"), (Kind::Cell, "z")];
        assert_eq!(table, expect.map(|(k, t)| (k, t.to_string())));
    }

    #[test]
    fn link_definitions_are_kept_apart() {
        let parsed = parse([(1, "a"), (2, "[x]: docs/x.md"), (3, "[y]: not a link but text")]);
        assert_eq!(parsed.definitions, [(2, "docs/x.md".to_string())]);
        assert_eq!(parsed.blocks.len(), 2);
    }
}
