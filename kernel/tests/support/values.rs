//! Values of any size and alignment, which know what is in them and how many of them there are.

use core::hint::black_box;
use core::sync::atomic::{AtomicI64, Ordering::SeqCst};

/// The number of values that exist. Values of a goroutine that died are not dropped.
pub static ALIVE: AtomicI64 = AtomicI64::new(0);

pub trait Value: Send + Sync + Sized + 'static {
    /// Makes the value with this number.
    fn make(seed: u64) -> Self;
    fn bytes(&self) -> &[u8];

    /// Asserts that it is the value with this number, and lies where it may lie.
    #[track_caller]
    fn check(&self, seed: u64) {
        let at = black_box(core::ptr::from_ref(self)).addr();
        assert!(at.is_multiple_of(align_of::<Self>()), "{at:#x} for an alignment of {}", align_of::<Self>());
        assert!(is(self.bytes(), seed), "not what was sent, of {} bytes", self.bytes().len());
    }
}

/// A value repeats its contents after so many bytes: a prime, so that no two pages are the same.
const PERIOD: usize = 4093;
const SEEDS: usize = 64;

static TEXT: [u8; PERIOD + SEEDS] = {
    let mut text = [0; PERIOD + SEEDS];
    let (mut at, mut random) = (0, 1u32);
    while at < text.len() {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text[at] = (random >> 24) as u8;
        at += 1;
    }
    text
};

fn pattern(seed: u64) -> &'static [u8] {
    &TEXT[seed as usize % SEEDS..][..PERIOD]
}

fn is(bytes: &[u8], seed: u64) -> bool {
    bytes.chunks(PERIOD).all(|chunk| chunk == &pattern(seed)[..chunk.len()])
}

pub fn fill(bytes: &mut [u8], seed: u64) {
    bytes.chunks_mut(PERIOD).for_each(|chunk| chunk.copy_from_slice(&pattern(seed)[..chunk.len()]));
}

/// Declares types: `Name(alignment, size)`.
#[macro_export]
macro_rules! values {
    ($($name:ident($align:literal, $size:expr)),* $(,)?) => {
        $(
            #[repr(C, align($align))]
            struct $name([u8; $size]);

            impl $crate::values::Value for $name {
                #[inline(never)]
                fn make(seed: u64) -> Self {
                    $crate::values::ALIVE.fetch_add(1, core::sync::atomic::Ordering::SeqCst);
                    let mut made = Self([0; $size]);
                    $crate::values::fill(&mut made.0, seed);
                    made
                }
                fn bytes(&self) -> &[u8] {
                    &self.0
                }
            }

            impl Drop for $name {
                fn drop(&mut self) {
                    $crate::values::ALIVE.fetch_sub(1, core::sync::atomic::Ordering::SeqCst);
                }
            }
        )*
    };
}

/// Asserts that all values have been dropped, once each.
#[track_caller]
pub fn none_is_left(what: &str) {
    assert_eq!(ALIVE.load(SeqCst), 0, "{what}: values are left, or were dropped twice");
}
