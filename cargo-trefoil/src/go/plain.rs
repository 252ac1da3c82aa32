//! Names of functions without type arguments.
//!
//! ```text
//!   <app::Pool<u64> as core::ops::drop::Drop>::drop        app::Pool::drop
//!   <app::Pool<u64>>::run::<fn() -> u64>::{closure#0}      app::Pool::run::{closure#0}
//! ```
//!
//! `pprof` takes what stands in angle brackets for arguments of C++'s templates, and leaves it out:
//! only `::drop` would stay of the first.

/// Returns the name without type arguments. A method goes by the type that has it.
///
/// ```
/// use cargo_trefoil::go::plain::plain;
///
/// assert_eq!(plain("app::walk::<u8>::{closure#0}"), "app::walk::{closure#0}");
/// ```
pub fn plain(name: &str) -> String {
    let (mut plain, mut rest) = (String::new(), name);
    while let Some(open) = rest.find('<') {
        plain += &rest[..open];
        let (inside, behind) = brackets(&rest[open..]);
        if plain.is_empty() {
            plain = of_type(inside);
        } else if plain.ends_with("::") {
            plain.truncate(plain.len() - 2);
        }
        rest = behind;
    }
    plain + rest
}

/// Splits at the bracket that closes the first one. Without one, all is inside.
fn brackets(text: &str) -> (&str, &str) {
    let (mut depth, mut before) = (0, ' ');
    for (at, c) in text.char_indices() {
        // An arrow closes nothing.
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[1..at], &text[at + 1..]);
        }
        before = c;
    }
    (&text[1..], "")
}

/// Returns the name of the type in `T` or `T as Trait`. Of a reference, a list or a pair it is the
/// first type inside.
fn of_type(text: &str) -> String {
    let starts = ["&", "*const ", "*mut ", "mut ", "dyn ", "[", "("];
    let mut text = text;
    while let Some(inside) = starts.iter().find_map(|start| text.strip_prefix(start)) {
        text = inside;
    }
    if text.starts_with('<') {
        // `<<T as Trait>::Item as Trait>`
        return of_type(brackets(text).0);
    }
    let is_part = |c: char| c.is_alphanumeric() || "_:{}#".contains(c);
    text[..text.find(|c| !is_part(c)).unwrap_or(text.len())].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_of_a_name_stays() {
        for (name, wanted) in [
            ("app::main", "app::main"),
            ("app::main::{closure#0}::{closure#1}", "app::main::{closure#0}::{closure#1}"),
            ("app::walk::<u8, app::Tree<u8>>", "app::walk"),
            ("<app::Pool>::run", "app::Pool::run"),
            ("<app::Pool<u64>>::run::<fn(u8) -> u64>::{closure#0}", "app::Pool::run::{closure#0}"),
            ("<app::Pool<u64> as core::ops::drop::Drop>::drop", "app::Pool::drop"),
            ("<&mut app::Reader as core::iter::Iterator>::next", "app::Reader::next"),
            ("<[app::Line]>::sort", "app::Line::sort"),
            ("<(app::A, app::B) as app::Both>::both", "app::A::both"),
            ("<<app::A as app::Has>::Item as app::Both>::both", "app::A::both"),
            ("<app::main::{closure#0} as core::ops::FnOnce<()>>::call_once", "app::main::{closure#0}::call_once"),
            ("app::Pool<T>::new", "app::Pool::new"),
            ("app::broken<u8", "app::broken"),
            ("", ""),
        ] {
            assert_eq!(plain(name), wanted);
        }
    }
}
