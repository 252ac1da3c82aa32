//! A typed line, by its echo on a small model of a terminal: a person sees the line that the
//! program gets.
#![cfg(not(loom))]

use trefoil_sched::input::editor::{Editor, LINE, PROMPT};

/// A terminal that is wide enough: rows of characters, and the cursor on the last.
#[derive(Debug, Default)]
struct Screen {
    above: Vec<String>,
    row: Vec<char>,
    column: usize,
}

impl Screen {
    fn write(&mut self, text: &str) {
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => {
                    let row: String = std::mem::take(&mut self.row).iter().collect();
                    self.above.push(row.trim_end().into());
                    self.column = 0;
                }
                '\x08' => self.column = self.column.checked_sub(1).expect("the cursor is at the begin"),
                '\x1b' => {
                    assert_eq!((rest.next(), rest.next()), (Some('['), Some('K')));
                    self.row.truncate(self.column);
                }
                _ => {
                    self.row.resize(self.row.len().max(self.column + 1), ' ');
                    self.row[self.column] = c;
                    self.column += 1;
                }
            }
        }
    }

    /// Returns what stands before the cursor. Nothing stands behind it.
    fn row(&self) -> String {
        assert!(self.row[self.column..].iter().all(|&c| c == ' '), "{:?}", self.row);
        self.row[..self.column].iter().collect()
    }
}

/// An editor before its screen.
struct Seat {
    editor: Editor,
    screen: Screen,
}

impl Seat {
    fn new() -> Self {
        Self { editor: Editor::new(), screen: Screen::default() }
    }

    /// Prints `lines` of another writer, or nothing but the echo.
    fn print(&mut self, lines: &str) {
        let mut bytes = Vec::new();
        assert!(self.editor.frame(lines.as_bytes(), |parts| {
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            true
        }));
        self.screen.write(std::str::from_utf8(&bytes).expect("whole characters reach the screen"));
        assert!(!self.editor.is_stale() || !lines.ends_with('\n') && !lines.is_empty());
    }

    fn type_in(&mut self, keys: &[u8]) {
        keys.iter().for_each(|&key| self.editor.feed(key));
    }

    fn enter(&mut self) -> String {
        let line = String::from_utf8_lossy(self.editor.ready()).into_owned();
        self.editor.take(line.len());
        line
    }
}

/// Types `keys` at once or one by one, and returns the line and the rows of the screen.
fn typed(keys: &[u8]) -> (String, Vec<String>) {
    let results = [keys.len(), 1].map(|at_once| {
        let mut seat = Seat::new();
        for some in keys.chunks(at_once) {
            seat.type_in(some);
            seat.print("");
        }
        (seat.enter(), seat.screen.above)
    });
    assert_eq!(results[0], results[1]);
    let [result, _] = results;
    result
}

#[test]
fn what_is_erased_is_neither_in_the_line_nor_on_the_screen() {
    for (keys, line) in [
        (&b"helo\x7flo\r"[..], "hello"),
        (b"helo\x08lo\n", "hello"),
        (b"\x7f\x7fa\r", "a"),
        (b"never mind\x15say\r", "say"),
        (b"one two  \x17three\r", "one three"),
        (b"one\x17\x17two\r", "two"),
        (b"one\ttwo\x17\x7f!\r", "one!"),
        ("äöü\x7f\x7fß€\x7f\u{1f600}\x7fx\r".as_bytes(), "äßx"),
        (b"1234567890123456\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f!\r", "1234!"),
    ] {
        assert_eq!(typed(keys), (format!("{line}\n"), [line.to_string()].into()), "{keys:?}");
    }
}

#[test]
fn keys_without_a_character_are_dropped() {
    let keys = b"a\x1b[Ab\x1b[3~c\x1bOHd\x1bxe\x1b[1;5D\x01\x03\x0b\x11\x13f\x1b\x7f\x1b[\x7fg\x1b\r";
    assert_eq!(typed(keys).0, "abcdg\n");
}

#[test]
fn enter_is_a_carriage_return_a_line_feed_or_both() {
    let mut seat = Seat::new();
    seat.type_in(b"one\r");
    assert_eq!(seat.enter(), "one\n");
    seat.type_in(b"\ntwo\n");
    assert_eq!(seat.enter(), "two\n");
    seat.type_in(b"\n");
    assert_eq!(seat.enter(), "\n");
}

#[test]
fn ctrl_d_hands_over_what_is_there_and_nothing_is_the_end() {
    let mut seat = Seat::new();
    seat.type_in(b"half\x04");
    assert!(!seat.editor.is_typing() && !seat.editor.has_ended());
    seat.print("");
    assert_eq!(seat.enter(), "half");
    seat.type_in(b"x\x7f\x04");
    assert!(seat.editor.has_ended() && seat.editor.ready().is_empty());
    seat.editor.hand_over();
    assert!(seat.editor.has_ended());
}

#[test]
fn a_line_is_taken_in_pieces() {
    let mut seat = Seat::new();
    seat.type_in(b"abc\r");
    seat.print("");
    seat.editor.take(3);
    assert_eq!((seat.editor.ready(), seat.editor.is_typing()), (&b"\n"[..], false));
    seat.editor.take(1);
    assert!(seat.editor.is_typing() && !seat.editor.is_stale());
}

