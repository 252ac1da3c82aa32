//! Goroutines that ended where they stood: the record of the dead, and the G's that wait for them.
//!
//! An abandoned G (see [`abandon`](crate::abandon)) is a G that is parked for ever. Nothing that
//! the dead G held passes to another: it may have lent its access to G's that still use it. The
//! remaining duty is to *tell*. A waiter that would wait for ever for a dead G is woken, and panics
//! with the dead G's name.
//!
//! # Who is dead
//!
//! A lock's word names a life of a G by its number, which is never used again. [`Deaths`] is the
//! set of those numbers. The set is a tree of 64-way nodes, indexed by six bits of the number at
//! each level, the lowest first. The tree only grows, and is read without a lock.
//!
//! ```text
//!   root ─ slot(id & 63) ─┬─ nothing
//!                         ├─ a death                                    (the low bit of the pointer is set)
//!                         └─ node ─ slot(id >> 6 & 63) ─ …              where two deaths would share the slot
//! ```
//!
//! So a look costs a step for each factor of 64 in the number of deaths. The first entries lie in
//! the scheduler itself, since a G often dies because there is no memory. A death that can't be
//! recorded has no name. Its waiters go on waiting, and the deadlock report shows them. A waiter of
//! a dead G is never *granted* anything either way.
//!
//! # The undertaker
//!
//! After each death an M looks at every G that waits. Is the awaited object lost, or left half done
//! by the dead G? Such a look is a *round*. A round runs in pieces of a few records, on g0, on any
//! M that comes by. Resting M's count a round as work, and no M declares a deadlock while it lasts.
//! A death during a round asks for another one.
//!
//! **The hard race** is a waiter that goes to sleep while the owner dies:
//!
//! ```text
//!   waiter                                   the dying G's core
//!   in the list; state: Parking              the death is recorded
//!   ── fence ──                              ── fence ──
//!   is the owner dead? then a round!         a round!
//!   state: Waiting
//!                                            the round, later, on any core:
//!                                            for each G: is what it waits for lost? then one of its list is woken, until it is
//!                                              (Parking: the piece ends, and looks once more)
//! ```
//!
//! With a fence on both sides, either the round sees the waiter, or the waiter sees the death and
//! asks for a round that sees both. The waiter does not leave the list by itself, because a plain
//! node is in the middle of it.
//!
//! A G may also die while it wakes a crowd (a `notify_all`, a close). Its record names the waiters
//! that it has not reached. The undertaker wakes them, a few in each piece, before it looks at any
//! other G.
//!
//! Unused promises of a dynamic select to the dead G (`api/chan/reserve.rs`) are given back on its
//! core, or by a round if there are many.
//!
//! The undertaker *pops*, so it needs no node by name: every waiter in the list of a lost object is
//! to be woken. The undertaker visits G's in no order. From a G that waits for a lost object, it
//! goes on only when that object's list is empty. So the list is empty when the round is over.
//!
//! An unlock has two steps: free the word, then wake a waiter. A death may come between the two. So
//! the undertaker also finishes that unlock: it treats a lock that nobody holds as one whose
//! wake-up was lost. A waiter that was woken does not die before it has competed, since preemption
//! is off from its wake-up until then.
//!
//! Rejected:
//!
//! * a walk over all G's by the dying core in one piece: 100,000 G's are milliseconds without
//!   preemption;
//! * a list, for each G, of the locks that it holds: each lock would have to enter it there;
//! * a G of its own for this work: there may be no memory for its stack just then.

use alloc::alloc::{Layout, alloc};
use core::fmt;

use crate::api::chan::Owed;
use crate::core::m::M;
use crate::core::shared::Sched;
use crate::g::state::State;
use crate::g::{Cause, G, GRef, HAND_BYTES, Name, WaitReason};
use crate::machine::guard::PreemptGuard;
use crate::machine::platform;
use crate::machine::spin::SpinLock;
use crate::machine::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, UnsafeCell, fence};
use crate::queue::registry::Cursor;
use crate::wait::list::{Claimed, Crowd, Orphans};

