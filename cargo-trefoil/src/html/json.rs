//! JSON, written: texts, lists and objects.

use std::fmt::Write;

/// Writes a text.
pub(super) fn text(text: &str) -> String {
    let mut result = String::with_capacity(text.len() + 2);
    result.push('"');
    for c in text.chars() {
        match c {
            '"' => result += "\\\"",
            '\\' => result += "\\\\",
            c if c < ' ' => {
                let _ = write!(result, "\\u{:04x}", u32::from(c));
            }
            c => result.push(c),
        }
    }
    result.push('"');
    result
}

/// Writes a list of values that are JSON already.
pub(super) fn list(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<_> = values.into_iter().collect();
    format!("[{}]", values.join(","))
}

/// Writes an object. Its values are JSON already.
pub(super) fn object<K: AsRef<str>>(members: impl IntoIterator<Item = (K, String)>) -> String {
    let members: Vec<_> = members.into_iter().map(|(key, value)| format!("{}:{value}", text(key.as_ref()))).collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_mean_something_are_escaped() {
        assert_eq!(text("a\"\\\n\u{1}µ"), "\"a\\\"\\\\\\u000a\\u0001µ\"");
        assert_eq!(object([("k", list(["1".into(), text("v")]))]), "{\"k\":[1,\"v\"]}");
        assert_eq!(list([]), "[]");
    }
}
