//! Tests that need the host: that the figures of an image are right, how large it is, how fast it
//! boots.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cargo_trefoil::qemu::{Settings, Stdin};
use cargo_trefoil::symbols::Symbols;
use cargo_trefoil::{elf, run};
use xtask::{compare, figures, markers, sample};

const TEXT: &str = "/usr/share/common-licenses/GPL-3";

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// Builds an example, in release: the shipped code is measured.
fn example(name: &str) -> PathBuf {
    let target = checkout().join("target");
    let status = Command::new(env!("CARGO"))
        .current_dir(checkout())
        .args(["build", "--quiet", "--release", "--package", "trefoil", "--example", name, "--target-dir"])
        .arg(&target)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{name} does not build");
    target.join("release/examples").join(name)
}

fn boot(image: &Path, words: &[&str], settings: &Settings) -> (u8, String) {
    let words: Vec<String> = words.iter().map(|w| w.to_string()).collect();
    let mut out: Vec<u8> = Vec::new();
    let code = run::run(image, &words, settings, &mut out).expect("QEMU starts");
    (code, String::from_utf8_lossy(&out).into_owned())
}

fn settings() -> Settings {
    Settings { timeout: Duration::from_secs(60), memory: "512M".into(), ..Settings::default() }
}

/// Returns the number after `name: ` in what `bench` or `boot` printed.
fn figure(text: &str, name: &str) -> f64 {
    figures::Output(text).figure(name).unwrap_or_else(|missing| panic!("{missing} in:\n{text}"))
}

/// The book's tables of this example's figures are not out by more than a tenth.
fn is_in_the_book(example: &'static str, text: &str) {
    for table in figures::TABLES.iter().filter(|table| table.program == figures::Program::Example(example)) {
        let page = std::fs::read_to_string(checkout().join(table.page)).unwrap();
        let drift = figures::drift(markers::part(&page, table.name).unwrap(), &table.render(text).unwrap());
        assert!(drift.is_empty(), "{}: `cargo xtask figures` writes it anew:\n{}", table.page, drift.join("\n"));
    }
}

#[test]
fn wordcount_counts_what_tr_sort_and_uniq_count() {
    let host = Command::new("sh")
        .args(["-c", &format!("LC_ALL=C tr -cs A-Za-z '\\n' <{TEXT} | LC_ALL=C tr A-Z a-z | grep . | sort | uniq -c")])
        .output()
        .expect("a shell");
    let host: BTreeMap<String, u64> = String::from_utf8_lossy(&host.stdout)
        .lines()
        .filter_map(|l| l.trim().split_once(' ').map(|(n, w)| (w.to_string(), n.parse().unwrap_or(0))))
        .collect();
    let image = example("wordcount");
    for smp in ["1", "2", "4"] {
        let settings = Settings { input: Some(TEXT.into()), smp: smp.into(), ..settings() };
        let (code, text) = boot(&image, &[], &settings);
        assert_eq!(code, 0, "{text}");
        let top: Vec<(&str, u64)> = text
            .lines()
            .filter_map(|l| l.trim().split_once("  ").filter(|(_, w)| w.bytes().all(|b| b.is_ascii_lowercase())))
            .filter_map(|(n, w)| Some((w, n.parse().ok()?)))
            .collect();
        assert_eq!(top.len(), 20, "{text}");
        for (word, n) in &top {
            assert_eq!(host.get(*word), Some(n), "{word}");
        }
        let last = top[19].1;
        assert!(host.iter().filter(|(_, n)| **n > last).count() <= 20, "a more frequent word is missing");
        let total: u64 = host.values().sum();
        assert!(text.contains(&format!("{total} words, {} different", host.len())), "{text}");
    }
}

