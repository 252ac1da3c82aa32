//! The command lines of a page.
//!
//! - In a fence of `sh`, each line is a command.
//! - In any other fence, a line that begins with `$ ` is a command. The lines below are its output.
//! - In the text, code is a command if it begins as one.
//!
//! A `cd` holds to the end of the fence.

use super::words::{Piece, split};
use crate::tidy::markdown;

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The page, as a path from the top of the checkout.
    pub page: String,
    /// The line in the page.
    pub line: usize,
    /// The text without its comment.
    pub text: String,
    /// The output that the page shows.
    pub shown: Vec<String>,
    /// True if a command of the same fence stands above this one.
    pub continues: bool,
}

/// The programs with which code in the text is a command.
const PROGRAMS: [&str; 5] = ["make", "cargo", "printf", "echo", "addr2line"];

/// Returns the command lines of a page, in its order.
pub fn commands(page: &str, text: &str) -> Vec<Command> {
    let mut found = fenced(page, text);
    found.extend(inline(page, text));
    found.sort_by_key(|command| command.line);
    found
}

fn fenced(page: &str, text: &str) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    // The language of the open fence, and the commands found before it.
    let mut fence: Option<(&str, usize)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_end();
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_none() { Some((language, found.len())) } else { None };
            continue;
        }
        let Some((language, before)) = fence else { continue };
        let typed = match language {
            "sh" => Some(line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')),
            _ => line.trim_start().strip_prefix("$ "),
        };
        let continues = found.len() > before;
        match typed {
            Some(typed) => found.push(Command {
                page: page.into(),
                line: number,
                text: typed.split("  #").next().unwrap_or(typed).trim().into(),
                shown: Vec::new(),
                continues,
            }),
            None if continues && language != "sh" => {
                found.last_mut().expect("it continues one").shown.push(line.into());
            }
            None => {}
        }
    }
    found
}

fn inline(page: &str, text: &str) -> Vec<Command> {
    let mut found = Vec::new();
    for block in markdown::parse((1..).zip(text.lines())).blocks {
        let Some(first) = block.lines.first().map(|line| line.0) else { continue };
        let lines: Vec<&str> = block.lines.iter().map(|line| line.1.trim()).collect();
        for span in lines.join(" ").split('`').skip(1).step_by(2).filter(|span| is_command(span)) {
            found.push(Command {
                page: page.into(),
                line: first,
                text: span.into(),
                shown: Vec::new(),
                continues: false,
            });
        }
    }
    found
}

/// Returns true if `code` is a program with words, perhaps behind variables.
fn is_command(code: &str) -> bool {
    let Ok(pieces) = split(code) else { return false };
    let words: Vec<&str> = pieces
        .iter()
        .map_while(|piece| match piece {
            Piece::Word(word) => Some(word.as_str()),
            Piece::Operator(_) => None,
        })
        .skip_while(|word| super::words::assignment(word).is_some())
        .collect();
    matches!(words[..], [program, second, ..] if PROGRAMS.contains(&program) && second != "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, String)> {
        commands("README.md", text).into_iter().map(|command| (command.line, command.text)).collect()
    }

    #[test]
    fn every_line_of_a_shells_fence_is_a_command() {
        let text = "```sh\nmake run       # boots\n# only a comment\n\nprintf 'a # b' | make run\n```\nmake no\n";
        assert_eq!(found(text), [(2, "make run".into()), (5, "printf 'a # b' | make run".into())]);
        let continues: Vec<bool> = commands("", text).iter().map(|command| command.continues).collect();
        assert_eq!(continues, [false, true]);
    }

    #[test]
    fn the_lines_below_a_prompt_are_its_output() {
        let page = "```text\nno command\n$ make run APP=x\n1 line\n  …\n$ make help\n```\n```rust\nlet x;\n```\n";
        let found = commands("", page);
        assert_eq!(found[0].shown, ["1 line", "  …"]);
        assert_eq!((found.len(), found[1].text.as_str(), found[1].shown.len()), (2, "make help", 0));
    }

    #[test]
    fn code_in_the_text_is_a_command_if_it_begins_as_one() {
        let text = "Type `make run\nAPP=x`, not `make` or `cargo …`; `SMP=1 cargo run`.\n\n\
                    | `printf 'a' \\| make run` | `worker_pool [jobs]` |\n|---|---|\n| `cargo-trefoil x` | `a = b c` |\n";
        let expect = [(1, "make run APP=x"), (1, "SMP=1 cargo run"), (4, "printf 'a' | make run")];
        assert_eq!(found(text), expect.map(|(line, text)| (line, text.to_string())));
    }
}
