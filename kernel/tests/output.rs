//! Output to the console: whole lines, in order, none lost, and nobody held up. The port takes
//! everything at once, as QEMU's does, or 115,200 baud.
#![no_std]
#![no_main]

mod support;

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use trefoil::PreemptGuard;
use trefoil::prelude::*;
use trefoil::runtime::WaitReason;

image! {
    lines_of_many_are_whole_and_none_is_lost:
        "append fault=paced-uart | lines 400 | shape line # of goroutine # with some more text to it",
        "lines 400 | shape line # of goroutine # with some more text to it",
        "append fault=paced-uart | machine microvm | smp 1,2 | lines 400 | shape line # of goroutine # with some more text to it",
        "append fault=paced-uart,no-acpi | smp 1 | lines 401 | expect goroutine 0 with";
    one_goroutines_lines_are_in_order:
        "append fault=paced-uart | smp 1,2 | lines 300 | expect number 0000 | expect number 0150 | expect number 0299 | in-order";
    a_full_ring_parks_who_prints: "append fault=paced-uart | smp 1,2,4";
    who_prints_holds_nobody_up:
        "append fault=paced-uart | smp 1 | icount",
        "append fault=paced-uart,no-acpi | smp 1 | icount";
    with_preemption_off_nothing_is_lost:
        "append fault=paced-uart | smp 1,2 | lines 301 | expect number 0000 | expect number 0299 | expect over | in-order";
    a_long_line_leaves_whole:
        "append fault=paced-uart | smp 1,2 | lines 3 | expect 0000000000000001 | expect the end | in-order";
    the_end_waits_for_what_was_printed:
        "append fault=paced-uart | smp 1,4 | lines 200 | expect number 0000 | expect number 0199 | in-order";
    an_exit_waits_for_what_was_printed: "append fault=paced-uart | smp 1,4 | exit 1 | lines 200 | expect number 0199";
    a_report_comes_after_what_was_printed:
        "append fault=paced-uart | smp 1,2,4 | exit 1 | expect number 0000 | expect number 0199 | expect trefoil: fatal: panic | expect end of report | in-order";
    a_fault_comes_after_what_was_printed:
        "append fault=paced-uart | smp 1,4 | exit 1 | expect number 0000 | expect number 0199 | expect trefoil: fatal: exception 6 | expect end of report | in-order";
    a_deadlock_comes_after_what_was_printed:
        "smp 1,2 | exit 1 | expect number 0199 | expect trefoil: fatal: deadlock | in-order";
    an_overflow_is_told_between_lines:
        "append fault=paced-uart | smp 1,2 | expect number 0000 | expect has used up its window | expect others go on | expect number 0199 | in-order";
    a_writer_is_as_good_as_print:
        "lines 4 | expect one 2 three | expect four | expect written | expect the end";
    dbg_prints_and_returns_its_value:
        "smp 1,2 | lines 8 | expect [kernel/tests/output.rs: | expect ] 3 * n = 12 | expect ] Some(name) = Some( | expect     \"x\", | expect ] &moved = \"moved\" | in-order";
    input_and_output_share_the_port:
        "append fault=paced-uart | smp 1,2,4 | stdin flood 6400 | lines 100 | expect 00000000 some more | expect 00000099 some more | in-order";
}

fn numbers(n: u64) {
    (0..n).for_each(|i| {
        println!("number {i:04}, and enough behind it to make the ring full before all are in it: it has 16 KiB")
    });
}

fn lines_of_many_are_whole_and_none_is_lost() {
    let all: Vec<_> = (0..8)
        .map(|g| go(move || (0..50).for_each(|i| println!("line {i} of goroutine {g} with some more text to it"))))
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}

fn one_goroutines_lines_are_in_order() {
    go(|| numbers(300)).join().unwrap();
}

