//! The bytes of the ring: plain memory, which the protocol of `output.rs` gives to one side at a
//! time.

pub use storage::Bytes;

#[cfg(not(loom))]
mod storage {
    use super::super::CAPACITY;
    use crate::machine::sync::UnsafeCell;

    /// The memory of a ring.
    #[derive(Debug)]
    pub struct Bytes(UnsafeCell<[u8; CAPACITY]>);

    // SAFETY: a reader or writer is alone with its bytes: safety rule 1 of both.
    unsafe impl Sync for Bytes {}

    impl Bytes {
        /// Makes a ring of zeros.
        #[expect(clippy::new_without_default, reason = "a static's value")]
        pub const fn new() -> Self {
            Self(UnsafeCell::new([0; CAPACITY]))
        }

        /// # Safety
        /// 1. Nobody else reads or writes the `from.len()` bytes from number `at` on.
        #[inline]
        pub(in super::super) unsafe fn write(&self, at: usize, from: &[u8]) {
            let at = at % CAPACITY;
            let (low, high) = from.split_at(from.len().min(CAPACITY - at));
            self.0.with_mut(|bytes| {
                let bytes = bytes.cast::<u8>();
                // SAFETY: 1. nobody else uses these bytes, and both parts lie inside the ring.
                unsafe {
                    bytes.add(at).copy_from_nonoverlapping(low.as_ptr(), low.len());
                    bytes.copy_from_nonoverlapping(high.as_ptr(), high.len());
                }
            });
        }

        /// Calls `f` with the first of the `len` bytes from number `at` on, and returns how many
        /// those are: as far as they lie side by side.
        ///
        /// # Safety
        /// 1. Nobody writes those bytes meanwhile.
        #[inline]
        pub(in super::super) unsafe fn read(&self, at: usize, len: usize, f: impl FnOnce(&[u8])) -> usize {
            let at = at % CAPACITY;
            let len = len.min(CAPACITY - at);
            // SAFETY: 1. nobody writes these bytes meanwhile, and they lie inside the ring.
            self.0.with(|bytes| f(unsafe { core::slice::from_raw_parts(bytes.cast::<u8>().add(at), len) }));
            len
        }
    }
}

/// The memory of a ring, with a cell for each byte, so that loom sees each access.
#[cfg(loom)]
mod storage {
    use super::super::CAPACITY;
    use crate::machine::sync::UnsafeCell;

    /// The memory of a ring.
    #[derive(Debug)]
    pub struct Bytes([UnsafeCell<u8>; CAPACITY]);

    // SAFETY: each byte is a loom cell, so loom reports two accesses that meet.
    unsafe impl Sync for Bytes {}

    impl Bytes {
        /// Makes a ring of zeros.
        #[expect(clippy::new_without_default, reason = "as above")]
        pub fn new() -> Self {
            Self(core::array::from_fn(|_| UnsafeCell::new(0)))
        }

        /// # Safety
        /// 1. As above.
        pub(in super::super) unsafe fn write(&self, at: usize, from: &[u8]) {
            for (i, &byte) in from.iter().enumerate() {
                // SAFETY: 1. nobody else uses this byte; loom checks that.
                self.0[at.wrapping_add(i) % CAPACITY].with_mut(|it| unsafe { *it = byte });
            }
        }

        /// # Safety
        /// 1. As above.
        pub(in super::super) unsafe fn read(&self, at: usize, _: usize, f: impl FnOnce(&[u8])) -> usize {
            // SAFETY: 1. nobody writes this byte meanwhile; loom checks that.
            self.0[at % CAPACITY].with(|it| f(&[unsafe { *it }]));
            1
        }
    }
}
