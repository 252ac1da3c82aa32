//! The G record: everything the scheduler knows of one goroutine.
//!
//! G memory is type-stable: records are made in chunks, recycled through free lists and never given
//! back, so a stale `GRef` is stale but never dangling. Fields are grouped by who may touch them.

mod batch;
mod grave;
mod name;
mod reason;

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::gstate::GState;
use crate::join::JoinError;
use crate::local::Table;
use crate::platform;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use crate::task::Token;
use crate::ticket::Ticket;
use crate::timers::Node;
use crate::waitq::Waiter;

pub use batch::Batch;
pub use grave::Grave;
pub use name::{NAME_BYTES, Name};
pub use reason::WaitReason;

/// A goroutine, by reference. Valid for ever; see the module.
pub type GRef = &'static G;

/// A stack window: grows down from `hi`, never below `lo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// Lowest address of the window (its guard page lies here).
    pub lo: usize,
    /// One past the highest address.
    pub hi: usize,
}

impl Stack {
    /// No stack.
    pub const NONE: Self = Self { lo: 0, hi: 0 };

    /// Bytes of address space.
    pub fn size(&self) -> usize {
        self.hi - self.lo
    }
}

/// A G's number stands so far up in its life: below it lie a lock's flags.
pub const LIFE_SHIFT: u32 = 3;
/// The life of what runs on no G: a g0, a core that boots.
pub const OUTSIDE: usize = 1 << (usize::BITS - 1);
/// Where a record has its life.
pub const LIFE_OFFSET: usize = core::mem::offset_of!(G, life);

/// The number in a life; 0: [`OUTSIDE`].
#[inline(always)]
pub(crate) const fn id_of(life: usize) -> u64 {
    ((life & !OUTSIDE) >> LIFE_SHIFT) as u64
}

/// In place of a cause: see [`G::exempt`].
const EXEMPT: u8 = 0x80;

/// In `doom`: it runs on one M only.
const PINNED: u8 = 0x40;
/// In `doom`: it is ready, and the time of that stands in `since`.
const TIMED: u8 = 0x20;
/// In `doom`: a `WaitGroup` that started it has counted it as done.
const COUNTED: u8 = 0x10;
/// The bits that say nothing of its end.
const NO_DOOM: u8 = PINNED | TIMED | COUNTED;
/// 64 ns.
const READY_SHIFT: u32 = 6;
/// About a millisecond.
pub(crate) const COARSE_SHIFT: u32 = 20;

/// A stack that has at most this many bytes mapped stays with the P on which its G ended.
const SHALLOW: usize = 16 << 10;

/// What is particular to one type of closure; all of it takes the place where the closure lies. See
/// `spawn.rs`.
pub(crate) struct Body {
    /// Runs the closure and leaves its value in the cell.
    pub(crate) run: unsafe fn(*mut ()),
    /// Leaves an error in the cell.
    pub(crate) fail: unsafe fn(*mut (), JoinError),
    /// Drops what nobody will ever take out of the cell, and the cell.
    pub(crate) forget: unsafe fn(*mut ()),
    /// Last: tells the group of which the G is a member, if it is one. True: the G was abandoned.
    pub(crate) leave: Option<unsafe fn(*mut (), GRef, bool)>,
}

/// Why a G was ended where it stood: its frames are abandoned, no destructor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Cause {
    /// Its stack has used up its window.
    StackOverflow = 1,
    /// No memory was left for its stack to grow.
    OutOfMemory = 2,
    /// It touched the stack of a G that had ended.
    DeadStack = 3,
    /// A destructor panicked while it unwound. Its outcome is [there
    /// already](crate::spawn::came_to_panic).
    Panicked = 4,
}

impl Cause {
    /// What it is called in a report: "died of …".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StackOverflow => "stack overflow",
            Self::OutOfMemory => "lack of memory",
            Self::DeadStack => "a touch of a dead stack",
            Self::Panicked => "a panic in a destructor",
        }
    }

    /// The cause with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::StackOverflow),
            2 => Some(Self::OutOfMemory),
            3 => Some(Self::DeadStack),
            4 => Some(Self::Panicked),
            _ => None,
        }
    }
}

/// Bytes of a value that a G takes from another's hand outside its stack; see [`G::hand`].
pub(crate) const HAND_BYTES: usize = 32;

/// The place for it.
#[repr(C, align(8))]
pub(crate) struct Hand(UnsafeCell<MaybeUninit<[u8; HAND_BYTES]>>);

/// A goroutine.
#[repr(C)]
pub struct G {
    // --- Saved context: written by `switch` when the G leaves its M, read by the M that resumes it. The state word and the
    //     queue it passes through order the two.
    pub(crate) sp: UnsafeCell<usize>,