/// Bits of the number at each level; few enough under loom that a node can be explored.
const BITS: u32 = if cfg!(loom) { 1 } else { 6 };
const FANOUT: usize = 1 << BITS;
/// Deaths that need no memory.
const FIRST: usize = if cfg!(loom) { 3 } else { 32 };
/// Nodes that need no memory.
const FIRST_NODES: usize = if cfg!(loom) { 3 } else { 4 };

/// The low bit of a slot: the slot leads to a death.
const LEAF: usize = 1;

/// A goroutine that ended where it stood. Displays as `G 12 "name", which died of stack overflow`.
#[derive(Debug)]
pub struct Dead(UnsafeCell<Record>);

#[derive(Debug)]
struct Record {
    id: u64,
    name: Name,
    cause: Cause,
}

// SAFETY: it is written before it is published, and never after.
unsafe impl Sync for Dead {}
// SAFETY: as above.
unsafe impl Send for Dead {}

impl Dead {
    crate::const_unless_loom! {
        fn nobody() -> Self {
            Self(UnsafeCell::new(Record { id: 0, name: Name::EMPTY, cause: Cause::StackOverflow }))
        }
    }

    fn read<T>(&self, f: impl FnOnce(&Record) -> T) -> T {
        // SAFETY: a death that can be found is published: nobody writes it.
        self.0.with(|record| f(unsafe { &*record }))
    }

    /// Returns the number of the G.
    pub fn id(&self) -> u64 {
        self.read(|dead| dead.id)
    }

    /// Returns the name of the G, or "".
    pub fn name(&self) -> Name {
        self.read(|dead| dead.name)
    }

    /// Returns the cause of the death.
    pub fn cause(&self) -> Cause {
        self.read(|dead| dead.cause)
    }
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        write!(f, "G {}", self.id())?;
        if !name.as_str().is_empty() {
            write!(f, " \"{}\"", name.as_str())?;
        }
        write!(f, ", which died of {}", self.cause().as_str())
    }
}

#[derive(Debug)]
struct Node {
    /// Null, a node, or a death with [`LEAF`]. A death may become a node that has it; nothing else
    /// changes.
    slots: [AtomicPtr<()>; FANOUT],
}

impl Node {
    fn new() -> Self {
        Self { slots: core::array::from_fn(|_| AtomicPtr::new(core::ptr::null_mut())) }
    }
}

/// Holds all deaths there have been, by the number of the G, and the rounds after them.
#[derive(Debug)]
pub struct Deaths {
    root: Node,
    count: AtomicU64,
    first: [Dead; FIRST],
    first_used: AtomicUsize,
    first_nodes: [Node; FIRST_NODES],
    first_nodes_used: AtomicUsize,
    /// Bytes of heap that the record takes.
    bytes: AtomicUsize,
    pub(crate) rounds: Rounds,
}

/// The contents of a slot.
enum Found {
    Nothing,
    Death(&'static Dead),
    Node(&'static Node),
}

fn found(slot: *mut ()) -> Found {
    if slot.is_null() {
        Found::Nothing
    } else if slot.addr() & LEAF != 0 {
        // SAFETY: with the bit it is a death, which is never freed.
        Found::Death(unsafe { &*slot.map_addr(|at| at & !LEAF).cast::<Dead>() })
    } else {
        // SAFETY: without it, a node, which is never freed either.
        Found::Node(unsafe { &*slot.cast::<Node>() })
    }
}

/// Returns the slot of a node at `level` that is for `id`.
fn digit(id: u64, level: u32) -> usize {
    (id >> (level * BITS)) as usize & (FANOUT - 1)
}

/// Returns fresh memory for a `T`, which is never freed. Returns `None` if there is no memory.
fn leak<T>(value: T) -> Option<&'static T> {
    // SAFETY: both types that come here have a size.
    let place = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if place.is_null() {
        return None;
    }
    // SAFETY: fresh memory of the right layout.
    unsafe {
        place.write(value);
        Some(&*place)
    }
}

impl Deaths {
    /// Makes an empty set.
    pub fn new() -> Self {
        Self {
            root: Node::new(),
            count: AtomicU64::new(0),
            first: core::array::from_fn(|_| Dead::nobody()),
            first_used: AtomicUsize::new(0),
            first_nodes: core::array::from_fn(|_| Node::new()),
            first_nodes_used: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            rounds: Rounds::new(),
        }
    }

