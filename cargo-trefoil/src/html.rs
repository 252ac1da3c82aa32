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
//! | `format.js`, `frame.js` | numbers, times, elements; the theme, the tabs and the keys of a page |
//! | `data.js` | the columns, unpacked |
//! | `lanes.js` | intervals: the work of each M, P and G over time |
//! | `queues.js` | the queues, replayed forwards and backwards |
//! | `spans.js` | regions and tasks of the program |
//! | `view.js`, `draw.js`, `timeline.js`, `input.js` | the timelines: the window, lanes, rows, the mouse |
//! | `say.js` | an event as a sentence |
//! | `memory.js`, `filter.js`, `tables.js`, `detail.js` | memory, the filter, tables, the panel of a G |
//! | `scene.js`, `replay.js` | the picture, its steps |
//! | `keys.js`, `app.js` | the keys of the timelines; the views as a whole |
//! | `quiz.js`, `steps.js`, `one.js` | the quiz, the toolbar; the page of one trace as a whole |
//!
//! The scripts from `data.js` to `app.js` know nothing of the page around them: [`pair`] shows two
//! runs with them.

mod columns;
mod json;
pub mod pair;
pub mod rules;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use crate::trace::Trace;
use crate::trace::events::Events;

const PAGE: &str = include_str!("html/page.html");

/// The mark in a page's heading, and the filter and buttons beside it.
const MARK: &str = include_str!("html/mark.svg");
const TOOLS: &str = include_str!("html/tools.html");

/// The elements of the views of one trace.
const VIEWS: &str = include_str!("html/views.html");

const STYLE: [&str; 2] = [include_str!("html/style.css"), include_str!("html/panels.css")];

/// The scripts that every page has once.
const FRAME: [&str; 2] = [include_str!("html/format.js"), include_str!("html/frame.js")];

/// The scripts that a trace's views are made of.
const BODY: [&str; 17] = [
    include_str!("html/data.js"),
    include_str!("html/lanes.js"),
    include_str!("html/queues.js"),
    include_str!("html/spans.js"),
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
    include_str!("html/keys.js"),
    include_str!("html/app.js"),
];

/// The scripts of the page of one trace.
const ONE: [&str; 3] = [include_str!("html/quiz.js"), include_str!("html/steps.js"), include_str!("html/one.js")];

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
    let script = format!("'use strict';\n{}{}{}", FRAME.concat(), BODY.concat(), ONE.concat());
    let parts = [("title", &escape(title)), ("views", &VIEWS.into()), ("data", &pack(&columns::of(trace, events)))];
    assemble(PAGE, &STYLE.concat(), &script, &parts)
}

/// Packs columns into text.
fn pack(columns: &[u8]) -> String {
    BASE64.encode(miniz_oxide::deflate::compress_to_vec_zlib(columns, LEVEL))
}

/// Makes a page of its parts. Its policy allows this style sheet and this script, and nothing else.
fn assemble(page: &str, style: &str, script: &str, parts: &[(&str, &String)]) -> Vec<u8> {
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
        hash(script),
        hash(style)
    );
    let [mark, tools] = [MARK, TOOLS].map(|part| part.trim_end().to_string());
    let (style, script) = (style.to_string(), script.to_string());
    let own = [("policy", &policy), ("style", &style), ("script", &script), ("mark", &mark), ("tools", &tools)];
    fill(page, &[&own, parts].concat()).into_bytes()
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
        let scripts = || FRAME.iter().chain(&BODY).chain(&ONE).chain(&pair::SCRIPTS);
        for source in scripts().chain(&STYLE).chain([&pair::STYLE, &PAGE, &pair::PAGE, &VIEWS, &TOOLS]) {
            assert!(source.lines().count() <= 500, "{}", source.lines().next().unwrap_or(""));
        }
        assert!(scripts().all(|source| !source.contains("</script") && !source.contains("<!--")));
        assert!(STYLE.iter().all(|source| !source.contains("</style")));
    }
}
