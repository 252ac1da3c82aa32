//! Input from outside: the serial port's interrupt, the ready inbox behind it, and the standard
//! input on top.
#![no_std]
#![no_main]

#[path = "support/spin.rs"]
mod spin;
mod support;

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use spin::spin;
use trefoil::prelude::*;

image! {
    lines_arrive_in_order:
        "stdin one\\ntwo\\n\\nfour",
        "stdin one\\ntwo\\n\\nfour | machine pc",
        "stdin one\\ntwo\\n\\nfour | machine microvm",
        "stdin one\\ntwo\\n\\nfour | append fault=no-acpi | smp 1 | expect there is no RSDP; looking at the serial port every millisecond";
    a_flood_loses_nothing:
        "stdin flood 1000000 | timeout 100 | smp 4",
        "stdin flood 100000 | timeout 100 | smp 1,2",
        "stdin flood 20000 | append fault=no-acpi | smp 1";
    lost_bytes_are_counted;
    a_flood_beside_tight_loops_loses_nothing: "stdin flood 50000 | timeout 100";
    who_waits_for_input_is_not_dead:
        "stdin later x",
        "stdin later x | machine microvm | smp 1";
    several_readers_take_turns: "stdin flood 6400";
    bytes_are_bytes: "stdin a\\nb | smp 1,2";
    nothing_typed_is_an_end: "stdin | smp 1";
    an_interrupt_ends_the_turn_of_a_tight_loop:
        "stdin later x | smp 1 | icount",
        "stdin later x | smp 2,4";
    lines_are_read_into_a_string: "stdin one\\ntwo\r\\né\\né\\nlast";
    a_typed_line_is_edited_and_echoed:
        "append stdin=terminal | stdin helo\x7flo\\näö\x08x\\nkill\x15a b\x17c\\n\x1b[Aend\x04 | lines 4 | expect hello | expect äx | expect a c | expect end | in-order",
        "append stdin=terminal fault=no-acpi | smp 1 | stdin helo\x7flo\\näö\x08x\\nkill\x15a b\x17c\\n\x1b[Aend\x04",
        "append stdin=terminal fault=paced-uart | machine microvm | smp 1,2 | stdin helo\x7flo\\näö\x08x\\nkill\x15a b\x17c\\n\x1b[Aend\x04";
    without_a_terminal_nothing_is_edited_or_echoed:
        "stdin a\x7fb\x15\\n | lines 0",
        "append stdin=terminal stdin=bytes | stdin a\x7fb\x15\\n | lines 0 | smp 1",
        "append stdin=loud | stdin a\x7fb\x15\\n | smp 1 | lines 1 | expect trefoil: command line: stdin=\"loud\": wants terminal or bytes; skipped",
        "append stdin | stdin a\x7fb\x15\\n | smp 1 | lines 1 | expect stdin=\"\": wants terminal or bytes; skipped";
    typed_and_printed_lines_are_whole:
        "append stdin=terminal | stdin flood 12800 | lines 1200 | shape # some more, as one pastes it",
        "append stdin=terminal fault=paced-uart | smp 1,2 | stdin flood 3200 | lines 1050 | shape # some more, as one pastes it";
    a_prompt_stands_before_the_typed_line:
        "append stdin=terminal | stdin Ann\\nBob\\n | lines 4 | expect your name? Ann | expect and yours? Bob | expect hello Ann and Bob | expect bye | in-order",
        "smp 1 | stdin Ann\\nBob\\n | lines 2 | expect your name? and yours? hello Ann and Bob | expect bye";
    a_raw_terminal_gives_every_byte:
        "append stdin=terminal | stdin a\x7f\r\x04\x1b[Ax\x7fyz\\n | lines 1 | expect key?yz",
        "stdin a\x7f\r\x05\x1b[Ax\x7fyz\\n | smp 1";
    no_g_waits_for_input_any_more: "smp 1,2 | stdin x | exit 1 | expect deadlock | expect \"main\" [chan receive]";
}

fn lines_arrive_in_order() {
    let lines: Vec<String> = runtime::stdin().collect();
    assert_eq!(lines, ["one", "two", "", "four"]);
    assert_eq!(runtime::stdin().next(), None, "the end is for good");
    assert_eq!(runtime::stdin().read(&mut [0; 8]), 0);
    assert_eq!(runtime::stdin().overruns(), 0);
}

