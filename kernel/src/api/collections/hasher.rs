//! The hasher of maps and sets: the crate `foldhash`, seeded by the run.

use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::{FixedState, FoldHasher};

use trefoil_sched::rand::seed;

/// The seed of the next map: 0 until the first is drawn, odd from then on.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// From one map's seed to the next one's: even, and without a pattern.
const STEP: u64 = 0x9e37_79b9_7f4a_7c16;

/// Returns a seed that no other map of this run has.
fn next() -> u64 {
    if NEXT.load(Ordering::Relaxed) == 0 {
        // A second caller finds the same number there.
        let _ = NEXT.compare_exchange(0, seed() | 1, Ordering::Relaxed, Ordering::Relaxed);
    }
    NEXT.fetch_add(STEP, Ordering::Relaxed)
}

/// Makes the hashers of a map or set. Each `RandomState` is another one.
///
/// The hasher is fast, but it does not resist an attacker who chooses the keys and measures times.
/// A program that has such attackers names another hasher in its maps' type.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// use trefoil::hash::{BuildHasher, RandomState};
///
/// let state = RandomState::new();
/// assert_eq!(state.hash_one("clover"), state.hash_one("clover"));
/// # }
/// ```
#[derive(Clone)]
pub struct RandomState(FixedState);

impl RandomState {
    /// Returns a state with a seed of its own.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// use trefoil::hash::{BuildHasher, RandomState};
    ///
    /// assert_ne!(RandomState::new().hash_one(5), RandomState::new().hash_one(5));
    /// # }
    /// ```
    pub fn new() -> Self {
        Self(FixedState::with_seed(next()))
    }
}

impl Default for RandomState {
    fn default() -> Self {
        Self::new()
    }
}

impl BuildHasher for RandomState {
    type Hasher = DefaultHasher;

    #[inline]
    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher(self.0.build_hasher())
    }
}

impl fmt::Debug for RandomState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomState").finish_non_exhaustive()
    }
}

/// The hasher of [`RandomState`]. One from [`new`](Self::new) gives the same value at each boot.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// use trefoil::hash::{DefaultHasher, Hash, Hasher};
///
/// let mut hasher = DefaultHasher::new();
/// "clover".hash(&mut hasher);
/// println!("{:x}", hasher.finish());
/// # }
/// ```
#[derive(Clone)]
pub struct DefaultHasher(FoldHasher<'static>);

impl DefaultHasher {
    /// Returns a hasher without a seed.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// use trefoil::hash::{DefaultHasher, Hasher};
    ///
    /// assert_eq!(DefaultHasher::new().finish(), DefaultHasher::new().finish());
    /// # }
    /// ```
    pub fn new() -> Self {
        Self(FixedState::default().build_hasher())
    }
}

impl Default for DefaultHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DefaultHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultHasher").finish_non_exhaustive()
    }
}

/// Each integer goes to the crate's own function for it: the default ones make bytes of it first.
macro_rules! forward {
    ($($name:ident: $t:ty),*) => {
        $(
            #[inline]
            fn $name(&mut self, value: $t) {
                self.0.$name(value);
            }
        )*
    };
}

impl Hasher for DefaultHasher {
    forward!(
        write: &[u8], write_u8: u8, write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128,
        write_usize: usize
    );

    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }
}
