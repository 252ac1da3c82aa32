//! The scheduler on the machine: spawn, join, stealing, wake-ups, fairness, panics.
#![no_std]
#![no_main]

#[path = "support/cores.rs"]
mod cores;
#[path = "sched/lives.rs"]
mod lives;
#[path = "sched/queues.rs"]
mod queues;
#[path = "sched/spread.rs"]
mod spread;
mod support;
#[path = "sched/waits.rs"]
mod waits;

use core::hint::{black_box, spin_loop};

use lives::*;
use queues::*;
use spread::*;
use trefoil::prelude::*;
use waits::*;

image! {
    join_gives_the_value: "smp 1,2,4,8";
    exit_g_runs_destructors_and_join_says_so;
    a_panic_stays_in_its_g;
    an_unjoined_panic_is_reported: "expect panicked at | expect nobody listens";
    gs_are_reused;
    overflowing_the_ring_loses_nobody: "smp 1,2,4,8";
    the_global_queue_is_not_starved: "smp 1";
    a_pair_in_the_slot_lets_the_ring_run: "smp 1 | icount";
    a_pair_in_the_slot_and_a_sleeper_let_the_ring_run:
        "smp 1 | icount",
        "smp 1 | icount | append wakeup=60000000";
    a_long_g_does_not_starve_its_slot: "smp 2,4 | icount";
    ping_pong_wakes_no_other_core: "smp 2,4";
    equal_gs_spread_over_the_cores: "smp 2,4 | free-cores 2";
    two_cores_are_faster_than_one: "smp 2 | free-cores 2";
    no_wake_up_is_lost_in_a_storm: "smp 2,4,8 | timeout 120";
    few_wake_ups_are_needless: "smp 2,4,8 | icount | timeout 120";
    sleepers_wake_in_order_and_never_early:
        "smp 1 | icount",
        "smp 2,4";
    a_sleeper_wakes_beside_a_busy_core: "smp 2,4 | icount";
    channels_keep_order_and_close;
    mutexes_exclude_and_poison;
    a_wait_group_waits_for_all;
    maxprocs_limits_the_ps: "smp 4 | append maxprocs=2 slice=2000000 wakeup=2000000";
    a_large_stack_is_there_when_asked_for: "smp 1,4";
    errors_come_back_with_the_closure: "smp 1";
}

/// Keeps the core busy, without a call into the scheduler.
fn busy(how_long: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < how_long {
        spin_loop();
    }
}

/// Does a fixed amount of work.
fn work(turns: u64) -> u64 {
    (0..turns).fold(1u64, |x, i| black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i)))
}
