//! The set of the goroutines that ended where they stood.
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

use alloc::alloc::{Layout, alloc};
use core::fmt;

use super::{Cause, G, Name};
use crate::machine::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, UnsafeCell};

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
// SAFETY: a record of a death belongs to no core: it is written once, before it is published.
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
struct TreeNode {
    /// Null, a node, or a death with [`LEAF`]. A death may become a node that has it; nothing else
    /// changes.
    slots: [AtomicPtr<()>; FANOUT],
}

impl TreeNode {
    fn new() -> Self {
        Self { slots: core::array::from_fn(|_| AtomicPtr::new(core::ptr::null_mut())) }
    }
}

/// Holds all deaths there have been, by the number of the G, and the rounds after them.
#[derive(Debug)]
pub struct Deaths {
    root: TreeNode,
    count: AtomicU64,
    first: [Dead; FIRST],
    first_used: AtomicUsize,
    first_nodes: [TreeNode; FIRST_NODES],
    first_nodes_used: AtomicUsize,
    /// Bytes of heap that the record takes.
    bytes: AtomicUsize,
}

/// The contents of a slot.
enum Found {
    Nothing,
    Death(&'static Dead),
    TreeNode(&'static TreeNode),
}

fn found(slot: *mut ()) -> Found {
    if slot.is_null() {
        Found::Nothing
    } else if slot.addr() & LEAF != 0 {
        // SAFETY: the bit says that the word is a pointer to a `Dead`, which is never freed.
        Found::Death(unsafe { &*slot.map_addr(|at| at & !LEAF).cast::<Dead>() })
    } else {
        // SAFETY: without it, a node, which is never freed either.
        Found::TreeNode(unsafe { &*slot.cast::<TreeNode>() })
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
            root: TreeNode::new(),
            count: AtomicU64::new(0),
            first: core::array::from_fn(|_| Dead::nobody()),
            first_used: AtomicUsize::new(0),
            first_nodes: core::array::from_fn(|_| TreeNode::new()),
            first_nodes_used: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
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
        // SAFETY: nobody else knows the new record yet.
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

    fn leaked<T>(&self, value: T) -> Option<&'static T> {
        let leaked = leak(value);
        if leaked.is_some() {
            self.bytes.fetch_add(size_of::<T>(), Ordering::Relaxed);
        }
        leaked
    }

    fn fresh_node(&'static self) -> Option<&'static TreeNode> {
        match self.first_nodes.get(self.first_nodes_used.fetch_add(1, Ordering::Relaxed)) {
            Some(node) => Some(node),
            None => self.leaked(TreeNode::new()),
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
                Found::TreeNode(node) => {
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
                Found::TreeNode(node) => (at, level) = (node, level + 1),
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
