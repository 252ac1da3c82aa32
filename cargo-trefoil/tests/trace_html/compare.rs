//! The page of two traces: one clock, one goroutine and one set of controls for both.

use std::path::PathBuf;
use std::process::{Command, Output};

use cargo_trefoil::html::pair::{self, Named};
use cargo_trefoil::trace::sample::Sample;
use cargo_trefoil::trace::totals::Totals;
use cargo_trefoil::trace::{Recording, Trace};
use serde_json::{Value, json};

use super::browser::Browser;
use super::{opens_within, severe};

/// Two runs that differ in their seed and their length.
fn samples(events: usize) -> [Sample; 2] {
    let sample = Sample { events, goroutines: 60, ..Sample::default() };
    [sample.clone(), Sample { seed: 2, events: events * 3 / 2, cores: 3, procs: 3, ..sample }]
}

fn recordings(samples: &[Sample; 2]) -> [Recording; 2] {
    [0, 1].map(|at| Recording::new(Trace::parse(&samples[at].file()).unwrap()))
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Writes the page of two samples, and returns its address and the runs.
fn page(name: &str, samples: &[Sample; 2]) -> (String, [Recording; 2]) {
    let runs = recordings(samples);
    let file = file(&format!("{name}.html"));
    let [a, b] = &runs;
    std::fs::write(&file, pair::export(Named { name: "with", run: a }, Named { name: "without", run: b })).unwrap();
    (format!("file://{}", file.display()), runs)
}

/// Returns the times of all events since the first program event, in nanoseconds.
fn times(run: &Recording) -> Vec<f64> {
    let runs = |event: &&cargo_trefoil::trace::events::Event| match event.record.kind {
        2 => event.record.b != 0,
        kind => kind == trefoil_trace::Kind::Begin as u8 && event.record.a != 0,
    };
    let first = run.events.iter().find(runs).unwrap().ns;
    run.events.iter().map(|event| event.ns as f64 - first as f64).collect()
}

#[test]
fn both_runs_are_where_the_clock_is() {
    let Some(browser) = Browser::start() else { return };
    let (url, runs) = page("clock", &samples(6_000));
    browser.open(&url);
    let [a, b] = [times(&runs[0]), times(&runs[1])];
    let ends = [a[a.len() - 1], b[b.len() - 1]];
    let upto = |times: &[f64], t: f64| times.iter().filter(|&&time| time <= t).count();
    let lengths = browser.run("return pair.panes.map((pane) => pane.end)");
    let [of_a, of_b]: [f64; 2] = serde_json::from_value(lengths).unwrap();
    assert!(of_a >= ends[0] && of_b >= ends[1] && of_b > of_a * 1.2, "{of_a} {of_b}");
    let told = browser.text("lengths");
    assert!(told.starts_with("A took ") && told.contains(", B ") && told.contains("× "), "{told}");

    let state = "return pair.panes.map((pane) => [pane.replay.at, pane.app.now()])";
    for share in [0.0, 0.1, 0.5, 0.83, 1.0] {
        // By time: the shorter run has ended before the longer.
        let t = of_b * share;
        browser.run(&format!("lineUp('time'); seek({t})"));
        let at: [[f64; 2]; 2] = serde_json::from_value(browser.run(state)).unwrap();
        assert_eq!(at, [[upto(&a, t) as f64, t], [upto(&b, t) as f64, t]], "{share}");
        // By share: both end together.
        browser.run(&format!("lineUp('share'); seek({share})"));
        let at: [[f64; 2]; 2] = serde_json::from_value(browser.run(state)).unwrap();
        assert_eq!(at[0][0], upto(&a, of_a * share) as f64, "{share}");
        assert!((at[1][0] - upto(&b, of_b * share) as f64).abs() <= 1.0 && (at[1][1] - of_b * share).abs() < 1.0);
    }

    // The lanes of both begin at the same place, also where the panes differ by a pixel.
    for width in 1196..1206 {
        browser.size(width, 900);
        browser.wait_for("requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)))");
        let [a, b]: [f64; 2] =
            serde_json::from_value(browser.run("return pair.panes.map((pane) => pane.app.view.left)")).unwrap();
        assert!(a == b && a > 0.0, "{width}: {a} {b}");
    }

    // The windows follow each other, by either measure, from either pane.
    let windows = "return pair.panes.map(({ app: { view } }) => [view.from, view.to])";
    browser.run("lineUp('time'); pair.panes[1].app.view.show(1e6, 1.5e6); pair.panes[1].app.changed()");
    let [a, b]: [[f64; 2]; 2] = serde_json::from_value(browser.run(windows)).unwrap();
    assert_eq!((a, b), ([1e6, 1.5e6], [1e6, 1.5e6]));
    browser.run("lineUp('share')");
    let [a, b]: [[f64; 2]; 2] = serde_json::from_value(browser.run(windows)).unwrap();
    assert_eq!(a, [1e6, 1.5e6], "A's window stays");
    assert!((b[0] / of_b - a[0] / of_a).abs() < 1e-9 && (b[1] / of_b - a[1] / of_a).abs() < 1e-9);
    assert_eq!(severe(&browser), Vec::<Value>::new());
}

#[test]
fn steps_go_through_the_decisions_of_both_in_the_order_of_time_and_back() {
    let Some(browser) = Browser::start() else { return };
    let (url, _) = page("steps", &samples(800));
    browser.open(&url);
    let walk = "
        showBoth('timeline');
        toStart();
        const seen = [];
        const state = () => JSON.stringify(pair.panes.map((pane) => pane.replay.at));
        seen.push(state());
        let decisions = [0, 0];
        for (const { number, trace, app } of pair.panes) for (let i = 0; i < trace.total; i++) decisions[number] += app.minor[trace.kind[i]] ? 0 : 1;
        let last = -Infinity;
        const moved = [0, 0];
        let wrong = 0;
        while (stepBoth(1)) {
            const pane = present();
            const at = pane.at(pane.replay.at - 1);
            if (at < last) wrong += 1;
            last = at;
            moved[pane.number] += 1;
            // The other pane has all its events up to here, and none behind.
            const other = pair.panes[1 - pane.number];
            if (other.replay.at !== other.count(at, other.number < pane.number)) wrong += 1;
            seen.push(state());
        }
        let back = 0;
        while (seen.length > 1) {
            seen.pop();
            stepBoth(-1);
            if (state() !== seen[seen.length - 1]) { back = seen.length; break; }
        }
        return [decisions, moved, wrong, back];";
    let told = browser.run(walk);
    assert_eq!(told[0], told[1], "each decision of each run is one step");
    assert_eq!((&told[2], &told[3]), (&json!(0), &json!(0)));
    assert!(told[0][0].as_u64() > Some(150) && told[0][1].as_u64() > Some(150), "{told}");
    assert_eq!(severe(&browser), Vec::<Value>::new());
}

#[test]
fn a_goroutine_is_chosen_in_both_and_the_keys_drive_both() {
    let Some(browser) = Browser::start() else { return };
    let (url, _) = page("choose", &samples(6_000));
    browser.open(&url);
    browser.press("v2");
    // A click in pane B.
    let row = "
        const { page, app, root } = pair.panes[1];
        app.view.show(1.0e6, 1.1e6);
        app.changed();
        let number = page.timeline.rows.length;
        while (!pair.panes[0].twin(pair.panes[1], page.rowAt(number).index)) number += 1;
        const row = page.rowAt(number);
        root.getElementById('lanes').scrollTop = row.y - 100;
        const box = root.getElementById('lanes').getBoundingClientRect();
        return [Math.round(box.left + app.view.left + 200), Math.round(box.top + row.y - root.getElementById('lanes').scrollTop + 8), row.index]";
    let [x, y, g]: [i64; 3] = serde_json::from_value(browser.run(row)).unwrap();
    browser.click(x, y);
    let chosen = "
        const [a, b] = pair.panes;
        const key = (pane) => pane.trace.gs[pane.app.selected].key;
        return [b.app.selected, key(a) === key(b), a.app.selected > 0, a.root.getElementById('detail-name').textContent]";
    let told = browser.run(chosen);
    assert_eq!((&told[0], &told[1], &told[2]), (&json!(g), &json!(true), &json!(true)), "{told}");
    assert!(told[3].as_str().unwrap().starts_with('G'), "{told}");
    // The clock is where the click was, in both.
    let [a, b]: [f64; 2] =
        serde_json::from_value(browser.run("return pair.panes.map((pane) => pane.app.now())")).unwrap();
    assert!(a == b && (1.0e6..1.1e6).contains(&a), "{a} {b}");

    // Every goroutine has at most one twin, and it goes back to where it came from.
    let twins = "
        const [a, b] = pair.panes;
        let [found, wrong, none] = [0, 0, 0];
        for (let g = 1; g < a.trace.gs.length; g++) {
            const twin = b.twin(a, g);
            if (!twin) none += 1;
            else if (b.trace.gs[twin].key !== a.trace.gs[g].key || b.trace.gs[twin].hue !== a.trace.gs[g].hue) wrong += 1;
            else found += 1;
        }
        const lone = a.trace.gs.findIndex((row, g) => g > 0 && !b.twin(a, g));
        if (lone > 0) a.app.select(lone);
        return [found, wrong, lone > 0 ? b.root.getElementById('match').textContent : 'No goroutine'];";
    let told = browser.run(twins);
    assert!(told[0].as_u64() > Some(20), "{told}");
    assert_eq!(told[1], 0);
    assert!(told[2].as_str().unwrap().starts_with("No goroutine"), "{told}");

    // Keys: both step, both zoom, both play, and both end.
    let at = "return pair.panes.map((pane) => pane.replay.at).join()";
    browser.run("seek(5e5)");
    let before = browser.run(at);
    browser.press("...");
    assert_ne!(browser.run(at), before);
    browser.press(",,,");
    assert_eq!(browser.run(at), before);
    let span = "return pair.panes.map((pane) => Math.round(pane.app.view.span))";
    let before = browser.run(span);
    browser.press("w");
    let after = browser.run(span);
    assert!(after[0] == after[1] && after[0].as_u64() < before[0].as_u64(), "{before} {after}");
    browser.run("setSpeed('w5')");
    browser.press("0");
    browser.press(" ");
    browser.wait_for("setTimeout(done, 1000)");
    browser.press(" ");
    let played = browser.run("return [pair.at, player.playing, pair.panes.map((pane) => pane.replay.at > 0)]");
    assert!(played[0].as_f64() > Some(5e5), "{played}");
    assert_eq!((&played[1], &played[2]), (&json!(false), &json!([true, true])));
    browser.run("seek(5e5); setSpeed('s30')");
    let before = browser.run(at);
    browser.press(" ");
    browser.wait_for("setTimeout(done, 500)");
    browser.press(" ");
    assert_ne!(browser.run(at), before, "it plays by steps, too");
    browser.press("l");
    assert_eq!(browser.run("return [pair.by, byId('align').value]"), json!(["share", "share"]));
    browser.press("\u{e010}");
    let ended = "return pair.panes.map((pane) => pane.replay.at === pane.trace.total)";
    assert_eq!(browser.run(ended), json!([true, true]));
    browser.press("?");
    let keys = browser.text("keys");
    for part in ["in either run", "line up", "Filter: words"] {
        assert!(keys.contains(part), "{part}: {keys}");
    }
    browser.press("\u{e00c}");

    // The filter and the theme are those of both.
    browser.run("takeFilter('name:sleeper')");
    assert!(browser.text("filtered").starts_with("A: ") && browser.text("filtered").contains(", B: "));
    assert_eq!(browser.run("return pair.panes.map((pane) => pane.app.query)"), json!(["name:sleeper", "name:sleeper"]));
    let ink = "return pair.panes.map((pane) => getComputedStyle(pane.root.getElementById('lanes')).backgroundColor)";
    let light = browser.run(ink);
    browser.press("t");
    let dark = browser.run(ink);
    assert!(light[0] != dark[0] && dark[0] == dark[1], "{light} {dark}");

    // An address leads to the same view; a narrow page has the panes below each other.
    browser.open(&format!("{url}#x=0.25&by=share&v=replay&a=3"));
    let view = "return [pair.at, pair.by, pair.shown, pair.panes[0].trace.gs[pair.panes[0].app.selected].id]";
    assert_eq!(browser.run(view), json!([0.25, "share", "replay", 3]));
    browser.size(600, 900);
    let boxes = "return pair.panes.map((pane) => pane.holder.getBoundingClientRect()).map(({ left, top, bottom }) => [left, top, bottom])";
    let [a, b]: [[f64; 3]; 2] = serde_json::from_value(browser.run(boxes)).unwrap();
    assert!(a[0] == b[0] && b[1] >= a[2], "{a:?} {b:?}");
    assert_eq!(severe(&browser), Vec::<Value>::new());
}

#[test]
fn the_table_has_the_totals_of_both_and_the_panes_their_options() {
    let Some(browser) = Browser::start() else { return };
    let (url, runs) = page("totals", &samples(6_000));
    browser.open(&url);
    let cells = "return [...document.querySelectorAll('#totals tr')].map((row) => [...row.cells].map((cell) => cell.textContent.replaceAll('\\u202f', '')))";
    let rows: Vec<Vec<String>> = serde_json::from_value(browser.run(cells)).unwrap();
    let totals = runs.each_ref().map(Totals::of);
    let mut checked = 0;
    for (name, of) in [
        ("switches", (|totals| totals.kinds[&2]) as fn(&Totals) -> u64),
        ("steals", |totals| totals.ms.values().map(|m| m.hauls).sum()),
        ("wake-ups sent", |totals| totals.ms.values().map(|m| m.wakes).sum()),
        ("in vain", |totals| totals.ms.values().map(|m| m.in_vain).sum()),
        ("preemptions", |totals| totals.ms.values().map(|m| m.preempted).sum()),
    ] {
        let column = rows[0].iter().position(|head| head == name).unwrap_or_else(|| panic!("{name}: {:?}", rows[0]));
        for run in 0..2 {
            assert_eq!(rows[1 + run][column], of(&totals[run]).to_string(), "{name}");
        }
        checked += 1;
    }
    for name in ["run time", "ready to run: p50", "p99", "longest wait"] {
        assert!(rows[0].iter().any(|head| head == name), "{name}: {:?}", rows[0]);
    }
    assert_eq!((rows.len(), checked), (4, 5));
    let options = "return pair.panes.map((pane) => [...pane.root.querySelectorAll('#options code')].map((code) => code.textContent))";
    assert_eq!(browser.run(options), json!([["seed=1", "4 cores", "4 P’s"], ["seed=2", "3 cores", "3 P’s"]]));
    let names = browser.run("return pair.panes.map((pane) => pane.root.getElementById('name').textContent)");
    assert_eq!(names, json!(["Awith", "Bwithout"]));
    assert!(browser.run("return byId('different').hidden").as_bool().unwrap());
}

#[test]
fn two_million_events_open_in_a_few_seconds_without_a_request() {
    let Some(browser) = Browser::start() else { return };
    let sample = Sample { events: 1_250_000, goroutines: 400, ..Sample::default() };
    let (url, runs) = page("two-millions", &[sample.clone(), Sample { seed: 2, ..sample }]);
    assert!(runs.iter().all(|run| run.events.len() >= 1_000_000));
    opens_within(&browser, &url, "pair.opened", 6_000.0);
    let heap = browser.run("return performance.memory.usedJSHeapSize / 1048576").as_f64().unwrap();
    println!("the heap has {heap:.0} MiB");
    let moves = "
        const times = [];
        for (let k = 0; k < 40; k++) {
            const began = performance.now();
            seek(((k * 7919) % 1000) / 1000 * last());
            times.push(performance.now() - began);
        }
        return times.sort((a, b) => a - b)";
    let times: Vec<f64> = serde_json::from_value(browser.run(moves)).unwrap();
    println!("a jump of both takes {:.1} ms, at most {:.1} ms", times[20], times[39]);
    assert!(times[20] < 500.0, "{times:?}");
}

#[test]
fn runs_of_odd_records_or_of_none_can_be_compared() {
    let Some(browser) = Browser::start() else { return };
    let read = |sample: &Sample| Trace::parse(&sample.file()).unwrap();
    let sound = read(&samples(2_000)[0]);
    let flight = read(&Sample { events: 20_000, capacity: 1_000, flight: true, ..Sample::default() });
    let mut odd = sound.clone();
    for (i, record) in odd.rings.iter_mut().flat_map(|ring| &mut ring.records).enumerate() {
        match i % 17 {
            0 => record.kind = (i * 31) as u8,
            1 => (record.how, record.place) = ((i * 7) as u8, (i * 11) as u8),
            2 => (record.a, record.b) = (record.b, u64::MAX >> (i % 64)),
            3 => record.p = (i % 9) as u8,
            _ => {}
        }
    }
    let mut empty = sound.clone();
    empty.rings.clear();
    let runs = [&sound, &flight, &odd, &empty].map(|trace| Recording::new(trace.clone()));
    for (n, (a, b)) in [(0, 1), (1, 0), (2, 0), (0, 3), (3, 2), (3, 3), (0, 0)].into_iter().enumerate() {
        let html = file(&format!("odd{n}.html"));
        let page = pair::export(Named { name: "a", run: &runs[a] }, Named { name: "b", run: &runs[b] });
        std::fs::write(&html, page).unwrap();
        browser.open(&format!("file://{}#a=3", html.display()));
        let walk = "
            for (const by of ['share', 'time']) {
                lineUp(by);
                for (const [view] of pair.views) {
                    showBoth(view);
                    for (const x of [0.3, 1, 0, 0.7]) seek(x * last());
                    for (const direction of [1, 1, -1, 1, -1, -1]) stepBoth(direction);
                }
            }
            toStart();
            stepBoth(-1);
            return pair.panes.map((pane) => pane.replay.at)";
        assert_eq!(browser.run(walk), json!([0, 0]), "{a} beside {b}");
        assert_eq!(severe(&browser), Vec::<Value>::new(), "{a} beside {b}");
        assert!(!browser.text("totals").contains("NaN") && !browser.text("lengths").contains("NaN"));
    }
}

fn compare(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-trefoil"));
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).args(["trace", "compare"]).args(words).output().unwrap()
}