    /// Returns how many deaths are recorded.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the bytes of heap that the record takes for good.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Records that `g` dies of `cause`, before any G learns of its end. Returns false if there is
    /// no memory to record the death.
    pub(crate) fn record(&'static self, g: &G, cause: Cause) -> bool {
        let dead = match self.first.get(self.first_used.fetch_add(1, Ordering::Relaxed)) {
            Some(dead) => Some(dead),
            None => self.leaked(Dead::nobody()),
        };
        let Some(dead) = dead else { return false };
        let record = Record { id: g.id(), name: g.name(), cause };
        // SAFETY: nobody else knows it yet.
        dead.0.with_mut(|place| unsafe { *place = record });
        let inserted = self.insert(dead);
        if inserted {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        inserted
    }

    /// Records a death for a number that no G ever has: for tests.
    #[doc(hidden)]
    pub fn pretend(&'static self, id: u64) -> bool {
        let g = G::new();
        g.set_id(id);
        self.record(&g, Cause::StackOverflow)
    }

    /// Returns true if a round is under way or asked for.
    #[doc(hidden)]
    pub fn is_round_pending(&self) -> bool {
        self.rounds.is_pending()
    }

    fn leaked<T>(&self, value: T) -> Option<&'static T> {
        let leaked = leak(value);
        if leaked.is_some() {
            self.bytes.fetch_add(size_of::<T>(), Ordering::Relaxed);
        }
        leaked
    }

    fn fresh_node(&'static self) -> Option<&'static Node> {
        match self.first_nodes.get(self.first_nodes_used.fetch_add(1, Ordering::Relaxed)) {
            Some(node) => Some(node),
            None => self.leaked(Node::new()),
        }
    }

    fn insert(&'static self, dead: &'static Dead) -> bool {
        let leaf = core::ptr::from_ref(dead).cast_mut().cast::<()>().map_addr(|at| at | LEAF);
        let (mut at, mut level, mut spare) = (&self.root, 0, None);
        loop {
            let slot = &at.slots[digit(dead.id(), level)];
            // Acquire: pairs with the Release below: the target of a slot is written.
            let seen = slot.load(Ordering::Acquire);
            let to = match found(seen) {
                Found::Nothing => leaf,
                Found::Node(node) => {
                    (at, level) = (node, level + 1);
                    continue;
                }
                Found::Death(other) if other.id() == dead.id() => return true,
                Found::Death(other) => {
                    let Some(node) = spare.take().or_else(|| self.fresh_node()) else { return false };
                    node.slots.iter().for_each(|slot| slot.store(core::ptr::null_mut(), Ordering::Relaxed));
                    node.slots[digit(other.id(), level + 1)].store(seen, Ordering::Relaxed);
                    spare = Some(node);
                    core::ptr::from_ref(node).cast_mut().cast()
                }
            };
            // Release: pairs with the Acquire above and in `walk`. A failure means that another
            // death was faster here: look again.
            if slot.compare_exchange(seen, to, Ordering::Release, Ordering::Relaxed).is_ok() {
                if to == leaf {
                    return true;
                }
                spare = None;
            }
        }
    }

    /// Finds the death of the G with this number.
    pub fn find(&self, id: u64) -> Option<&'static Dead> {
        self.walk(id, u64::BITS).filter(|dead| dead.id() == id)
    }

