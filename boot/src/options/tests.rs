//! Lines that a person may type.

extern crate std;
use super::*;
use std::string::{String, ToString};
use std::vec::Vec;

fn unquoted(line: &[u8]) -> Vec<u8> {
    unquote(&mut line.to_vec()).to_vec()
}

fn read(line: &[u8]) -> (Options, Vec<String>) {
    let mut complaints = Vec::new();
    let options = parse(&unquoted(line), true, &mut |c| complaints.push(c.to_string()));
    (options, complaints)
}

#[test]
fn known_keys_are_read() {
    let (options, complaints) = read(b" maxprocs=2\tseed=0x10 fault=deaf:2,late:63,no-acpi  fault=madt-checksum ");
    assert_eq!(complaints, [""; 0]);
    assert_eq!((options.maxprocs, options.seed), (Some(2), Some(16)));
    let faults = Faults { deaf: 4, late: 1 << 63, no_acpi: true, madt_checksum: true, ..Faults::default() };
    assert_eq!(options.faults, faults);
}

#[test]
fn what_is_not_understood_is_named_and_the_rest_still_read() {
    let (options, complaints) = read(b"foo=1 bar \xff\xfe=3 maxprocs=0 maxprocs=65 maxprocs= maxprocs seed=-1 seed=99");
    assert_eq!(options, Options { seed: Some(99), ..Options::default() });
    assert_eq!(
        complaints,
        [
            r#"unknown key "foo"; skipped"#,
            r#"unknown key "bar"; skipped"#,
            r#"unknown key "\xff\xfe"; skipped"#,
            r#"maxprocs="0": wants a number from 1 to 64; skipped"#,
            r#"maxprocs="65": wants a number from 1 to 64; skipped"#,
            r#"maxprocs="": wants a number from 1 to 64; skipped"#,
            r#"maxprocs="": wants a number from 1 to 64; skipped"#,
            r#"seed="-1": wants a number from 0 to 2^64-1; skipped"#,
        ]
    );
}

#[test]
fn a_time_is_taken_within_its_range_and_named_outside() {
    let (options, complaints) =
        read(b"schedtrace=1 schedtrace=3600000 schedtrace=0 schedtrace=3600001 schedtrace=often");
    assert_eq!(options.schedtrace, Some(3_600_000));
    assert_eq!(
        complaints,
        ["0", "3600001", "often"].map(|v| std::format!("schedtrace=\"{v}\": wants 1 to 3600000 milliseconds; skipped"))
    );
}

#[test]
fn a_size_is_told_in_bytes_or_by_a_letter() {
    let size = |line: &str| read(line.as_bytes()).0.stack;
    assert_eq!(size("stack=4096"), Some(4096));
    assert_eq!((size("stack=64K"), size("stack=0x10k")), (Some(64 << 10), Some(16 << 10)));
    assert_eq!((size("stack=1M"), size("stack=1m"), size("stack=1G")), (Some(1 << 20), Some(1 << 20), Some(1 << 30)));
    for bad in ["", "K", "0", "4095", "3K", "1025M", "2G", "-1", "1T", "1MB", "1.5M", "0x", "17179869184G"] {
        let line = std::format!("stack={bad} seed=3");
        let (options, complaints) = read(line.as_bytes());
        assert_eq!((options.stack, options.seed), (None, Some(3)), "{bad}");
        assert_eq!(complaints, [std::format!("stack=\"{bad}\": wants a size from 4K to 1G; skipped")]);
    }
}

