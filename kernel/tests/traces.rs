//! Reports as a person reads them: one unit each, the program's frames first, and the place that
//! created the goroutine.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::prelude::*;
use trefoil::sync::WaitGroup;

image! {
    no_line_stands_in_a_report_of_a_panic:
        "reports 64",
        "reports 64 | append slice=50",
        "smp 1,2,4 | reports 64 | append fault=paced-uart | mem 64M";
    no_line_stands_in_a_report_of_an_overflow: "reports 8", "smp 2 | reports 8 | append slice=50";
    a_report_with_a_long_message_is_complete: "smp 1,2 | expect 0000000000000001 | expect created by | expect the end | in-order";
    the_machine_waits_for_a_report_of_a_panic: "smp 1 | icount | append slice=5 | reports 1";
    a_fatal_report_begins_with_the_unfinished_one:
        "smp 1 | icount | append slice=5 | exit 1 | expect nobody joins me | expect fatal: exception 6 | expect end of report | in-order";
    a_goroutine_knows_the_place_that_created_it:
        "expect created by traces::a_goroutine_knows_the_place_that_created_it at kernel/tests/traces.rs:";
    a_panic_shows_the_programs_frames_first:
        "expect panicked at | expect traces::job at kernel/tests/traces.rs | expect traces::outside::{closure#0} at | expect frames of the runtime; backtrace=full shows them | expect created by traces::outside at kernel/tests/traces.rs: | in-order | refuse panicking | refuse trefoil_",
        "append backtrace=full | expect panicked at | expect traces::job at kernel/tests/traces.rs | expect trefoil_sched::api::spawn | expect created by traces::outside at | in-order | refuse frames of the runtime";
    a_fault_shows_the_programs_frames_first:
        "smp 1,2 | exit 1 | expect exception 6 #UD | expect traces::faults at | expect #00 | expect traces::outside_of_faults::{closure#0} at | expect of the runtime | expect created by traces::outside_of_faults at | expect end of report | in-order | refuse trefoil_";
    a_deadlock_shows_the_programs_frames_first:
        "smp 1,2 | exit 1 | expect \"main\" [join] | expect traces::a_deadlock_shows_the_programs_frames_first at | expect \"waits\" [chan receive] | expect traces::waits_in_vain at | expect created by traces::a_deadlock_shows_the_programs_frames_first at | expect end of report | in-order | refuse trefoil_";
    an_overflow_shows_the_ends_of_the_recursion:
        "smp 1,2 | expect has used up its window | expect #02 | expect frames more of traces::glut | expect traces::an_overflow_shows_the_ends_of_the_recursion::{closure#0} at | expect of the runtime | expect created by traces::an_overflow_shows_the_ends_of_the_recursion at | expect others go on | in-order | refuse trefoil_";
    a_bad_way_to_show_traces_is_named: "smp 1 | append backtrace=ful | expect backtrace=\"ful\": wants full; skipped";
    a_level_without_a_logger_is_named:
        "smp 1,2,4 | append log=debug | lines 1 | expect log=\"debug\": wants off, error, warn, info, debug or trace, in a program that calls trefoil::log::init(); skipped",
        "smp 1 | append log=loud | lines 1 | expect log=\"loud\": wants off,";
}

/// Prints lines until the program says stop.
fn printers() -> (&'static AtomicBool, Vec<JoinHandle<()>>) {
    static STOP: AtomicBool = AtomicBool::new(false);
    let print = |n| {
        move || {
            while !STOP.load(Relaxed) {
                println!("a line of printer {n}");
                // A line every few microseconds would make the output gigabytes.
                time::sleep(Duration::from_micros(200));
            }
        }
    };
    (&STOP, (0..4).map(|n| go(print(n))).collect())
}

fn no_line_stands_in_a_report_of_a_panic() {
    let (stop, printers) = printers();
    let all: Vec<_> = (0..64).map(|i| go(move || panic!("number {i} gives up"))).collect();
    all.into_iter().for_each(|g| assert!(g.join().is_err()));
    stop.store(true, Relaxed);
    printers.into_iter().for_each(|g| g.join().unwrap());
}

#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

fn no_line_stands_in_a_report_of_an_overflow() {
    let (stop, printers) = printers();
    let all: Vec<_> = (0..8).map(|_| go(|| glut(0))).collect();
    all.into_iter().for_each(|g| assert!(g.join().is_err()));
    stop.store(true, Relaxed);
    printers.into_iter().for_each(|g| g.join().unwrap());
}

/// Longer than the report's place.
fn a_report_with_a_long_message_is_complete() {
    assert!(go(|| panic!("{:09000}", 1)).join().is_err());
    println!("the end");
}

