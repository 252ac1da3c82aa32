//! A line that a person types at a terminal: echoed, and edited until it is handed over.
//!
//! ```text
//!               a character, Backspace, Ctrl-U, Ctrl-W
//!                        ┌────┐
//!                        │    ▼
//!   the line before ──▶  TYPING ──Enter, Ctrl-D──▶ FINISHED ──the reader takes all──▶ TYPING
//!   was taken              │
//!                          └──Ctrl-D on an empty line──▶ ENDED, for good
//! ```
//!
//! The reader feeds bytes. The echo is a second step, since it leaves by the output ring, which
//! other writers use at the same time. The editor knows how much of the line the screen shows.
//! [`Editor::frame`] makes the bytes that bring the screen up to date, with or without lines of
//! another writer in front. So it does not matter which writer comes first: the first one shows all
//! that was typed, and the next one finds nothing left to show.
//!
//! Lines of others come above a half-typed line:
//!
//! ```text
//!   name? Ali█        \r ESC[K  tick 7 \n  name? Ali
//!                     └─ erase          └─ the row anew
//! ```
//!
//! The row is erased from its begin. So the editor needs no table of the widths of characters. A
//! line longer than the terminal is wide stands on several rows, of which only the last is erased.
//!
//! Rejected: an echo from the interrupt handler, as in Unix (a handler does not print). So a line
//! that nobody reads yet is echoed when a goroutine reads it.

/// The longest line with its end; more characters are dropped. A key on the longest line is still
/// handled within a short stretch without preemption.
pub const LINE: usize = 1024;
/// Most bytes of a word that one key erases.
const STEP: usize = 256;
/// The longest prompt.
pub const PROMPT: usize = 128;

/// Goes to the begin of the row, and erases it.
const ERASE: &[u8] = b"\r\x1b[K";
/// Takes one column back, so often.
const BACK: &[u8] = b"\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08\x08 \x08";
/// Bytes of `BACK` for a column.
const COLUMN: usize = 3;

/// Most bytes that a frame adds to the lines in it.
pub const FRAME: usize = ERASE.len() + PROMPT + LINE;

/// Backspace, as most terminals send it and as others do.
const DELETE: u8 = 0x7f;
const BACKSPACE: u8 = 0x08;
/// Ctrl-D: the end of the input, on an empty line.
const END: u8 = 0x04;
/// Ctrl-U: erases the line.
const KILL: u8 = 0x15;
/// Ctrl-W: erases a word.
const WORD: u8 = 0x17;
const ESCAPE: u8 = 0x1b;

/// Where in an escape sequence the input is. Keys without a character send one; it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Plain,
    /// After the escape byte.
    Escape,
    /// After `ESC [` or `ESC O`: until a byte of the alphabet.
    Sequence,
}

/// The state of the line: see the picture above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Typing,
    Finished,
    Ended,
}

/// The line, and its image on the screen.
#[derive(Debug)]
pub struct Editor {
    state: State,
    keys: Keys,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    /// The last character had no room: nor have its other bytes.
    is_full: bool,
    line: [u8; LINE],
    len: usize,
    /// Bytes of a finished line that the reader has.
    taken: usize,
    prompt: [u8; PROMPT],
    prompt_len: usize,

    // --- The screen.
    /// Bytes of the line that it shows.
    shown: usize,
    /// It shows the prompt.
    prompt_shown: bool,
    /// Columns that it shows behind them, of erased characters.
    columns: usize,
    /// The whole row is to be written anew.
    anew: bool,
}

impl Editor {
    /// Makes an editor with an empty line.
    pub const fn new() -> Self {
        Self {
            state: State::Typing,
            keys: Keys::Plain,
            after_return: false,
            is_full: false,
            line: [0; LINE],
            len: 0,
            taken: 0,
            prompt: [0; PROMPT],
            prompt_len: 0,
            shown: 0,
            prompt_shown: false,
            columns: 0,
            anew: false,
        }
    }

    // --- the reader

    /// Returns true if bytes may be fed: the line is not finished, and the input has not ended.
    pub fn is_typing(&self) -> bool {
        self.state == State::Typing
    }

    /// Returns true if the input has ended.
    pub fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Returns the rest of a finished line. It ends with a line feed, unless Ctrl-D has handed it
    /// over.
    pub fn ready(&self) -> &[u8] {
        match self.state {
            State::Finished => &self.line[self.taken..self.len],
            _ => &[],
        }
    }

    /// Takes `n` bytes of a finished line. After the last one a new line begins. The screen shows
    /// the line by then: see [`is_stale`](Self::is_stale).
    ///
    /// # Panics
    /// If there are not so many bytes.
    pub fn take(&mut self, n: usize) {
        assert!(n <= self.ready().len());
        self.taken += n;
        if self.taken == self.len && self.state == State::Finished {
            self.state = State::Typing;
            (self.len, self.taken, self.shown) = (0, 0, 0);
            (self.prompt_len, self.prompt_shown) = (0, false);
        }
    }

    /// Shows `prompt` before the line; of a long one the first [`PROMPT`] bytes. An empty prompt
    /// leaves the former one.
    pub fn set_prompt(&mut self, prompt: &[u8]) {
        if !prompt.is_empty() {
            self.anew |= self.prompt_shown;
            self.prompt_len = prompt.len().min(PROMPT);
            self.prompt[..self.prompt_len].copy_from_slice(&prompt[..self.prompt_len]);
            self.prompt_shown = false;
        }
    }

