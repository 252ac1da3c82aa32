//! The `mem*` functions that `core` calls and the stock `compiler_builtins` of this target leaves to libc.
//!
//! Copies and fills take `rep movsb`/`rep stosb` where CPUID says that is fast (ERMS) and the length is worth its start-up, else
//! 16-byte SSE steps. They are written with inline assembly or volatile-free pointer steps that the compiler cannot turn back
//! into a call of themselves.

use core::arch::asm;
use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_set1_epi8, _mm_storeu_si128};
use core::sync::atomic::{AtomicBool, Ordering};

/// Set once by `cpu::init`.
pub(super) static FAST_REP: AtomicBool = AtomicBool::new(false);

/// Below this, starting a `rep` costs more than it saves.
const REP_MIN: usize = 256;

#[inline(always)]
fn rep(n: usize) -> bool {
    n >= REP_MIN && FAST_REP.load(Ordering::Relaxed)
}

/// Keeps the compiler from recognising the loop around it.
#[inline(always)]
fn opaque(i: usize) -> usize {
    let mut i = i;
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {} */", inout(reg) i, options(nomem, nostack, preserves_flags)) };
    i
}

/// C's `memcpy`.
///
/// # Safety
/// 1. C's rules: `n` bytes at both places, not overlapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: 1.
    unsafe {
        if rep(n) {
            asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
            return to;
        }
        copy_up(to, from, n);
    }
    to
}

/// Copies from the lowest address up.
#[inline(always)]
unsafe fn copy_up(to: *mut u8, from: *const u8, n: usize) {
    let mut i = 0;
    // SAFETY: the caller's: `n` bytes at both places.
    unsafe {
        while i + 16 <= n {
            _mm_storeu_si128(to.add(i).cast::<__m128i>(), _mm_loadu_si128(from.add(i).cast::<__m128i>()));
            i = opaque(i + 16);
        }
        if i + 8 <= n {
            to.add(i).cast::<u64>().write_unaligned(from.add(i).cast::<u64>().read_unaligned());
            i += 8;
        }
        while i < n {
            to.add(i).write(from.add(i).read());
            i = opaque(i + 1);
        }
    }
}

/// C's `memmove`.
///
/// # Safety
/// 1. C's rules: `n` bytes at both places, which may overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: 1. A 16-byte step reads before it writes, so going up is right when `to` is below `from`.
    unsafe {
        if (to as usize) <= (from as usize) || (to as usize) >= from as usize + n {
            copy_up(to, from, n);
            return to;
        }
        let mut i = n;
        while i >= 16 {
            i = opaque(i - 16);
            _mm_storeu_si128(to.add(i).cast::<__m128i>(), _mm_loadu_si128(from.add(i).cast::<__m128i>()));
        }
        while i > 0 {
            i = opaque(i - 1);
            to.add(i).write(from.add(i).read());
        }
    }
    to
}

/// C's `memset`.
///
/// # Safety
/// 1. C's rules: `n` bytes at `to`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memset(to: *mut u8, byte: i32, n: usize) -> *mut u8 {
    // SAFETY: 1.
    unsafe {
        if rep(n) {
            asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags));
            return to;
        }
        let wide = _mm_set1_epi8(byte as i8);
        let mut i = 0;
        while i + 16 <= n {
            _mm_storeu_si128(to.add(i).cast::<__m128i>(), wide);
            i = opaque(i + 16);
        }
        while i < n {
            to.add(i).write(byte as u8);
            i = opaque(i + 1);
        }
    }
    to
}

/// C's `memcmp`.
///
/// # Safety
/// 1. C's rules: `n` bytes at both places.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    // SAFETY: 1.
    unsafe {
        while i + 8 <= n {
            let (x, y) = (a.add(i).cast::<u64>().read_unaligned(), b.add(i).cast::<u64>().read_unaligned());
            if x != y {
                return if x.swap_bytes() < y.swap_bytes() { -1 } else { 1 };
            }
            i = opaque(i + 8);
        }
        while i < n {
            let (x, y) = (a.add(i).read(), b.add(i).read());
            if x != y {
                return i32::from(x) - i32::from(y);
            }
            i = opaque(i + 1);
        }
    }
    0
}

/// C's `bcmp`.
///
/// # Safety
/// 1. As [`memcmp`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: 1.
    unsafe { memcmp(a, b, n) }
}

/// C's `strlen`.
///
/// # Safety
/// 1. A zero byte ends the string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(s: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: 1.
    while unsafe { s.add(n).read() } != 0 {
        n = opaque(n + 1);
    }
    n
}