#[test]
fn bad_input_is_said_and_ends_as_it_should() {
    let image = example("wordcount");
    let dir = std::env::temp_dir();
    let empty = dir.join(format!("trefoil-empty-{}", std::process::id()));
    std::fs::write(&empty, "").unwrap();
    for input in [None, Some(empty.clone())] {
        let (code, text) = boot(&image, &[], &Settings { input, ..settings() });
        assert!(code == 0 && text.contains("no input: counting") && text.contains("  words\n"), "{text}");
    }
    let strange = dir.join(format!("trefoil-strange-{}", std::process::id()));
    std::fs::write(&strange, b"one two \xff\xfe two").unwrap();
    let (code, text) = boot(&image, &[], &Settings { input: Some(strange.clone()), ..settings() });
    assert!(code == 0 && text.contains("not UTF-8 from byte 8") && text.contains("2  two"), "{text}");
    let missing = Settings { input: Some("/no/such/file".into()), ..settings() };
    assert!(run::run(&image, &[], &missing, &mut Vec::new()).unwrap_err().contains("/no/such/file"));
    let _ = (std::fs::remove_file(empty), std::fs::remove_file(strange));
}

#[test]
fn every_example_runs_to_its_end() {
    for (name, words, exit, expect) in [
        ("hello", &[] as &[&str], 0, "hello from a goroutine on"),
        ("ping_pong", &["2000"], 0, "2000 round trips"),
        ("prime_sieve", &["50"], 0, "227 229"),
        ("pipeline", &[], 0, "1161 takes the most steps to reach 1: 181"),
        ("worker_pool", &["100"], 0, "98 jobs done, 2 failed"),
        ("rate_limiter", &[], 0, "\n0 requests went before their time"),
        ("rate_limiter", &[], 0, "after a rest 3 of 10"),
        ("dining", &[], 0, "forks were used 2000 times; nobody starved"),
        ("dining", &["naive"], 1, "deadlock"),
        ("dining", &["naive"], 1, "\"Spinoza\""),
        ("crawler", &["200", "8"], 0, "200 pages in"),
        ("crawler", &["200", "8"], 0, "8 fetches at the same time, at most 8 allowed"),
        ("life", &["20"], 0, "generation 20: 8 alive"),
        ("fairness", &[], 0, "rwlock, each of 12 readers"),
        ("contend", &["2000"], 0, "on 4 core(s)"),
        ("programs", &["pmsort"], 0, "RESULT name=pmsort procs=4 t_ms="),
        ("programs", &["pmatmul", "stat"], 0, " warm_ms="),
        ("programs", &["none"], 1, "wants a name, and perhaps stat after it; the names are: pskynet pring"),
        ("skynet", &["10000"], 0, "the sum of 0 to 9999 is 49995000"),
        ("skynet", &["77"], 1, "power of ten, not 77"),
        ("overflow", &[], 0, "1000 of 1000 others have the right checksum"),
        ("overflow", &[], 0, "its joiner got: the goroutine's stack overflowed"),
        ("million", &["n=10000"], 0, "10000 woken and joined"),
        ("million", &["n=10000", "wake=random", "packed"], 0, "10000 woken and joined"),
        ("million", &["n=0"], 1, "n=0: wants a number"),
        ("million", &["some"], 1, "some: wants n=NUMBER"),
    ] {
        let (code, text) = boot(&example(name), words, &settings());
        assert!(code == exit && text.contains(expect), "{name} {words:?}: exit {code}\n{text}");
    }
    let small = Settings { memory: "64M".into(), ..settings() };
    let (code, text) = boot(&example("million"), &[], &small);
    assert!(code == 1 && text.contains("out of memory for a goroutine's record or stack"), "{text}");
    assert!(!text.contains("fatal") && !text.contains("abandoned"), "{text}");
}

