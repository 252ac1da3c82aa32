//! Small programs that once ended the machine, hung it, or got what was somebody else's. Each
//! stands for a kind of fault; the sweeps in `deaths`, `dying`, `edge`, `values` and `heap` cover
//! the kinds.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use trefoil::context::Context;
use trefoil::prelude::*;
use trefoil::sync::{Condvar, Mutex, TryLockError};
use trefoil::{JoinError, panic};

image! {
    a_leaked_guard_locks_for_ever:
        "",
        "machine microvm";
    a_lent_guard_is_not_taken_back:
        "",
        "machine microvm";
    a_slow_overflow_ends_that_g_alone:
        "",
        "machine microvm";
    a_timed_wait_on_a_dead_frame_ends:
        "",
        "machine microvm";
    a_lock_on_a_dead_frame_hurts_nobody_else:
        "",
        "machine microvm";
    a_death_in_set_max_procs_is_made_good:
        "smp 2,4",
        "machine microvm | smp 2,4";
    large_values_pass:
        "",
        "machine microvm";
    aligned_values_pass:
        "",
        "machine microvm";
    contexts_remember_living_children_only:
        "",
        "machine microvm";
    a_payload_that_panics_ends_its_g_alone:
        "expect bomb",
        "machine microvm | expect bomb";
    holes_cost_nothing:
        "mem 512M",
        "machine microvm | mem 512M";
}

/// Recurses without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let kept = black_box([level; 32]);
    if kept[0] == u64::MAX { 0 } else { glut(level + 1) + kept[31] }
}

/// Returns the text of a panic.
fn text(payload: &(dyn core::any::Any + Send)) -> &str {
    payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied()).unwrap_or("?")
}

/// The G that leaked the guard ended long ago, in good order. Others overflow on its recycled
/// window.
fn a_leaked_guard_locks_for_ever() {
    static LOCK: Mutex<Option<Box<u64>>> = Mutex::new(None);
    *LOCK.lock().unwrap() = Some(Box::new(7));
    let mine: &'static mut Option<Box<u64>> = go(|| &mut **Box::leak(Box::new(LOCK.lock().unwrap()))).join().unwrap();
    for _ in 0..4 {
        assert!(matches!(go(|| glut(0)).join(), Err(JoinError::StackOverflow)));
        assert!(matches!(LOCK.try_lock(), Err(TryLockError::WouldBlock)));
    }
    assert_eq!(mine.as_deref(), Some(&7));
}

/// The holder lends the value to a child, and dies of its stack.
fn a_lent_guard_is_not_taken_back() {
    static LOCK: Mutex<(u64, u64)> = Mutex::new((0, 0));
    let (up, is_up) = chan::bounded::<()>(1);
    let (may_end, ends) = chan::bounded::<()>(1);
    let (said, says) = chan::bounded::<(u64, u64)>(1);
    let holder = Builder::new().name("holder").spawn(move || {
        let mut guard = LOCK.lock().unwrap();
        let value: &mut (u64, u64) = &mut guard;
        scope(|s| {
            s.go(move || {
                value.0 = 1;
                up.send(()).unwrap();
                ends.recv().unwrap();
                said.send(*value).unwrap();
            });
            is_up.recv().unwrap();
            glut(0);
        });
    });
    assert!(matches!(holder.unwrap().join(), Err(JoinError::StackOverflow)));
    assert!(matches!(LOCK.try_lock(), Err(TryLockError::WouldBlock)));
    let refused = panic::catch_unwind(|| drop(LOCK.lock())).unwrap_err();
    assert!(text(&*refused).contains("\"holder\""), "{}", text(&*refused));
    assert!(!LOCK.is_poisoned());
    may_end.send(()).unwrap();
    assert_eq!(says.recv(), Ok((1, 0)), "the child's exclusive borrow saw a change");
}

