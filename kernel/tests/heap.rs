//! The heap: blocks that go home (INV-HOME), bytes that are counted (INV-LIVE), memory that runs
//! out.
#![no_std]
#![no_main]

#[path = "heap/exhaustion.rs"]
mod exhaustion;
#[path = "heap/home.rs"]
mod home;
#[path = "heap/reports.rs"]
mod reports;
mod support;

extern crate alloc;

use core::alloc::Layout;

use exhaustion::*;
use home::*;
use reports::*;
use trefoil::prelude::*;
use trefoil::testing::account;

image! {
    live_bytes_are_those_of_the_blocks_handed_out: "smp 1";
    an_odd_size_wastes_little: "smp 1";
    blocks_freed_elsewhere_go_home: "smp 1,2,4";
    memory_of_one_size_serves_another: "smp 1,2,4";
    few_slabs_stay_when_blocks_go_and_none_after_trim: "smp 1";
    slabs_that_came_back_do_not_slow_large_blocks: "smp 1 | icount";
    trees_and_churn_seldom_meet_at_the_shared_blocks: "smp 1,2 | icount";
    what_a_core_keeps_goes_home_when_memory_is_short: "smp 1,2,4";
    cores_rise_while_their_blocks_go_home: "smp 2,4";
    cores_share_the_room_in_their_arenas: "smp 2,4";
    live_bytes_are_exact_after_a_storm: "smp 1,2,4";
    exhaustion_unwinds_the_one_that_asked: "smp 1,2,4 | mem 64M";
    exhaustion_unwinds_all_that_ask: "smp 1,2,4 | mem 64M";
    exhaustion_by_small_blocks_unwinds: "smp 1,2,4 | mem 64M | append slice=200";
    a_block_that_came_meanwhile_is_not_lost: "smp 1 | mem 64M | append slice=60000000";
    printing_needs_no_memory:
        "smp 1,2,4 | mem 64M | expect from main: 0123456789 and a word | expect from 3: 0123456789 and half a line | expect 0000000000000099, the end | expect panicked at kernel/tests/heap.rs | expect with nothing left";
    try_reserve_gets_an_error: "smp 1 | mem 64M";
    each_allocation_may_fail_and_nothing_is_lost: "smp 1";
    exhaustion_in_main_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect end of report";
    exhaustion_with_preemption_off_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect can't unwind: preemption is off";
    exhaustion_with_interrupts_off_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect can't unwind: interrupts are off";
    exhaustion_on_g0_is_reported:
        "smp 1 | exit 1 | expect out of memory: the heap has no 1099511627776 bytes | expect end of report";
    allocation_in_a_handler_is_reported: "smp 1 | exit 1 | expect a handler allocates | expect end of report";
    exhaustion_in_a_destructor_is_reported:
        "smp 1 | expect while another panic unwinds: G | expect : out of memory: the heap has no 1099511627776 bytes";
}

/// Returns the bytes in use, without the kernel's own, and without those of joined goroutines that
/// are on their way out.
fn live() -> u64 {
    let mut live = account::heap_bytes();
    for _ in 0..20 {
        time::sleep(Duration::from_millis(1));
        live = live.min(account::heap_bytes());
    }
    live
}

/// Runs `f` until two rounds leave the same bytes in use: goroutines' records are made once, and
/// lists grow once.
fn leaves_nothing(f: impl Fn()) {
    let mut before = 0;
    let mut left = Vec::with_capacity(20);
    for _ in 0..20 {
        f();
        let after = live();
        left.push(after as i64 - before as i64);
        before = after;
        if left.ends_with(&[0, 0]) {
            return;
        }
    }
    panic!("bytes are left after each round: {left:?}");
}

/// Takes blocks of `layout` until there is none, and hangs them on to `list`.
fn take_all_of(layout: Layout, list: &mut Vec<(*mut u8, Layout)>) {
    while list.len() < list.capacity() {
        // SAFETY: no layout here is of size 0.
        let block = unsafe { alloc::alloc::alloc(layout) };
        if block.is_null() {
            return;
        }
        list.push((block, layout));
    }
    panic!("so many blocks in 64 MiB");
}

/// The table of boots names this file: one of the goroutines panics.
fn printing_needs_no_memory() {
    let (gate, wait) = chan::bounded::<()>(0);
    let printers: Vec<_> = (0..5)
        .map(|i| {
            let wait = wait.clone();
            go(move || {
                let _ = wait.recv();
                print!("from {i}: {} and half a line", "0123456789");
            })
        })
        .collect();
    drop(go(move || {
        let _ = wait.recv();
        panic!("with nothing left");
    }));
    let mut list = Vec::with_capacity(100_000);
    let sizes = (4..=20).rev().map(|shift| 1 << shift);
    sizes.for_each(|bytes| take_all_of(Layout::from_size_align(bytes, 16).unwrap(), &mut list));
    println!("from main: {} and a word", "0123456789");
    // Longer than what is kept without memory.
    println!(
        "{:016}, {:016}, {:016}, {:016}, {:016}, {:016}, {:016}, {:016}, {:016}, the end",
        1, 2, 3, 4, 5, 6, 7, 8, 99
    );
    gate.close();
    printers.into_iter().for_each(|p| p.join().unwrap());
    while runtime::num_goroutines() > 1 {
        runtime::yield_now();
    }
    // SAFETY: they came from `alloc` with these layouts.
    list.drain(..).for_each(|(block, layout)| unsafe { alloc::alloc::dealloc(block, layout) });
}
