//! The page of a trace in a browser: it opens quickly and asks for nothing, its replay is the
//! reader's, and a person can use it.
//!
//! Where Chromium is not installed the tests say so, and pass.

mod browser;
#[path = "trace_html/compare.rs"]
mod compare;

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use browser::Browser;
use cargo_trefoil::html;
use cargo_trefoil::trace::events::Events;
use cargo_trefoil::trace::queues::{self, Queues, Replay};
use cargo_trefoil::trace::sample::Sample;
use cargo_trefoil::trace::totals::Totals;
use cargo_trefoil::trace::{Recording, Trace};
use serde_json::{Value, json};

/// Writes the page of a sample, and returns its address and its events.
fn page(name: &str, sample: &Sample) -> (String, Events) {
    let trace = Trace::parse(&sample.file()).unwrap();
    let events = Events::of(&trace);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
    std::fs::write(&file, html::export(&trace, &events, name)).unwrap();
    (format!("file://{}", file.display()), events)
}

fn severe(browser: &Browser) -> Vec<Value> {
    browser.logs("browser").into_iter().filter(|line| line["level"] == "SEVERE" || line["level"] == "WARNING").collect()
}

/// Asserts that the page at `url` opens within `most` milliseconds, without a request. Its script
/// keeps the time in `opened`.
fn opens_within(browser: &Browser, url: &str, opened: &str, most: f64) {
    // The other cores' work may hold one of them up.
    let mut times = Vec::new();
    while times.len() < 3 && times.iter().all(|&time| time >= most) {
        browser.open(url);
        assert_eq!(browser.requests(), [url], "the page is the only thing that the browser reads");
        assert_eq!(severe(browser), Vec::<Value>::new());
        times.push(browser.run(&format!("return {opened}")).as_f64().unwrap());
    }
    println!("{url} opens in {times:.0?} ms");
    assert!(times.iter().any(|&time| time < most), "{times:.0?} ms");
}

#[test]
fn a_million_events_open_in_three_seconds_without_a_request() {
    let Some(browser) = Browser::start() else { return };
    let (url, events) = page("million", &Sample { events: 1_250_000, goroutines: 400, ..Sample::default() });
    assert!(events.len() >= 1_000_000, "{}", events.len());
    opens_within(&browser, &url, "app.opened", 3_000.0);
    assert_eq!(browser.run("return app.trace.total"), events.len());

    // A pan over the whole run at many zooms: each frame is drawn within the time of one.
    let frames = "
        const times = [];
        app.view.whole();
        let left = 90;
        const frame = () => {
            if (left % 6 === 0) app.view.zoom(0.5); else app.view.pan(left % 2 ? 0.1 : -0.05);
            const began = performance.now();
            drawTimeline();
            drawOverview();
            times.push(performance.now() - began);
            left -= 1;
            if (left) requestAnimationFrame(frame); else done(times.sort((a, b) => a - b));
        };
        requestAnimationFrame(frame);";
    let times: Vec<f64> = serde_json::from_value(browser.wait_for(frames)).unwrap();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!("a frame takes {median:.1} ms, at most {most:.1} ms");
    assert!(median < 16.0, "{median} ms");

    // From any event to any other, within a frame or two.
    let seek = "const began = performance.now(); app.queues.seek(0); app.queues.seek(app.trace.total); return performance.now() - began";
    let seek = browser.run(seek).as_f64().unwrap();
    println!("the whole replay, backwards and forwards: {seek:.0} ms");
    assert!(seek < 1_000.0, "{seek} ms");
}

/// The contents of all queues, as the test compares them.
fn contents(queues: &Queues) -> Value {
    let mut all = BTreeMap::new();
    for (p, queue) in &queues.ps {
        all.insert(format!("slot {p}"), Vec::from_iter((queue.slot != 0).then_some(queue.slot)));
        all.insert(format!("ring {p}"), queue.ring.iter().copied().collect());
    }
    all.insert("global".into(), queues.global.iter().copied().collect());
    all.insert("inbox".into(), queues.inbox.iter().copied().collect());
    all.retain(|_, queue| !queue.is_empty());
    json!(all)
}