/// The overflowing G is preempted at each level of its recursion.
fn a_slow_overflow_ends_that_g_alone() {
    #[inline(never)]
    fn deep(level: u64, slow: u64) -> u64 {
        let kept = black_box([level; 32]);
        if level >= slow {
            let until = time::Instant::now() + Duration::from_millis(1);
            while time::Instant::now() < until {
                core::hint::spin_loop();
            }
        }
        if kept[0] == u64::MAX { 0 } else { deep(level + 1, slow) + kept[31] }
    }
    let slice = runtime::set_slice(Duration::from_micros(100));
    let stop = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..runtime::max_procs())
        .map(|_| {
            let stop = stop.clone();
            go(move || {
                while !stop.load(Relaxed) {
                    core::hint::spin_loop();
                }
            })
        })
        .collect();
    let slow = Builder::new().name("slow").spawn(|| deep(0, 600)).unwrap();
    assert!(matches!(slow.join(), Err(JoinError::StackOverflow)));
    stop.store(true, Relaxed);
    others.into_iter().for_each(|other| other.join().unwrap());
    runtime::set_slice(slice);
}

/// The timeout takes a node out of a list on a frame of the dead.
fn a_timed_wait_on_a_dead_frame_ends() {
    let opener = go(|| {
        let (lock, condvar) = (Mutex::new(()), Condvar::new());
        scope(|s| {
            s.go(|| {
                let held = lock.lock().unwrap();
                let _ = condvar.wait_timeout(held, Duration::from_millis(60));
            });
            time::sleep(Duration::from_millis(2));
            glut(0);
        });
    });
    assert!(matches!(opener.join(), Err(JoinError::StackOverflow)));
    let until = time::Instant::now() + Duration::from_secs(5);
    while runtime::num_goroutines() > 1 {
        assert!(time::Instant::now() < until, "the child still waits");
        time::sleep(Duration::from_millis(10));
        runtime::scavenge();
    }
}

/// A lock lies on the stack of the dead; one child holds it and one waits. Then somebody else
/// overflows.
fn a_lock_on_a_dead_frame_hurts_nobody_else() {
    let opener = go(|| {
        let count = Mutex::new(0u64);
        scope(|s| {
            s.go(|| {
                let mut held = count.lock().unwrap();
                time::sleep(Duration::from_millis(100));
                *held += 1;
            });
            time::sleep(Duration::from_millis(2));
            s.go(|| drop(count.lock()));
            time::sleep(Duration::from_millis(2));
            glut(0);
        });
    });
    assert!(matches!(opener.join(), Err(JoinError::StackOverflow)));
    for _ in 0..5 {
        time::sleep(Duration::from_millis(5));
        runtime::scavenge();
    }
    assert!(matches!(go(|| glut(0)).join(), Err(JoinError::StackOverflow)));
}

/// The flag that serialises `set_max_procs` belongs to a G that dies inside.
fn a_death_in_set_max_procs_is_made_good() {
    #[inline(never)]
    fn deep(level: u64) -> u64 {
        let kept = black_box([level; 4]);
        if level > 1200 {
            runtime::set_max_procs(1);
            runtime::set_max_procs(2);
        }
        if kept[0] == u64::MAX { 0 } else { deep(level + 1) + kept[3] }
    }
    let before = runtime::max_procs();
    for _ in 0..3 {
        assert!(matches!(go(|| deep(0)).join(), Err(JoinError::StackOverflow)));
        runtime::set_max_procs(1);
        assert_eq!(runtime::set_max_procs(2), 1);
        assert_eq!(runtime::max_procs(), 2);
    }
    runtime::set_max_procs(before);
}

/// By value, through channels of every kind.
fn large_values_pass() {
    fn one<const N: usize>(capacity: Option<usize>, receiver_first: bool) {
        let (tx, rx) = match capacity {
            Some(n) => chan::bounded::<[u8; N]>(n),
            None => chan::unbounded(),
        };
        let receiver =
            Builder::new().stack_max(16 << 20).spawn(move || rx.recv().map(|value| black_box(&value)[N - 1])).unwrap();
        if receiver_first {
            time::sleep(Duration::from_millis(2));
        }
        let sender = Builder::new().stack_max(16 << 20).spawn(move || tx.send(black_box([7; N])).is_ok()).unwrap();
        assert!(sender.join().unwrap(), "{N} bytes, capacity {capacity:?}");
        assert_eq!(receiver.join().unwrap(), Ok(7), "{N} bytes, capacity {capacity:?}");
    }
    for capacity in [Some(0), Some(1), None] {
        for receiver_first in [false, true] {
            one::<{ 32 << 10 }>(capacity, receiver_first);
            one::<{ 128 << 10 }>(capacity, receiver_first);
            one::<{ 512 << 10 }>(capacity, receiver_first);
            one::<{ 1 << 20 }>(capacity, receiver_first);
        }
    }
}

