//! A recorded run as one HTML page: timelines, tables, and the replay of every decision.
//!
//! ```text
//!   Trace, Events ──columns──▶ a column a field ──zlib, base64──▶ ┐
//!   rules: which sentence of the book, which function              ├─▶ NAME.html
//!   html/*.js, *.css, page.html (compiled in) ────────────────────▶ ┘
//! ```
//!
//! The page makes no request. Its policy allows the one script and the one style sheet by their
//! hashes, and nothing else. Everything that it shows it computes itself from the columns, in the
//! order in which the scripts stand here:
//!
//! | script | its idea |
//! |---|---|
//! | `format.js` | numbers, times, elements |
//! | `data.js` | the columns, unpacked |
//! | `lanes.js` | intervals: the work of each M, P and G over time |
//! | `queues.js` | the queues, replayed forwards and backwards |
//! | `view.js`, `draw.js`, `timeline.js`, `input.js` | the timelines: the window, lanes, rows, the mouse |
//! | `say.js` | an event as a sentence |
//! | `memory.js`, `filter.js`, `tables.js`, `detail.js` | memory, the filter, tables, the panel of a G |
//! | `scene.js`, `replay.js`, `quiz.js` | the picture, its steps, the quiz |
//! | `keys.js`, `app.js` | the keyboard; the page as a whole |

mod columns;
mod json;
pub mod rules;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::trace::Trace;
use crate::trace::events::Events;

const PAGE: &str = include_str!("html/page.html");

const STYLE: [&str; 2] = [include_str!("html/style.css"), include_str!("html/panels.css")];

const SCRIPTS: [&str; 17] = [
    include_str!("html/format.js"),
    include_str!("html/data.js"),
    include_str!("html/lanes.js"),
    include_str!("html/queues.js"),
    include_str!("html/view.js"),
    include_str!("html/draw.js"),
    include_str!("html/timeline.js"),
    include_str!("html/input.js"),
    include_str!("html/say.js"),
    include_str!("html/memory.js"),
    include_str!("html/filter.js"),
    include_str!("html/tables.js"),
    include_str!("html/detail.js"),
    include_str!("html/scene.js"),
    include_str!("html/replay.js"),
    include_str!("html/quiz.js"),
    include_str!("html/keys.js"),
];

const APP: &str = include_str!("html/app.js");

/// How hard the columns are packed: a million events take a second and a half, and a quarter more
/// effort saves a fiftieth of the bytes.
const LEVEL: u8 = 6;

/// Makes the page of a trace. Its title is `title`, mostly the program's name.
///
/// ```
/// use cargo_trefoil::html;
/// use cargo_trefoil::trace::{Trace, events::Events, sample::Sample};
///
/// let trace = Trace::parse(&Sample { events: 100, ..Sample::default() }.file()).unwrap();
/// let page = String::from_utf8(html::export(&trace, &Events::of(&trace), "sample")).unwrap();
/// assert!(page.contains("<title>sample"));
/// assert!(page.contains("default-src 'none'"));
/// ```
pub fn export(trace: &Trace, events: &Events, title: &str) -> Vec<u8> {
    let columns = columns::of(trace, events);
    let data = BASE64.encode(miniz_oxide::deflate::compress_to_vec_zlib(&columns, LEVEL));
    let style = STYLE.concat();
    let script = format!("'use strict';\n{}{APP}", SCRIPTS.concat());
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(&script),
        hash(&style)
    );
    let parts =
        [("policy", &policy), ("title", &escape(title)), ("style", &style), ("data", &data), ("script", &script)];
    fill(PAGE, &parts).into_bytes()
}

/// Returns the source of a policy that allows `text` and nothing else.
fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(Sha256::digest(text)))
}

/// Replaces each `{{name}}` of the page. A replacement is not looked into.
fn fill(page: &str, parts: &[(&str, &String)]) -> String {
    let mut result = String::with_capacity(page.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = page;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, after) = behind.split_once("}}").expect("a name in the page ends");
        result += before;
        result += parts.iter().find(|(part, _)| *part == name).map_or("", |(_, text)| text);
        rest = after;
    }
    result + rest
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::sample::Sample;

    fn page(title: &str) -> String {
        let trace = Trace::parse(&Sample { events: 500, ..Sample::default() }.file()).unwrap();
        String::from_utf8(export(&trace, &Events::of(&trace), title)).unwrap()
    }

    #[test]
    fn the_page_names_no_address_that_a_browser_could_ask() {
        let page = page("sample");
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "src=\"", "url(", "@import", "import(", "fetch(", "XMLHttpRequest", "WebSocket"]
        {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn a_title_is_text_and_not_markup() {
        let page = page("<b>&\"{{data}}");
        assert!(page.contains("<title>&lt;b&gt;&amp;&quot;{{data}} · Trefoil trace</title>"));
        assert_eq!(page.matches("id=\"data\"").count(), 1);
    }

    #[test]
    fn the_policy_has_the_hashes_of_what_stands_in_the_page() {
        let page = page("sample");
        let between = |from: &str, to: &str| {
            let start = page.find(from).unwrap() + from.len();
            &page[start..start + page[start..].find(to).unwrap()]
        };
        assert!(between("script-src ", ";").eq(&hash(between("<script>", "</script>"))));
        assert!(between("style-src ", ";").eq(&hash(between("<style>", "</style>"))));
    }

    #[test]
    fn no_source_of_the_page_has_more_than_500_lines_or_leaves_its_element() {
        for source in SCRIPTS.iter().chain(&STYLE).chain([&APP, &PAGE]) {
            assert!(source.lines().count() <= 500, "{}", source.lines().next().unwrap_or(""));
        }
        assert!(SCRIPTS.iter().chain([&APP]).all(|source| !source.contains("</script") && !source.contains("<!--")));
        assert!(STYLE.iter().all(|source| !source.contains("</style")));
    }
}
