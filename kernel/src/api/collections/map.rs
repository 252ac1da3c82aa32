//! The map.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::ops::{Deref, DerefMut, Index};

use hashbrown::hash_map::{HashMap as Table, IntoIter, IntoKeys, IntoValues, Iter, IterMut};

use super::RandomState;

/// A hash map, as `std`'s. Its methods are those of `hashbrown::HashMap`, to which it dereferences.
///
/// The order of its elements differs from boot to boot, and from map to map. With `seed=N` on one
/// core it is always the same.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let mut ages = HashMap::from([("Hypatia", 45), ("Kant", 79)]);
/// *ages.entry("Weil").or_insert(0) += 34;
/// assert_eq!(ages["Weil"], 34);
/// let oldest = ages.iter().max_by_key(|(_, age)| **age);
/// assert_eq!(oldest, Some((&"Kant", &79)));
/// # }
/// ```
#[derive(Clone)]
pub struct HashMap<K, V, S = RandomState>(Table<K, V, S>);

impl<K, V> HashMap<K, V> {
    /// Returns an empty map, which allocates at its first element.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// let mut map = HashMap::new();
    /// map.insert(1, "one");
    /// assert_eq!(map.get(&1), Some(&"one"));
    /// # }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty map with room for `capacity` elements.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// let map = HashMap::<u32, u32>::with_capacity(100);
    /// assert!(map.capacity() >= 100);
    /// # }
    /// ```
    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, RandomState::new())
    }
}

impl<K, V, S> HashMap<K, V, S> {
    /// Returns an empty map whose keys `hasher` hashes.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// use trefoil::hash::{BuildHasherDefault, DefaultHasher};
    ///
    /// // The same order at each boot.
    /// let mut map = HashMap::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    /// map.insert(1, "one");
    /// # }
    /// ```
    pub const fn with_hasher(hasher: S) -> Self {
        Self(Table::with_hasher(hasher))
    }

    /// Returns an empty map with room for `capacity` elements, whose keys `hasher` hashes.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// use trefoil::hash::RandomState;
    ///
    /// let map = HashMap::<u32, u32>::with_capacity_and_hasher(10, RandomState::new());
    /// assert!(map.capacity() >= 10);
    /// # }
    /// ```
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        Self(Table::with_capacity_and_hasher(capacity, hasher))
    }

    /// Turns the map into an iterator over its keys.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// let keys: Vec<_> = HashMap::from([(1, "one")]).into_keys().collect();
    /// assert_eq!(keys, [1]);
    /// # }
    /// ```
    pub fn into_keys(self) -> IntoKeys<K, V> {
        self.0.into_keys()
    }

    /// Turns the map into an iterator over its values.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// let values: Vec<_> = HashMap::from([(1, "one")]).into_values().collect();
    /// assert_eq!(values, ["one"]);
    /// # }
    /// ```
    pub fn into_values(self) -> IntoValues<K, V> {
        self.0.into_values()
    }
}

impl<K, V, S> Deref for HashMap<K, V, S> {
    type Target = Table<K, V, S>;
    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K, V, S> DerefMut for HashMap<K, V, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<K, V, S: Default> Default for HashMap<K, V, S> {
    fn default() -> Self {
        Self(Table::default())
    }
}

impl<K: fmt::Debug, V: fmt::Debug, S> fmt::Debug for HashMap<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: Eq + Hash, V: PartialEq, S: BuildHasher> PartialEq for HashMap<K, V, S> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K: Eq + Hash, V: Eq, S: BuildHasher> Eq for HashMap<K, V, S> {}

impl<K: Eq + Hash + Borrow<Q>, V, S: BuildHasher, Q: Eq + Hash + ?Sized> Index<&Q> for HashMap<K, V, S> {
    type Output = V;
    fn index(&self, key: &Q) -> &V {
        self.0.get(key).expect("no entry found for key")
    }
}

impl<K: Eq + Hash, V, const N: usize> From<[(K, V); N]> for HashMap<K, V> {
    fn from(elements: [(K, V); N]) -> Self {
        Self::from_iter(elements)
    }
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> FromIterator<(K, V)> for HashMap<K, V, S> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(elements: I) -> Self {
        Self(Table::from_iter(elements))
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Extend<(K, V)> for HashMap<K, V, S> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, elements: I) {
        self.0.extend(elements);
    }
}

impl<'a, K: Eq + Hash + Copy, V: Copy, S: BuildHasher> Extend<(&'a K, &'a V)> for HashMap<K, V, S> {
    fn extend<I: IntoIterator<Item = (&'a K, &'a V)>>(&mut self, elements: I) {
        self.0.extend(elements);
    }
}

impl<K, V, S> IntoIterator for HashMap<K, V, S> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V, S> IntoIterator for &'a HashMap<K, V, S> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, K, V, S> IntoIterator for &'a mut HashMap<K, V, S> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}