#[test]
fn the_ported_go_programs_do_what_their_originals_do() {
    let images = ["boring", "load_balancer", "pubsub"].map(example);
    for smp in ["1", "2", "4"] {
        let [boring, load_balancer, pubsub] = images.each_ref().map(|image| {
            let (code, text) = boot(image, &[], &Settings { smp: smp.into(), ..settings() });
            assert_eq!(code, 0, "{text}");
            text
        });
        let lines: Vec<&str> = boring.lines().map(str::trim_end).collect();
        let (both, rest) = lines.split_at(10);
        for name in ["Joe", "Ann"] {
            let said: Vec<&&str> = both.iter().filter(|line| line.starts_with(name)).collect();
            assert!(!said.is_empty(), "{name} is not heard:\n{boring}");
            assert!(said.iter().enumerate().all(|(n, line)| **line == format!("{name} {n}")), "{boring}");
        }
        let ends =
            ["you talk too much: enough", "Ann 0", "you are too slow", "Joe 0", "Joe 1", "Joe 2", "Joe: see you"];
        assert_eq!(rest[..7], ends, "{boring}");
        assert_eq!(rest[7..], ["nobody talks to himself"], "{boring}");

        assert!(load_balancer.contains("1000 right answers to 1000 requests"), "{load_balancer}");
        let most = load_balancer.split("at most ").nth(1).and_then(|rest| rest[..1].parse::<u32>().ok());
        assert!(most.is_some_and(|most| (1..=5).contains(&most)), "20 requests at 4 workers:\n{load_balancer}");

        for line in [
            "the leaver read 5 messages",
            "the reader has all 1000 in order: true",
            "news was handed over 1015 times, the weather 100",
            "the sailor has 100 messages, the last is Some(\"wind 99\")",
            "the sleeper has 10 messages and missed 990",
            "0 subscribers are left",
        ] {
            assert!(pubsub.contains(line), "{line}:\n{pubsub}");
        }
    }
}

#[test]
fn the_chat_room_answers_what_is_typed() {
    let typed = Stdin::Bytes(b"hello there\n/who\nwow!\n".to_vec(), Duration::ZERO);
    let (code, text) = boot(&example("chat"), &[], &Settings { stdin: typed, ..settings() });
    assert_eq!(code, 0, "{text}");
    for line in ["room: here are count, echo, shout, you", "echo: hello there", "shout: WOW!", "count: 10 letters"] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    assert!(text.contains("9 messages"), "three of yours, and six answers:\n{text}");
}

#[test]
fn what_is_piped_in_is_echoed_beside_loops() {
    let image = example("fair");
    for smp in ["1", "2"] {
        let stdin = Stdin::Bytes(b"one\ntwo words\nno end".to_vec(), Duration::ZERO);
        let (code, text) = boot(&image, &[], &Settings { smp: smp.into(), stdin, ..settings() });
        assert_eq!(code, 0, "{text}");
        for line in ["> one", "> two words", "> no end", "3 lines;", "every loop ran: ", "lost in the serial port: 0"] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
    }
}

#[test]
fn a_flood_of_input_costs_few_instructions_and_loses_nothing() {
    let lines: String =
        (0..4_000).map(|i| format!("{i:08} some more, as one pastes it, until the line is full\n")).collect();
    let rest = lines.len() - lines.find('\n').unwrap() - 1;
    let stdin = Stdin::Bytes(lines.into_bytes(), Duration::ZERO);
    let counted = Settings { icount: true, smp: "1".into(), stdin, ..settings() };
    let (code, text) = boot(&example("flood"), &[], &counted);
    assert_eq!(code, 0, "{text}");
    println!("{text}");
    assert!(text.contains(&format!("4000 lines, {rest} bytes")), "{text}");
    assert_eq!((figure(&text, "flood pauses"), figure(&text, "flood overruns")), (0.0, 0.0));
    // From the port to a line in the goroutine's hand: at an instruction a cycle, 200 MHz take a
    // megabyte a second. How many bytes an interrupt brings is the host's affair: with fewer, each
    // costs more.
    let each = figure(&text, "flood nanoseconds of work a byte");
    assert!(each <= 200.0, "{each} instructions a byte");
}

