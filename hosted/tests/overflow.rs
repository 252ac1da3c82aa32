//! The last words of a process with an overflow of a stack, or another fault. Each scene is an
//! ignored test, and runs in a child process.

use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use trefoil_hosted::{Builder, Config, run};

/// Runs the ignored test `scene` in a process of its own. Returns the signal that ended the process
/// and its standard error.
fn child(scene: &str) -> (Option<i32>, String) {
    let me = std::env::current_exe().unwrap();
    let output = Command::new(me).args(["--ignored", "--exact", "--nocapture", scene]).output().unwrap();
    (output.status.signal(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Calls itself without end.
fn dig(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    if depth == usize::MAX {
        return 0;
    }
    dig(black_box(depth + 1)) + frame[depth % 64]
}

#[test]
#[ignore = "ends the process: a scene"]
fn a_goroutine_digs() {
    let joe = || Builder::new().name("joe").spawn(|| dig(0)).unwrap().join().unwrap();
    run(Config::with_procs(2), joe).unwrap();
}

#[test]
#[ignore = "ends the process: a scene"]
fn main_digs() {
    run(Config::with_procs(1), || dig(0)).unwrap();
}

#[test]
#[ignore = "ends the process: a scene"]
fn a_thread_digs() {
    run(Config::with_procs(1), || ()).unwrap();
    std::thread::Builder::new().name("tom".into()).spawn(|| dig(0)).unwrap().join().unwrap();
}

#[test]
#[ignore = "ends the process: a scene"]
fn a_goroutine_reads_nothing() {
    let read = || {
        let nothing = black_box(64 as *const u8);
        // SAFETY: none: the read faults, and this process ends by it.
        black_box(unsafe { nothing.read_volatile() })
    };
    run(Config::with_procs(1), read).unwrap();
}

#[test]
fn a_goroutine_that_overflows_its_stack_is_named() {
    let (signal, said) = child("a_goroutine_digs");
    assert_eq!(signal, Some(libc::SIGABRT), "{said}");
    let line = said.lines().find(|line| line.starts_with("goroutine ")).unwrap_or_else(|| panic!("{said}"));
    let (_, what) = line.split_once(" \"joe\" ").unwrap_or_else(|| panic!("{line}"));
    assert_eq!(what, "has overflowed its stack of 256 KiB (Builder::stack_max makes it larger)");
}

#[test]
fn main_has_a_larger_stack_and_its_overflow_is_named() {
    let (signal, said) = child("main_digs");
    assert_eq!(signal, Some(libc::SIGABRT), "{said}");
    assert!(said.contains(" \"main\" has overflowed its stack of 16 MiB (a goroutine with "), "{said}");
}

#[test]
fn std_reports_the_overflow_of_a_thread() {
    let (signal, said) = child("a_thread_digs");
    assert_eq!(signal, Some(libc::SIGABRT), "{said}");
    assert!(said.contains("thread 'tom'") && said.contains("has overflowed its stack"), "{said}");
}

#[test]
fn another_fault_of_a_goroutine_ends_the_process_as_before() {
    let (signal, said) = child("a_goroutine_reads_nothing");
    assert_eq!(signal, Some(libc::SIGSEGV), "{said}");
    assert!(!said.contains("has overflowed"), "{said}");
}