    /// Finds the death of a G by the lowest `bits` of its number.
    pub(crate) fn find_short(&self, low: u64, bits: u32) -> Option<&'static Dead> {
        let mask = (1 << bits) - 1;
        self.walk(low, bits).filter(|dead| dead.id() & mask == low & mask)
    }

    /// Finds the one death that can match, as far as `bits` of the number tell.
    fn walk(&self, id: u64, bits: u32) -> Option<&'static Dead> {
        let (mut at, mut level) = (&self.root, 0);
        while level * BITS < bits {
            // Acquire: pairs with the Release in `insert`.
            match found(at.slots[digit(id, level)].load(Ordering::Acquire)) {
                Found::Nothing => return None,
                Found::Death(dead) => return Some(dead),
                Found::Node(node) => (at, level) = (node, level + 1),
            }
        }
        None
    }
}

impl Default for Deaths {
    fn default() -> Self {
        Self::new()
    }
}

/// Records that a piece of a round looks at: two chunks of them.
const CHUNKS: usize = 2;
/// Waiters that a piece wakes before it ends. The rest of its chunk may add one for each G.
const WAKES: usize = 16;
/// The time between two pieces if a G runs in between, in nanoseconds.
const GAP: u64 = 20_000;

/// The rounds of the undertaker.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// Counts the rounds that were asked for.
    asked: AtomicU64,
    /// Counts the requests that are over, by a round that began after them.
    done: AtomicU64,
    /// True while an M works at a round.
    at_work: AtomicBool,
    /// The state of that round.
    walk: UnsafeCell<Walk>,
    /// The waiters to wake before the round looks at any G.
    orphans: SpinLock<Orphans>,
    /// The promises to give back before that.
    owed: SpinLock<Owed>,
}

#[derive(Debug)]
struct Walk {
    cursor: Cursor,
    /// The value of `done` at the end of this round. If `done` has it already, no round is under
    /// way.
    target: u64,
}

// SAFETY: only the M that has made `at_work` true touches `walk`.
unsafe impl Sync for Rounds {}

impl Rounds {
    fn new() -> Self {
        Self {
            asked: AtomicU64::new(0),
            done: AtomicU64::new(0),
            at_work: AtomicBool::new(false),
            walk: UnsafeCell::new(Walk { cursor: Cursor::new(), target: 0 }),
            orphans: SpinLock::new(Orphans::new()),
            owed: SpinLock::new(Owed::nothing()),
        }
    }

    /// Returns true if there is something to do.
    #[inline(always)]
    pub(crate) fn is_pending(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        // One load where nobody has died.
        asked != 0 && asked != self.done.load(Ordering::Relaxed)
    }

    /// Returns true if G's are to be woken for wakers that have died.
    #[cfg(loom)]
    pub(crate) fn has_orphans(&self) -> bool {
        !self.orphans.lock(&PreemptGuard::new()).is_empty()
    }

    /// Returns true if a round is pending and no M works at it.
    #[inline]
    pub(crate) fn wants_hand(&self) -> bool {
        self.is_pending() && !self.at_work.load(Ordering::Relaxed)
    }
}

/// Leaves `crowd` for a round to wake.
#[cold]
pub(crate) fn leave_to_round(m: &M, crowd: Crowd, guard: &PreemptGuard) {
    m.sched().deaths.rounds.orphans.lock(guard).add(crowd);
    ask(m, guard);
}

/// Gives back the promises made to `dead`, which dies on `m`: some here, the rest by a round.
pub(crate) fn give_back(m: &M, dead: GRef, guard: &PreemptGuard) {
    if !dead.promises.get().is_null() {
        let mut owed = m.sched().deaths.rounds.owed.lock(guard);
        if owed.add(dead) {
            owed.work();
        }
        dead.promises.set(core::ptr::null());
    }
}

