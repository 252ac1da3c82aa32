//! Divides blocks into sentences and words.
//!
//! A full stop, an exclamation mark or a question mark ends a sentence, unless the next word begins
//! with a small letter. The end of the block ends one, too. Blanks divide words. Inline code is one
//! word, however long.

use super::markdown::{Block, Kind};

/// One sentence.
#[derive(Debug)]
pub struct Sentence {
    /// The sort of its block.
    pub kind: Kind,
    /// The label of its column, if its block is a cell.
    pub label: String,
    /// Its words, with punctuation, each with its line.
    pub words: Vec<(usize, String)>,
}

impl Sentence {
    /// Returns the line of its first word.
    pub fn line(&self) -> usize {
        self.words.first().map_or(0, |w| w.0)
    }

    /// Counts its words; a dash is none.
    pub fn len(&self) -> usize {
        self.words.iter().filter(|w| w.1.contains(|c: char| c.is_alphanumeric() || c == '`')).count()
    }

    /// Returns true if it has no words.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if it is a question.
    pub fn is_question(&self) -> bool {
        self.words.last().is_some_and(|w| w.1.trim_end_matches(CLOSERS).ends_with('?'))
    }

    /// Returns its words from `from` on, at most `count`.
    pub fn excerpt(&self, from: usize, count: usize) -> String {
        let words = self.words.iter().skip(from).take(count).map(|w| w.1.as_str());
        let text = words.collect::<Vec<_>>().join(" ");
        if self.words.len() > from + count { text + " …" } else { text }
    }
}

const CLOSERS: [char; 8] = [')', ']', '"', '\'', '”', '’', '*', '_'];
const OPENERS: [char; 7] = ['(', '[', '"', '\'', '“', '*', '_'];
const ABBREVIATIONS: [&str; 6] = ["e.g.", "i.e.", "etc.", "cf.", "vs.", "resp."];

/// Returns the sentences of a block.
pub fn sentences(block: &Block) -> Vec<Sentence> {
    let mut all = Vec::new();
    let sentence = |words| Sentence { kind: block.kind, label: block.label.clone(), words };
    let mut current: Vec<(usize, String)> = Vec::new();
    for word in words(block) {
        // A number at the start is a label: "1. Push the G."
        let is_label = current.len() == 1 && current[0].1.trim_end_matches('.').parse::<u64>().is_ok();
        if !is_label && current.last().is_some_and(|last| ends(&last.1, &word.1)) {
            all.push(sentence(std::mem::take(&mut current)));
        }
        current.push(word);
    }
    all.push(sentence(current));
    all.retain(|s| !s.is_empty());
    all
}

/// Returns true if a sentence ends with `word`, when `next` follows.
fn ends(word: &str, next: &str) -> bool {
    let word = word.trim_end_matches(CLOSERS);
    let lower = word.to_lowercase();
    word.ends_with(['.', '!', '?'])
        && !word.ends_with("..")
        && !ABBREVIATIONS.contains(&lower.trim_start_matches(OPENERS))
        && !next.trim_start_matches(OPENERS).starts_with(char::is_lowercase)
}

/// Returns the characters of a block, each with its line.
fn characters(block: &Block) -> Vec<(usize, char)> {
    let line = |(number, text): &(usize, String)| {
        let number = *number;
        text.chars().chain(['\n']).map(move |c| (number, c)).collect::<Vec<_>>()
    };
    block.lines.iter().flat_map(line).collect()
}

/// Returns the words of a block: inline code as one, links without their targets.
fn words(block: &Block) -> Vec<(usize, String)> {
    let (mut all, mut word, mut start) = (Vec::new(), String::new(), 0);
    let text = characters(block);
    let mut at = 0;
    while let Some(&(line, c)) = text.get(at) {
        at += 1;
        if c.is_whitespace() {
            if !word.is_empty() {
                all.push((start, std::mem::take(&mut word)));
            }
            continue;
        }
        if word.is_empty() {
            start = line;
        }
        match c {
            '`' => {
                let end = span(&text, at - 1).unwrap_or(at);
                word.extend(text[at - 1..end].iter().map(|(_, c)| if *c == '\n' { ' ' } else { *c }));
                at = end;
            }
            '[' => {}
            ']' => at = target(&text, at).map_or(at, |(_, end)| end),
            c => word.push(c),
        }
    }
    all
}

