//! Large values where little room or time is left: stacks that are nearly full, goroutines that
//! die, sleepers beside them. A channel that moves a large value with preemption off breaks
//! INV-PARCEL.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

use trefoil::JoinError;
use trefoil::joinset::{ErrGroup, JoinSet};
use trefoil::prelude::*;
use trefoil::testing::inject;

image! {
    a_receiver_with_little_room_ends_alone: "timeout 60";
    a_sender_with_little_room_ends_alone: "timeout 60";
    a_death_leaves_no_large_result_on_g0;
    a_closure_larger_than_its_stack_ends_alone;
    a_large_value_without_memory_panics_in_its_sender: "smp 1";
    a_sleeper_beside_large_values_is_on_time: "smp 1 | icount";
}

const KIB: usize = 1 << 10;

/// Waits until `done()`, letting others run.
fn until(done: impl Fn() -> bool) {
    while !done() {
        runtime::yield_now();
    }
}

static ALIVE: AtomicI64 = AtomicI64::new(0);

/// A value that is counted.
struct Large<const N: usize>([u8; N]);

impl<const N: usize> Large<N> {
    #[inline(never)]
    fn make(with: u8) -> Self {
        ALIVE.fetch_add(1, SeqCst);
        black_box(Self([with; N]))
    }

    fn is(&self, with: u8) -> bool {
        black_box(&self.0).iter().step_by(509).all(|&byte| byte == with)
    }
}

impl<const N: usize> Drop for Large<N> {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, SeqCst);
    }
}

/// Calls `f` with about `bytes` more of the stack in use.
#[inline(never)]
fn below(bytes: usize, f: &mut dyn FnMut()) {
    let block = black_box([1u8; 992]);
    if bytes < KIB {
        f();
    } else {
        below(bytes - KIB, f);
    }
    assert_eq!(black_box(&block)[7], 1);
}

/// The pages that a default window has left above its last 24 KiB when a goroutine comes to `f`:
/// from none to a few values' worth.
const ROOM: core::ops::Range<usize> = 0..20;
const WINDOW: usize = 256 * KIB;
const VALUE: usize = 12 * KIB;

fn depth(room: usize) -> usize {
    WINDOW - 24 * KIB - room * 4 * KIB
}

/// Runs `f` on a stack with room for large values.
#[inline(never)]
fn roomy(f: fn()) {
    Builder::new().stack_max(16 << 20).spawn(f).unwrap().join().unwrap();
}

fn parked(id: u64) -> bool {
    runtime::goroutines().iter().any(|g| g.id == id && g.state.is_parked())
}

/// Returns true if a G came through; else it must have died of its stack.
fn came_through(g: JoinHandle<()>) -> bool {
    match g.join() {
        Ok(()) => true,
        Err(JoinError::StackOverflow) => false,
        Err(other) => panic!("{other}"),
    }
}

/// The value arrives, or the receiver alone ends; the sender, the channel and the next receiver see
/// nothing of it.
fn a_receiver_with_little_room_ends_alone() {
    roomy(|| {
        for capacity in [0, 2] {
            let (tx, rx) = chan::bounded::<Large<VALUE>>(capacity);
            let mut through = 0;
            for room in ROOM {
                let before = ALIVE.load(SeqCst);
                let theirs = rx.clone();
                let receiver = go(move || below(depth(room), &mut || assert!(theirs.recv().unwrap().is(3))));
                let id = receiver.id();
                // The receiver waits, or has died on its way.
                until(|| parked(id) || receiver.is_finished());
                let waits = parked(id);
                if waits {
                    let tx = tx.clone();
                    Builder::new()
                        .stack_max(1 << 20)
                        .spawn(move || assert!(tx.send(Large::make(3)).is_ok()))
                        .unwrap()
                        .join()
                        .unwrap();
                }
                let came = came_through(receiver);
                through += usize::from(came);
                assert!(!came || waits);
                // A receiver that dies with its value never drops it.
                assert_eq!(ALIVE.load(SeqCst) - before, i64::from(waits && !came));
                assert!(rx.is_empty());
            }
            assert!((1..ROOM.len()).contains(&through), "{through} came through");
        }
    });
}

fn a_sender_with_little_room_ends_alone() {
    roomy(|| {
        let (tx, rx) = chan::bounded::<Large<VALUE>>(0);
        let mut through = 0;
        for room in ROOM {
            let (theirs, rx) = (tx.clone(), rx.clone());
            let sender = go(move || below(depth(room), &mut || assert!(theirs.send(Large::make(4)).is_ok())));
            let id = sender.id();
            until(|| parked(id) || sender.is_finished());
            let receives = move || rx.try_recv().map(|value| value.is(4));
            let received = Builder::new().stack_max(1 << 20).spawn(receives).unwrap().join().unwrap();
            let came = came_through(sender);
            through += usize::from(came);
            // The sender may have died after its value was taken, on its way back.
            assert!(!came || received == Ok(true), "{received:?}");
            assert!(received != Ok(false));
        }
        assert!((1..ROOM.len()).contains(&through), "{through} came through");
    });
}

