//! The output that a page shows, against a run's: the same lines but for their numbers.

/// Returns the first line that the page shows and `output` does not have behind the lines before
/// it. A line of `…` stands for any lines.
pub fn missing<'a>(shown: &'a [String], output: &str) -> Option<&'a str> {
    let mut lines = output.lines().map(shape);
    let wanted = shown.iter().map(String::as_str).filter(|line| !["", "…"].contains(&line.trim()));
    wanted.into_iter().find(|line| {
        let wanted = shape(line);
        !lines.any(|line| line == wanted)
    })
}

/// The line with `#` for its numbers and durations, and one blank for many.
fn shape(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line.trim();
    while let Some(c) = rest.chars().next() {
        let length = number(rest);
        if length > 0 {
            rest = &rest[length..];
            let unit = ["ns", "µs", "ms", "s"].into_iter().find(|unit| {
                let after = rest.strip_prefix(unit).map(|after| after.chars().next());
                after.is_some_and(|after| !after.is_some_and(char::is_alphanumeric))
            });
            rest = &rest[unit.map_or(0, str::len)..];
            out.push_str(if unit.is_some() { "#s" } else { "#" });
            continue;
        }
        if c != ' ' || !out.ends_with(' ') {
            out.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// The length of the number that `text` begins with.
fn number(text: &str) -> usize {
    let length = |text: &str, digit: fn(&char) -> bool| text.chars().take_while(digit).map(char::len_utf8).sum();
    if let Some(hex) = text.strip_prefix("0x") {
        let digits: usize = length(hex, char::is_ascii_hexdigit);
        return 2 + digits;
    }
    let digits: usize = length(text, char::is_ascii_digit);
    match text[digits..].strip_prefix('.') {
        Some(fraction) if digits > 0 && fraction.starts_with(|c: char| c.is_ascii_digit()) => {
            digits + 1 + length(fraction, char::is_ascii_digit)
        }
        _ => digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_no_numbers_and_no_padding() {
        assert_eq!(shape("  G 1017   at 0xffffa0 took 8.98ms: 3µs each, 12s."), "G # at # took #s: #s each, #s.");
        assert_eq!(shape("[1 22 0] 3 steps 1.5x 0.a"), "[# # #] # steps #x #.a");
    }

    #[test]
    fn shown_lines_come_in_their_order() {
        let shown = ["1 a", "  …", "c 2"].map(String::from);
        assert_eq!(missing(&shown, "x\n77 a\nb\nc 0\n"), None);
        assert_eq!(missing(&shown, "c 0\n77 a\n"), Some("c 2"));
        assert_eq!(missing(&shown, ""), Some("1 a"));
    }
}
