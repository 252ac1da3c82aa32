//! The switch, on the host: the registers that survive it, the start of a context, and how
//! unwinding and backtraces meet it.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use trefoil_context::switch::{fresh, switch};

type Body = Box<dyn FnOnce(&mut Pair)>;

/// Two contexts: the test's own and another one on a stack of its own.
struct Pair {
    stack: Vec<u128>,
    here: usize,
    there: usize,
    /// The steps that `after` saw, as decimal digits.
    published: Cell<u32>,
    body: Option<Body>,
}

unsafe extern "C" fn after(pair: *mut (), step: *mut ()) {
    // SAFETY: both sides pass their pair, which outlives the test.
    let pair = unsafe { &*pair.cast::<Pair>() };
    pair.published.set(pair.published.get().wrapping_mul(10).wrapping_add(step as u32));
}

unsafe extern "C" fn entry(pair: *mut ()) -> ! {
    // SAFETY: `Pair::new` passed itself.
    let pair = unsafe { &mut *pair.cast::<Pair>() };
    let body = pair.body.take().unwrap();
    body(pair);
    pair.back(9);
    unreachable!("a finished context was resumed");
}

impl Pair {
    fn new(body: impl FnOnce(&mut Pair) + 'static) -> Box<Self> {
        let mut pair = Box::new(Self {
            stack: vec![0; 16 << 10],
            here: 0,
            there: 0,
            published: Cell::new(0),
            body: Some(Box::new(body)),
        });
        let top = pair.stack.as_mut_ptr_range().end.cast::<u8>();
        // SAFETY: 1. 256 KiB below `top`, ours.
        pair.there = unsafe { fresh(top, entry, (&raw mut *pair).cast()) };
        pair
    }

    /// From the test to the other context.
    fn go(&mut self, step: usize) {
        let (here, there, me) = (&raw mut self.here, &raw const self.there, (&raw mut *self).cast());
        // SAFETY: 1. 2. `there` was made by `fresh` or stored by `back`; both words live in the
        // pair.
        unsafe { switch(here, there, after, me, step as *mut ()) }
    }

    /// From the other context to the test.
    fn back(&mut self, step: usize) {
        let (here, there, me) = (&raw const self.here, &raw mut self.there, (&raw mut *self).cast());
        // SAFETY: as in `go`, the other way round.
        unsafe { switch(there, here, after, me, step as *mut ()) }
    }
}

#[test]
fn two_contexts_take_turns_and_after_runs_before_each() {
    let mut pair = Pair::new(|pair| {
        for round in 1..=3 {
            assert_eq!(pair.published.take(), round, "after runs first");
            pair.back(5);
        }
    });
    for round in 1..=3 {
        pair.go(round);
        assert_eq!(pair.published.take(), 5);
    }
    pair.go(4);
    assert_eq!(pair.published.take(), 49);
}

#[test]
fn callee_saved_registers_survive() {
    // Enough live values that some are in rbx, rbp and r12 to r15 across the call.
    fn busy(seed: u64, mut turn: impl FnMut()) -> u64 {
        let mut v: [u64; 8] = std::array::from_fn(|i| seed.wrapping_mul(i as u64 + 3));
        for _ in 0..100 {
            let [a, b, c, d, e, f, g, h] = v;
            turn();
            v = [
                b ^ a,
                c.wrapping_add(b),
                d ^ c,
                e.wrapping_add(d),
                f ^ e,
                g.wrapping_add(f),
                h ^ g,
                a.wrapping_add(h),
            ];
        }
        v.iter().fold(0, |x, y| x ^ y)
    }
    let mut pair = Pair::new(|pair| {
        let alone = busy(77, || {});
        assert_eq!(busy(77, || pair.back(1)), alone);
    });
    let alone = busy(5, || {});
    assert_eq!(busy(5, || pair.go(1)), alone);
    pair.go(1);
}

