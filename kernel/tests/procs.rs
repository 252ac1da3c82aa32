//! P's change hands: cores that wait for hardware, and a changing number of P's.
#![no_std]
#![no_main]

#[path = "procs/blocks.rs"]
mod blocks;
#[path = "procs/changes.rs"]
mod changes;
#[path = "procs/pins.rs"]
mod pins;
mod support;

use core::hint::spin_loop;

use blocks::*;
use changes::*;
use pins::*;
use trefoil::prelude::*;

image! {
    others_run_while_one_blocks:
        "",
        "smp 2,4 | append maxprocs=1";
    two_blocked_cores_leave_two_ps: "smp 4 | append maxprocs=2";
    a_block_comes_back_to_its_p;
    a_block_comes_back_to_a_free_p: "smp 4 | append slice=60000000 wakeup=60000000";
    a_block_comes_back_to_the_global_queue: "smp 2,4 | append maxprocs=1 slice=60000000 wakeup=60000000";
    who_waits_when_a_block_ends_has_a_turn: "smp 2,4 | append maxprocs=1 slice=200 | timeout 100";
    work_from_elsewhere_interrupts_a_lone_g: "smp 2,4 | append maxprocs=1 slice=1000";
    a_block_in_a_block_is_one;
    a_block_with_a_guard_is_said:
        "smp 1,2 | exit 1 | expect block_in_place: called with preemption off: drop the PreemptGuard first";
    a_guard_out_of_a_block_is_said: "smp 1,2 | exit 1 | expect with a PreemptGuard";
    a_change_with_a_guard_is_said:
        "smp 1,2 | exit 1 | expect set_max_procs: called with preemption off: drop the PreemptGuard first";
    everything_works_outside:
        "",
        "smp 2,4 | append maxprocs=1";
    sleepers_wake_while_their_core_blocks: "smp 2,4";
    pages_go_back_while_a_core_blocks: "smp 2,4";
    the_number_changes_under_load:
        "timeout 100",
        "append slice=50 | timeout 100";
    so_many_run_and_no_more: "smp 2,4 | append slice=2000000";
    timers_stay_when_their_p_goes: "smp 2,4";
    absurd_numbers_are_said;
    a_change_that_dies_is_finished_by_the_next: "smp 1,2,4 | timeout 100";
    timers_outlive_a_change_that_dies: "smp 2,4";
    one_p_becomes_two_beside_a_lone_g: "smp 2,4 | append maxprocs=1";
    blocks_and_changes_together:
        "timeout 100",
        "append slice=50 | timeout 100";
    a_pinned_g_stays_on_its_core:
        "timeout 100",
        "append slice=20 | timeout 100";
    pinned_from_the_first_instruction;
    a_pin_ends_with_its_g;
    a_pin_in_a_block_binds_to_the_blocked_core: "smp 2,4";
    two_that_are_sent_to_a_resting_core_take_turns: "smp 4 | append maxprocs=3 slice=100";
    nobody_else_runs_beside_a_pinned_spinner: "smp 2,4";
    pins_meet_blocks_and_changes:
        "timeout 100",
        "append slice=50 | timeout 100";
}

/// Polls `done` without giving the core away, as a driver polls a slow device.
fn wait_for(done: impl Fn() -> bool) {
    while !done() {
        spin_loop();
    }
}

/// Waits until `n` cores have started.
fn all_cores(n: usize) {
    while runtime::cpus_started() < n {
        runtime::yield_now();
    }
}

/// Returns the number of the P that the caller runs on; `usize::MAX` outside.
fn p() -> usize {
    let guard = trefoil_sched::PreemptGuard::new();
    trefoil_sched::M::current(&guard).p().unwrap().index()
}
