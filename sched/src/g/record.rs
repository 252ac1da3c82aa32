//! The G record: everything the scheduler knows of one goroutine.
//!
//! G memory is type-stable: records are made in chunks, recycled through free lists and never given
//! back, so a stale `GRef` is stale but never dangling. Fields are grouped by who may touch them.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::ptr::NonNull;

use crate::g::state::GState;
use crate::machine::platform::{self, Stack};
use crate::machine::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use crate::timers::TimerNode;

use super::promise::Link;
use super::ticket::Ticket;
use super::token::Token;
use super::waiter::Waiter;
use super::{Cause, Grave, JoinError, Name, WaitReason};

/// A goroutine, by reference. Valid for ever; see the module.
pub type GRef = &'static G;

/// The shift of a G's number in its life: a lock's flags lie below it.
pub const LIFE_SHIFT: u32 = 3;
/// The life of code that runs on no G: a g0, a core that boots.
pub const OUTSIDE: usize = 1 << (usize::BITS - 1);
/// The offset of the life in a record.
pub const LIFE_OFFSET: usize = core::mem::offset_of!(G, life);

/// Returns the number in a life. 0: [`OUTSIDE`].
#[inline(always)]
pub(crate) const fn id_of(life: usize) -> u64 {
    ((life & !OUTSIDE) >> LIFE_SHIFT) as u64
}

/// In place of a cause: see [`G::exempt`].
const EXEMPT: u8 = 0x80;

/// In `doom`: the G runs on one M only.
const PINNED: u8 = 0x40;
/// In `doom`: the G is ready, and `since` holds the time of that.
const TIMED: u8 = 0x20;
/// In `doom`: a `WaitGroup` that started the G has counted it as done.
const COUNTED: u8 = 0x10;
/// The bits that say nothing of the G's end.
const NO_DOOM: u8 = PINNED | TIMED | COUNTED;
/// The unit of a ready time: 64 ns.
const READY_SHIFT: u32 = 6;
/// The unit of a parking time: about a millisecond.
pub(crate) const COARSE_SHIFT: u32 = 20;

/// A stack that has at most this many bytes mapped stays with the P on which its G ended.
const SHALLOW: usize = 16 << 10;

/// The functions for one type of closure. The closure and its value lie in one place, the cell. See
/// `api/spawn.rs`.
pub(crate) struct Body {
    /// Runs the closure and leaves its value in the cell.
    pub(crate) run: unsafe fn(*mut ()),
    /// Leaves an error in the cell.
    pub(crate) fail: unsafe fn(*mut (), JoinError),
    /// Drops the cell, with a result that nobody will take out.
    pub(crate) forget: unsafe fn(*mut ()),
    /// Runs last. Tells the group of which the G is a member, if it is one. True: the G was
    /// abandoned.
    pub(crate) leave: Option<unsafe fn(*mut (), GRef, bool)>,
}

/// Bytes of a value that a G takes from another G outside its stack; see [`G::hand`].
pub(crate) const HAND_BYTES: usize = 32;

/// The place for that value.
#[repr(C, align(8))]
pub(crate) struct Hand(UnsafeCell<MaybeUninit<[u8; HAND_BYTES]>>);

/// A goroutine.
#[repr(C)]
pub struct G {
    // --- Saved context: written by `switch` when the G leaves its M, read by the M that resumes
    // it. The state word and the queue it passes through order the two.
    pub(crate) sp: UnsafeCell<usize>,

    // --- Shared atomics.
    /// The owner of the G; see `g/state.rs`.
    pub(crate) state: GState,
    reason: AtomicU8,
    /// The message of the G's wakers.
    pub(crate) token: Token,
    /// When its frames may go, if the G is ended where it stands.
    pub(crate) grave: Grave,
    /// The address of the object that the G waits for, for reports.
    waits_for: AtomicUsize,
    /// The G's number in this life, shifted: see [`life`](Self::life).
    life: AtomicUsize,
    /// The next G in the one list in which this G stands (global queue, batch, free list). Relaxed:
    /// the list's lock orders it.
    link: AtomicPtr<G>,
    /// The lowest address of the stack that may be backed now, and the lowest one in this life.
    /// Kept by the platform, on the M that runs the G or holds its scan.
    pub stack_low: AtomicUsize,
    /// See `stack_low`.
    pub stack_deepest: AtomicUsize,
    /// Flags for an unusual next dispatch: [`EXEMPT`], [`PINNED`], or the [`Cause`] with which the
    /// G ends as soon as preemption is on again.
    doom: AtomicU8,
    /// The G stands in the inbox, by its `link`.
    queued: AtomicBool,
    /// While the G waits: the time at which it parked, in 2^[`COARSE_SHIFT`] ns. While it is
    /// [`TIMED`]: the time at which it was readied, in 2^[`READY_SHIFT`] ns.
    since: AtomicU32,

