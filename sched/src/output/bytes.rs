//! The bytes of the ring: plain memory, which the protocol of `output.rs` gives to one side at a time.

pub(super) use storage::Bytes;

#[cfg(not(loom))]
mod storage {
    use super::super::CAPACITY;
    use crate::sync::UnsafeCell;

    #[derive(Debug)]
    pub struct Bytes(UnsafeCell<[u8; CAPACITY]>);

    // SAFETY: whoever reads or writes is alone with those bytes: safety rule 1 of both.
    unsafe impl Sync for Bytes {}

    impl Bytes {
        pub const fn new() -> Self {
            Self(UnsafeCell::new([0; CAPACITY]))
        }

        /// # Safety
        /// 1. Nobody else reads or writes the `from.len()` bytes from number `at` on.
        #[inline]
        pub unsafe fn write(&self, at: usize, from: &[u8]) {
            let at = at % CAPACITY;
            let (low, high) = from.split_at(from.len().min(CAPACITY - at));
            self.0.with_mut(|bytes| {
                let bytes = bytes.cast::<u8>();
                // SAFETY: 1. and both parts lie inside the ring.
                unsafe {
                    bytes.add(at).copy_from_nonoverlapping(low.as_ptr(), low.len());
                    bytes.copy_from_nonoverlapping(high.as_ptr(), high.len());
                }
            });
        }

        /// # Safety
        /// 1. Nobody writes byte number `at`.
        #[inline]
        pub unsafe fn read(&self, at: usize) -> u8 {
            // SAFETY: 1. and it lies inside the ring.
            self.0.with(|bytes| unsafe { *bytes.cast::<u8>().add(at % CAPACITY) })
        }
    }
}

/// A cell for each byte, so that loom sees who is there.
#[cfg(loom)]
mod storage {
    use super::super::CAPACITY;
    use crate::sync::UnsafeCell;

    #[derive(Debug)]
    pub struct Bytes([UnsafeCell<u8>; CAPACITY]);

    // SAFETY: loom checks.
    unsafe impl Sync for Bytes {}

    impl Bytes {
        pub fn new() -> Self {
            Self(core::array::from_fn(|_| UnsafeCell::new(0)))
        }

        /// # Safety
        /// 1. As above.
        pub unsafe fn write(&self, at: usize, from: &[u8]) {
            for (i, &byte) in from.iter().enumerate() {
                // SAFETY: 1.
                self.0[at.wrapping_add(i) % CAPACITY].with_mut(|it| unsafe { *it = byte });
            }
        }

        /// # Safety
        /// 1. As above.
        pub unsafe fn read(&self, at: usize) -> u8 {
            // SAFETY: 1.
            self.0[at % CAPACITY].with(|it| unsafe { *it })
        }
    }
}