    /// Takes a typed byte, while [`is_typing`](Self::is_typing).
    pub fn feed(&mut self, byte: u8) {
        debug_assert!(self.is_typing());
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        // A control byte ends an escape sequence, and means what it means.
        let is_control = byte < b' ' || byte == DELETE;
        match core::mem::replace(&mut self.keys, Keys::Plain) {
            Keys::Escape if matches!(byte, b'[' | b'O') => return self.keys = Keys::Sequence,
            Keys::Sequence if (b' '..b'@').contains(&byte) => return self.keys = Keys::Sequence,
            Keys::Escape | Keys::Sequence if !is_control => return,
            _ => {}
        }
        match byte {
            b'\n' if after_return => {}
            b'\n' | b'\r' => {
                self.push(b'\n');
                self.state = State::Finished;
            }
            END if self.len == 0 => self.state = State::Ended,
            END => self.state = State::Finished,
            DELETE | BACKSPACE => self.cut(self.begin_of_last()),
            KILL => self.cut(0),
            WORD => self.cut(self.begin_of_word()),
            ESCAPE => self.keys = Keys::Escape,
            b'\t' | b' '.. => self.add(byte),
            _ => {}
        }
    }

    /// Hands over what is typed so far, as Ctrl-D does.
    pub fn hand_over(&mut self) {
        if self.is_typing() && self.len > 0 {
            self.state = State::Finished;
        }
    }

    /// Adds a byte of a character, if there is room for the whole of it and for a line's end.
    fn add(&mut self, byte: u8) {
        if !is_continuation(byte) {
            self.is_full = self.len + 4 >= LINE;
        }
        if !self.is_full && self.len + 1 < LINE {
            self.push(byte);
        }
    }

    fn push(&mut self, byte: u8) {
        self.line[self.len] = byte;
        self.len += 1;
    }

    /// Cuts the line to `len` bytes.
    fn cut(&mut self, len: usize) {
        if len < self.shown {
            let is_a_column = self.shown - len == 1 && (b' '..DELETE).contains(&self.line[len]);
            if is_a_column && COLUMN * (self.columns + 1) <= BACK.len() {
                self.columns += 1;
            } else {
                self.anew = true;
            }
            self.shown = len;
        }
        self.len = len;
    }

    /// Returns where the last character begins: up to four bytes before the end.
    fn begin_of_last(&self) -> usize {
        let last = self.line[..self.len].iter().rev().take(4).position(|&byte| !is_continuation(byte));
        self.len - last.map_or(self.len.min(1), |behind| behind + 1)
    }

    /// Returns where the last word begins; of a longer one, [`STEP`] bytes before the end.
    fn begin_of_word(&self) -> usize {
        let is_blank = |at: usize| matches!(self.line[at - 1], b' ' | b'\t');
        let (mut at, least) = (self.len, self.len.saturating_sub(STEP));
        while at > least && is_blank(at) {
            at -= 1;
        }
        while at > least && !is_blank(at) {
            at -= 1;
        }
        // A character stays whole.
        while at > 0 && is_continuation(self.line[at]) && self.len - at < STEP + 3 {
            at -= 1;
        }
        at
    }

    // --- the screen

    /// Returns true if the screen does not show what is typed, or not the prompt.
    pub fn is_stale(&self) -> bool {
        self.anew || self.columns > 0 || self.shown < self.whole() || self.is_prompt_due()
    }

    fn is_prompt_due(&self) -> bool {
        self.prompt_len > 0 && !self.prompt_shown
    }

    /// Returns the bytes before an unfinished character, which the screen shows as a whole only.
    fn whole(&self) -> usize {
        let last = self.begin_of_last();
        let wants = match self.line[last] {
            _ if last == self.len => 0,
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        if self.state == State::Typing && self.len - last < wants { last } else { self.len }
    }

    /// Returns what erases the row: nothing, if there is nothing on it.
    fn erase(&self) -> &'static [u8] {
        let is_empty = self.shown + self.columns == 0 && !self.prompt_shown && !self.anew;
        if is_empty { &[] } else { ERASE }
    }

    /// Calls `add` with the parts of a text: `lines` of another writer, and the bytes that update
    /// the screen. If `add` returns true, the text is on its way to the screen. Returns the same.
    pub fn frame(&mut self, lines: &[u8], add: impl FnOnce(&[&[u8]]) -> bool) -> bool {
        let whole = self.whole();
        let (prompt, line) = (&self.prompt[..self.prompt_len], &self.line[..whole]);
        let is_above = self.is_typing() && !lines.is_empty();
        let added = if is_above && lines.ends_with(b"\n") {
            add(&[self.erase(), lines, prompt, line])
        } else if is_above {
            // A piece of a longer line: the rest follows on this row.
            add(&[self.erase(), lines])
        } else if self.anew || self.is_prompt_due() {
            add(&[self.erase(), prompt, line, lines])
        } else {
            add(&[&BACK[..COLUMN * self.columns], &line[self.shown..], lines])
        };
        if added {
            let is_on_row = !is_above || lines.ends_with(b"\n");
            self.shown = if is_on_row { whole } else { 0 };
            self.prompt_shown = is_on_row && self.prompt_len > 0;
            (self.columns, self.anew) = (0, false);
        }
        added
    }
}

impl Default for Editor {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns true for the bytes of a character after its first.
fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}
