//! The `mem*` functions that `core` calls and the stock `compiler_builtins` of this target leaves
//! to libc.
//!
//! | bytes | copy and fill |
//! |---|---|
//! | 0 to 15 | two words that overlap in the middle: no loop |
//! | 16 and more | 64 bytes a step, then 16, and the last 16 bytes as one overlapping step |
//! | `REP_MIN` and more | `rep movsb`/`rep stosb` where CPUID says that it is fast (ERMS) and does not name QEMU's translator; upwards only |
//!
//! The compiler knows these loops by sight and would replace them by calls of the very functions
//! that they make up. So the long ones are assembly, and the short ones pass their counter through
//! `opaque`.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

/// Set by `cpu::init_core`.
pub(super) static FAST_REP: AtomicBool = AtomicBool::new(false);

/// Below this, starting a `rep` costs more than it saves.
const REP_MIN: usize = 512;

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

/// Copies two words of type `$word` that cover `$n` bytes together, and returns. Both are read
/// before one is written, so the places may overlap.
macro_rules! copy_pair {
    ($word:ty, $to:expr, $from:expr, $n:expr) => {{
        let last = $n - size_of::<$word>();
        let (a, b) =
            ($from.cast::<$word>().read_unaligned(), $from.wrapping_add(last).cast::<$word>().read_unaligned());
        $to.cast::<$word>().write_unaligned(a);
        $to.wrapping_add(last).cast::<$word>().write_unaligned(b);
        return;
    }};
}

/// Copies fewer than 16 bytes, in either direction.
#[inline(always)]
unsafe fn copy_few(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: for the whole body: the caller's: `n` bytes at both places; no access leaves them.
    unsafe {
        if n >= 8 {
            copy_pair!(u64, to, from, n)
        }
        if n >= 4 {
            copy_pair!(u32, to, from, n)
        }
        if n >= 2 {
            copy_pair!(u16, to, from, n)
        }
        if n == 1 {
            to.write(from.read());
        }
    }
}

/// Copies 16 bytes or more, from the lowest address up: right for places that overlap with `to`
/// below `from`.
#[inline(always)]
unsafe fn copy_up(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: the caller's: `n` bytes at both places. The last 16 are read first, since the loop
    // may write over them; a step reads all that it writes, and writes nothing that a later step
    // reads.
    unsafe {
        asm!(
            "movups xmm4, [{from} + {last}]",
            "xor {i:e}, {i:e}",
            "mov {blocks}, {last}",
            "and {blocks}, -64",
            "jz 3f",
            "2:",
            "movups xmm0, [{from} + {i}]",
            "movups xmm1, [{from} + {i} + 16]",
            "movups xmm2, [{from} + {i} + 32]",
            "movups xmm3, [{from} + {i} + 48]",
            "movups [{to} + {i}], xmm0",
            "movups [{to} + {i} + 16], xmm1",
            "movups [{to} + {i} + 32], xmm2",
            "movups [{to} + {i} + 48], xmm3",
            "add {i}, 64",
            "cmp {i}, {blocks}",
            "jb 2b",
            "3:",
            "cmp {i}, {last}",
            "jae 5f",
            "4:",
            "movups xmm0, [{from} + {i}]",
            "movups [{to} + {i}], xmm0",
            "add {i}, 16",
            "cmp {i}, {last}",
            "jb 4b",
            "5:",
            "movups [{to} + {last}], xmm4",
            to = in(reg) to,
            from = in(reg) from,
            last = in(reg) n - 16,
            i = out(reg) _,
            blocks = out(reg) _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            options(nostack),
        );
    }
}

/// Copies 16 bytes or more, from the highest address down: right for places that overlap with `to`
/// above `from`.
#[inline(always)]
unsafe fn copy_down(to: *mut u8, from: *const u8, n: usize) {
    // SAFETY: the caller's: `n` bytes at both places. The first 16 are read first, since the loop
    // may write over them; a step reads all that it writes, and writes nothing that a later step
    // reads.
    unsafe {
        asm!(
            "movups xmm4, [{from}]",
            "cmp {i}, 64",
            "jl 3f",
            "2:",
            "movups xmm0, [{from} + {i}]",
            "movups xmm1, [{from} + {i} - 16]",
            "movups xmm2, [{from} + {i} - 32]",
            "movups xmm3, [{from} + {i} - 48]",
            "movups [{to} + {i}], xmm0",
            "movups [{to} + {i} - 16], xmm1",
            "movups [{to} + {i} - 32], xmm2",
            "movups [{to} + {i} - 48], xmm3",
            "sub {i}, 64",
            "cmp {i}, 64",
            "jge 2b",
            "3:",
            "test {i}, {i}",
            "jle 5f",
            "4:",
            "movups xmm0, [{from} + {i}]",
            "movups [{to} + {i}], xmm0",
            "sub {i}, 16",
            "jg 4b",
            "5:",
            "movups [{to}], xmm4",
            to = in(reg) to,
            from = in(reg) from,
            i = inout(reg) n - 16 => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            options(nostack),
        );
    }
}