#[test]
fn an_overflow_is_reported_with_both_ends_of_its_stack() {
    let full = Settings { append: "backtrace=full".into(), ..settings() };
    let (code, text) = boot(&example("overflow"), &[], &full);
    assert_eq!(code, 0, "{text}");
    let report: Vec<&str> = text
        .lines()
        .skip_while(|l| !l.contains("stack overflow: G"))
        .take_while(|l| !l.contains("has ended"))
        .collect();
    assert!(report[0].contains("\"bad\" has used up its window 0x"), "{}", report[0]);
    assert!(report[1].contains("core ") && report[1].contains("241664 at its deepest"), "{}", report[1]);
    let frames: Vec<usize> = report
        .iter()
        .filter_map(|l| l.trim().strip_prefix('#')?.get(..l.trim().find(' ')? - 1)?.parse().ok())
        .collect();
    assert_eq!(frames.len(), 32, "16 frames of each end\n{text}");
    assert!(frames[..16].iter().copied().eq(0..16), "the innermost: {frames:?}");
    assert!(
        frames[16] > 500 && frames[17..].iter().zip(frames[16] + 1..).all(|(&f, n)| f == n),
        "the outermost: {frames:?}"
    );
    let gap = format!("… {} more …", frames[16] - 16);
    assert!(report.iter().any(|l| l.contains(&gap)), "{gap}");
    assert!(report.iter().any(|l| l.contains("overflow::recurse")) && report.iter().any(|l| l.contains("g_main")));
}

#[test]
fn counted_figures_stay_below_their_bounds() {
    // One core, instructions counted: the same figures on every host. The bounds are a tenth above
    // what was measured.
    let counted = Settings { icount: true, smp: "1".into(), memory: "256M".into(), ..settings() };
    let (code, text) = boot(&example("bench"), &[], &counted);
    assert_eq!(code, 0, "{text}");
    println!("{text}");
    for (name, bound) in BOUNDS.into_iter().chain(STACK_BOUNDS).chain(BLOCK_BOUNDS) {
        let measured = figure(&text, &format!("bench {name}"));
        assert!(measured <= bound, "{name}: {measured} instructions, at most {bound} expected");
    }
    let (_, again) = boot(&example("bench"), &[], &counted);
    assert_eq!(text, again, "counted figures repeat exactly");
    is_in_the_book("bench", &text);
}

#[test]
fn a_channels_lock_costs_less_than_a_queue_that_looks_for_those_who_wait() {
    // As docs/channels.md says. Counted on one core, where nothing but the instructions differs.
    let counted = Settings { icount: true, smp: "1".into(), memory: "256M".into(), ..settings() };
    let (code, text) = boot(&example("contend"), &["2000"], &counted);
    assert_eq!(code, 0, "{text}");
    println!("{text}");
    let contests: Vec<_> = text.lines().filter(|line| line.contains(": channel ")).collect();
    assert_eq!(contests.len(), 8, "{text}");
    for line in contests {
        let words: Vec<_> = line.split_whitespace().collect();
        let of = |way: &str| words.iter().position(|word| *word == way).map(|at| words[at + 1].parse::<f64>().unwrap());
        let (channel, watched) = (of("channel").unwrap(), of("watched").unwrap());
        assert!(channel * 1.2 < watched, "{line}");
    }
}

/// Checks the claims of docs/channels.md about a hundred consumers. The shares under short slices
/// hang on single instructions, so the table itself is not compared.
#[test]
fn consumers_that_yield_after_a_few_values_get_the_same_at_a_low_price() {
    let counted = Settings { icount: true, smp: "1".into(), memory: "256M".into(), ..settings() };
    let (code, text) = boot(&example("consumers"), &[], &counted);
    assert_eq!(code, 0, "{text}");
    println!("{text}");
    let row = |name: String| -> Vec<f64> {
        let output = figures::Output(&text);
        let words = output.words(&format!("{name}: ")).unwrap();
        words.iter().filter_map(|word| word.trim_end_matches(',').parse().ok()).collect()
    };
    for room in ["bounded(0)", "bounded(128)", "unbounded"] {
        let [plain, short, each, some] =
            ["slice 10000", "slice 100", "turns of 1", "turns of 16"].map(|way| row(format!("{room}, {way}")));
        assert!(plain[0] > 20.0 * 2_000.0 && plain[2] < 20.0, "the pair is favoured no more: {plain:?}");
        assert!(short[0] < plain[0] / 2.0, "a short slice changes nothing: {short:?}");
        for fair in [each, some.clone()] {
            assert!(fair[0] - fair[2] <= 32.0, "{fair:?}");
        }
        assert!(some[3] - plain[3] < 35.0, "{} a value, {} without turns", some[3], plain[3]);
    }
}