#[test]
fn lines_of_others_come_above_the_prompt_and_the_half_line() {
    let mut seat = Seat::new();
    seat.editor.set_prompt(b"name? ");
    seat.print("");
    seat.print("one\ntwo\n");
    assert_eq!((seat.screen.above.join("|"), seat.screen.row()), ("one|two".into(), "name? ".into()));
    seat.type_in(b"Bob");
    seat.print("three\n");
    assert_eq!((seat.screen.above.join("|"), seat.screen.row()), ("one|two|three".into(), "name? Bob".into()));
    seat.type_in(b"\x7f\r");
    seat.print("four\n");
    assert_eq!(seat.screen.above.join("|"), "one|two|three|name? Bo|four");
    assert_eq!(seat.enter(), "Bo\n");
    seat.print("five\n");
    assert_eq!((seat.screen.above.len(), seat.screen.row()), (6, String::new()));
}

#[test]
fn another_readers_prompt_takes_the_place_of_the_first() {
    let mut seat = Seat::new();
    seat.editor.set_prompt(b"first? ");
    seat.type_in(b"x");
    seat.print("");
    seat.editor.set_prompt(b"");
    assert!(!seat.editor.is_stale());
    seat.editor.set_prompt(b"second? ");
    seat.print("");
    assert_eq!((seat.screen.above.len(), seat.screen.row()), (0, "second? x".into()));
    seat.editor.set_prompt(&[b'p'; PROMPT + 1]);
    seat.print("");
    assert_eq!(seat.screen.row().len(), PROMPT + 1);
}

#[test]
fn nothing_is_shown_if_the_ring_has_no_room() {
    let mut seat = Seat::new();
    seat.type_in(b"abc");
    assert!(!seat.editor.frame(b"line\n", |_| false) && seat.editor.is_stale());
    seat.print("line\n");
    assert_eq!((seat.screen.above.join("|"), seat.screen.row()), ("line".into(), "abc".into()));
}

#[test]
fn a_line_has_an_end_and_whole_characters_however_long_it_is() {
    for character in ["x", "ä", "€", "\u{1f600}"] {
        let mut seat = Seat::new();
        seat.type_in(character.repeat(LINE).as_bytes());
        seat.print("");
        seat.type_in(b"\r");
        let line = seat.enter();
        let text = line.strip_suffix('\n').unwrap();
        assert!(line.len() <= LINE && line.len() > LINE - 8 && text.chars().all(|c| character.contains(c)));
    }
    // One key erases a word, or some whole characters of a very long one.
    for character in ["x", "€"] {
        let mut seat = Seat::new();
        let word = format!("two {}", character.repeat(300));
        seat.type_in(word.as_bytes());
        seat.type_in(b"\x17\r");
        let left = seat.enter();
        let left = left.trim_end();
        assert!(word.starts_with(left) && (256..260).contains(&(word.len() - left.len())), "{left}");
    }
    let mut seat = Seat::new();
    seat.type_in(&[0x80; 2 * LINE]);
    seat.type_in(b"\r");
    assert_eq!(seat.editor.ready().len(), LINE);
}

/// Does to `line` what the key means.
fn press(line: &mut Vec<char>, key: &str) {
    match key {
        "\x7f" => _ = line.pop(),
        "\x15" => line.clear(),
        "\x17" => {
            let is_blank = |c: &char| matches!(c, ' ' | '\t');
            while line.pop_if(|c| is_blank(c)).is_some() {}
            while line.pop_if(|c| !is_blank(c)).is_some() {}
        }
        "\x1b[A" | "\x01" => {}
        _ => line.extend(key.chars()),
    }
}

/// Any keys, with lines of others and echoes at any time: the screen shows what the line is.
#[test]
fn the_screen_shows_the_line_whatever_is_typed_and_printed() {
    const KEYS: [&str; 13] =
        ["a", "b", " ", "\t", "ä", "€", "\u{1f600}", "\x7f", "\x7f", "\x15", "\x17", "\x1b[A", "\x01"];
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |n: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as usize % n
    };
    let mut seat = Seat::new();
    let (mut line, mut prompt) = (Vec::new(), "");
    let mut printed = 0;
    for _ in 0..20_000 {
        match random(12) {
            0 => {
                printed += 1;
                seat.print(&format!("line {printed}\n"));
                assert_eq!(seat.screen.above.last(), Some(&format!("line {printed}")));
            }
            1 => seat.print(""),
            2 if random(8) == 0 => {
                prompt = ["> ", "?"][random(2)];
                seat.editor.set_prompt(prompt.as_bytes());
            }
            _ => {
                let key = KEYS[random(KEYS.len())];
                press(&mut line, key);
                seat.type_in(key.as_bytes());
            }
        }
        if !seat.editor.is_stale() {
            assert_eq!(seat.screen.row(), format!("{prompt}{}", line.iter().collect::<String>()));
        }
    }
    assert!(printed > 1000 && seat.screen.above.len() == printed);
    seat.type_in(b"\r");
    assert_eq!(seat.enter(), format!("{}\n", line.iter().collect::<String>()));
}
