//! Every place at the end of a stack, and every call from there.

use core::arch::naked_asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use trefoil::JoinError;
use trefoil::arch;
use trefoil::context::Context;
use trefoil::joinset::JoinSet;
use trefoil::prelude::*;
use trefoil::sync::{Condvar, Mutex, RwLock};

use crate::deep::{KIB, until};
use crate::{FORBIDDEN, XSAVE, glut, lowest, number, preempted_at};

/// Calls `f(arg)` with the stack pointer `rsp`, which is a multiple of 16 and far below the
/// caller's.
#[unsafe(naked)]
unsafe extern "C" fn call_at(f: extern "C" fn(usize), arg: usize, rsp: usize) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdx",
        "mov rax, rdi",
        "mov rdi, rsi",
        "call rax",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

extern "C" fn deeper(_: usize) {
    black_box(glut(0));
}

/// Performs one of a program's calls, each with preemption off somewhere inside.
extern "C" fn call(which: usize) {
    static MUTEX: Mutex<u64> = Mutex::new(0);
    match which {
        0 => {
            let (tx, rx) = chan::bounded(1);
            tx.send([which; 8]).unwrap();
            assert_eq!(rx.recv(), Ok([which; 8]));
        }
        1 => {
            let (tx, rx) = chan::bounded(0);
            // A caller that dies before it receives leaves its end of the channel open for ever.
            let other = go(move || tx.send_timeout(5u8, Duration::from_millis(20)).is_ok());
            assert_eq!(rx.recv(), Ok(5));
            let _ = other.join();
        }
        2 => {
            // If its last holder has died in there, nobody gets it any more.
            if let Ok(mut n) = MUTEX.try_lock() {
                *n += 1;
            }
        }
        3 => drop(black_box(vec![3u8; 60_000])),
        4 => println!("{} deep", lowest() % 7),
        5 => time::sleep(Duration::from_micros(20)),
        6 => runtime::yield_now(),
        7 => _ = go(|| 5).join(),
        8 => {
            let ((a, one), (b, two)) = (chan::bounded(1), chan::bounded::<u8>(1));
            a.send(1).unwrap();
            select! { recv(one) -> n => assert_eq!(n, Ok(1)), recv(two) -> n => { n.unwrap(); } }
            drop(b);
        }
        9 => {
            let (_a, one) = chan::bounded::<u8>(0);
            select! { recv(one) -> _ => unreachable!(), default(Duration::from_micros(10)) => {} }
        }
        10 => _ = runtime::scavenge(),
        11 => scope(|s| drop(s.go(|| ()))),
        12 => drop(black_box((runtime::stats(), runtime::goroutines()))),
        13 => {
            let (mutex, condvar) = (Mutex::new(()), Condvar::new());
            let _ = condvar.wait_timeout(mutex.lock().unwrap(), Duration::from_micros(10));
        }
        14 => {
            let lock = RwLock::new(5);
            assert_eq!(*lock.read().unwrap(), 5);
            *lock.write().unwrap() += 1;
        }
        15 => {
            let mut set = JoinSet::new();
            set.go(|| 5);
            let _ = set.join_next();
        }
        16 => _ = task::block_on(async { 5 }),
        17 => _ = runtime::set_slice(Duration::from_millis(10)),
        18 => {
            let (context, cancel) = Context::background().with_timeout(Duration::from_secs(5));
            cancel.cancel();
            assert!(context.err().is_some());
        }
        _ => drop(black_box(runtime::pin())),
    }
}
const CALLS: usize = 20;

/// Each place of the last 24 KiB: preempted there, up to six times on the way down; then the stack
/// goes on, or the kernel is called.
pub fn no_place_at_the_end_ends_the_machine() {
    arch::preempt::set_xsave_bytes(XSAVE);
    let stop = Arc::new(AtomicBool::new(false));
    let competitor = {
        let stop = stop.clone();
        go(move || until(|| stop.load(SeqCst)))
    };
    let (mut lived, mut ended) = (0, 0);
    let mut end = |handle: JoinHandle<()>, what: &str, left: usize, n: usize| match handle.join() {
        Ok(()) => lived += 1,
        Err(JoinError::StackOverflow) => ended += 1,
        Err(other) => panic!("{what} {n} with {left} bytes left: {other}"),
    };
    for (at, left) in (4096..24 * KIB).step_by(64).step_by(number("step", 1)).enumerate() {
        let builder = Builder::new().stack_max(if at % 2 == 0 { 256 * KIB } else { 1 << 20 });
        let turns = if number("step", 1) == 1 { 1..7 } else { at % 6 + 1..at % 6 + 2 };
        for turns in turns {
            let handle = builder.spawn(move || {
                let place = lowest() + left;
                (1..turns).rev().for_each(|above| preempted_at(place + 256 * above));
                preempted_at(place);
                // SAFETY: the stack is this G's, and no code uses the bytes below its stack
                // pointer.
                unsafe { call_at(deeper, 0, place & !15) };
            });
            end(handle.unwrap(), "preempted", left, turns);
        }
        // The preemption's frame at the edge maps red pages, and then the call goes down into them.
        for which in 0..CALLS {
            let handle = builder.spawn(move || {
                let lo = lowest();
                preempted_at(lo + FORBIDDEN);
                // SAFETY: the stack is this G's, and no code uses the bytes below its stack
                // pointer.
                unsafe { call_at(call, which, (lo + left) & !15) };
            });
            end(handle.unwrap(), "call", left, which);
        }
    }
    stop.store(true, SeqCst);
    competitor.join().unwrap();
    println!("{lived} lived, {ended} ended");
    assert!(lived > 10 && ended > 10, "{lived} lived, {ended} ended: the end is somewhere else");
}
