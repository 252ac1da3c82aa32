//! Collections, as in `std`: those of `alloc`, and [`HashMap`] and [`HashSet`].
//!
//! The two are those of the crate `hashbrown`, as `std`'s are. This module adds the default
//! hasher. `hashbrown`'s own draws its seed from addresses, and an image has the same addresses at
//! each boot. [`RandomState`] draws it from [`rand::seed`](crate::rand::seed): each boot has orders
//! of its own, and `seed=N` repeats them.
//!
//! Rejected: a type alias of `hashbrown::HashMap` with another hasher. `HashMap::new()` belongs to
//! the default hasher of that crate, and does not compile for another one. Therefore each of the
//! two is a thin type around the crate's, to which it dereferences.

mod hasher;
mod map;
mod set;

#[doc(no_inline)]
pub use alloc::collections::{
    BTreeMap, BTreeSet, BinaryHeap, LinkedList, TryReserveError, VecDeque, binary_heap, btree_map, btree_set,
    linked_list, vec_deque,
};
pub use hasher::{DefaultHasher, RandomState};
pub use map::HashMap;
pub use set::HashSet;

/// The parts of a [`HashMap`]: entries and iterators.
pub mod hash_map {
    pub use super::{DefaultHasher, HashMap, RandomState};
    #[doc(no_inline)]
    pub use hashbrown::hash_map::{
        Drain, ExtractIf, IntoIter, IntoKeys, IntoValues, Iter, IterMut, Keys, Values, ValuesMut,
    };

    /// A place in a map, occupied or vacant.
    pub type Entry<'a, K, V, S = RandomState> = hashbrown::hash_map::Entry<'a, K, V, S>;
    /// An occupied place in a map.
    pub type OccupiedEntry<'a, K, V, S = RandomState> = hashbrown::hash_map::OccupiedEntry<'a, K, V, S>;
    /// A vacant place in a map.
    pub type VacantEntry<'a, K, V, S = RandomState> = hashbrown::hash_map::VacantEntry<'a, K, V, S>;
}

/// The parts of a [`HashSet`]: its iterators.
pub mod hash_set {
    pub use super::HashSet;
    #[doc(no_inline)]
    pub use hashbrown::hash_set::{
        Difference, Drain, ExtractIf, Intersection, IntoIter, Iter, SymmetricDifference, Union,
    };
}
