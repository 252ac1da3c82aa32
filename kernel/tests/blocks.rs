//! Blocks above 2 KiB: their cost amid holes, where they come from, and that their memory goes
//! back.
#![no_std]
#![no_main]

#[path = "blocks/contents.rs"]
mod contents;
#[path = "blocks/cost.rs"]
mod cost;
#[path = "blocks/room.rs"]
mod room;
mod support;

extern crate alloc;

use contents::*;
use cost::*;
use room::*;
use trefoil::mm::frames;
use trefoil::prelude::*;

image! {
    blocks_cost_the_same_amid_holes: "smp 1 | mem 1G | icount";
    a_sleeper_is_on_time_beside_600_mib: "smp 1 | mem 1G | icount";
    a_sleeper_is_on_time_beside_scattered_blocks: "smp 1 | mem 64M | icount";
    alignment_of_any_size_is_kept: "smp 1 | mem 256M";
    a_block_grows_and_shrinks_with_its_bytes: "smp 1,2,4 | mem 256M";
    blocks_keep_their_bytes_on_all_cores: "smp 1,2,4 | mem 128M";
    blocks_are_found_between_other_frames: "smp 1,2,4 | mem 64M";
    stacks_are_packed_between_other_frames: "smp 1,4 | mem 48M";
    a_request_beyond_memory_leaves_all_as_it_was: "smp 1,2 | mem 64M";
    a_peak_of_blocks_leaves_room_for_goroutines: "smp 1,4 | mem 48M | timeout 300";
    a_peak_of_goroutines_leaves_room_for_blocks: "smp 2 | mem 48M | timeout 300";
    go_packs_before_it_refuses: "smp 1,2 | mem 48M";
    a_peak_leaves_room_at_96_mib: "large | smp 1,4 | mem 96M | timeout 600";
}

const MIB: usize = 1 << 20;

/// Takes frames until few are left, and gives every second one back: no two free ones are
/// neighbours.
struct Sieve(Vec<u64>);

impl Sieve {
    fn new() -> Self {
        let total = frames::stats().total as usize;
        let mut taken = Vec::with_capacity(total);
        // The frames that the cores keep for themselves, and for stacks that grow, are not cut up.
        while frames::stats().free > total as u64 / 16
            && let Some(frame) = frames::alloc()
        {
            taken.push(frame);
        }
        taken.retain(|&frame| {
            let stays = frame / 4096 % 2 == 0;
            if !stays {
                // SAFETY: 1. it came from `alloc` right above, and nobody used it.
                unsafe { frames::free(frame) };
            }
            stays
        });
        Self(taken)
    }
}

impl Drop for Sieve {
    fn drop(&mut self) {
        // SAFETY: 1. they came from `alloc`, and nobody used them.
        self.0.drain(..).for_each(|frame| unsafe { frames::free(frame) });
    }
}

/// Takes up what is not cut up, so that the next blocks are scattered.
fn fill_runs() -> Vec<Vec<u8>> {
    let mut fill = Vec::with_capacity(10_000);
    let mut len = 16 * MIB;
    while len >= 8192 {
        let mut block = Vec::<u8>::new();
        if block.try_reserve_exact(len).is_err() || !is_run(&block) {
            len /= 2;
        } else {
            fill.push(block);
        }
    }
    fill
}

/// Returns true if a block is a run of frames, not mapped page by page.
fn is_run(block: &[u8]) -> bool {
    trefoil::mm::paging::translate(block.as_ptr() as u64).is_none()
}
