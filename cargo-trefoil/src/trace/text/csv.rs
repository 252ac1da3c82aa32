//! `csv`: all events, a line each, for other programs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

use trefoil_trace::{Kind, Record};

use super::super::Recording;
use super::super::events::Event;

/// The columns. They keep their names and their order; new ones come behind.
pub const COLUMNS: [&str; 15] =
    ["number", "ns", "m", "p", "running", "event", "how", "place", "n", "a", "b", "goroutine", "at", "text", "stack"];

/// Writes the head and the lines.
///
/// # Errors
/// `out` takes no more.
pub fn write(out: &mut dyn Write, run: &Recording) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))?;
    let mut on: BTreeMap<u32, u64> = BTreeMap::new();
    for (number, event) in run.events.iter().enumerate() {
        let Record { a, b, n, p, .. } = event.record;
        let running = on.get(&event.m).copied().unwrap_or(0);
        match event.kind() {
            Some(Kind::Switch) => _ = on.insert(event.m, b),
            Some(Kind::Begin) => _ = on.insert(event.m, a),
            _ => {}
        }
        let kind = event.kind().map_or_else(|| event.record.kind.to_string(), |kind| kind.as_str().into());
        let p = if p == Record::NO_P { String::new() } else { p.to_string() };
        let place = event.record.place().map_or("", |place| place.as_str());
        let place = if place == "nowhere" { "" } else { place };
        let (name, at) = subject(run, event);
        let text = event.text.as_deref().unwrap_or("");
        let stack: Vec<String> = event.stack.iter().flatten().map(|&low| frame(run, low)).collect();
        writeln!(
            out,
            "{number},{ns},{m},{p},{running},{kind},{how},{place},{n},{a},{b},{name},{at},{text},{stack}",
            ns = event.ns,
            m = event.m,
            how = quoted(&how(run, event)),
            name = quoted(&name),
            at = quoted(&at),
            text = quoted(text),
            stack = quoted(&stack.join(";")),
        )?;
    }
    Ok(())
}

/// Returns `how`: the words for a reason, or the number.
fn how(run: &Recording, event: &Event) -> String {
    match event.kind() {
        Some(Kind::Switch) => run.trace.meta.why(event.why()),
        Some(Kind::Put) if event.record.how != 0 => run.trace.meta.why(event.why()),
        _ => event.record.how.to_string(),
    }
}

/// Returns the name of the goroutine in `a` and the place that created it.
fn subject(run: &Recording, event: &Event) -> (String, String) {
    let is_other = matches!(
        event.kind(),
        None | Some(
            Kind::Wake
                | Kind::IpiSent
                | Kind::Log
                | Kind::RegionBegin
                | Kind::RegionEnd
                | Kind::TaskBegin
                | Kind::TaskEnd
                | Kind::Frames
        )
    );
    let Some(life) = run.lives.get(&event.record.a).filter(|_| !is_other) else { return Default::default() };
    let name =
        life.name.clone().unwrap_or_else(|| if life.entry == 0 { String::new() } else { run.trace.entry(life.entry) });
    (name, run.trace.place(life.created_at).map(ToString::to_string).unwrap_or_default())
}

fn frame(run: &Recording, low: u32) -> String {
    match run.trace.code(low).first() {
        Some(code) => code.function.replace(';', ","),
        None => format!("{:#x}", run.trace.meta.address(low)),
    }
}

/// Returns a field in quotes, if it needs them.
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::file::Trace;
    use super::super::super::sample::Sample;
    use super::*;

    #[test]
    fn a_field_with_a_comma_or_a_quote_is_quoted() {
        assert_eq!([quoted("a"), quoted("a,b"), quoted("a\"b\n")], ["a", "\"a,b\"", "\"a\"\"b\n\""]);
    }

    #[test]
    fn every_event_is_a_line_with_all_columns() {
        let run = Recording::new(Trace::parse(&Sample::default().file()).unwrap());
        let mut out = Vec::new();
        write(&mut out, &run).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), run.events.len() + 1);
        let commas = COLUMNS.len() - 1;
        assert!(text.lines().all(|line| line.contains('"') || line.matches(',').count() == commas));
    }
}