    // --- Shared atomics.
    /// Who owns it; see `gstate.rs`.
    pub(crate) state: GState,
    reason: AtomicU8,
    /// What its wakers have left it.
    pub(crate) token: Token,
    /// When its frames may go, if it is ended where it stands.
    pub(crate) grave: Grave,
    /// The object it waits for (its address), for reports.
    waits_for: AtomicUsize,
    /// Its number in this life, shifted: see [`life`](Self::life).
    life: AtomicUsize,
    /// Next in the one list the G stands in (global queue, batch, free list). Relaxed: the list's
    /// lock orders it.
    link: AtomicPtr<G>,
    /// The lowest address of its stack that may be backed, and the lowest there ever was in this
    /// life. Kept by the platform, by the M that runs the G or whoever holds its scan.
    pub stack_low: AtomicUsize,
    /// See `stack_low`.
    pub stack_deepest: AtomicUsize,
    /// What makes the next dispatch an unusual one: the [`Cause`] with which it ends as soon as
    /// preemption is on again, [`EXEMPT`], [`PINNED`].
    doom: AtomicU8,
    /// It stands in the inbox, by its `link`.
    queued: AtomicBool,
    /// While it waits: when it parked, in 2^[`COARSE_SHIFT`] ns. While it is [`TIMED`]: when it was
    /// readied, in 2^[`READY_SHIFT`] ns.
    since: AtomicU32,

    /// Decides what ends a wait that several things may end. It goes on counting from life to life.
    pub(crate) ticket: Ticket,

    // --- While it waits: whose lock it waits under guards these.
    /// Its place in the list of what it waits for. Here and not on its stack, so that waking it
    /// leaves the stack alone.
    pub(crate) waiter: Waiter,
    /// The value it gives or takes, if that is small: for the same reason.
    pub(crate) hand: Hand,
    /// Its place among the timers of a P, while it sleeps or waits with a deadline.
    pub(crate) timer: Node,

    // --- Owner only: the M that runs the G, or whoever holds it between lives.
    pub(crate) stack: Cell<Stack>,
    /// None: it is a member of no group any more.
    pub(crate) body: Cell<Option<&'static Body>>,
    pub(crate) closure: Cell<*mut ()>,
    pub(crate) name: Cell<Name>,
    /// How many pins hold it, and the number of the M that they hold it to.
    pub(crate) pins: Cell<(u32, u32)>,
    /// How many panics are unwinding on this G right now (kept by the platform, with marks beside).
    pub panics: Cell<u32>,
    /// The innermost scope that it has open; see `group.rs`.
    pub(crate) scope: Cell<*const crate::group::Group>,
    /// While it wakes a crowd: who is still to be woken; see `waitq.rs`.
    pub(crate) rest_of_crowd: Cell<Option<NonNull<Waiter>>>,
    /// What it was promised and has not used: see `chan/reserve.rs`.
    pub(crate) promises: Cell<*const crate::chan::Promise>,
    /// Its locals; null while it has none.
    pub(crate) locals: Cell<*mut Table>,
    /// The platform's own per-G slot (the console's line buffer).
    pub local: Cell<*mut ()>,
}

// SAFETY: the `Cell`s and `sp` are touched only by the G's owner (the table in `gstate.rs`), and
// ownership passes through queues and locks that order memory; reports read them racily, byte by
// byte, and cope with nonsense.
unsafe impl Sync for G {}
// SAFETY: as above; nothing in a G belongs to one core.
unsafe impl Send for G {}