/// Asks for a round: a G has died, or a waiter has seen a death too late to turn back. On `m`.
pub(crate) fn ask(m: &M, guard: &PreemptGuard) {
    let sched = m.sched();
    // SeqCst: pairs with the fence in `settle`: see the hard race.
    fence(Ordering::SeqCst);
    // AcqRel: Release pairs with the Acquire in `piece`.
    sched.deaths.rounds.asked.fetch_add(1, Ordering::AcqRel);
    follow(m, guard);
}

/// Makes the next piece come soon, even if a G runs here meanwhile.
fn follow(m: &M, guard: &PreemptGuard) {
    m.attend_platform();
    let p = m.held(guard);
    if p.is_outside() {
        return m.sched().wake_now(m);
    }
    p.set_slice_alarm(platform::now() + GAP);
    m.arm(p.next_alarm());
}

/// Runs a piece of the round that is pending. On the g0 of `m`, or by a model.
#[cold]
#[inline(never)]
pub(crate) fn work(m: &M, guard: &PreemptGuard) {
    let sched = m.sched();
    let rounds = &sched.deaths.rounds;
    // AcqRel: Acquire pairs with the Release of the M before. Release tells the M at work, by its
    // own swap, of the requests so far.
    if rounds.at_work.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: `at_work` admits one.
    rounds.walk.with_mut(|walk| piece(sched, guard, unsafe { &mut *walk }));
    // AcqRel: as above. A swap, so that it sees the request of an M that has just gone away in
    // vain.
    rounds.at_work.swap(false, Ordering::AcqRel);
    if rounds.is_pending() {
        follow(m, guard);
    }
}

fn piece(sched: &'static Sched, guard: &PreemptGuard, walk: &mut Walk) {
    let rounds = &sched.deaths.rounds;
    if walk.target == rounds.done.load(Ordering::Relaxed) {
        // Acquire: pairs with the Release in `ask`.
        *walk = Walk { cursor: Cursor::new(), target: rounds.asked.load(Ordering::Acquire) };
        // SeqCst: as in `ask`, for this core.
        fence(Ordering::SeqCst);
    }
    let mut wakes = WAKES;
    while let Some(orphan) = next_orphan(rounds, guard) {
        orphan.wake(guard);
        wakes -= 1;
        if wakes == 0 {
            return;
        }
    }
    if rounds.owed.lock(guard).work() {
        return;
    }
    for _ in 0..CHUNKS {
        let before = walk.cursor;
        let mut settled = true;
        let last = sched.walk_gs(&mut walk.cursor, 1, |g| settled &= visit(sched, guard, g, &mut wakes));
        if !settled {
            walk.cursor = before;
            return;
        }
        if last {
            // Release: an M that sees the end of the round sees the G's that it readied.
            rounds.done.store(walk.target, Ordering::Release);
            return;
        }
    }
}

fn next_orphan(rounds: &Rounds, guard: &PreemptGuard) -> Option<Claimed> {
    rounds.orphans.lock(guard).pop()
}

/// Sees to the object that `g` waits for. Returns false if `g` is to be visited once more.
fn visit(sched: &'static Sched, guard: &PreemptGuard, g: GRef, wakes: &mut usize) -> bool {
    if !is_watched(g.wait_reason()) {
        return true;
    }
    match g.state() {
        // On its way to park on another core, or another M looks at its stack.
        State::Parking | State::Scan => false,
        State::Waiting | State::Cold => {
            let mut settled = true;
            let scanned = sched.scan(guard, g, |g, _| {
                // SAFETY: 1. the scan keeps it parked.
                let Some(object) = (unsafe { object_of(g) }) else { return };
                while object.see_to_one(&sched.deaths, guard) {
                    if *wakes == 0 {
                        settled = false;
                        return;
                    }
                    *wakes -= 1;
                }
            });
            scanned && settled
        }
        _ => true,
    }
}

