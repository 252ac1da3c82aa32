//! The end of a stack. In any place and in any kernel code at the end, that goroutine ends or goes
//! on, and the machine does not end. Also the frames that stay behind when a goroutine ends, since
//! others borrow them.
//!
//! The sweep takes every `app.step`-th place; all of them in `make test-large`.
#![no_std]
#![no_main]

#[path = "edge/dead.rs"]
mod dead;
#[path = "support/deep.rs"]
mod deep;
#[path = "edge/living.rs"]
mod living;
mod support;
#[path = "edge/sweep.rs"]
mod sweep;

use core::arch::naked_asm;
use core::hint::black_box;

use dead::*;
use deep::{KIB, deep, until};
use living::*;
use sweep::*;
use trefoil::JoinError;
use trefoil::arch;
use trefoil::arch::lock::Lock;
use trefoil::mm::heap;
use trefoil::prelude::*;
use trefoil::testing::step::{self, Event};

image! {
    no_place_at_the_end_ends_the_machine:
        "append app.step=23 | timeout 120",
        "large | append app.step=1 | timeout 3000";
    a_slow_overflow_ends_its_g_alone:
        "expect Builder::stack_max makes it larger | expect edge::slowly at kernel/tests/edge.rs";
    a_frame_leaves_two_red_pages_alone;
    the_interrupt_at_the_end_of_main_is_its_overflow:
        "smp 1,2 | exit 1 | expect \"main\" has used up its window | expect #[trefoil::main(stack = BYTES)] | expect end of report";
    growth_with_preemption_off_goes_as_far_as_memory: "mem 96M";
    memory_at_its_end_with_preemption_off_ends_the_g:
        "mem 96M | smp 1,2 | expect out of memory: no frame for the stack of";
    pages_of_the_living_are_there_for_everybody;
    aligned_values_find_their_place;
    red_pages_of_the_living_are_nobodys: "expect below the end of the stack of G";
    frames_of_the_dead_stay_while_children_borrow: "expect the stack of G | expect \"opener\", which has ended";
    frames_of_the_dead_stay_for_grandchildren;
    a_timeout_finds_its_list_on_a_dead_frame;
    a_child_may_start_others_after_its_opener_has_died;
    many_deaths_cost_no_look:
        "smp 1 | icount | append app.deaths=40 | timeout 120",
        "large | smp 1 | icount | append app.deaths=10000 | timeout 3000";
    main_has_the_stack_that_the_option_says: "append stack=1M";
    a_bad_stack_option_is_named:
        "smp 1 | append stack=lots | expect stack=\"lots\": wants a size from 4K to 1G; skipped";
}

/// The guard and the red pages.
const FORBIDDEN: usize = 20 * KIB;
/// The largest xsave area that the kernel turns on.
const XSAVE: u32 = 2688;

fn number(name: &str, unless: usize) -> usize {
    runtime::args().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok()).unwrap_or(unless)
}

/// Does nothing for 64 instructions, with the stack pointer `rsp`.
#[unsafe(naked)]
unsafe extern "C" fn hover_at(rsp: usize) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, rdi",
        ".rept 64",
        "nop",
        ".endr",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
    )
}

/// Has the caller preempted while its stack pointer is `rsp`.
fn preempted_at(rsp: usize) {
    // SAFETY: the stack is this G's, and no code uses the bytes between its stack pointer and
    // `rsp`.
    let fired = step::run(32, Event::Preempt, || unsafe { hover_at(rsp) });
    assert!(fired, "it hovers for too few instructions");
}

/// Returns where the window of the caller begins.
fn lowest() -> usize {
    let guard = trefoil_sched::PreemptGuard::new();
    trefoil_sched::current_g(&guard).stack().lo
}

/// Recurses without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 16]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

#[inline(never)]
fn slowly(level: u64) -> u64 {
    let kept = black_box([level; 32]);
    // Once at each level, below what it has in use.
    preempted_at((kept.as_ptr().addr() - 512) & !15);
    if kept[0] == u64::MAX { 0 } else { slowly(level + 1) + kept[31] }
}