impl G {
    /// A record that has never run.
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
            timer: Node::new(),
            stack: Cell::new(Stack::NONE),
            body: Cell::new(None),
            closure: Cell::new(core::ptr::null_mut()),
            name: Cell::new(Name::EMPTY),
            pins: Cell::new((0, 0)),
            panics: Cell::new(0),
            scope: Cell::new(core::ptr::null()),
            rest_of_crowd: Cell::new(None),
            promises: Cell::new(core::ptr::null()),
            locals: Cell::new(core::ptr::null_mut()),
            local: Cell::new(core::ptr::null_mut()),
        }
    }

    /// Its number: unique, never reused. 0 is a g0.
    #[inline]
    pub fn id(&self) -> u64 {
        id_of(self.life.load(Ordering::Relaxed))
    }

    /// What names its present life in a lock's word: its number, shifted by [`LIFE_SHIFT`];
    /// [`OUTSIDE`] of one that is none.
    #[inline(always)]
    pub fn life(&self) -> usize {
        self.life.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_id(&self, id: u64) {
        self.life.store((id as usize) << LIFE_SHIFT, Ordering::Relaxed);
    }

    /// Its name, or "".
    pub fn name(&self) -> Name {
        self.name.get()
    }

    /// Its state, as a guess for anyone but its owner.
    pub fn state(&self) -> crate::gstate::State {
        self.state.get()
    }

    /// It ends with `cause` when preemption is on again; the first cause counts. For the platform,
    /// with preemption off.
    pub fn doom(&self, cause: Cause) {
        let alive = |doom: u8| (doom & !NO_DOOM == 0).then_some(doom | cause as u8);
        let _ = self.doom.fetch_update(Ordering::Relaxed, Ordering::Relaxed, alive);
    }

    /// While it is exempt nothing dooms it: the platform uses its stack, not the G. With preemption
    /// off.
    pub fn exempt(&self, exempt: bool) {
        let (from, to) = if exempt { (0, EXEMPT) } else { (EXEMPT, 0) };
        let change = |doom: u8| (doom & !NO_DOOM == from).then_some(doom & NO_DOOM | to);
        let _ = self.doom.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Why it is to end.
    #[inline(always)]
    pub fn doomed(&self) -> Option<Cause> {
        Cause::from_u8(self.doom.load(Ordering::Relaxed) & !NO_DOOM)
    }

    /// Whether its stack has few pages.
    #[inline(always)]
    pub(crate) fn is_shallow(&self) -> bool {
        self.stack_low.load(Ordering::Relaxed) >= self.stack.get().hi.wrapping_sub(SHALLOW)
    }

    #[inline(always)]
    pub(crate) fn is_doomed(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & !(EXEMPT | NO_DOOM) != 0
    }

    /// It can run since `now`, and its dispatch is to say how long it waited. By whoever readies
    /// it, before others see it.
    pub(crate) fn time_ready(&self, now: u64) {
        self.since.store((now >> READY_SHIFT) as u32, Ordering::Relaxed);
        self.doom.fetch_or(TIMED, Ordering::Relaxed);
    }

    /// How long it waited to be dispatched, if it is timed. By the M that dispatches it.
    pub(crate) fn take_wait(&self) -> Option<u64> {
        if self.doom.load(Ordering::Relaxed) & TIMED == 0 {
            return None;
        }
        self.doom.fetch_and(!TIMED, Ordering::Relaxed);
        let now = (platform::now() >> READY_SHIFT) as u32;
        Some(u64::from(now.wrapping_sub(self.since.load(Ordering::Relaxed))) << READY_SHIFT)
    }

    /// It parks, at a time that [`P::coarse`](crate::P) gives.
    #[inline(always)]
    pub(crate) fn set_since(&self, coarse: u32) {
        self.since.store(coarse, Ordering::Relaxed);
    }

    /// How long it has been parked at `now`, in nanoseconds, if it is: rounded to milliseconds, and
    /// up to a slice too long. For reports.
    pub fn parked_for(&self, now: u64) -> u64 {
        u64::from(((now >> COARSE_SHIFT) as u32).wrapping_sub(self.since.load(Ordering::Relaxed))) << COARSE_SHIFT
    }

    /// Doomed, pinned or timed: its dispatch needs a second look.
    #[inline(always)]
    pub(crate) fn is_special(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & !(EXEMPT | COUNTED) != 0
    }

    #[inline(always)]
    pub(crate) fn is_pinned(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & PINNED != 0
    }

    /// The number of the M that it is pinned to. By its owner.
    pub(crate) fn pinned_to(&self) -> Option<usize> {
        self.is_pinned().then(|| self.pins.get().1 as usize)
    }

    /// One pin more. By the G, with preemption off, on M number `m`; or before it begins.
    pub(crate) fn pin(&self, m: usize) {
        let (pins, at) = self.pins.get();
        self.pins.set((pins + 1, if pins == 0 { m as u32 } else { at }));
        self.doom.fetch_or(PINNED, Ordering::Relaxed);
    }

    /// One pin less. By the G.
    pub(crate) fn unpin(&self) {
        let (pins, at) = self.pins.get();
        self.pins.set((pins.saturating_sub(1), at));
        if pins == 1 {
            self.doom.fetch_and(!PINNED, Ordering::Relaxed);
        }
    }

    /// The [`WaitGroup`](crate::locks::WaitGroup) that started it counts it as done. By the G.
    pub(crate) fn set_counted(&self) {
        self.doom.fetch_or(COUNTED, Ordering::Relaxed);
    }

    /// Whether it has been counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.doom.load(Ordering::Relaxed) & COUNTED != 0
    }

    #[inline(always)]
    pub(crate) fn pardon(&self) {
        self.doom.store(0, Ordering::Relaxed);
        self.pins.set((0, 0));
    }

    /// It is about to be put into the inbox. False: it is there already.
    pub(crate) fn enter_inbox(&self) -> bool {
        // Acquire: pairs with the Release in `leave_inbox`: the link was read before it is written
        // again.
        !self.queued.swap(true, Ordering::Acquire)
    }

    /// It was taken out, and its link read.
    pub(crate) fn leave_inbox(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// The place for a small value; see the field.
    #[inline(always)]
    pub(crate) fn hand(&self) -> *mut () {
        self.hand.0.get().cast()
    }

    /// Its window.
    pub fn stack(&self) -> Stack {
        self.stack.get()
    }

    /// Its saved stack pointer, meaningful while it does not run.
    pub fn saved_sp(&self) -> usize {
        // SAFETY: a racy read of one word, for reports; the value is never dereferenced unchecked.
        unsafe { core::ptr::read_volatile(self.sp.get()) }
    }

    /// Why it waits.
    pub fn wait_reason(&self) -> WaitReason {
        WaitReason::from_u8(self.reason.load(Ordering::Relaxed))
    }

    /// The address of the object it waits for, 0 if that is unknown.
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