/// Returns in the middle of a report, where a slice has ended.
fn begin_a_report() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    struct Begins;
    impl core::fmt::Display for Begins {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            BEGUN.store(true, Relaxed);
            f.write_str("nobody joins me")
        }
    }
    drop(go(|| panic!("{Begins}")));
    while !BEGUN.load(Relaxed) {
        runtime::yield_now();
    }
}

/// The end of `main` is not the end of that report.
fn the_machine_waits_for_a_report_of_a_panic() {
    begin_a_report();
    // The kit's account would wait for its end.
    runtime::exit(0);
}

fn a_fatal_report_begins_with_the_unfinished_one() {
    begin_a_report();
    (0..5).for_each(|_| runtime::yield_now()); // its first line is there
    faults();
}

fn here() -> &'static Location<'static> {
    runtime::current().created_at.expect("a goroutine has a creator")
}

fn a_goroutine_knows_the_place_that_created_it() {
    assert!(runtime::current().created_at.is_none(), "nobody in the program created main");
    let mut found = Vec::new();
    let line = line!();
    found.push(go(here).join().unwrap());
    found.push(try_go(here).unwrap().join().unwrap());
    found.push(Builder::new().name("built").spawn(here).unwrap().join().unwrap());
    found.push(scope(|s| s.go(here).join().unwrap()));
    found.push(scope(|s| s.try_go(here).unwrap().join().unwrap()));
    found.push(scope(|s| Builder::new().spawn_scoped(s, here).unwrap().join().unwrap()));
    found.push(task::spawn_future(async { here() }).join().unwrap());
    let mut set = JoinSet::new();
    _ = (set.go(here), found.push(set.join_next().unwrap().unwrap()));
    _ = (set.spawn(Builder::new(), here).unwrap(), found.push(set.join_next().unwrap().unwrap()));
    let (tx, rx) = chan::bounded(1);
    let told = |tx: &chan::Sender<_>| {
        let tx = tx.clone();
        move || tx.send(here()).unwrap()
    };
    let group = ErrGroup::<()>::new();
    let tell = told(&tx);
    group.go(move || {
        tell();
        Ok(())
    });
    found.push(rx.recv().unwrap());
    group.wait().unwrap();
    let waits = Arc::new(WaitGroup::new());
    waits.go(told(&tx));
    found.push(rx.recv().unwrap());
    waits.wait();
    let scoped = WaitGroup::new();
    scope(|s| scoped.go_scoped(s, told(&tx)));
    found.push(rx.recv().unwrap());
    let lines: Vec<_> = found.iter().map(|at| at.line() - line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7, 9, 10, 18, 25, 29]);
    assert!(found.iter().all(|at| at.file().ends_with("tests/traces.rs")), "{found:?}");
    let listed = go(|| {
        let (me, all) = (runtime::current(), runtime::goroutines());
        all.iter().any(|g| g.id == me.id && g.created_at == me.created_at)
            && all.iter().any(|g| g.name == "main" && g.created_at.is_none())
    });
    assert!(listed.join().unwrap());
    assert!(go(|| panic!("who has created me?")).join().is_err());
}

#[inline(never)]
fn job(n: u64) -> u64 {
    assert!(n < 5, "number {n} is too much");
    black_box(n) + 1
}

#[inline(never)]
fn outside() -> JoinHandle<u64> {
    go(|| job(black_box(7)) + 1)
}

fn a_panic_shows_the_programs_frames_first() {
    assert!(outside().join().is_err());
}

#[inline(never)]
fn faults() {
    // SAFETY: raises #UD, which ends the machine.
    unsafe { core::arch::asm!("ud2") };
}

#[inline(never)]
fn outside_of_faults() {
    let fault = || {
        faults();
        black_box(());
    };
    go(fault).join().unwrap();
}

fn a_fault_shows_the_programs_frames_first() {
    outside_of_faults();
}

#[inline(never)]
fn waits_in_vain(rx: &chan::Receiver<u64>) -> u64 {
    black_box(rx.recv().unwrap()) + 1
}

#[inline(never)]
fn a_deadlock_shows_the_programs_frames_first() {
    let (_tx, rx) = chan::bounded::<u64>(0);
    let waits = Builder::new().name("waits").spawn(move || waits_in_vain(&rx)).unwrap();
    waits.join().unwrap();
}

fn an_overflow_shows_the_ends_of_the_recursion() {
    assert!(go(|| glut(0) + 1).join().is_err());
}

fn a_bad_way_to_show_traces_is_named() {}

fn a_level_without_a_logger_is_named() {}
