//! Bytes to a device: goroutines put whole lines in, and a drainer that finds the device ready
//! moves bytes to it. Nobody waits for the device.
//!
//! ```text
//!      writers (one at a time, under the lock)               drainer (one at a time, whoever has set `draining`)
//!      ───────────────────────────────────────               ─────────────────────────────────────────────────
//!      A1  room for the line? copy it, tail += n             D1  fence, draining: false → true, or somebody else drains: done
//!      A2  release the lock, drain                           D2  while the device has room: bytes to it, head += n
//!      no room: take the turn, W1 to W3                      D3  wanted := bytes are left;  draining := false
//!      others have the turn: queue for it                    D4  fence; a writer that waits for room and has it: take it, ready it
//!                                                            D5  bytes there, and not wanted? D1
//!      W1  in `after`: first := G
//!      W2  fence                                             the device's interrupt:
//!      W3  room? take the G back: no park                    I1  wanted := false;  I2  fence, D1
//! ```
//!
//! The drainer is a writer that has just put its line, or the handler of the device's interrupt. A
//! drainer that leaves bytes behind says so by `wanted`: its caller turns the device's interrupt
//! on, which comes when the device has room. So a device that is always ready takes a line at once
//! and never interrupts, and a slow one holds up nobody.
//!
//! **INV-DRAIN**: when the ring is not empty, then somebody drains, or the interrupt is wanted, or
//! a writer is between A1 and D1.
//!
//! **INV-LINE**: a line stands in the ring as a whole, in the order in which the calls took the
//! lock. A line that does not fit waits for room *with the turn*; behind it the other goroutines
//! queue, first come, first served.
//!
//! **The hard race** is a writer that adds a line while a drainer that has seen the ring empty lets
//! go (D3). The writer finds `draining` set and leaves. Both sides store, fence and load, so the
//! drainer sees the line in D5, or the writer finds `draining` free. The interrupt has the same
//! race with a drainer that it has interrupted. The interrupt takes back `wanted` first (I1), so
//! the drainer sees that in D5 and decides anew. The third pair is W1 to W3 with D4, as in
//! `input.rs`.
//!
//! **A death** breaks none of this: a goroutine ends with preemption on. From the end of its park
//! to the hand-over of its turn, and from D1 to D5, a goroutine has preemption off.
//!
//! **A report** reads on where the drainer was ([`Output::next_for_report`]), without any lock.
//! Bytes that a stopped core was just sending may come twice, as many as the device takes at a
//! time. A line that a stopped core was just copying is not there yet.
//!
//! Writers that can't park (on g0, with preemption off, at boot) have [`RESERVE`] bytes more than
//! goroutines ([`Output::try_put`]).
//!
//! Rejected:
//!
//! * the console's lock held while the port takes a line: 9 ms for 100 bytes at 115,200 baud, with
//!   preemption off;
//! * a lock-free ring for many producers: a producer that ends between taking its place and filling
//!   it would stop all others, and a report could not tell;
//! * a goroutine that drains: it would have to run first.