fn a_full_ring_parks_who_prints() {
    let waits = || runtime::goroutines().iter().filter(|g| g.wait_reason == WaitReason::Output).count();
    // The second line of each finds the ring full; one has the turn, the others queue behind it.
    let all: Vec<_> = (0..10).map(|_| go(|| (0..3).for_each(|i| println!("{i:01000}")))).collect();
    let begin = Instant::now();
    while waits() < 5 {
        assert!(begin.elapsed() < Duration::from_secs(5), "{} wait", waits());
        time::sleep(Duration::from_micros(100));
    }
    all.into_iter().for_each(|g| g.join().unwrap());
    assert_eq!(waits(), 0);
}

/// Others are on time beside two that print more than the port takes.
fn who_prints_holds_nobody_up() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let printers: Vec<_> = (0..2)
        .map(|_| {
            go(|| {
                while !STOP.load(Relaxed) {
                    println!("{:0500}", 7);
                }
            })
        })
        .collect();
    let mut worst = Duration::ZERO;
    for _ in 0..200 {
        let due = Instant::now() + Duration::from_millis(1);
        time::sleep_until(due);
        worst = worst.max(due.elapsed());
    }
    STOP.store(true, SeqCst);
    printers.into_iter().for_each(|g| g.join().unwrap());
    println!("the worst of 200 was {worst:?} late");
    assert!(worst < Duration::from_micros(150), "{worst:?}: a line of 500 bytes takes 43 ms");
}

fn with_preemption_off_nothing_is_lost() {
    let guard = PreemptGuard::new();
    numbers(300);
    drop(guard);
    println!("over");
}

fn a_long_line_leaves_whole() {
    let other = go(|| println!("a line of another"));
    println!("{:05000}", 1);
    other.join().unwrap();
    println!("the end");
}

fn the_end_waits_for_what_was_printed() {
    numbers(200);
}

fn an_exit_waits_for_what_was_printed() {
    numbers(200);
    runtime::exit(1);
}

fn a_report_comes_after_what_was_printed() {
    numbers(200);
    let _guard = PreemptGuard::new();
    panic!("nothing unwinds here");
}

fn a_fault_comes_after_what_was_printed() {
    numbers(200);
    // SAFETY: raises #UD, which ends the machine.
    unsafe { core::arch::asm!("ud2") };
}

fn a_deadlock_comes_after_what_was_printed() {
    numbers(200);
    let (_tx, rx) = chan::bounded::<u8>(0);
    let _ = rx.recv();
}

fn an_overflow_is_told_between_lines() {
    #[inline(never)]
    fn glut(level: u64) -> u64 {
        let block = core::hint::black_box([level; 32]);
        if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
    }
    let printer = go(|| numbers(200));
    time::sleep(Duration::from_millis(20));
    assert!(go(|| glut(0)).join().is_err());
    printer.join().unwrap();
}

fn a_writer_is_as_good_as_print() {
    let mut out = runtime::stdout();
    print!("one ");
    write!(out, "{} ", 2).unwrap();
    let other = go(|| writeln!(runtime::stdout(), "four").unwrap());
    time::sleep(Duration::from_millis(1));
    eprintln!("three");
    other.join().unwrap();
    fn generic(out: &mut impl core::fmt::Write) -> core::fmt::Result {
        out.write_str("wri")?;
        out.write_char('t')?;
        writeln!(out, "ten")
    }
    generic(&mut out).unwrap();
    eprint!("the end");
}

fn dbg_prints_and_returns_its_value() {
    let n = 4;
    assert_eq!(dbg!(3 * n) + 1, 13);
    let name = "x";
    assert_eq!(dbg!(Some(name), n,), (Some("x"), 4));
    let moved = String::from("moved");
    dbg!(&moved);
    drop(dbg!(moved));
    dbg!();
}

fn input_and_output_share_the_port() {
    let bytes = AtomicU64::new(0);
    for line in runtime::stdin() {
        bytes.fetch_add(line.len() as u64 + 1, Relaxed);
        println!("{line}");
    }
    assert_eq!((bytes.load(Relaxed), runtime::stdin().overruns()), (6400, 0));
}