/// Reads the whole flood; each line tells if one before it is missing. Returns the bytes.
fn read_flood(from: usize) -> usize {
    let (mut bytes, mut last) = (0, 0);
    for (i, line) in runtime::stdin().enumerate() {
        if line.len() == 63 {
            assert_eq!(line[..8].parse(), Ok(from + i), "after {bytes} bytes");
            assert!(line[8..].trim() == "some more, as one pastes it", "{line:?}");
            bytes += 64;
        } else {
            last = line.len();
        }
    }
    bytes + last
}

fn a_flood_loses_nothing() {
    let begin = Instant::now();
    let mut stdin = runtime::stdin();
    let first = stdin.next();
    // The reader does not keep up: the sender has to wait, more than once.
    while stdin.pauses() == 0 {
        time::sleep(Duration::from_millis(1));
    }
    let bytes = read_flood(1);
    let took = begin.elapsed();
    println!(
        "{bytes} bytes in {took:?}, {} pauses, {} overruns",
        runtime::stdin().pauses(),
        runtime::stdin().overruns()
    );
    assert!(first.is_some_and(|line| line.starts_with("00000000")));
    assert!([1_000_000, 100_000, 20_000].contains(&(bytes + 64)), "{bytes} bytes");
    assert_eq!(runtime::stdin().overruns(), 0);
}

/// Registers of the serial port.
const DATA: u16 = 0x3f8;
const INTERRUPTS: u16 = DATA + 1;
const MODEM: u16 = DATA + 4;

fn set_port(port: u16, value: u8) {
    // SAFETY: a register of the serial port, whose driver finds it as it was when this test is
    // over.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value) };
}

/// The port sends to itself, with its interrupt off, more than it has room for.
fn lost_bytes_are_counted() {
    let reader = go(|| {
        let mut bytes = [0; 16];
        let mut n = 0;
        while n < bytes.len() {
            n += runtime::stdin().read(&mut bytes[n..]);
        }
        bytes
    });
    let waits = || runtime::goroutines().iter().any(|g| g.wait_reason == runtime::WaitReason::Input);
    while !waits() {
        time::sleep(Duration::from_millis(1));
    }
    set_port(INTERRUPTS, 0);
    set_port(MODEM, 0x1b);
    (b'a'..=b't').for_each(|byte| set_port(DATA, byte));
    set_port(MODEM, 0x0b);
    set_port(INTERRUPTS, 1);
    assert_eq!(&reader.join().unwrap(), b"abcdefghijklmnop");
    assert_eq!(runtime::stdin().overruns(), 1, "told by the port once, since nobody looked in between");
}

fn a_flood_beside_tight_loops_loses_nothing() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..runtime::max_procs() + 1).map(|_| go(|| spin(&STOP))).collect();
    let bytes = read_flood(0);
    STOP.store(true, SeqCst);
    assert_eq!(bytes, 50_000);
    assert_eq!(runtime::stdin().overruns(), 0);
    spinners.into_iter().for_each(|s| assert!(s.join().unwrap() > 0, "a loop got nothing"));
}

fn who_waits_for_input_is_not_dead() {
    let (tx, rx) = chan::bounded::<u8>(0);
    // Half a second in which everybody is parked and no timer is armed.
    let waits = go(move || rx.recv());
    assert_eq!(runtime::stdin().next().as_deref(), Some("x"));
    tx.send(7).unwrap();
    assert_eq!(waits.join().unwrap(), Ok(7));
}

fn several_readers_take_turns() {
    let total = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let total = total.clone();
            go(move || {
                let mut buffer = [0; 100];
                loop {
                    match runtime::stdin().read(&mut buffer) {
                        0 => return,
                        n => _ = total.fetch_add(n as u64, Relaxed),
                    }
                }
            })
        })
        .collect();
    readers.into_iter().for_each(|r| r.join().unwrap());
    assert_eq!(total.load(Relaxed), 6400);
}

fn bytes_are_bytes() {
    assert_eq!(runtime::stdin().bytes().collect::<Vec<u8>>(), b"a\nb");
}