/// Reads the contents of all queues after each number of events.
const READ: &str = "
    const { numbers } = app.queues;
    return arguments[0].map((at) => {
        const lists = app.queues.seek(at);
        const all = {};
        const add = (name, queue) => {
            const list = lists.list(queue);
            if (list.length !== lists.length[queue]) throw new Error(`${name} has ${list.length}, not ${lists.length[queue]}`);
            if (list.length) all[name] = list.map((g) => app.trace.gs[g].id);
        };
        for (let p = 0; p < app.trace.ps; p++) {
            add(`slot ${p}`, numbers.slot(p));
            add(`ring ${p}`, numbers.ring(p));
        }
        add('global', numbers.global);
        add('inbox', numbers.inbox);
        return all;
    });";

#[test]
fn the_queues_at_random_times_equal_the_readers_and_the_kernels_snapshots() {
    let Some(browser) = Browser::start() else { return };
    let samples = [
        Sample { events: 30_000, ..Sample::default() },
        Sample { events: 60_000, goroutines: 3_000, seed: 2, ..Sample::default() },
        Sample { events: 40_000, skew: 700, cores: 3, procs: 2, seed: 3, ..Sample::default() },
    ];
    for (i, sample) in samples.iter().enumerate() {
        let (url, events) = page(&format!("queues{i}"), sample);
        browser.open(&url);
        let mut at: Vec<usize> =
            (0..100u64).map(|k| (k * k * 7_919 + k * 104_729) as usize % (events.len() + 1)).collect();
        // In no order: the page steps backwards as often as forwards.
        let read: Vec<Value> = serde_json::from_value(browser.run_with(READ, &json!([at]))).unwrap();
        let mut read: Vec<_> = at.drain(..).zip(read).collect();
        read.sort_by_key(|(at, _)| *at);
        let mut replay = Replay::new(&events);
        for (at, page) in read {
            replay.go_to(at);
            assert_eq!(page, contents(&replay.queues), "sample {i}, after {at} events");
        }
        let (matched, mismatches) = queues::verify(&events);
        assert!(matched > 20 && mismatches.is_empty());
        let snapshots = browser.run("return [app.queues.snapshots.length, app.queues.wrong.length]");
        assert_eq!(snapshots, json!([matched, 0]), "sample {i}: the page compares every snapshot itself");
    }
}

#[test]
fn a_snapshot_that_differs_is_told() {
    let Some(browser) = Browser::start() else { return };
    let trace = Trace::parse(&Sample { events: 20_000, ..Sample::default() }.file()).unwrap();
    let mut events = Events::of(&trace);
    let yields = events.list.iter_mut().filter(|event| event.record.kind == 2 && event.record.how == 128);
    yields.for_each(|event| event.record.how = 129);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wrong.html");
    std::fs::write(&file, html::export(&trace, &events, "wrong")).unwrap();
    browser.open(&format!("file://{}", file.display()));
    assert!(browser.text("dropped").contains("differ from the replayed queues"), "{}", browser.text("dropped"));
}

