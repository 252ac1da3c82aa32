//! The set.

use core::fmt;
use core::hash::{BuildHasher, Hash};
use core::ops::{BitAnd, BitOr, BitXor, Deref, DerefMut, Sub};

use hashbrown::hash_set::{HashSet as Table, IntoIter, Iter};

use super::RandomState;

/// A hash set, as `std`'s. Its methods are those of `hashbrown::HashSet`, to which it dereferences.
///
/// ```no_run
/// # #![no_std]
/// # #![no_main]
/// # use trefoil::prelude::*;
/// # #[trefoil::main]
/// # fn main() {
/// let odd = HashSet::from([1, 3, 5, 7]);
/// let prime: HashSet<_> = [2, 3, 5, 7].into_iter().collect();
/// assert_eq!(odd.intersection(&prime).count(), 3);
/// assert_eq!(&odd - &prime, HashSet::from([1]));
/// # }
/// ```
#[derive(Clone)]
pub struct HashSet<T, S = RandomState>(Table<T, S>);

impl<T> HashSet<T> {
    /// Returns an empty set, which allocates at its first element.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// let mut seen = HashSet::new();
    /// assert!(seen.insert("here"));
    /// assert!(!seen.insert("here"));
    /// # }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty set with room for `capacity` elements.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// assert!(HashSet::<u32>::with_capacity(100).capacity() >= 100);
    /// # }
    /// ```
    pub fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, RandomState::new())
    }
}

impl<T, S> HashSet<T, S> {
    /// Returns an empty set whose elements `hasher` hashes.
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
    /// let mut set = HashSet::with_hasher(BuildHasherDefault::<DefaultHasher>::default());
    /// set.insert(1);
    /// # }
    /// ```
    pub const fn with_hasher(hasher: S) -> Self {
        Self(Table::with_hasher(hasher))
    }

    /// Returns an empty set with room for `capacity` elements, which `hasher` hashes.
    ///
    /// ```no_run
    /// # #![no_std]
    /// # #![no_main]
    /// # use trefoil::prelude::*;
    /// # #[trefoil::main]
    /// # fn main() {
    /// use trefoil::hash::RandomState;
    ///
    /// let set = HashSet::<u32>::with_capacity_and_hasher(10, RandomState::new());
    /// assert!(set.capacity() >= 10);
    /// # }
    /// ```
    pub fn with_capacity_and_hasher(capacity: usize, hasher: S) -> Self {
        Self(Table::with_capacity_and_hasher(capacity, hasher))
    }
}

impl<T, S> Deref for HashSet<T, S> {
    type Target = Table<T, S>;
    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T, S> DerefMut for HashSet<T, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T, S: Default> Default for HashSet<T, S> {
    fn default() -> Self {
        Self(Table::default())
    }
}

impl<T: fmt::Debug, S> fmt::Debug for HashSet<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Eq + Hash, S: BuildHasher> PartialEq for HashSet<T, S> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Eq + Hash, S: BuildHasher> Eq for HashSet<T, S> {}

impl<T: Eq + Hash, const N: usize> From<[T; N]> for HashSet<T> {
    fn from(elements: [T; N]) -> Self {
        Self::from_iter(elements)
    }
}

impl<T: Eq + Hash, S: BuildHasher + Default> FromIterator<T> for HashSet<T, S> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(Table::from_iter(elements))
    }
}

impl<T: Eq + Hash, S: BuildHasher> Extend<T> for HashSet<T, S> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, elements: I) {
        self.0.extend(elements);
    }
}

impl<'a, T: Eq + Hash + Copy, S: BuildHasher> Extend<&'a T> for HashSet<T, S> {
    fn extend<I: IntoIterator<Item = &'a T>>(&mut self, elements: I) {
        self.0.extend(elements);
    }
}

impl<T, S> IntoIterator for HashSet<T, S> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, S> IntoIterator for &'a HashSet<T, S> {
    type Item = &'a T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The four operators of two sets, each with its method.
macro_rules! operators {
    ($($operator:ident $name:ident),*) => {
        $(
            impl<T: Eq + Hash + Clone, S: BuildHasher + Default> $operator<&HashSet<T, S>> for &HashSet<T, S> {
                type Output = HashSet<T, S>;
                fn $name(self, other: &HashSet<T, S>) -> HashSet<T, S> {
                    HashSet($operator::$name(&self.0, &other.0))
                }
            }
        )*
    };
}

operators!(BitAnd bitand, BitOr bitor, BitXor bitxor, Sub sub);
