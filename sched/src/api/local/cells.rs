//! Shorter calls for locals that are a `Cell` or a `RefCell`, as `std::thread::LocalKey` has them.

use core::cell::{Cell, RefCell};

use super::LocalKey;

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets this goroutine's value; if it has none yet, without making the initial one.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// STEPS.set(7);
    /// assert_eq!(STEPS.get(), 7);
    /// # });
    /// ```
    pub fn set(&'static self, value: T) {
        self.initialize_with(Cell::new(value), |cell, value| cell.set(value.into_inner()));
    }

    /// Returns a copy of this goroutine's value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// assert_eq!(STEPS.get(), 0);
    /// # });
    /// ```
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value and leaves the type's default.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// STEPS.set(7);
    /// assert_eq!((STEPS.take(), STEPS.get()), (7, 0));
    /// # });
    /// ```
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value and returns the old one.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::Cell;
    /// goroutine_local! {
    ///     static STEPS: Cell<u32> = Cell::new(0);
    /// }
    /// assert_eq!((STEPS.replace(7), STEPS.get()), (0, 7));
    /// # });
    /// ```
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Runs `f` on this goroutine's value, borrowed.
    ///
    /// # Panics
    /// If it is mutably borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// assert_eq!(SEEN.with_borrow(Vec::len), 0);
    /// # });
    /// ```
    pub fn with_borrow<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Runs `f` on this goroutine's value, mutably borrowed.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// # Examples
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// SEEN.with_borrow_mut(|seen| seen.push(3));
    /// assert_eq!(SEEN.take(), [3]);
    /// # });
    /// ```
    pub fn with_borrow_mut<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&mut T) -> R,
    {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets this goroutine's value; if it has none yet, without making the initial one.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// SEEN.set(vec![1]);
    /// assert_eq!(SEEN.take(), [1]);
    /// # });
    /// ```
    pub fn set(&'static self, value: T) {
        self.initialize_with(RefCell::new(value), |cell, value| *cell.borrow_mut() = value.into_inner());
    }

    /// Takes the value and leaves the type's default.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// SEEN.with_borrow_mut(|seen| seen.push(3));
    /// assert_eq!(SEEN.take(), [3]);
    /// # });
    /// ```
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value and returns the old one.
    ///
    /// # Panics
    /// If it is borrowed, and as [`with`](Self::with).
    ///
    /// ```
    /// # use trefoil_hosted::prelude::*;
    /// # trefoil_hosted::example(|| {
    /// use std::cell::RefCell;
    /// goroutine_local! {
    ///     static SEEN: RefCell<Vec<u32>> = RefCell::new(Vec::new());
    /// }
    /// assert!(SEEN.replace(vec![1]).is_empty());
    /// # });
    /// ```
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}