    /// Decides which event ends a wait that several events may end. The count goes on from life to
    /// life.
    pub(crate) ticket: Ticket,

    // --- While the G waits: guarded by the lock under which it waits.
    /// The place in the list of the object that the G waits for. The record holds it, so a wake-up
    /// leaves the stack alone.
    pub(crate) waiter: Waiter,
    /// A small value that the G gives or takes: for the same reason.
    pub(crate) hand: Hand,
    /// The place among the timers of a P, while the G sleeps or waits with a deadline.
    pub(crate) timer: TimerNode,

    // --- Owner only: the M that runs the G, or the M that holds it between lives.
    pub(crate) stack: Cell<Stack>,
    /// None: the G is a member of no group any more.
    pub(crate) body: Cell<Option<&'static Body>>,
    pub(crate) closure: Cell<*mut ()>,
    pub(crate) name: Cell<Name>,
    /// How many pins hold the G, and the number of their M.
    pub(crate) pins: Cell<(u32, u32)>,
    /// How many panics are unwinding on this G right now (kept by the platform, with marks beside).
    pub panics: Cell<u32>,
    /// The lower half of the address of the [`Location`] that created the G; see
    /// [`created_at`](Self::created_at). (It fills a gap of the record.)
    created_at: AtomicU32,
    /// The innermost `Group` that the G has open; see `wait/group.rs`.
    pub(crate) scope: Cell<*const ()>,
    /// While the G wakes a crowd: the rest of the crowd; see `wait/list.rs`.
    pub(crate) rest_of_crowd: Cell<Option<NonNull<Waiter>>>,
    /// Promises made to the G that it has not used: see `api/chan/reserve.rs`.
    pub(crate) promises: Cell<*const Link>,
    /// The table of the G's locals, for `api/local.rs`. Null while it has none.
    pub(crate) locals: Cell<*mut ()>,
    /// The platform's own per-G slot (the console's line buffer).
    pub local: Cell<*mut ()>,
}

// SAFETY: the `Cell`s and `sp` are touched only by the G's owner (the table in `g/state.rs`), and
// ownership passes through queues and locks that order memory; reports read them racily, byte by
// byte, and cope with nonsense.
unsafe impl Sync for G {}
// SAFETY: nothing in a G belongs to one core.
unsafe impl Send for G {}

impl G {
    /// Makes a record that has never run.
    pub fn new() -> Self {
        Self {
            sp: UnsafeCell::new(0),
            state: GState::new(),
            reason: AtomicU8::new(0),
            token: Token::new(),
            grave: Grave::new(),
            waits_for: AtomicUsize::new(0),
            life: AtomicUsize::new(OUTSIDE),
            link: AtomicPtr::new(core::ptr::null_mut()),
            stack_low: AtomicUsize::new(usize::MAX),
            stack_deepest: AtomicUsize::new(usize::MAX),
            doom: AtomicU8::new(0),
            ticket: Ticket::new(),
            queued: AtomicBool::new(false),
            since: AtomicU32::new(0),
            waiter: Waiter::new(),
            hand: Hand(UnsafeCell::new(MaybeUninit::uninit())),
            timer: TimerNode::new(),
            stack: Cell::new(Stack::NONE),
            body: Cell::new(None),
            closure: Cell::new(core::ptr::null_mut()),
            name: Cell::new(Name::EMPTY),
            pins: Cell::new((0, 0)),
            panics: Cell::new(0),
            created_at: AtomicU32::new(0),
            scope: Cell::new(core::ptr::null()),
            rest_of_crowd: Cell::new(None),
            promises: Cell::new(core::ptr::null()),
            locals: Cell::new(core::ptr::null_mut()),
            local: Cell::new(core::ptr::null_mut()),
        }
    }

    /// Returns the number of the G: unique, never reused. 0 is a g0.
    #[inline]
    pub fn id(&self) -> u64 {
        id_of(self.life.load(Ordering::Relaxed))
    }