use crate::core::interrupt::{park_for_interrupt, ready_anywhere};
use crate::core::m::M;
use crate::core::park::park;
use crate::g::waiter::Waiter;
use crate::g::{G, GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::spin::{SpinGuard, SpinLock};
use crate::machine::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
use crate::wait::list::WaitQueue;

pub use bytes::Bytes;
pub use turn::Turn;

mod bytes;
mod turn;

/// Bytes that may wait, a power of two.
pub const CAPACITY: usize = if cfg!(loom) { 2 } else { 16 << 10 };
/// The longest line.
pub const LINE: usize = if cfg!(loom) { 2 } else { 4 << 10 };
/// Bytes that are kept for writers that can't park.
pub const RESERVE: usize = if cfg!(loom) { 0 } else { 4 << 10 };

const _: () = assert!(CAPACITY.is_power_of_two() && LINE + RESERVE <= CAPACITY);

/// The device that takes the bytes.
pub trait Transmitter {
    /// Returns the number of bytes that the device takes now.
    fn room(&mut self) -> usize;
    /// Takes the bytes; there was room for as many.
    fn send(&mut self, bytes: &[u8]);
}

/// Bytes that go into the ring together, or wait together for room.
pub trait Text {
    /// Returns the result of `add`, called with the text's parts: true if they are in the ring.
    /// Runs under the ring's lock, and again when there may be room; the parts may be others by
    /// then. [`CAPACITY`] less [`RESERVE`] bytes at most.
    fn with_parts(&self, add: impl FnOnce(&[&[u8]]) -> bool) -> bool;
}

/// A line.
impl Text for [u8] {
    fn with_parts(&self, add: impl FnOnce(&[&[u8]]) -> bool) -> bool {
        debug_assert!(self.len() <= LINE);
        add(&[self])
    }
}

/// The ring, and the queue for room in it.
#[derive(Debug)]
pub struct Output {
    /// The holder of the lock adds a line.
    writers: SpinLock<Writers>,
    /// Written under the lock.
    tail: AtomicUsize,

    // --- The drainer's.
    head: AtomicUsize,
    /// The device is to interrupt when it has room. Also the interrupt handler's (I1).
    wanted: AtomicBool,

    // --- Shared.
    draining: AtomicBool,
    /// The G that waits for room, and the room that it needs.
    first: AtomicPtr<G>,
    needed: AtomicUsize,
    bytes: &'static Bytes,
}

#[derive(Debug)]
struct Writers {
    /// A line waits for room.
    turn: bool,
    /// The G's that wait for the turn.
    waiting: WaitQueue,
}

impl Output {
    crate::const_unless_loom! {
        /// Makes an empty ring over `bytes`, which are its alone. (The bytes lie apart: all zeros,
        /// they need no place in an image.)
        pub fn new(bytes: &'static Bytes) -> Self {
            Self {
                writers: SpinLock::new(Writers { turn: false, waiting: WaitQueue::new() }),
                tail: AtomicUsize::new(0),
                head: AtomicUsize::new(0),
                wanted: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                first: AtomicPtr::new(core::ptr::null_mut()),
                needed: AtomicUsize::new(0),
                bytes,
            }
        }
    }

    // --- writers

    /// Adds a line of at most [`LINE`] bytes, or another text; parks until there is room for it. On
    /// a G with preemption on. The caller has to [`drain`](Self::drain) after that.
    pub fn put<T: Text + ?Sized>(&self, line: &T) {
        let guard = PreemptGuard::new();
        let mut writers = self.writers.lock(&guard);
        if !writers.turn {
            if self.add(&writers, line) {
                return;
            }
            writers.turn = true;
            drop(writers);
            return self.put_in_turn(guard, line);
        }
        // SAFETY: 1. this G parks right below, and `pass` readies it when it has popped the node.
        unsafe { writers.waiting.push(Waiter::of(M::current(&guard).caller(), core::ptr::null_mut())) };
        let _ = writers.into_held();
        // SAFETY: 1. the node was pushed. 2. the lock is held.
        self.put_in_turn(unsafe { self.park_for_turn(guard) }, line);
    }

    /// Parks the G that queues for the turn.
    ///
    /// # Safety
    /// 1. It is in the queue.
    /// 2. The caller has the lock, which is released here.
    #[cold]
    unsafe fn park_for_turn(&self, guard: PreemptGuard) -> PreemptGuard {
        let me = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: 1. the node was pushed, and is popped once. 2. `release` gets the `Output` that
        // its G borrows, whose lock is held.
        unsafe { park(guard, WaitReason::Output, Self::release, me) }
    }

    /// Adds the line of the G that has the turn.
    #[cold]
    fn put_in_turn<T: Text + ?Sized>(&self, mut guard: PreemptGuard, line: &T) {
        loop {
            let writers = self.writers.lock(&guard);
            if self.add(&writers, line) {
                return self.pass(writers, &guard);
            }
            drop(writers);
            guard = self.wait_for_room(guard);
        }
    }

    /// Parks the G that has the turn until there is the room that it needs.
    #[cold]
    fn wait_for_room(&self, guard: PreemptGuard) -> PreemptGuard {
        let me = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: 1. the slot is emptied by one compare-and-swap, by the side that readies the G or
        // keeps it from parking. 2. `commit` gets an `Output` that its G borrows.
        unsafe { park_for_interrupt(guard, WaitReason::Output, Self::commit, me) }
    }

    /// Runs A1, if there is room. If not, notes the room that is needed: more than the line, so
    /// that the writer is not woken for each byte that leaves.
    fn add<T: Text + ?Sized>(&self, writers: &Writers, line: &T) -> bool {
        line.with_parts(|parts| {
            let needed = length(parts) + RESERVE;
            let fits = self.room() >= needed;
            if fits {
                self.write(writers, parts);
            } else {
                self.needed.store(needed.max(CAPACITY / 2), Ordering::Relaxed);
            }
            fits
        })
    }

    /// Gives the turn to the G that has waited longest for it.
    fn pass(&self, mut writers: SpinGuard<'_, Writers>, guard: &PreemptGuard) {
        match writers.waiting.pop() {
            Some(next) => {
                drop(writers);
                next.wake(guard);
            }
            None => writers.turn = false,
        }
    }

    unsafe fn release(output: *mut (), _: GRef) -> bool {
        // SAFETY: 1. `put` passes an `Output` that the parking G borrows, and whose lock it holds
        // without a guard.
        unsafe { (*output.cast::<Self>()).writers.unlock() };
        true
    }

    /// Runs W1 to W3.
    unsafe fn commit(output: *mut (), g: GRef) -> bool {
        // SAFETY: `put_in_turn` passes an `Output` that the parking G borrows until it runs again.
        unsafe { &*output.cast::<Self>() }.is_to_wait(g)
    }

    /// Returns true if `g`, which has the turn, is to wait: there is no room yet, or somebody has
    /// taken the G and will ready it.
    pub(crate) fn is_to_wait(&self, g: GRef) -> bool {
        let me = core::ptr::from_ref(g).cast_mut();
        // Release: W1; pairs with the Acquire in `take_first`.
        self.first.store(me, Ordering::Release);
        // SeqCst: W2; pairs with the fence of D4.
        fence(Ordering::SeqCst);
        self.room() < self.needed.load(Ordering::Relaxed) || !self.take_first(me)
    }

    /// Takes the G out: one of the callers that see the G succeeds.
    fn take_first(&self, first: *mut G) -> bool {
        // Acquire: pairs with the Release of W1.
        self.first.compare_exchange(first, core::ptr::null_mut(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Adds a line for a writer that can't park. False: there is no room for it, not even the
    /// reserve. The caller has to [`drain`](Self::drain) after that, or before it tries again.
    #[must_use = "the line may not have been added"]
    pub fn try_put<T: Text + ?Sized>(&self, guard: &PreemptGuard, line: &T) -> bool {
        let writers = self.writers.lock(guard);
        line.with_parts(|parts| {
            let fits = self.room() >= length(parts);
            fits.then(|| self.write(&writers, parts)).is_some()
        })
    }

    /// Runs A1.
    fn write(&self, _: &Writers, parts: &[&[u8]]) {
        let mut tail = self.tail.load(Ordering::Relaxed);
        for part in parts {
            // SAFETY: 1. there is room for the parts, so the drainer has read what was there, and
            // the lock admits no other writer.
            unsafe { self.bytes.write(tail, part) };
            tail = tail.wrapping_add(part.len());
        }
        // Release: pairs with the Acquire in `len`.
        self.tail.store(tail, Ordering::Release);
    }

    fn room(&self) -> usize {
        // Acquire: pairs with the Release in `drain`: the bytes there have been read before they
        // are written anew.
        CAPACITY - self.tail.load(Ordering::Relaxed).wrapping_sub(self.head.load(Ordering::Acquire))
    }

    /// Closes the ring: nobody adds a line from here on. False: somebody is just adding one.
    #[must_use = "it may not have been closed"]
    pub fn close(&self, guard: &PreemptGuard) -> bool {
        self.writers.try_lock(guard).map(SpinGuard::into_held).is_some()
    }

    /// Runs `f` while nobody adds a line: for tests of the code that needs the lock.
    pub fn with_locked<R>(&self, f: impl FnOnce() -> R) -> R {
        let guard = PreemptGuard::new();
        let _writers = self.writers.lock(&guard);
        f()
    }

    /// Does the part of `put` before its park, for models of a single writer.
    #[cfg(loom)]
    pub(crate) fn try_put_or_need(&self, line: &[u8]) -> bool {
        let guard = PreemptGuard::new();
        let writers = self.writers.lock(&guard);
        self.add(&writers, line)
    }

    // --- drainers

    /// Runs D1 to D5: moves up to `limit` bytes to the device. True: bytes are left, and the caller
    /// turns the device's interrupt on. False: none are, or somebody else sees to them. With
    /// preemption off, or in the handler of the device's interrupt.
    #[must_use = "the device's interrupt may be wanted"]
    pub fn drain(&self, limit: usize, device: &mut impl Transmitter) -> bool {
        loop {
            // SeqCst: after A1 and I1; pairs with the fence of D4.
            fence(Ordering::SeqCst);
            // Acquire: D1; pairs with the Release of D3: bytes leave in the order in which they
            // stand here.
            if self.draining.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
                return false;
            }
            let is_left = self.send(limit, device);
            self.wanted.store(is_left, Ordering::Relaxed);
            // Release: D3; pairs with the Acquire of D1.
            self.draining.store(false, Ordering::Release);
            // SeqCst: D4; pairs with W2 and with the fence of D1.
            fence(Ordering::SeqCst);
            self.wake();
            if self.is_wanted() {
                return true;
            }
            if self.is_empty() {
                return false;
            }
        }
    }

    /// Runs D2. Returns true if bytes are left.
    fn send(&self, limit: usize, device: &mut impl Transmitter) -> bool {
        let mut left = limit;
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let waiting = self.len();
            let now = if waiting > 0 { waiting.min(left).min(device.room()) } else { 0 };
            if now == 0 {
                return waiting > 0;
            }
            // SAFETY: 1. they lie before the tail, and this is the only drainer.
            let sent = unsafe { self.bytes.read(head, now, |bytes| device.send(bytes)) };
            left -= sent;
            head = head.wrapping_add(sent);
            // Release: pairs with the Acquire in `room`.
            self.head.store(head, Ordering::Release);
        }
    }

    /// Readies the writer that waits for room, if there is enough.
    fn wake(&self) {
        let first = self.first.load(Ordering::Relaxed);
        if first.is_null() || self.room() < self.needed.load(Ordering::Relaxed) {
            return;
        }
        // SAFETY: only `is_to_wait` stores there, and a `GRef`.
        if let Some(g) = unsafe { first.as_ref() }
            && self.take_first(first)
        {
            ready_anywhere(g);
        }
    }

    /// Runs I1: the interrupt has come. Called before the handler drains.
    pub fn interrupted(&self) {
        self.wanted.store(false, Ordering::Relaxed);
    }

    /// Returns true if the device is to interrupt when it has room.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    // --- anybody

    /// Returns the number of bytes that wait.
    pub fn len(&self) -> usize {
        // Acquire: pairs with the Release in `write`.
        self.tail.load(Ordering::Acquire).wrapping_sub(self.head.load(Ordering::Relaxed))
    }

    /// Returns true if no byte waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the next byte to a caller that is alone in the world from here on: a report, when
    /// all other cores have stopped wherever they were.
    pub fn next_for_report(&self) -> Option<u8> {
        let head = self.head.load(Ordering::Relaxed);
        if self.is_empty() {
            return None;
        }
        let mut byte = None;
        // SAFETY: 1. it lies before the tail; nobody writes there until `head` has passed, and
        // nobody else does anything here any more.
        let _ = unsafe { self.bytes.read(head, 1, |bytes| byte = bytes.first().copied()) };
        self.head.store(head.wrapping_add(1), Ordering::Relaxed);
        byte
    }
}

fn length(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use super::*;

    /// Takes so many bytes at a time, so often.
    struct Device {
        fifo: usize,
        times: usize,
        sent: Vec<u8>,
    }

    impl Transmitter for Device {
        fn room(&mut self) -> usize {
            if self.times == 0 {
                return 0;
            }
            self.times -= 1;
            self.fifo
        }
        fn send(&mut self, bytes: &[u8]) {
            self.sent.extend_from_slice(bytes);
        }
    }

    #[test]
    fn bytes_leave_in_order_over_the_ends_of_the_ring() {
        let (output, line) = (Output::new(Box::leak(Box::new(Bytes::new()))), (0..=250u8).collect::<Vec<u8>>());
        let mut device = Device { fifo: 16, times: usize::MAX, sent: Vec::new() };
        for _ in 0..200 {
            output.write(&Writers { turn: true, waiting: WaitQueue::new() }, &[&line]);
            assert!(!output.send(usize::MAX, &mut device));
        }
        assert_eq!(device.sent.len(), 200 * line.len());
        assert!(device.sent.chunks(line.len()).all(|sent| sent == line));
    }

    #[test]
    fn a_busy_device_leaves_bytes_and_a_limit_holds() {
        let output = Output::new(Box::leak(Box::new(Bytes::new())));
        output.write(&Writers { turn: true, waiting: WaitQueue::new() }, &[&[7; 100]]);
        let mut device = Device { fifo: 16, times: 2, sent: Vec::new() };
        assert!(output.send(usize::MAX, &mut device), "bytes are left");
        assert_eq!((device.sent.len(), output.len()), (32, 68));
        device.times = 100;
        assert!(output.send(20, &mut device));
        assert_eq!(output.len(), 48);
        assert!(!output.send(48, &mut device), "none is left");
    }

    #[test]
    fn the_parts_of_a_text_stand_side_by_side_or_not_at_all() {
        struct Parts(usize);
        impl Text for Parts {
            fn with_parts(&self, add: impl FnOnce(&[&[u8]]) -> bool) -> bool {
                add(&[b"<", &[b'x'; CAPACITY][..self.0], b"", b">"])
            }
        }
        let output = Output::new(Box::leak(Box::new(Bytes::new())));
        let writers = Writers { turn: true, waiting: WaitQueue::new() };
        let most = CAPACITY - RESERVE - 2;
        assert!(!output.add(&writers, &Parts(most + 1)) && output.is_empty());
        assert!(output.add(&writers, &Parts(3)));
        assert!(output.len() == 5 && !output.add(&writers, &Parts(most)));
        assert!(core::iter::from_fn(|| output.next_for_report()).eq(*b"<xxx>"));
        assert!(output.add(&writers, &Parts(most)), "beside the reserve, and over the ring's end");
    }

    #[test]
    fn a_report_reads_on_where_the_drainer_was() {
        let output = Output::new(Box::leak(Box::new(Bytes::new())));
        output.write(&Writers { turn: true, waiting: WaitQueue::new() }, &[b"abcdef"]);
        let mut device = Device { fifo: 2, times: 1, sent: Vec::new() };
        assert!(output.send(usize::MAX, &mut device));
        assert!(core::iter::from_fn(|| output.next_for_report()).eq(*b"cdef"));
    }
}