#[test]
fn a_goroutine_is_clicked_explained_and_replayed_by_keyboard() {
    let Some(browser) = Browser::start() else { return };
    let (url, events) = page("use", &Sample { events: 6_000, goroutines: 60, ..Sample::default() });
    browser.open(&url);

    // A click on the row of a goroutine opens its panel.
    let row = "
        app.view.show(1.0e6, 1.1e6);
        const row = rowAt(timeline.rows.length + 2);
        const box = byId('lanes').getBoundingClientRect();
        const x = app.view.left + 300;
        return [Math.round(box.left + x), Math.round(box.top + row.y + 8), app.trace.gs[row.index].id]";
    let [x, y, id]: [i64; 3] = serde_json::from_value(browser.run(row)).unwrap();
    browser.click(x, y);
    assert!(browser.text("detail-name").starts_with(&format!("G{id}")), "{}", browser.text("detail-name"));
    let panel = browser.text("detail");
    for part in ["Why did it wait for a core?", "Readied: ", "Place: ", "Meanwhile on ", "Created", "spawned at src/"] {
        assert!(panel.contains(part), "{part}: {panel}");
    }
    let before = browser.run("return app.view.span").as_f64().unwrap();
    browser.wheel(x, y, -400);
    assert!(browser.run("return app.view.span").as_f64().unwrap() < before / 1.5, "the wheel zooms in");
    browser.press("wwd");
    browser.wait_for("setTimeout(done, 400)");
    let hash = browser.run("return location.hash");
    assert!(hash.as_str().unwrap().contains(&format!("g={id}")), "{hash}");

    // Steps go forwards and back, and the page names the decision.
    browser.run("app.go(1999); app.show('replay'); step(1)");
    let state = "return JSON.stringify([replay.at, app.queues.lists.list(app.queues.numbers.ring(0)), byId('said').textContent])";
    let first = browser.run(state);
    browser.press("..");
    assert_ne!(browser.run(state), first);
    browser.press(",,");
    assert_eq!(browser.run(state), first, "two steps forward and two back lead to the same picture");
    browser.run("app.go(app.trace.kind.indexOf(app.trace.K.create))");
    let said = browser.text("said");
    for part in ["creates", "docs/life.md:", " § Birth", "sched/src/api/spawn.rs:", "make"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // Each event that the picture stops at has a sentence, without a hole in it.
    let holes = "
        const bad = [];
        for (let i = 0; i < app.trace.total; i++) {
            const { text } = sentence(app.trace, i);
            if (/undefined|NaN|null|does not know/.test(text) || !text.endsWith('.')) bad.push(text);
        }
        return bad.slice(0, 5)";
    assert_eq!(browser.run(holes), json!([]));

    // The quiz asks before it shows, and counts.
    browser.run("app.go(1500)");
    browser.press("q");
    for _ in 0..100 {
        browser.press(".");
        if browser.run("return quiz.open").as_bool().unwrap() {
            break;
        }
    }
    let answer = "return quiz.options.indexOf(app.trace.b[quiz.event]) + 1";
    let asked = browser.run("return [replay.at, quiz.event]");
    assert!(asked[0].as_u64() <= asked[1].as_u64(), "the decision is not shown yet");
    browser.press(&browser.run(answer).to_string());
    assert_eq!(
        (&*browser.text("score"), browser.run("return replay.at - 1 === quiz.event")),
        ("1 of 1 right", json!(true))
    );
    browser.press("q");

    // The filter, the tables, the overlay and the theme.
    browser.press("v3");
    let rows = "return document.querySelectorAll('#table-sites tbody tr').length";
    let all = browser.run(rows).as_u64().unwrap();
    browser.run("app.setFilter('name:sleeper')");
    assert!(browser.run(rows).as_u64().unwrap() < all && browser.text("filtered").contains(" of "));
    browser.run("app.setFilter('')");
    let sort = "
        const heads = [...document.querySelectorAll('#table-sites thead tr:last-child button')];
        heads[2].click();
        return [...document.querySelectorAll('#table-sites tbody tr')].map((row) => Number(row.cells[2].textContent))";
    let counts: Vec<f64> = serde_json::from_value(browser.run(sort)).unwrap();
    assert!(counts.is_sorted_by(|x, y| x >= y) && counts.len() > 2, "{counts:?}");
    browser.press("?");
    assert!(
        browser.run("return byId('keys').open").as_bool().unwrap()
            && browser.text("keys").contains("one decision back")
            && browser.text("keys").contains("Filter: words")
    );
    browser.press("\u{e00c}");
    assert!(!browser.run("return byId('keys').open").as_bool().unwrap(), "Escape closes the keys");
    let paper = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.run(paper);
    browser.press("t");
    assert_ne!(browser.run(paper), light);

    browser.press("t");
    browser.make_dark();
    assert_ne!(browser.run(paper), light, "a dark system has a dark page");

    // An address leads to the same view.
    browser.open(&format!("{url}#t=1000000-1200000&g={id}&e=700&v=replay&q=m:1"));
    let view = "return [Math.round(app.view.from), Math.round(app.view.to), app.trace.gs[app.selected].id, replay.at, app.shown, app.query]";
    assert_eq!(browser.run(view), json!([1_000_000, 1_200_000, id, 700, "replay", "m:1"]));
    assert_eq!(severe(&browser), Vec::<Value>::new());
    assert!(events.len() > 2_000);
}

#[test]
fn the_sums_of_the_page_are_the_readers() {
    let Some(browser) = Browser::start() else { return };
    let sample = Sample { events: 20_000, ..Sample::default() };
    let (url, events) = page("sums", &sample);
    let lives = cargo_trefoil::trace::lives::of(&Trace::parse(&sample.file()).unwrap(), &events);
    browser.open(&url);
    let read = "
        const all = {};
        for (let g = 1; g < app.trace.gs.length; g++) {
            let [turns, ran] = [0, 0];
            for (let i = app.gs.first[g]; i < app.gs.first[g + 1]; i++) {
                if (app.gs.state[i] !== RUNNING || app.gs.end[i] >= app.trace.end) continue;
                turns += 1;
                ran += app.gs.end[i] - app.gs.start[i];
            }
            all[app.trace.gs[g].id] = [turns, ran];
        }
        return all;";
    let page: BTreeMap<u64, [u64; 2]> = serde_json::from_value(browser.run(read)).unwrap();
    // Regions and tasks that ended, by name.
    let spans = "
        const all = {};
        for (const levels of app.spans.values()) for (const { start, end, name } of levels) start.forEach((from, i) => {
            if (i && from < end[i - 1]) throw new Error(`${name[i]} overlaps`);
            if (end[i] >= app.trace.end) return;
            const sums = (all[name[i]] ??= [0, 0]);
            sums[0] += 1;
            sums[1] += end[i] - from;
        });
        return all;";
    let spans: BTreeMap<String, [u64; 2]> = serde_json::from_value(browser.run(spans)).unwrap();
    let totals = Totals::of(&Recording::new(Trace::parse(&sample.file()).unwrap()));
    let all = totals.regions.iter().chain(&totals.tasks);
    let all: BTreeMap<_, _> = all.map(|(name, times)| (name.clone(), [times.count(), times.total()])).collect();
    assert_eq!(spans, all);
    assert!(spans.len() >= 2, "{spans:?}");
    let last = events.end;
    let mut compared = 0;
    for (id, life) in &lives {
        let runs: Vec<_> = life.runs().filter(|span| span.to < last).collect();
        let sums = [runs.len() as u64, runs.iter().map(|span| span.ns()).sum()];
        assert_eq!(page.get(id), Some(&sums), "G{id}");
        compared += sums[0];
    }
    assert!(compared > 1_000);
}

#[test]
fn dropped_events_are_told_on_the_page() {
    let Some(browser) = Browser::start() else { return };
    let (url, _) = page("flight", &Sample { events: 20_000, capacity: 2_000, flight: true, ..Sample::default() });
    browser.open(&url);
    let told = browser.text("dropped");
    assert!(told.starts_with("Dropped: ") && told.contains("the first ones"), "{told}");
    for seed in 0..3 {
        let goroutines = [100, 3_000][seed as usize % 2];
        let sample = Sample { seed, flight: true, capacity: 6_000, events: 60_000, goroutines, ..Sample::default() };
        let (url, events) = page("flights", &sample);
        browser.open(&url);
        let snapshots = browser.run("return [app.queues.snapshots.length, app.queues.wrong.length]");
        assert_eq!(snapshots, json!([queues::verify(&events).0, 0]), "seed {seed}: snapshots set queues, and agree");
    }
}

#[test]
fn records_of_any_kind_and_none_make_a_page_that_opens() {
    let Some(browser) = Browser::start() else { return };
    let mut trace = Trace::parse(&Sample { events: 3_000, ..Sample::default() }.file()).unwrap();
    let mut random = 1u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let open = |trace: &Trace, name: &str| {
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.html"));
        std::fs::write(&file, html::export(trace, &Events::of(trace), name)).unwrap();
        browser.open(&format!("file://{}#g=3", file.display()));
        for view in ["replay", "sites", "list", "memory", "timeline"] {
            let walk =
                format!("app.show('{view}'); app.go(app.trace.total >> 1); step(1); step(-1); return app.gs.size");
            browser.run(&walk);
        }
        browser.run("for (let i = 0; i < app.trace.total; i++) sentence(app.trace, i); app.queues.seek(0)");
        let left = browser.run("return app.queues.lists.length.reduce((x, y) => x + y, 0)");
        assert_eq!(left, 0, "{name}: before the first event all queues are empty");
        assert_eq!(severe(&browser), Vec::<Value>::new(), "{name}");
    };
    for record in trace.rings.iter_mut().flat_map(|ring| &mut ring.records) {
        let r = next();
        match r % 23 {
            0 => record.kind = (r >> 8) as u8,
            1 => (record.how, record.place) = ((r >> 8) as u8, (r >> 16) as u8),
            2 => record.n = (r >> 8) as u32,
            3 => (record.a, record.b) = (next() >> (r >> 8 & 63), next() >> (r >> 16 & 63)),
            4 => record.p = (r >> 8) as u8 % 9,
            _ => {}
        }
    }
    open(&trace, "random");
    trace.rings.clear();
    open(&trace, "empty");
}

/// Draws the pictures of the book: `cargo xtask pictures` runs this. `TRACE` names a trace to draw
/// them of, instead of a sample.
#[test]
#[ignore = "writes docs/pictures"]
fn the_pictures_of_the_book() {
    let browser = Browser::start().expect("chromedriver: `make setup-web` installs it");
    let bytes = match std::env::var_os("TRACE") {
        Some(file) => std::fs::read(file).unwrap(),
        None => Sample { events: 6_000, goroutines: 60, ..Sample::default() }.file(),
    };
    let trace = Trace::parse(&bytes).unwrap();
    let events = Events::of(&trace);
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures.html");
    std::fs::write(&file, html::export(&trace, &events, "wordcount")).unwrap();
    // The whole run, with a goroutine that waited long; and a decision in its middle.
    let timeline = "
        const { gs, trace } = app;
        const longest = (g) => gs.queued[gs.first[g + 1]] - gs.queued[gs.first[g]];
        const most = (best, g) => longest(g) > longest(best) ? g : best;
        app.go(trace.total >> 1);
        app.select([...timeline.order].filter((g) => trace.gs[g].creator).reduce(most));
        setTimeout(done, 900);";
    let replay = "
        app.select(0);
        app.go(app.trace.total >> 1);
        const { K, kind, a, b, place } = app.trace;
        let i = replay.at;
        while (i < app.trace.total - 1 && !(kind[i] === K.switch && a[i] && b[i] && place[i] === RING)) i += 1;
        app.go(i);
        setTimeout(done, 900);";
    browser.size(1120, 700);
    for (name, view, script) in [("trace-timeline", "timeline", timeline), ("trace-replay", "replay", replay)] {
        browser.open(&format!("file://{}#v={view}", file.display()));
        browser.wait_for(script);
        write_picture(&browser, name);
    }
}

/// Writes the window as a picture of the book.
fn write_picture(browser: &Browser, name: &str) {
    let picture = base64::engine::general_purpose::STANDARD.decode(browser.screenshot()).unwrap();
    assert!(picture.len() < 200_000, "{name}: {} bytes", picture.len());
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/pictures/{name}.png"));
    std::fs::write(&path, picture).unwrap();
    println!("docs/pictures/{name}.png is written");
}