    /// Returns the number of the G, which is no g0.
    #[cfg(feature = "trace")]
    #[inline(always)]
    pub(crate) fn number(&self) -> u64 {
        (self.life.load(Ordering::Relaxed) >> LIFE_SHIFT) as u64
    }

    /// Returns the present life, as a lock's word names it: the G's number, shifted by
    /// [`LIFE_SHIFT`]. A context that is no G has [`OUTSIDE`].
    #[inline(always)]
    pub fn life(&self) -> usize {
        self.life.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_id(&self, id: u64) {
        self.life.store((id as usize) << LIFE_SHIFT, Ordering::Relaxed);
    }

    /// Returns the G's name, or "".
    pub fn name(&self) -> Name {
        self.name.get()
    }

    /// Returns the place in the program that created the G. `None`: it has never run.
    #[track_caller]
    pub fn created_at(&self) -> Option<&'static Location<'static>> {
        let low = self.created_at.load(Ordering::Relaxed);
        // Any other place of the image: its address has the upper half, give or take one.
        let other = core::ptr::from_ref(Location::caller()).expose_provenance();
        let distance = low.wrapping_sub(other as u32).cast_signed() as isize;
        let at = core::ptr::with_exposed_provenance::<Location<'static>>(other.wrapping_add_signed(distance));
        // SAFETY: only `set_created_at` stores there, and a place of the same image. An image is
        // linked for the small code model: its constants lie within 2 GiB, so the lower half tells
        // the address.
        (low != 0).then(|| unsafe { &*at })
    }

    /// Returns the lower half of the address of that place; 0: it has never run.
    pub fn created_low(&self) -> u32 {
        self.created_at.load(Ordering::Relaxed)
    }

    /// Returns the lower half of the address of the G's function; 0: it has none.
    pub fn entry_low(&self) -> u32 {
        self.body.get().map_or(0, |body| body.run as *const () as usize as u32)
    }

    #[inline(always)]
    pub(crate) fn set_created_at(&self, at: &'static Location<'static>) {
        self.created_at.store(core::ptr::from_ref(at).expose_provenance() as u32, Ordering::Relaxed);
    }

    /// Returns the G's state, a guess for all but its owner.
    pub fn state(&self) -> crate::g::state::State {
        self.state.get()
    }

    /// Ends the G with `cause` when preemption is on again; the first cause counts. For the
    /// platform, with preemption off.
    pub fn doom(&self, cause: Cause) {
        let alive = |doom: u8| (doom & !NO_DOOM == 0).then_some(doom | cause as u8);
        let _ = self.doom.fetch_update(Ordering::Relaxed, Ordering::Relaxed, alive);
    }

    /// Sets or ends the exemption, during which nothing dooms the G: the platform uses its stack.
    /// With preemption off.
    pub fn exempt(&self, exempt: bool) {
        let (from, to) = if exempt { (0, EXEMPT) } else { (EXEMPT, 0) };
        let change = |doom: u8| (doom & !NO_DOOM == from).then_some(doom & NO_DOOM | to);
        let _ = self.doom.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Returns the cause with which the G is to end.
    #[inline(always)]
    pub fn doomed(&self) -> Option<Cause> {
        Cause::from_u8(self.doom.load(Ordering::Relaxed) & !NO_DOOM)
    }

    /// Returns true if the G's stack has few pages.
    #[inline(always)]
    pub(crate) fn is_shallow(&self) -> bool {
        self.stack_low.load(Ordering::Relaxed) >= self.stack.get().hi.wrapping_sub(SHALLOW)
    }

    #[inline(always)]
    pub(crate) fn is_doomed(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & !(EXEMPT | NO_DOOM) != 0
    }

    /// Marks the G as ready since `now`, so that its dispatch records the wait. By the M that
    /// readies it, before others see it.
    pub(crate) fn time_ready(&self, now: u64) {
        self.since.store((now >> READY_SHIFT) as u32, Ordering::Relaxed);
        self.doom.fetch_or(TIMED, Ordering::Relaxed);
    }

    /// Returns how long the G waited to be dispatched, if it is timed. By the M that dispatches it.
    pub(crate) fn take_wait(&self) -> Option<u64> {
        if self.doom.load(Ordering::Relaxed) & TIMED == 0 {
            return None;
        }
        self.doom.fetch_and(!TIMED, Ordering::Relaxed);
        let now = (platform::now() >> READY_SHIFT) as u32;
        Some(u64::from(now.wrapping_sub(self.since.load(Ordering::Relaxed))) << READY_SHIFT)
    }

    /// Records the time at which the G parks, from [`P::coarse`](crate::P).
    #[inline(always)]
    pub(crate) fn set_since(&self, coarse: u32) {
        self.since.store(coarse, Ordering::Relaxed);
    }

    /// Returns how long the G has been parked at `now`, in nanoseconds, if it is. The value is
    /// rounded to milliseconds, and up to a slice too long. For reports.
    pub fn parked_for(&self, now: u64) -> u64 {
        u64::from(((now >> COARSE_SHIFT) as u32).wrapping_sub(self.since.load(Ordering::Relaxed))) << COARSE_SHIFT
    }

    /// Returns true if the G is doomed, pinned or timed: its dispatch needs a second look.
    #[inline(always)]
    pub(crate) fn is_special(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & !(EXEMPT | COUNTED) != 0
    }

    #[inline(always)]
    pub(crate) fn is_pinned(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & PINNED != 0
    }

    /// Returns the number of the M to which the G is pinned. By its owner.
    pub(crate) fn pinned_to(&self) -> Option<usize> {
        self.is_pinned().then(|| self.pins.get().1 as usize)
    }

    /// Adds a pin. By the G, with preemption off, on M number `m`; or before the G begins.
    pub(crate) fn pin(&self, m: usize) {
        let (pins, at) = self.pins.get();
        self.pins.set((pins + 1, if pins == 0 { m as u32 } else { at }));
        self.doom.fetch_or(PINNED, Ordering::Relaxed);
    }

    /// Removes a pin. By the G.
    pub(crate) fn unpin(&self) {
        let (pins, at) = self.pins.get();
        self.pins.set((pins.saturating_sub(1), at));
        if pins == 1 {
            self.doom.fetch_and(!PINNED, Ordering::Relaxed);
        }
    }

    /// Notes that the [`WaitGroup`](crate::locks::WaitGroup) that started the G has counted it as
    /// done. By the G.
    pub(crate) fn set_counted(&self) {
        self.doom.fetch_or(COUNTED, Ordering::Relaxed);
    }

    /// Returns true if the G has been counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & COUNTED != 0
    }

    #[inline(always)]
    pub(crate) fn pardon(&self) {
        self.doom.store(0, Ordering::Relaxed);
        self.pins.set((0, 0));
    }

    /// Marks the G as standing in the inbox. Returns false if it is there already.
    pub(crate) fn enter_inbox(&self) -> bool {
        // Acquire: pairs with the Release in `leave_inbox`: the link was read before it is written
        // again.
        !self.queued.swap(true, Ordering::Acquire)
    }

    /// Clears the mark of a G that was taken out, after its link was read.
    pub(crate) fn leave_inbox(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// Returns the place for a small value; see the field.
    #[inline(always)]
    pub(crate) fn hand(&self) -> *mut () {
        self.hand.0.get().cast()
    }

    /// Returns the G's window.
    pub fn stack(&self) -> Stack {
        self.stack.get()
    }

    /// Returns the saved stack pointer, which means something only while the G does not run.
    pub fn saved_sp(&self) -> usize {
        // SAFETY: a racy read of one word, for reports; the value is never dereferenced unchecked.
        unsafe { core::ptr::read_volatile(self.sp.get()) }
    }

    /// Returns the reason for which the G waits.
    pub fn wait_reason(&self) -> WaitReason {
        WaitReason::from_u8(self.reason.load(Ordering::Relaxed))
    }

    /// Returns the number of that reason.
    #[cfg(feature = "trace")]
    pub(crate) fn reason_number(&self) -> u8 {
        self.reason.load(Ordering::Relaxed)
    }

    /// Returns the address of the object that the G waits for, 0 if it is unknown.
    pub fn waits_for(&self) -> usize {
        self.waits_for.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_wait(&self, reason: WaitReason, object: usize) {
        self.reason.store(reason as u8, Ordering::Relaxed);
        self.waits_for.store(object, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn link(&self) -> Option<GRef> {
        // SAFETY: links are only ever set from `GRef`s.
        unsafe { self.link.load(Ordering::Relaxed).as_ref() }
    }

    #[inline]
    pub(crate) fn set_link(&self, next: Option<GRef>) {
        let p = next.map_or(core::ptr::null_mut(), |g| core::ptr::from_ref(g).cast_mut());
        self.link.store(p, Ordering::Relaxed);
    }
}

impl Default for G {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for G {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G {} {:?}", self.id(), self.state())
    }
}