/// C's `memcpy`.
///
/// # Safety
/// 1. C's rules: `n` bytes at both places, not overlapping.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: for the whole body, 1.: the caller has `n` bytes at both places, and they do not
    // overlap.
    unsafe {
        if n < 16 {
            copy_few(to, from, n);
        } else if rep(n) {
            asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
        } else {
            copy_up(to, from, n);
        }
    }
    to
}

/// C's `memmove`.
///
/// # Safety
/// 1. C's rules: `n` bytes at both places, which may overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // How far `to` lies above `from`; huge if it lies below.
    let above = (to as usize).wrapping_sub(from as usize);
    // SAFETY: for the whole body, 1.: the caller has `n` bytes at both places. Where they overlap,
    // the direction of the copy is the right one.
    unsafe {
        if n < 16 {
            copy_few(to, from, n);
        } else if above >= n {
            copy_up(to, from, n);
        } else {
            copy_down(to, from, n);
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
    let wide = u64::from(byte as u8) * 0x0101_0101_0101_0101;
    // SAFETY: for the whole body, 1.: the caller has `n` bytes at `to`, and no access leaves them.
    unsafe {
        if n < 16 {
            fill_few(to, wide, n);
        } else if rep(n) {
            asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags));
        } else {
            asm!(
                "movq xmm0, {wide}",
                "punpcklqdq xmm0, xmm0",
                "xor {i:e}, {i:e}",
                "mov {blocks}, {last}",
                "and {blocks}, -64",
                "jz 3f",
                "2:",
                "movups [{to} + {i}], xmm0",
                "movups [{to} + {i} + 16], xmm0",
                "movups [{to} + {i} + 32], xmm0",
                "movups [{to} + {i} + 48], xmm0",
                "add {i}, 64",
                "cmp {i}, {blocks}",
                "jb 2b",
                "3:",
                "cmp {i}, {last}",
                "jae 5f",
                "4:",
                "movups [{to} + {i}], xmm0",
                "add {i}, 16",
                "cmp {i}, {last}",
                "jb 4b",
                "5:",
                "movups [{to} + {last}], xmm0",
                wide = in(reg) wide,
                to = in(reg) to,
                last = in(reg) n - 16,
                i = out(reg) _,
                blocks = out(reg) _,
                out("xmm0") _,
                options(nostack),
            );
        }
    }
    to
}

#[inline(always)]
unsafe fn fill_few(to: *mut u8, wide: u64, n: usize) {
    // SAFETY: for the whole body: the caller's: `n` bytes at `to`; no access leaves them.
    unsafe {
        if n >= 8 {
            to.cast::<u64>().write_unaligned(wide);
            to.wrapping_add(n - 8).cast::<u64>().write_unaligned(wide);
        } else if n >= 4 {
            to.cast::<u32>().write_unaligned(wide as u32);
            to.wrapping_add(n - 4).cast::<u32>().write_unaligned(wide as u32);
        } else if n >= 2 {
            to.cast::<u16>().write_unaligned(wide as u16);
            to.wrapping_add(n - 2).cast::<u16>().write_unaligned(wide as u16);
        } else if n == 1 {
            to.write(wide as u8);
        }
    }
}

/// C's `memcmp`.
///
/// # Safety
/// 1. C's rules: `n` bytes at both places.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    let mut i = 0;
    // SAFETY: for the whole body, 1.: the caller has `n` bytes at both places, and no access leaves
    // them.
    unsafe {
        if n >= 8 {
            // Whole words, then the last word, which may overlap what is known to be equal.
            loop {
                let (x, y) = (
                    a.wrapping_add(i).cast::<u64>().read_unaligned(),
                    b.wrapping_add(i).cast::<u64>().read_unaligned(),
                );
                if x != y {
                    return if x.swap_bytes() < y.swap_bytes() { -1 } else { 1 };
                }
                if i == n - 8 {
                    return 0;
                }
                i = opaque((i + 8).min(n - 8));
            }
        }
        while i < n {
            let (x, y) = (a.wrapping_add(i).read(), b.wrapping_add(i).read());
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
    // SAFETY: the caller's: `n` bytes can be read at `a` and at `b`, as `memcmp` wants.
    unsafe { memcmp(a, b, n) }
}

/// C's `strlen`.
///
/// # Safety
/// 1. A zero byte ends the string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(s: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: the caller's: a zero byte ends the string, and the loop reads up to that byte only.
    while unsafe { s.wrapping_add(n).read() } != 0 {
        n = opaque(n + 1);
    }
    n
}