#[test]
fn a_file_that_is_no_trace_is_named() {
    let [a, _] = samples(500);
    std::fs::write(file("sound.trefoil"), a.file()).unwrap();
    std::fs::write(file("no.trefoil"), "no trace").unwrap();
    for words in [["sound.trefoil", "no.trefoil"], ["no.trefoil", "sound.trefoil"]] {
        let output = compare(&words);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("no.trefoil: no valid trace"), "{told}");
    }
    let output = compare(&["sound.trefoil", "missing.trefoil"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("missing.trefoil: "));
    assert!(!file("sound-and-no.html").exists() && !file("sound-and-missing.html").exists());
}

#[test]
fn recordings_of_different_programs_are_told_and_shown() {
    let [a, b] = samples(500);
    let mut other = b.file();
    // The functions' names, in a file of the same length.
    for at in 0..other.len() - 5 {
        if other[at..].starts_with(b"app::") {
            other[at..at + 5].copy_from_slice(b"zoo::");
        }
    }
    std::fs::write(file("app.trefoil"), a.file()).unwrap();
    std::fs::write(file("same.trefoil"), b.file()).unwrap();
    std::fs::write(file("zoo.trefoil"), other).unwrap();
    let output = compare(&["app.trefoil", "zoo.trefoil", "-o", "different.html"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    for part in ["app.trefoil and zoo.trefoil are recordings of different programs", "different.html"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let output = compare(&["app.trefoil", "same.trefoil"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && !told.contains("different"), "{told}");
    assert!(told.contains("app-and-same.html"), "{told}");

    let Some(browser) = Browser::start() else { return };
    browser.open(&format!("file://{}", file("different.html").display()));
    let told = browser.text("different");
    assert!(told.contains("app and zoo are recordings of different programs"), "{told}");
    assert_eq!(severe(&browser), Vec::<Value>::new());
}

/// Draws the picture of the book: `cargo xtask pictures` runs this. `OTHER` and `TRACE` name the
/// traces to draw it of, instead of two samples.
#[test]
#[ignore = "writes docs/pictures"]
fn the_picture_of_two_runs() {
    let browser = Browser::start().expect("chromedriver: `make setup-web` installs it");
    let [a, b] = samples(6_000);
    let read = |variable, sample: &Sample| match std::env::var_os(variable) {
        Some(file) => std::fs::read(file).unwrap(),
        None => sample.file(),
    };
    let [a, b] = [read("OTHER", &a), read("TRACE", &b)].map(|bytes| Recording::new(Trace::parse(&bytes).unwrap()));
    let html = file("picture-of-two.html");
    let page = pair::export(Named { name: "one-core", run: &a }, Named { name: "four-cores", run: &b });
    std::fs::write(&html, page).unwrap();
    browser.size(1200, 900);
    browser.open(&format!("file://{}", html.display()));
    // In the middle of the shorter run, at a switch from one goroutine to another.
    let middle = "
        const [a, b] = pair.panes;
        a.app.view.show(0, Math.min(a.end, b.end) * 1.2);
        a.app.changed();
        seek(Math.min(a.end, b.end) * 0.6, false);
        const isSwitch = () => { const pane = present(); const i = pane.replay.at - 1; return pane === b && pane.trace.kind[i] === pane.trace.K.switch && pane.trace.a[i] && pane.trace.b[i]; };
        for (let steps = 0; steps < 500 && !isSwitch(); steps++) stepBoth(1);
        setTimeout(done, 900);";
    browser.wait_for(middle);
    super::write_picture(&browser, "trace-compare");
}
