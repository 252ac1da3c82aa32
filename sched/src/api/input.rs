//! Bytes from a device: its handler puts them in; one G at a time takes them out, and waits when
//! there are none.
//!
//! ```text
//!      handler (one at a time)                            reader (a G, one at a time)
//!      ───────────────────────                            ───────────────────────────
//!      P1  write the bytes, tail += n                     W1  in `after`: reader := G
//!      P2  fence                                          W2  fence
//!      P3  reader: a G? take it, into the inbox           W3  bytes there? take the G back, if the handler has not: no park
//!
//!      full:  S1  turn the device's interrupt off         R1  read bytes, head += n
//!             S2  paused := true                          R2  fence
//!             S3  fence                                   R3  paused: true → false? turn the device's interrupt on
//!             S4  room? paused: true → false, turn it on
//! ```
//!
//! A ring of bytes with one producer and one consumer; each end is an index that only its side
//! writes.
//!
//! **INV-FLOW**: when the ring is full the handler leaves the bytes where they are and turns the
//! device's interrupt off. No byte is dropped here: bytes are lost only by a device that has nobody
//! to hold back. The side that makes `paused` false, and only that side, turns the interrupt on
//! again. By then the handler has turned it off (S1 is before S2).
//!
//! **The hard race** has two forms. The handler may come between the reader's last look and its
//! park, and the reader between the handler's last look and its pause. Each pair is a store and a
//! load on either side with a fence between, so one side at least sees the other. A side that sees
//! the other takes the G or the pause by a compare-and-swap. So one side at most acts, and a late
//! side writes nothing.
//!
//! Rejected: a channel (its lock can't be taken in a handler); dropping the oldest bytes when the
//! ring is full.