fn a_slow_overflow_ends_its_g_alone() {
    arch::preempt::set_xsave_bytes(XSAVE);
    for max in [256 * KIB, 1 << 20] {
        let slow = Builder::new().stack_max(max).spawn(|| slowly(0)).unwrap();
        assert!(matches!(slow.join(), Err(JoinError::StackOverflow)));
    }
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

/// INV-RED: the G's next level has as much room below as its first.
fn a_frame_leaves_two_red_pages_alone() {
    for bytes in [832, XSAVE] {
        arch::preempt::set_xsave_bytes(bytes);
        // A large window comes without pages of its last G's.
        let deepest = Builder::new().stack_max(1 << 20).spawn(|| {
            let lo = lowest();
            (0..64).step_by(8).for_each(|above| preempted_at(lo + FORBIDDEN + above));
            runtime::current().stack_high_water
        });
        let deepest = deepest.unwrap().join().unwrap();
        assert!(deepest > (1 << 20) - FORBIDDEN, "it did not reach into the red pages");
        assert!(deepest <= (1 << 20) - FORBIDDEN + 8 * KIB, "a frame of {bytes} bytes reaches {deepest} bytes down");
    }
}

fn the_interrupt_at_the_end_of_main_is_its_overflow() {
    preempted_at(lowest() + FORBIDDEN - 64);
}

fn growth_with_preemption_off_goes_as_far_as_memory() {
    static LOCK: Lock<()> = Lock::new(());
    for what in 0..3 {
        let grown = Builder::new().stack_max(16 << 20).spawn(move || {
            let grow = || deep(8 << 20, 7);
            match what {
                0 => {
                    let _held = LOCK.lock();
                    grow()
                }
                1 => heap::with_locked(grow),
                _ => trefoil::console::with_locked(grow),
            }
        });
        assert_eq!(grown.unwrap().join().unwrap(), 0, "a stack lost its bytes");
    }
}

fn memory_at_its_end_with_preemption_off_ends_the_g() {
    static LOCK: Lock<()> = Lock::new(());
    let before = runtime::stats().memory.frames.free;
    // The glutton takes all memory with preemption on, and is ended in time.
    let glutton = Builder::new().stack_max(1 << 30).spawn(|| deep(900 << 20, 1)).unwrap();
    assert!(matches!(glutton.join(), Err(JoinError::OutOfMemory)));
    until(|| runtime::scavenge() == 0 && runtime::stats().memory.frames.free + 64 > before);
    // The same without a moment with preemption on: it stops growing as soon as it is told that
    // memory is short.
    let told = Builder::new().stack_max(1 << 30).spawn(|| {
        let _held = LOCK.lock();
        until_doomed(0)
    });
    assert!(matches!(told.unwrap().join(), Err(JoinError::OutOfMemory)));
    drop(LOCK.lock());
    until(|| runtime::num_goroutines() == 1);
    assert_eq!(go(|| deep(100 * KIB, 3)).join().unwrap(), 0, "memory did not come back");
}

/// Goes down until its G is told to end.
#[inline(never)]
fn until_doomed(level: u64) -> u64 {
    let block = black_box([level; 32]);
    let guard = trefoil_sched::PreemptGuard::new();
    if trefoil_sched::current_g(&guard).doomed().is_some() { 0 } else { until_doomed(level + 1) + block[7] }
}

/// Returns a page `bytes` below the caller's stack pointer, where nobody has been.
#[inline(never)]
fn untouched(bytes: usize) -> usize {
    let here = 0u8;
    ((&raw const here).addr() - bytes) & !4095
}

fn main_has_the_stack_that_the_option_says() {
    assert_eq!(deep(900 * KIB, 3), 0);
    assert!(runtime::current().stack_high_water > 800 * KIB);
}

fn a_bad_stack_option_is_named() {
    assert_eq!(lowest() % (256 * KIB), 0);
}