#[test]
fn timers_cost_and_are_late_within_their_bounds() {
    let counted = Settings { icount: true, smp: "1".into(), memory: "256M".into(), ..settings() };
    let (code, text) = boot(&example("timers"), &[], &counted);
    assert_eq!(code, 0, "{text}");
    println!("{text}");
    for (pending, slack) in [(10, 1.0), (1_000, 1.0), (100_000, 1.25)] {
        for (name, bound) in TIMER_BOUNDS {
            let name = format!("{name}, {pending} pending");
            let measured = figure(&text, &name);
            assert!(measured <= bound * slack, "{name}: {measured} instructions, at most {} expected", bound * slack);
        }
    }
    for (name, bound) in LATENESS_BOUNDS {
        let measured = figure(&text, &format!("lateness {name}"));
        assert!(measured <= bound, "{name}: {measured} ns, at most {bound} expected");
    }
    is_in_the_book("timers", &text);
}

/// Instructions. With 100,000 timers pending, a quarter more.
const TIMER_BOUNDS: [(&str, f64); 5] = [
    ("timer insert", 284.0),
    ("timer reset", 275.0),
    ("timer cancel", 162.0),
    ("timer expiry with a goroutine", 1660.0),
    ("sleeper's expiry", 1420.0),
];

/// Checks the claims of docs/time.md about the three queues, and that the heap stays as good.
#[test]
fn the_heap_of_timers_is_what_its_chapter_says() {
    let counted = Settings { icount: true, smp: "1".into(), memory: "256M".into(), ..settings() };
    let (code, text) = boot(&example("timer_queues"), &[], &counted);
    assert_eq!(code, 0, "{text}");
    println!("{text}");
    is_in_the_book("timer_queues", &text);
    // insert, cancel, expiry; the same at most; late; looks; bytes.
    let row = |queue: &str, timers: u64| -> Vec<u64> {
        let begin = format!("{queue:12} {timers:6} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_else(|| panic!("no {begin}"));
        line.split_whitespace().map(|word| word.parse().unwrap()).collect()
    };
    // A tenth above what was measured.
    for (timers, bounds) in [
        (10, [76, 74, 146, 94, 135, 180, 0, 10, 24]),
        (1_000, [83, 87, 296, 163, 275, 331, 0, 1_000, 24]),
        (100_000, [83, 88, 457, 232, 468, 529, 0, 100_000, 24]),
    ] {
        let heap = row("4-ary heap", timers);
        assert!(heap.iter().zip(bounds).all(|(&n, bound)| n <= bound), "{timers} timers: {heap:?}, at most {bounds:?}");
        let (binary, wheel) = (row("binary heap", timers), row("wheel", timers));
        assert!(wheel[0] < heap[0] && wheel[1] < heap[1], "the wheel wins on the average");
        assert!(wheel[6] > 0 && wheel[7] > 3 * timers / 2, "but is late, and looks in vain");
        assert!(binary[1] > heap[1] && binary[4] > 8 * heap[4], "the library's can't cancel");
    }
    assert!(row("wheel", 100_000)[5] > 200 * row("4-ary heap", 100_000)[5], "the wheel's worst case");
}

#[test]
fn both_sides_have_every_program_that_is_compared() {
    let read = |path: &str| std::fs::read_to_string(checkout().join(path)).unwrap();
    let (trefoil, go) = (read("kernel/examples/programs/main.rs"), read("compare/go/main.go"));
    let names = |text: &str, begin: &str| text.lines().filter(|line| line.trim().starts_with(begin)).count();
    for program in compare::options::PROGRAMS {
        assert!(trefoil.contains(&format!("(\"{}\", ", program.name)), "Trefoil has no {}", program.name);
        assert!(go.contains(&format!("\"{}\":", program.name)), "Go has no {}", program.name);
    }
    assert_eq!((names(&trefoil, "(\"p"), names(&go, "\"p")), (18, 18), "not all are compared");
    let page = read("docs/performance.md");
    markers::part(&page, compare::table::PART).expect("the page has the table's markers");
    for program in compare::options::PROGRAMS {
        assert!(page.contains(&format!("`{}`", program.name)), "the page does not say what {} is", program.name);
    }
}

#[test]
fn a_program_that_nobody_has_is_named_before_anything_is_built() {
    let out =
        Command::new(env!("CARGO_BIN_EXE_xtask")).arg("compare-programs").env("ONLY", "pring,prung").output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{text}");
    assert!(text.contains("no program \"prung\"; there are pskynet, pring"), "{text}");
}

#[test]
fn samples_show_where_both_processors_were() {
    let image = example("programs");
    let settings = Settings { smp: "2".into(), ..settings() };
    let mut out: Vec<u8> = Vec::new();
    let (code, samples) = sample::look(&image, &["pmatmul".into()], &settings, &mut out).unwrap();
    let text = String::from_utf8_lossy(&out);
    assert!(code == 0 && text.contains("RESULT name=pmatmul procs=2"), "a program that is looked at ends well: {text}");
    let mut symbols = Symbols::new(&image);
    for cpu in [0, 1] {
        let at_work: Vec<_> = samples.iter().filter(|sample| sample.cpu == cpu && !sample.at_rest).collect();
        let in_rows =
            at_work.iter().filter(|sample| symbols.innermost(sample.address).contains("computation::row")).count();
        // The program does little else.
        assert!(in_rows > 10 && in_rows * 2 > at_work.len(), "CPU {cpu}: {in_rows} of {}", at_work.len());
    }
}

/// Nanoseconds, which are instructions.
const LATENESS_BOUNDS: [(&str, f64); 4] = [
    ("on an idle core, p50", 1_100.0),
    ("on an idle core, p99", 1_150.0),
    ("beside a spinning goroutine, p50", 1_230.0),
    ("beside a spinning goroutine, p99", 1_900.0),
];

/// Instructions.
const BOUNDS: [(&str, f64); 11] = [
    ("yield", 125.0),
    ("rendezvous round trip", 407.0),
    ("buffered send+recv", 57.0),
    ("select, two ready arms", 140.0),
    ("spawn+join", 420.0),
    ("spawn 10000, wait, each", 501.0),
    ("mutex lock+unlock", 16.5),
    ("rwlock write+unlock", 16.5),
    ("rwlock read+unlock", 16.5),
    ("once done", 3.3),
    ("semaphore acquire+release", 16.5),
];

/// The same for what happens to stacks.
const STACK_BOUNDS: [(&str, f64); 6] = [
    ("growth by a page", 300.0),
    ("growth to 64 KiB", 4360.0),
    ("create+park, each of 20000", 712.0),
    ("shrink by 6 pages", 898.0),
    ("pack", 1670.0),
    ("unpack", 763.0),
];

/// The same for blocks that no size class serves.
const BLOCK_BOUNDS: [(&str, f64); 8] = [
    ("alloc 3000 bytes amid holes", 300.0),
    ("free 3000 bytes amid holes", 300.0),
    ("alloc 5000 bytes amid holes", 450.0),
    ("free 5000 bytes amid holes", 330.0),
    ("alloc 65536 bytes amid holes", 450.0),
    ("free 65536 bytes amid holes", 300.0),
    ("alloc 8388608 bytes amid holes", 450.0),
    ("free 8388608 bytes amid holes", 300.0),
];

#[test]
fn boot_takes_few_instructions_at_any_memory_size() {
    let image = example("boot");
    for memory in ["64M", "512M", "4G", "16G"] {
        let settings =
            Settings { icount: true, smp: "1".into(), machine: "microvm".into(), memory: memory.into(), ..settings() };
        let (code, text) = boot(&image, &[], &settings);
        assert_eq!(code, 0, "{text}");
        let count = figure(&text, "boot: instructions from reset to main");
        println!("{memory}: {count} instructions");
        assert!(count <= 500_000.0, "{memory}: {count} instructions from reset to main");
    }
}

#[test]
fn the_image_is_small() {
    let size = elf::stripped_size(&example("hello")).unwrap();
    println!("{size} bytes");
    assert!(size <= 256 * 1000, "the stripped image has {size} bytes");
}