#[test]
fn how_cores_rest_is_told_by_one_word() {
    assert!(read(b"rest=hlt").0.halt && !read(b"seed=1").0.halt);
    let (options, complaints) = read(b"rest=mwait");
    assert_eq!((options.halt, &complaints[0][..]), (false, r#"rest="mwait": wants hlt; skipped"#));
}

#[test]
fn the_last_value_of_a_key_is_found() {
    assert_eq!(read(b"log=loud").1, [""; 0], "its reader complains");
    let value = |line: &[u8]| value_of(&unquoted(line), b"log").map(<[u8]>::to_vec);
    assert_eq!(value(b"seed=1 log=debug  log=info app.log=x -- log=trace").as_deref(), Some(&b"info"[..]));
    assert_eq!(value(b"log= logs=1").as_deref(), Some(&b""[..]));
    assert_eq!(value(b"log").as_deref(), Some(&b""[..]));
    assert_eq!(value(b"logs=1 -- log=trace"), None);
}

#[test]
fn a_level_is_refused_in_a_program_that_does_not_log() {
    let mut complaints = Vec::new();
    parse(b"log=debug", false, &mut |c| complaints.push(c.to_string()));
    assert_eq!(complaints, [std::format!("log=\"debug\": wants {LEVELS}; skipped")]);
}

#[test]
fn traces_are_folded_or_full() {
    assert_eq!(read(b"backtrace=full").1, [""; 0]);
    assert_eq!(read(b"backtrace=1").1, [r#"backtrace="1": wants full; skipped"#]);
}

#[test]
fn numbers_do_not_wrap() {
    assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    assert_eq!(number(b"18446744073709551616"), None);
    assert_eq!(number(b"0xffffffffffffffff"), Some(u64::MAX));
    assert_eq!(number(b"0x10000000000000000"), None);
    assert_eq!((number(b""), number(b"0x"), number(b"+1"), number(b"1 ")), (None, None, None, None));
}

#[test]
fn unknown_faults_and_cores_out_of_range_are_named() {
    let (options, complaints) = read(b"fault=deaf:64,deaf:,nonsense,no-reference");
    assert_eq!(options.faults, Faults { no_reference: true, ..Faults::default() });
    assert_eq!(complaints.len(), 3);
}

#[test]
fn the_app_gets_its_words_and_the_kernel_leaves_them_alone() {
    let line = b"seed=1 app.n=5 bad -- maxprocs=x -- \xff last app.q";
    let (options, complaints) = read(line);
    assert_eq!(options.maxprocs, None);
    assert_eq!(complaints, [r#"unknown key "bad"; skipped"#, r#""\xff" is not UTF-8; skipped"#]);
    assert_eq!(app_words(&unquoted(line)).collect::<Vec<_>>(), ["n=5", "maxprocs=x", "--", "last", "app.q"]);
}

#[test]
fn quotes_and_backslashes_keep_a_word_together() {
    for (line, expected) in [
        (&br#"-- "a b" c"#[..], &["a b", "c"][..]),
        (br#"-- a\ b a" "b"" c"#, &["a b", "a b", "c"]),
        (br#"-- "" x """#, &["", "x", ""]),
        (br#"-- \" \\ "\"\\ ""#, &["\"", "\\", "\"\\ "]),
        (b"--\t 'a\tb'\n", &["'a", "b'"]),
        (br#"app.n="1 2" -- "no end"#, &["n=1 2", "no end"]),
        (br#"-- last\"#, &["last\\"]),
        (br#"-- x "--" \-- "#, &["x", "--", "--"]),
        (b"--", &[]),
        (b" \t", &[]),
        (b"", &[]),
    ] {
        let line = unquoted(line);
        assert_eq!(app_words(&line).collect::<Vec<_>>(), expected, "{}", Bytes(&line));
    }
    assert_eq!(read(br#""maxprocs=2" seed="7""#).0, Options { maxprocs: Some(2), seed: Some(7), ..Options::default() });
}

#[test]
fn no_line_of_random_bytes_panics() {
    const ALPHABET: &[u8] = b"maxprocs=0x9 --app.seed,fault:deaf\xff\0\t\"\\";
    let mut x = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let line: Vec<u8> = (0..24)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                ALPHABET[x as usize % ALPHABET.len()]
            })
            .collect();
        let _ = (read(&line), app_words(&unquoted(&line)).count());
    }
}

#[test]
#[cfg(feature = "trace")]
fn the_recorders_keys_are_read_within_their_ranges() {
    use trace::{Mode, Port};
    let (options, complaints) = read(b"trace=full trace=flight trace_size=64K trace_on_latency=500 trace_port=serial");
    assert_eq!(complaints, [""; 0]);
    let told = options.trace;
    assert_eq!((told.mode, told.size), (Some(Mode::Flight), Some(64 << 10)));
    assert_eq!((told.on_latency, told.port), (Some(500), Some(Port::Serial)));
    let (options, complaints) =
        read(b"trace=on trace trace_size=4095 trace_size=1025M trace_on_latency=0 trace_port=tcp tracing=1");
    assert_eq!(options, Options::default());
    assert_eq!(
        complaints,
        [
            r#"trace="on": wants full or flight; skipped"#,
            r#"trace="": wants full or flight; skipped"#,
            r#"trace_size="4095": wants a size from 4K to 1G; skipped"#,
            r#"trace_size="1025M": wants a size from 4K to 1G; skipped"#,
            r#"trace_on_latency="0": wants 1 to 60000000 microseconds; skipped"#,
            r#"trace_port="tcp": wants fastest or serial; skipped"#,
            r#"unknown key "tracing"; skipped"#,
        ]
    );
}

#[test]
#[cfg(not(feature = "trace"))]
fn an_image_without_a_recorder_knows_none_of_its_keys() {
    let complaints = read(b"trace=full trace_size=64K").1;
    assert_eq!(complaints, [r#"unknown key "trace"; skipped"#, r#"unknown key "trace_size"; skipped"#]);
}