/// Returns the end of the inline code that begins at `from`.
fn span(text: &[(usize, char)], from: usize) -> Option<usize> {
    let ticks = |at: usize| text[at..].iter().take_while(|(_, c)| *c == '`').count();
    let length = ticks(from);
    let mut at = from + length;
    while at < text.len() {
        match ticks(at) {
            0 => at += 1,
            n if n == length => return Some(at + n),
            n => at += n,
        }
    }
    None
}

/// Returns the target that stands in brackets at `from`, and its end.
fn target(text: &[(usize, char)], from: usize) -> Option<(String, usize)> {
    let (open, close) = match text.get(from)?.1 {
        '(' => ('(', ')'),
        '[' => ('[', ']'),
        _ => return None,
    };
    let mut depth = 0;
    for (at, (_, c)) in text.iter().enumerate().skip(from) {
        depth += i32::from(*c == open) - i32::from(*c == close);
        if depth == 0 {
            return Some((text[from + 1..at].iter().map(|t| t.1).collect(), at + 1));
        }
    }
    None
}

/// Returns the targets of the links in a block, each with its line.
pub fn targets(block: &Block) -> Vec<(usize, String)> {
    let text = characters(block);
    let (mut all, mut at) = (Vec::new(), 0);
    while let Some(&(line, c)) = text.get(at) {
        at += 1;
        match c {
            '`' => at = span(&text, at - 1).unwrap_or(at),
            ']' if text.get(at).is_some_and(|t| t.1 == '(') => {
                let Some((target, end)) = target(&text, at) else { continue };
                // A title may follow the address.
                all.extend(target.split_whitespace().next().map(|t| (line, t.to_string())));
                at = end;
            }
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::markdown::parse;
    use super::*;

    fn of(text: &str) -> Vec<Sentence> {
        parse((1..).zip(text.lines())).blocks.iter().flat_map(sentences).collect()
    }

    fn lengths(text: &str) -> Vec<usize> {
        of(text).iter().map(Sentence::len).collect()
    }

    #[test]
    fn a_sentence_ends_where_the_next_begins() {
        assert_eq!(lengths("One two. Three four five! Six?"), [2, 3, 1]);
        assert_eq!(lengths("It (a G. Or an M.) runs. \"Done.\" `x` is next."), [3, 4, 1, 3]);
        assert_eq!(lengths("1. Push it. There are 64. So be it."), [2, 3, 3]);
        assert_eq!(lengths("See e.g. Go 1.27, i.e. this one … Here."), [8]);
        assert_eq!(lengths("a; b: c – d"), [4]);
    }

    #[test]
    fn items_and_cells_are_sentences_of_their_own() {
        let text = "All of these:\n- one\n- two words\n\n| a b | c |\n|---|---|\n| d | e f |";
        assert_eq!(lengths(text), [3, 1, 2, 2, 1, 1, 2]);
    }

    #[test]
    fn inline_code_and_a_link_count_by_their_words() {
        assert_eq!(lengths("Call `chan::bounded(1, 2)` and ``a ` b``, then."), [5]);
        assert_eq!(lengths("See [the long text](docs/a b.md) and [`x`]."), [6]);
        assert_eq!(lengths("`code over\ntwo lines` here"), [2]);
    }

    #[test]
    fn words_know_their_lines() {
        let sentence = &of("One two\nthree. Four\nfive.")[1];
        assert_eq!((sentence.line(), sentence.words[1].0), (2, 3));
        assert_eq!(sentence.excerpt(0, 1), "Four …");
    }

    #[test]
    fn targets_are_found_outside_of_code() {
        let parsed = parse((1..).zip("a [b](c.md \"title\")\n`[d](e.md)` ![f](g(1).png)".lines()));
        let expect = [(1, "c.md".to_string()), (2, "g(1).png".to_string())];
        assert_eq!(targets(&parsed.blocks[0]), expect);
    }
}
