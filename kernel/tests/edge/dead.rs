//! Frames of the dead that others borrow, and addresses of the dead.

use core::hint::black_box;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use trefoil::JoinError;
use trefoil::arch;
use trefoil::mm::stack;
use trefoil::prelude::*;
use trefoil::sync::{Condvar, Mutex};

use crate::deep::{KIB, until};
use crate::{glut, lowest, number, untouched};

fn kept() -> u64 {
    runtime::stats().memory.stacks.kept
}

pub fn frames_of_the_dead_stay_while_children_borrow() {
    static LENT: AtomicUsize = AtomicUsize::new(0);
    let before = runtime::stats().memory.stacks;
    let (go_on, goes) = chan::bounded::<()>(0);
    let (said, says) = chan::bounded::<u64>(0);
    let opener = Builder::new().name("opener").spawn(move || {
        let filled = black_box([0x1234_5678_9abc_def0_u64; 4096]);
        let empty = untouched(100 * KIB);
        LENT.store(filled.as_ptr().addr(), SeqCst);
        let filled = &filled;
        scope(|s| {
            s.go(move || {
                while goes.recv().is_ok() {
                    let wrong = filled.iter().filter(|&&word| word != 0x1234_5678_9abc_def0).count() as u64;
                    // As if its own array had lain there and nobody had touched it.
                    let words = core::ptr::without_provenance_mut::<u64>(empty);
                    // SAFETY: the dead one's, below what it had in use; this is the only one to use
                    // it.
                    let wrong = wrong
                        + (0..8 * 512)
                            .step_by(512)
                            .map(|i| unsafe {
                                let at = words.add(i);
                                let first = LENT.load(SeqCst) & 1 == 0;
                                if first {
                                    at.write(i as u64);
                                }
                                u64::from(at.read_volatile() != i as u64)
                            })
                            .sum::<u64>();
                    said.send(wrong).unwrap();
                }
            });
            runtime::yield_now();
            glut(0);
        });
    });
    assert!(matches!(opener.unwrap().join(), Err(JoinError::StackOverflow)));
    until(|| runtime::num_goroutines() == 2);
    for _ in 0..5 {
        runtime::scavenge();
        go_on.send(()).unwrap();
        assert_eq!(says.recv().unwrap(), 0, "a borrow that Rust has granted lost its bytes");
        LENT.fetch_or(1, SeqCst);
        assert_eq!(kept(), 1);
    }
    assert_eq!(runtime::stats().memory.stacks.retired, before.retired);
    // The last borrow ends, and the memory goes.
    drop(go_on);
    until(|| runtime::num_goroutines() == 1 && kept() == 0);
    assert_eq!(runtime::stats().memory.stacks.retired, before.retired + 1);
    runtime::scavenge();
    let leftover = go(|| {
        let at = (LENT.load(SeqCst) & !7) as *const u64;
        // SAFETY: none: the borrow is over. The read must end the G, since the window's addresses
        // are never used again.
        unsafe { at.read_volatile() }
    });
    assert!(matches!(leftover.join(), Err(JoinError::DeadStack)));
}

/// The dead G is itself a member of a scope: the scopes that it had opened live on in the one that
/// it was in.
pub fn frames_of_the_dead_stay_for_grandchildren() {
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    for children in 1..4u64 {
        let (go_on, goes) = chan::bounded::<()>(0);
        let outer = go(move || {
            let x = black_box([children; 64]);
            let (x, goes) = (&x, &goes);
            scope(|s| {
                let member = s.go(move || {
                    let y = black_box([children + 1; 64]);
                    let y = &y;
                    scope(|s| {
                        scope(|inner| {
                            for _ in 0..children {
                                inner.go(move || {
                                    let _ = goes.recv();
                                    assert_eq!(x[7] + 1, y[9], "a borrow lost its bytes");
                                    ROUNDS.fetch_add(1, SeqCst);
                                });
                            }
                            s.go(move || assert_eq!(x[8] + 1, y[8]));
                            runtime::yield_now();
                            glut(0);
                        });
                    });
                });
                assert!(matches!(member.join(), Err(JoinError::StackOverflow)));
            });
            x[63]
        });
        until(|| kept() == 1);
        (0..5).for_each(|_| _ = runtime::scavenge());
        assert!(!outer.is_finished(), "a scope has ended before a borrow of it");
        assert_eq!(kept(), 1);
        drop(go_on);
        assert_eq!(outer.join().unwrap(), children);
        until(|| kept() == 0);
    }
    assert_eq!(ROUNDS.load(SeqCst), 6);
}

pub fn a_timeout_finds_its_list_on_a_dead_frame() {
    let opener = go(|| {
        let (mutex, condvar) = (Mutex::new(()), Condvar::new());
        scope(|s| {
            s.go(|| {
                let held = mutex.lock().unwrap();
                let (_held, late) = condvar.wait_timeout(held, Duration::from_millis(50)).unwrap();
                assert!(late.timed_out());
            });
            time::sleep(Duration::from_millis(2));
            glut(0);
        });
    });
    assert!(matches!(opener.join(), Err(JoinError::StackOverflow)));
    while kept() > 0 {
        runtime::scavenge();
        time::sleep(Duration::from_millis(5));
    }
    until(|| runtime::num_goroutines() == 1);
}

pub fn a_child_may_start_others_after_its_opener_has_died() {
    static RAN: AtomicU64 = AtomicU64::new(0);
    let (go_on, goes) = chan::bounded::<()>(0);
    let opener = go(move || {
        let number = black_box(Mutex::new(5u64));
        let number = &number;
        scope(|s| {
            s.go(move || {
                let _ = goes.recv();
                for _ in 0..10 {
                    s.go(|| {
                        time::sleep(Duration::from_millis(1));
                        *number.lock().unwrap() += 1;
                        RAN.fetch_add(1, SeqCst);
                    });
                }
            });
            runtime::yield_now();
            glut(0);
        });
    });
    assert!(matches!(opener.join(), Err(JoinError::StackOverflow)));
    until(|| kept() == 1);
    runtime::scavenge();
    drop(go_on);
    until(|| kept() == 0);
    assert_eq!(RAN.load(SeqCst), 10, "the frames went before the last borrow");
}

/// Counts the ticks of `is_dead` for an address in a window that is alive.
fn look() -> u64 {
    let here = lowest() as u64 + 100_000;
    let begin = arch::clock::ticks();
    for _ in 0..1000 {
        assert!(!stack::is_dead(black_box(here)));
    }
    (arch::clock::ticks() - begin) / 1000
}

pub fn many_deaths_cost_no_look() {
    let deaths = number("deaths", 40);
    let one = || assert!(go(|| glut(0)).join().is_err());
    one();
    let before = look();
    let frames = stack::tree_frames();
    (1..deaths).for_each(|_| one());
    let after = look();
    println!("a look: {before} before, {after} after {deaths} deaths; {} frames", stack::tree_frames());
    assert!(after <= before + before / 10 + 1, "a look costs {after} after {deaths} deaths, {before} after one");
    // Windows are made one after the other: 64 share a frame.
    assert!(stack::tree_frames() - frames <= deaths as u64 / 64 + 2, "{} frames", stack::tree_frames());
    until(|| runtime::num_goroutines() == 1);
    assert_eq!(runtime::stats().memory.stacks.retired, deaths as u64);
}