/// An object that a G may wait for in vain because another G has died.
///
/// A waiting G carries the object in its place for values from hand to hand. The G does not need
/// that place meanwhile. So a program without locks has no code for this.
pub(crate) trait Waited {
    /// Returns true if all who wait here would wait for ever. With the list's lock held.
    fn is_lost(&self, deaths: &Deaths) -> bool;
    /// Wakes one waiter, if it would wait for ever, or if a dead G has left a step unfinished.
    /// Returns true if it did, so there may be more.
    fn see_to_one(&self, deaths: &Deaths, guard: &PreemptGuard) -> bool;
    /// Returns the holder, as far as it is known.
    fn holder(&self) -> Holding {
        Holding::Unknown
    }
}

/// Wakes `first`, if there is one, into the panic that names the dead G number `id`. Returns true
/// if there was one.
pub(crate) fn bury_one(first: Option<Claimed>, id: u64, guard: &PreemptGuard) -> bool {
    let any = first.is_some();
    if let Some(first) = first {
        first.bury(id).wake(guard);
    }
    any
}

/// The holder of an object that G's wait for.
pub(crate) enum Holding {
    /// Nobody, or several holders, or the object cannot be held.
    Unknown,
    /// The G with this number.
    By(u64),
    /// The G whose number ends with these bits: the value, and how many there are.
    ByShort(u64, u32),
}

const _: () = assert!(size_of::<*const dyn Waited>() <= HAND_BYTES);

/// Stores `object`, for which the running `g` is about to wait for a [watched](is_watched) reason.
pub(crate) fn carry<'a>(g: GRef, object: &'a (dyn Waited + 'a)) {
    let object: *const (dyn Waited + 'a) = object;
    // SAFETY: the place is large and aligned enough, and the G's own while it runs.
    unsafe { g.hand().cast::<*const (dyn Waited + 'a)>().write(object) };
}

/// Returns true if a G that waits for this reason carries its object.
fn is_watched(reason: WaitReason) -> bool {
    matches!(
        reason,
        WaitReason::Mutex
            | WaitReason::RwLockRead
            | WaitReason::RwLockWrite
            | WaitReason::Once
            | WaitReason::Condvar
            | WaitReason::Semaphore
            | WaitReason::Barrier
            | WaitReason::WaitGroup
    )
}

/// Returns the object that `g` waits for, if `g` carries it.
///
/// # Safety
/// 1. `g` is parked, and stays so as long as the reference lives.
pub(crate) unsafe fn object_of<'a>(g: &'a G) -> Option<&'a (dyn Waited + 'a)> {
    if !is_watched(g.wait_reason()) {
        return None;
    }
    // SAFETY: 1. a G that waits with one of these reasons has put its object there, and keeps it
    // alive while it is parked.
    unsafe { Some(&*g.hand().cast::<*const (dyn Waited + 'a)>().read()) }
}

/// Releases the list's lock by `unlock`, after which the object may be gone. Runs in the `commit`
/// of `g`, which carries its object and stands in the list. If `g` would wait for ever, a round
/// will find it.
///
/// # Safety
/// 1. In a `commit`, with the object's lock held, which `unlock` releases.
pub(crate) unsafe fn settle(g: GRef, unlock: impl FnOnce()) {
    // SeqCst: pairs with the fence in `ask`; see the hard race.
    fence(Ordering::SeqCst);
    // SAFETY: 1. a switch runs `after` with one level of preemption off; borrowed here.
    let guard = unsafe { PreemptGuard::adopt() };
    let m = M::current(&guard);
    let deaths = &m.sched().deaths;
    // SAFETY: 1. it is parked: nobody can claim it while the lock is held.
    let lost = deaths.count() != 0 && unsafe { object_of(g) }.is_some_and(|object| object.is_lost(deaths));
    unlock();
    if lost {
        ask(m, &guard);
    }
    guard.release();
}