fn control_words() -> (u32, u16) {
    let (mut mxcsr, mut fcw) = (0u32, 0u16);
    // SAFETY: stores to two locals.
    unsafe { core::arch::asm!("stmxcsr [{}]", "fnstcw [{}]", in(reg) &mut mxcsr, in(reg) &mut fcw) };
    (mxcsr, fcw)
}

fn set_control_words(mxcsr: u32, fcw: u16) {
    // SAFETY: rounding modes only; no exception is unmasked.
    unsafe { core::arch::asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &mxcsr, in(reg) &fcw) };
}

#[test]
fn each_context_keeps_its_floating_point_control() {
    const UP: (u32, u16) = (0x5f80, 0x0b7f);
    const DOWN: (u32, u16) = (0x3f80, 0x067f);
    let mut pair = Pair::new(|pair| {
        assert_eq!(control_words(), (0x1f80, 0x037f), "a fresh context has the ABI's");
        set_control_words(UP.0, UP.1);
        pair.back(1);
        assert_eq!(control_words(), UP);
    });
    set_control_words(DOWN.0, DOWN.1);
    pair.go(1);
    assert_eq!(control_words(), DOWN);
    pair.go(1);
    assert_eq!(control_words(), DOWN);
    set_control_words(0x1f80, 0x037f);
}

#[test]
fn a_fresh_stack_is_aligned_as_the_abi_wants() {
    // An aligned SSE store to the stack faults if it is not.
    let mut pair = Pair::new(|_| {
        let mut v = [1.0f64; 4];
        for x in std::hint::black_box(&mut v) {
            *x *= 2.0;
        }
        let format = format!("{v:?} {:p}", &v);
        assert!(format.starts_with("[2.0, 2.0, 2.0, 2.0]"));
        let aligned = 0u128;
        assert_eq!(std::hint::black_box(&raw const aligned) as usize % 16, 0);
    });
    pair.go(1);
}

#[test]
fn a_panic_unwinds_within_its_context() {
    struct SetOnDrop<'a>(&'a Cell<bool>);
    impl Drop for SetOnDrop<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let mut pair = Pair::new(|pair| {
        let dropped = Cell::new(false);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            let _guard = SetOnDrop(&dropped);
            pair.back(1);
            panic!("in a context");
        }));
        assert_eq!(caught.unwrap_err().downcast_ref::<&str>(), Some(&"in a context"));
        assert!(dropped.get());
    });
    pair.go(1);
    pair.go(2);
    assert_eq!(pair.published.get(), 1129);
}

#[test]
fn backtraces_end_where_a_context_began() {
    let mut pair = Pair::new(|pair| {
        for _ in 0..2 {
            let trace = Backtrace::force_capture().to_string();
            assert!(trace.contains("switch::entry"), "{trace}");
            assert!(!trace.contains("backtraces_end_where_a_context_began\n"), "it left its stack: {trace}");
            pair.back(1);
        }
    });
    pair.go(1);
    pair.go(1);
}

#[test]
fn a_backtrace_from_after_shows_the_next_context_only() {
    thread_local!(static TRACE: Cell<Option<String>> = const { Cell::new(None) });
    unsafe extern "C" fn trace(_: *mut (), _: *mut ()) {
        TRACE.set(Some(Backtrace::force_capture().to_string()));
    }
    let mut pair = Pair::new(|_| {
        let onto_fresh = TRACE.take().unwrap();
        assert!(onto_fresh.contains("::trace"), "{onto_fresh}");
        assert!(!onto_fresh.contains("shows_the_next_context_only\n"), "{onto_fresh}");
        // No frame that happens to lie before the entry stub in memory.
        assert!(!onto_fresh.contains("naked"), "{onto_fresh}");
    });
    let (here, there) = (&raw mut pair.here, &raw const pair.there);
    // SAFETY: as in `Pair::go`.
    unsafe { switch(here, there, trace, core::ptr::null_mut(), core::ptr::null_mut()) };
}