use crate::core::interrupt::{park_for_interrupt, ready_from_interrupt};
use crate::core::m::M;
use crate::g::{G, GRef, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

pub mod editor;

/// Bytes that may wait, a power of two.
pub const CAPACITY: usize = if cfg!(loom) { 2 } else { 16 << 10 };

const _: () = assert!(CAPACITY.is_power_of_two());

/// The ring, and the G that waits for it.
#[derive(Debug)]
pub struct Input {
    // --- The handler's.
    tail: AtomicUsize,
    pauses: AtomicU64,

    // --- The reader's.
    head: AtomicUsize,

    // --- Shared.
    /// The G that waits for bytes.
    reader: AtomicPtr<G>,
    /// The device's interrupt is off since there was no room.
    paused: AtomicBool,
    bytes: [AtomicU8; CAPACITY],
}

impl Input {
    /// Makes an empty ring.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self::with([const { AtomicU8::new(0) }; CAPACITY])
    }

    /// Makes an empty ring.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self::with(core::array::from_fn(|_| AtomicU8::new(0)))
    }

    crate::const_unless_loom! {
        fn with(bytes: [AtomicU8; CAPACITY]) -> Self {
            Self {
                tail: AtomicUsize::new(0),
                pauses: AtomicU64::new(0),
                head: AtomicUsize::new(0),
                reader: AtomicPtr::new(core::ptr::null_mut()),
                paused: AtomicBool::new(false),
                bytes,
            }
        }
    }

    // --- the handler

    /// Returns the number of bytes that the ring takes now. For the handler.
    pub fn room(&self) -> usize {
        // Acquire: pairs with the Release in `read`: the bytes there have been read before they are
        // written anew.
        CAPACITY - self.tail.load(Ordering::Relaxed).wrapping_sub(self.head.load(Ordering::Acquire))
    }

    /// Runs P1: puts in as many bytes as there is room for, from the first, and returns their
    /// number. For the handler.
    #[must_use = "some bytes may not have been taken"]
    pub fn push(&self, bytes: &[u8]) -> usize {
        let n = self.room().min(bytes.len());
        let tail = self.tail.load(Ordering::Relaxed);
        for (i, &byte) in bytes[..n].iter().enumerate() {
            self.bytes[tail.wrapping_add(i) % CAPACITY].store(byte, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `len`.
        self.tail.store(tail.wrapping_add(n), Ordering::Release);
        n
    }

    /// Runs P2 and P3: wakes the G that waits for bytes, or tells it that there will be none. For
    /// the handler, on the core of `m`.
    pub fn wake(&self, m: &M) {
        // SeqCst: P2; pairs with W2.
        fence(Ordering::SeqCst);
        let reader = self.reader.load(Ordering::Relaxed);
        // SAFETY: only `commit` stores there, and a `GRef`.
        if let Some(g) = unsafe { reader.as_ref() }
            && self.take_reader(reader)
        {
            ready_from_interrupt(m, g);
        }
    }

    /// Takes the G out: one of the callers that see the G succeeds.
    fn take_reader(&self, reader: *mut G) -> bool {
        // Acquire: pairs with the Release of W1.
        self.reader.compare_exchange(reader, core::ptr::null_mut(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Runs S2 to S4: the handler has found no room and turned the device's interrupt off. True:
    /// the handler is to turn it on again.
    #[must_use = "the device may have to be turned on again"]
    pub fn pause(&self) -> bool {
        self.pauses.store(self.pauses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // Release: pairs with the Acquire in `take_pause`: S1 comes before the interrupt is turned
        // on.
        self.paused.store(true, Ordering::Release);
        // SeqCst: S3; pairs with R2.
        fence(Ordering::SeqCst);
        self.room() > 0 && self.take_pause()
    }

    fn take_pause(&self) -> bool {
        self.paused.swap(false, Ordering::Acquire)
    }

    // --- the reader

    /// Returns the number of bytes that wait.
    pub fn len(&self) -> usize {
        // Acquire: pairs with the Release in `push`.
        self.tail.load(Ordering::Acquire).wrapping_sub(self.head.load(Ordering::Relaxed))
    }

    /// Returns true if no byte waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs R1: takes up to `into.len()` bytes, and returns their number.
    pub fn read(&self, into: &mut [u8]) -> usize {
        let n = self.len().min(into.len());
        let head = self.head.load(Ordering::Relaxed);
        for (i, byte) in into[..n].iter_mut().enumerate() {
            *byte = self.bytes[head.wrapping_add(i) % CAPACITY].load(Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `room`.
        self.head.store(head.wrapping_add(n), Ordering::Release);
        n
    }

    /// Runs R2 and R3, after a read, with preemption off until that is done. True: the caller turns
    /// the device's interrupt on.
    #[must_use = "the device may have to be turned on again"]
    pub fn resume(&self, _: &PreemptGuard) -> bool {
        // SeqCst: R2; pairs with S3.
        fence(Ordering::SeqCst);
        self.paused.load(Ordering::Relaxed) && self.take_pause()
    }

    /// Parks until there are bytes, or somebody calls [`wake`](Self::wake) for another reason.
    pub fn wait(&self) {
        if !self.is_empty() {
            return;
        }
        let guard = PreemptGuard::new();
        let me = core::ptr::from_ref(self).cast_mut().cast();
        // SAFETY: 1. the slot is emptied by one compare-and-swap, by the side that readies the G or
        // keeps it from parking. 2. `commit` gets a `&Input` that its G borrows.
        drop(unsafe { park_for_interrupt(guard, WaitReason::Input, Self::commit, me) });
    }

    /// Runs W1 to W3.
    unsafe fn commit(input: *mut (), g: GRef) -> bool {
        // SAFETY: `wait` passes an `Input` that the parking G borrows until it runs again.
        unsafe { &*input.cast::<Self>() }.is_to_wait(g)
    }

    /// Returns true if `g` is to wait: nothing has come yet, or the handler has taken the G and
    /// will ready it.
    pub(crate) fn is_to_wait(&self, g: GRef) -> bool {
        // Release: W1; pairs with the Acquire in `take_reader`.
        let me = core::ptr::from_ref(g).cast_mut();
        self.reader.store(me, Ordering::Release);
        // SeqCst: W2; pairs with P2.
        fence(Ordering::SeqCst);
        self.is_empty() || !self.take_reader(me)
    }

    // --- anybody

    /// Returns how often the handler found no room.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::Relaxed)
    }
}

impl Default for Input {
    fn default() -> Self {
        Self::new()
    }
}