/// Recurses without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// The code that ends a dead goroutine runs on g0, with preemption off, and must not keep a place
/// for the result there.
#[expect(clippy::result_large_err, reason = "that is what it is about")]
fn a_death_leaves_no_large_result_on_g0() {
    roomy(|| {
        type Result = Large<{ 1 << 20 }>;
        let dies = || {
            assert!(glut(0) != 1);
            Result::make(1)
        };
        assert!(matches!(go(dies).join(), Err(JoinError::StackOverflow)));
        drop(go(dies));
        until(|| runtime::num_goroutines() == 2);
        let mut set = JoinSet::new();
        set.go(dies);
        assert!(set.join_all().into_iter().all(|ended| matches!(ended, Err(JoinError::StackOverflow))));
        let group = ErrGroup::<Result>::new();
        group.go(move || Err(dies()));
        assert!(trefoil::panic::catch_unwind(core::panic::AssertUnwindSafe(|| group.wait().is_ok())).is_err());
        // A result that nobody wants is dropped where it lies.
        for joined in [false, true] {
            let stack = Builder::new().stack_max(4 << 20);
            let handle = stack.spawn(|| Result::make(2)).unwrap();
            if joined {
                until(|| handle.is_finished());
            }
            drop(handle);
            until(|| runtime::num_goroutines() == 2 && ALIVE.load(SeqCst) == 0);
        }
    });
}

/// The closure waits on the heap. Its goroutine's stack has no room for it, if the goroutine moves
/// it there.
fn a_closure_larger_than_its_stack_ends_alone() {
    static RAN: AtomicBool = AtomicBool::new(false);
    let starts = || {
        let value = Large::<{ 1 << 20 }>::make(5);
        let closure = move || RAN.store(value.is(5), SeqCst);
        // The closure may run where it lies.
        let ran = came_through(go(closure));
        assert_eq!(RAN.swap(false, SeqCst), ran);
        let value = Large::<{ 1 << 20 }>::make(5);
        let fits = Builder::new().stack_max(16 << 20).spawn(move || RAN.store(value.is(5), SeqCst)).unwrap();
        fits.join().unwrap();
        assert!(RAN.load(SeqCst));
    };
    roomy(starts);
}

/// The sender panics, its value is dropped, and the channel is as it was.
fn a_large_value_without_memory_panics_in_its_sender() {
    let sends = || {
        let (tx, rx) = chan::bounded::<Large<{ 64 << 10 }>>(1);
        let (closed, gone) = chan::bounded::<Large<{ 64 << 10 }>>(1);
        drop(gone);
        let mut list = trefoil::select::Select::new();
        list.send(&tx);
        let chosen = list.select();
        let ways: [&dyn Fn(); 4] = [
            &|| assert!(tx.send(Large::make(1)).is_ok()),
            &|| assert!(tx.try_send(Large::make(1)).is_ok()),
            &|| assert!(closed.send_timeout(Large::make(1), Duration::ZERO).is_ok()),
            &|| {
                select! {
                    send(tx, Large::make(1)) -> _ => {}
                    default => {}
                }
            },
        ];
        for way in ways {
            let panicked = without_memory(way);
            assert_eq!((panicked, ALIVE.load(SeqCst), tx.len()), (true, 0, 0));
        }
        // The place that was promised is given back.
        let chosen = core::cell::Cell::new(Some(chosen));
        assert!(without_memory(&|| assert!(chosen.take().unwrap().send(&tx, Large::make(1)).is_ok())));
        assert_eq!(ALIVE.load(SeqCst), 0);
        assert!(tx.try_send(Large::make(2)).is_ok());
        assert!(rx.recv().unwrap().is(2));
    };
    roomy(sends);
}

/// Returns true if `f` panics when the first block that it asks for can't be had.
fn without_memory(f: &dyn Fn()) -> bool {
    // The stack needs no memory.
    below(512 * KIB, &mut || {});
    inject::fail_after(1);
    let ended = trefoil::panic::catch_unwind(core::panic::AssertUnwindSafe(f));
    assert!(inject::off(), "no block was asked for");
    ended.is_err()
}

/// Values of 1 MiB go by all the time; a sleeper is never late by more than a wake-up's time and
/// the longest stretch without preemption.
fn a_sleeper_beside_large_values_is_on_time() {
    static STOP: AtomicBool = AtomicBool::new(false);
    const MIB: usize = 1 << 20;
    let sends: fn(Sender<[u8; MIB]>) -> usize = |tx| {
        let mut sent = 0;
        while !STOP.load(SeqCst) && tx.send(black_box([1; MIB])).is_ok() {
            sent += 1;
        }
        sent
    };
    let receives: fn(Receiver<[u8; MIB]>) -> usize = |rx| rx.iter().filter(|v| black_box(v)[MIB - 1] == 1).count();
    let stack = || Builder::new().stack_max(16 * MIB);
    let (tx, rx) = chan::bounded::<[u8; MIB]>(1);
    let (sender, receiver) = (stack().spawn(move || sends(tx)).unwrap(), stack().spawn(move || receives(rx)).unwrap());
    // The heap and the stacks have what they need.
    time::sleep(Duration::from_millis(50));
    let mut late: Vec<u64> = (0..200)
        .map(|i| {
            let d = Duration::from_micros(700 + 13 * i);
            let begin = Instant::now();
            time::sleep(d);
            (begin.elapsed() - d).as_nanos() as u64
        })
        .collect();
    STOP.store(true, SeqCst);
    let (sent, passed) = (sender.join().unwrap(), receiver.join().unwrap());
    assert_eq!(sent, passed);
    late.sort_unstable();
    println!("{passed} values; late by {} ns (p50), {} ns (max)", late[100], late[199]);
    assert!(passed > 20, "{passed} values");
    assert!(late[199] <= 2 * 100_000 + 50_000, "{late:?}");
}