/// A value is handed to a receiver that waits, on pages that nobody has touched.
fn aligned_values_pass() {
    trait Make: Send + 'static {
        fn make() -> Self;
        fn last(&self) -> u8;
    }
    macro_rules! hands {
        ($($align:literal, $size:expr);*) => { $( {
            #[repr(align($align))]
            struct Value([u8; $size]);
            impl Make for Value {
                fn make() -> Self {
                    Self([7; $size])
                }
                fn last(&self) -> u8 {
                    self.0[$size - 1]
                }
            }
            hand::<Value>();
        } )* };
    }
    fn hand<T: Make>() {
        let (tx, rx) = chan::bounded::<T>(0);
        let receiver = go(move || rx.recv().map(|value| black_box(&value).last()));
        time::sleep(Duration::from_millis(2));
        let sender = go(move || tx.send(black_box(T::make())).is_ok());
        let what = (align_of::<T>(), size_of::<T>());
        assert!(sender.join().unwrap(), "{what:?}");
        assert_eq!(receiver.join().unwrap(), Ok(7), "{what:?}");
    }
    hands!(1, 4096; 1, 20480; 64, 4096; 512, 4096; 1024, 4096; 2048, 4096; 4096, 4096; 4096, 16384; 8192, 8192);
}

/// One long-lived context; a child a request, cancelled and dropped at once.
fn contexts_remember_living_children_only() {
    let (root, _keep) = Context::background().with_cancel();
    let before = runtime::stats().memory.heap.live_bytes;
    for i in 0..100_000 {
        let (child, cancel) = root.with_cancel();
        cancel.cancel();
        drop((child, cancel));
        if i % 1000 == 0 {
            let more = runtime::stats().memory.heap.live_bytes.saturating_sub(before);
            assert!(more < 64 << 10, "{more} bytes after {i} children, none of which lives");
        }
    }
}

/// Nobody joins it, and its payload panics when it is dropped.
fn a_payload_that_panics_ends_its_g_alone() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("bomb");
        }
    }
    drop(go(|| panic::resume_unwind(Box::new(Bomb))));
    time::sleep(Duration::from_millis(20));
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

/// Blocks above 2 KiB amid holes; a sleeper beside them is on time as far as the host lets it.
fn holes_cost_nothing() {
    let cost = |holes: usize| {
        let mut blocks: Vec<_> = (0..2 * holes).map(|_| Some(Vec::<u8>::with_capacity(3000))).collect();
        blocks.iter_mut().step_by(2).for_each(|block| *block = None);
        let least = |size: usize| {
            let once = |_| {
                let began = time::Instant::now();
                drop(black_box(Vec::<u8>::with_capacity(size)));
                began.elapsed()
            };
            (0..50).map(once).min().unwrap()
        };
        [4000, 10_000, 64 << 10].map(least)
    };
    let (few, many) = (cost(10), cost(10_000));
    println!("{few:?} amid 10 holes, {many:?} amid 10,000");
    for (few, many) in few.into_iter().zip(many) {
        assert!(many < 10 * few + Duration::from_micros(20), "{many:?} amid 10,000 holes, {few:?} amid 10");
    }
    static LATE: AtomicU64 = AtomicU64::new(u64::MAX);
    let sleeper = go(|| {
        for _ in 0..50 {
            let began = time::Instant::now();
            time::sleep(Duration::from_millis(1));
            LATE.fetch_min(began.elapsed().as_micros() as u64 - 1000, Relaxed);
        }
    });
    while !sleeper.is_finished() {
        drop(black_box(Vec::<u8>::with_capacity(4000)));
    }
    sleeper.join().unwrap();
    assert!(LATE.load(Relaxed) < 1000, "late by {LATE:?} µs at best");
}
