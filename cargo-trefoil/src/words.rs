//! The program's words on a kernel command line, which is one text.
//!
//! White space separates words. Double quotes keep a word together, and a backslash takes the
//! special meaning from the byte after it, inside quotes and outside. GRUB writes its command lines
//! so, too. `trefoil_boot::options` reads them.

use std::ffi::OsString;

/// Returns typed words as text.
pub fn text_of(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Joins `words` so that the machine sees the same words.
pub fn join(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let is_special = |c: char| c == '"' || c == '\\';
    if !word.is_empty() && !word.contains(|c: char| is_special(c) || c.is_ascii_whitespace()) {
        return word.into();
    }
    let mut quoted = String::from('"');
    for c in word.chars() {
        if is_special(c) {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_as_they_are() {
        assert_eq!(join(&["1000".into(), "--fast".into(), "n=5".into(), "é'".into()]), "1000 --fast n=5 é'");
    }

    #[test]
    fn other_words_are_quoted() {
        // tests/runner.rs shows that the machine reads these as they were.
        let words = ["", "a b", "\"", "\\", "a\tb"].map(String::from);
        assert_eq!(join(&words), "\"\" \"a b\" \"\\\"\" \"\\\\\" \"a\tb\"");
    }
}