fn nothing_typed_is_an_end() {
    assert_eq!(runtime::stdin().next(), None);
}

fn an_interrupt_ends_the_turn_of_a_tight_loop() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..runtime::max_procs()).map(|_| go(|| spin(&STOP))).collect();
    assert_eq!(runtime::stdin().next().as_deref(), Some("x"));
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| assert!(s.join().unwrap() > 0));
}

fn lines_are_read_into_a_string() {
    let stdin = runtime::stdin();
    let mut text = String::from("> ");
    assert_eq!(stdin.read_line(&mut text), Ok(4));
    assert_eq!(stdin.read_line(&mut text), Ok(4));
    assert_eq!(text, "> one\ntwo\n", "a carriage return is a part of the end");
    assert_eq!(stdin.read_line(&mut text), Ok(3));
    assert_eq!((&text[10..], stdin.read(&mut [0])), ("é\n", 1));
    let error = stdin.read_line(&mut text).unwrap_err();
    assert_eq!((error.as_bytes(), text.len()), (&[0xa9, b'\n'][..], 13), "the second half of a character");
    assert_eq!((stdin.read_line(&mut text), stdin.read_line(&mut text)), (Ok(4), Ok(0)));
    assert_eq!(&text[13..], "last");
}

fn a_typed_line_is_edited_and_echoed() {
    let mut stdin = runtime::stdin();
    let mut first = String::new();
    assert_eq!((stdin.read_line(&mut first), &first[..]), (Ok(6), "hello\n"));
    assert_eq!(stdin.next().as_deref(), Some("äx"));
    let mut bytes = [0; 16];
    assert_eq!((stdin.read(&mut bytes[..2]), stdin.read(&mut bytes[2..])), (2, 2));
    assert_eq!(&bytes[..4], b"a c\n");
    // Ctrl-D hands over; another one, on an empty line, is the end.
    assert_eq!(stdin.next().as_deref(), Some("end"));
    assert_eq!((stdin.next(), stdin.read(&mut bytes)), (None, 0));
}

fn without_a_terminal_nothing_is_edited_or_echoed() {
    assert_eq!(runtime::stdin().collect::<Vec<_>>(), ["a\x7fb\x15"]);
}

/// Many print while lines are typed: typed and printed lines stay apart.
fn typed_and_printed_lines_are_whole() {
    let printers: Vec<_> =
        (0..10).map(|_| go(|| (0..100).for_each(|i| println!("{i:08} some more, as one pastes it")))).collect();
    let bytes = read_flood(0);
    printers.into_iter().for_each(|p| p.join().unwrap());
    assert!([12_800, 3200].contains(&bytes), "{bytes} bytes");
}

fn a_prompt_stands_before_the_typed_line() {
    let mut stdin = runtime::stdin();
    print!("your ");
    print!("name? ");
    let first = stdin.next().unwrap();
    print!("and yours? ");
    let second = stdin.next().unwrap();
    println!("hello {first} and {second}");
    assert_eq!(stdin.next(), None);
    println!("bye");
}

fn a_raw_terminal_gives_every_byte() {
    let stdin = runtime::stdin();
    let raw = (stdin.raw(), stdin.raw());
    print!("key?");
    let mut bytes = [0; 8];
    for at in 0..4 {
        assert_eq!(stdin.read(&mut bytes[at..=at]), 1);
    }
    drop(raw.0);
    for at in 4..8 {
        assert_eq!(stdin.read(&mut bytes[at..=at]), 1);
    }
    assert_eq!((&bytes[..3], &bytes[4..]), (&b"a\x7f\r"[..], &b"\x1b[Ax"[..]));
    drop(raw.1);
    let is_terminal = bytes[3] == 4;
    assert_eq!(stdin.into_iter().next().as_deref(), Some(if is_terminal { "yz" } else { "\x7fyz" }));
}

/// The G that has waited for input waits for a channel next. So nobody waits for an interrupt any
/// more.
fn no_g_waits_for_input_any_more() {
    assert_eq!(runtime::stdin().next().as_deref(), Some("x"));
    let (_tx, rx) = chan::bounded::<u8>(0);
    let _ = rx.recv();
}
