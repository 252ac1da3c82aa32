//! Structure, locals, panics and futures. The cases that need no machine are in `cases/`, and run
//! on the host as well.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;

image! {
    children_borrow_what_lives_outside;
    a_scope_without_children_returns;
    children_start_siblings_after_the_closure_has_ended;
    a_panic_of_the_closure_waits_for_the_children;
    a_panic_that_nobody_joined_makes_the_scope_panic;
    values_that_borrow_are_dropped_in_time;
    a_child_that_is_not_made_is_not_waited_for;
    a_scope_waits_for_the_others_of_a_child_that_is_not_made;
    scopes_in_scopes_end_from_the_inside;
    a_storm_of_scopes_loses_nobody: "append slice=50";
    a_borrow_from_a_dead_scope_stays: "expect \"lender\" has used up its window";
    a_dead_g_leaves_its_scope_after_its_own_children: "append slice=50 | expect \"middle\" has used up its window";
    a_child_that_overflows_makes_the_scope_panic: "expect \"glutton\" has used up its window";
    block_on_gives_the_value;
    a_future_waits_for_another_goroutine: "append slice=50";
    a_wake_up_from_the_poll_itself_polls_again;
    a_future_may_park_like_any_code;
    a_stale_waker_is_harmless;
    nested_block_ons_leave_each_other_their_wake_ups: "append slice=50";
    a_future_that_panics_is_a_goroutine_that_panics;
    wakers_of_one_goroutine_are_the_same;
    join_and_select_of_another_crate_work;
    a_sender_that_goes_is_an_error_for_the_one_who_awaits;
    many_futures_on_one_goroutine_are_woken_by_many: "append slice=50";
    a_future_is_aborted_from_another_goroutine;
    an_async_mutex_excludes_across_goroutines_and_futures: "append slice=50";
    async_locks_of_another_crate_keep_their_promises;
    a_delay_is_never_early;
    a_delay_that_is_dropped_leaves_no_timer;
    a_timeout_drops_what_is_late;
    a_delay_may_change_hands_at_any_moment: "append slice=50";
    a_delay_that_comes_due_inside_a_poll_is_ready;
    a_stream_gives_every_value_and_ends_with_its_channel: "append slice=50";
    many_streams_on_one_goroutine_are_merged: "append slice=50";
    a_stream_that_goes_leaves_its_value_and_nobody_behind;
    a_stream_passes_over_nobody_who_waits_behind_it;
    clocks_and_timeouts_go_with_streams;
    a_stream_may_change_hands_while_its_value_comes: "append slice=50";
    an_interrupt_wakes_a_future:
        "",
        "append slice=50";
    who_waits_for_an_interrupt_alone_is_not_dead;
    a_future_that_a_device_wakes_is_no_deadlock: "expect woken by the device";
    who_does_not_say_so_is_taken_for_dead:
        "icount | exit 1 | expect deadlock | expect \"main\" [ | refuse woken by the device";
    a_future_that_nobody_wakes_is_a_deadlock: "smp 1,2 | exit 1 | expect deadlock | expect \"main\" [";
    catch_unwind_gives_the_value_or_the_payload;
    catches_nest_and_pass_on;
    panicking_is_true_where_a_panic_unwinds_and_nowhere_else;
    a_destructor_may_panic_inside_a_catch_while_another_panic_unwinds;
    exit_g_goes_through_catches_that_pass_it_on;
    a_panic_poisons_a_mutex_also_when_it_is_caught;
    panics_of_many_at_once_stay_apart: "append slice=50";
    a_payload_that_panics_when_it_is_dropped_harms_nobody: "expect panicked, and nobody joined it: bomb";
    a_group_that_nobody_waits_for_drops_its_bombs_on_a_goroutine:
        "append slice=50 | expect panicked, and nobody joined it: bomb";
    a_group_whose_member_dies_cancels_a_deep_context: "expect has used up its window";
    a_join_error_is_an_error_that_can_be_shared;
    what_anyhow_says_of_a_goroutine_is_its_panic;
    an_unjoined_panic_that_began_without_a_word_is_told_of_at_the_end:
        "expect \"quiet\" panicked, and nobody joined it: not a word | expect panicked, and nobody joined it: dropped late | expect panicked, and nobody joined it: (no message) | refuse joined it: loud | refuse joined it: in a scope";
    a_message_that_can_not_be_made_is_cut_or_replaced: "expect : so far: half a word | refuse is on its way";
    a_message_that_panics_in_main_is_its_end: "exit 1 | expect the message panicked | expect end of report";
    a_panic_in_a_destructor_ends_its_goroutine_alone:
        "expect \"grenadier\" panicked at kernel/tests/tasks.rs | expect while another panic unwinds: G | expect : the second one | expect tasks::fall | expect others go on";
    the_default_hook_says_who_where_and_how:
        "smp 1,4 | expect \"clumsy\" panicked at kernel/tests/tasks.rs | expect : it fell | expect tasks::fall";
    a_hook_of_ones_own_takes_its_place: "refuse panicked at | expect mine: fell";
    a_hook_that_panics_ends_its_goroutine_alone: "expect the hook fell | expect others go on";
    main_catches_its_own_panics: "expect \"main\" panicked at";
    main_passes_a_panic_on_and_fails: "exit 1 | expect main passes it on | expect end of report";
    a_panic_in_a_destructor_of_main_is_fatal:
        "exit 1 | expect a destructor panicked while another panic unwinds | expect end of report";
    the_background_is_never_over;
    cancelling_reaches_all_below_and_none_above;
    a_cause_is_passed_down;
    a_deadline_ends_it_and_an_earlier_one_above_counts;
    a_cancel_before_the_deadline_stops_its_timer;
    values_are_found_by_type_from_the_inside;
    everybody_who_waits_is_woken;
    children_come_and_go_without_end;
    a_storm_of_cancels_and_children_forgets_nobody: "append slice=50";
    a_deep_chain_is_dropped_and_cancelled_without_a_stack;
    many_children_are_cancelled_and_forgotten;
    a_value_whose_destructor_panics_leaves_the_others_to_be_dropped;
    a_storm_in_a_tree_cancels_all_that_is_below: "append slice=50";
    a_million_children_leave_no_memory_behind;
    contexts_without_number_let_others_run: "smp 1 | icount | append slice=50";
    try_join_gives_the_handle_back_until_the_end;
    join_timeout_gives_up_in_time_and_can_be_repeated;
    join_timeout_races_the_end_and_loses_nothing: "append slice=50";
    a_join_set_gives_results_as_they_come;
    a_join_set_has_every_end_as_a_result;
    a_join_set_that_is_dropped_lets_its_members_go_on: "append slice=50";
    the_first_error_cancels_the_group;
    a_group_keeps_its_limit;
    a_panic_in_a_group_comes_out_of_wait;
    records_go_to_the_console_with_goroutine_and_time:
        "append log=debug | expect \"talker\" DEBUG tasks: quite detailed | expect \"talker\" WARN tasks: careful | refuse too much",
        "smp 1 | icount | append log=debug | expect [    0. | expect ] G | refuse too much";
    a_bad_level_is_named:
        "smp 1 | append log=loud | expect log=\"loud\": wants off, error, warn, info, debug or trace | expect INFO tasks: heard | refuse quite detailed";
    each_goroutine_has_its_own: "append slice=50";
    cells_have_the_methods_of_std;
    set_does_not_make_the_first_value;
    many_keys_are_told_apart;
    an_initial_value_may_use_others_and_itself;
    destructors_run_at_the_end_newest_first;
    a_destructor_meets_the_others_as_std_says;
    a_destructor_that_panics_leaves_the_others_to_be_dropped;
    results_that_nobody_wants_may_use_locals_and_leave_none_behind;
    locals_of_main_are_dropped_before_the_machine_stops: "expect the last word";
    locals_of_a_dead_goroutine_do_not_live_on: "expect has used up its window";
}

mod api {
    pub use trefoil::context::{Context, ContextError};
    pub use trefoil::joinset::{ErrGroup, JoinSet, TimedOut};
    pub use trefoil::panic::{AssertUnwindSafe, catch_unwind, panic_message, panicking, resume_unwind};
    pub use trefoil::prelude::*;
    pub use trefoil::runtime::{exit_g, yield_now};
    pub use trefoil::{JoinError, SpawnError};

    /// Panics without a word from the hook.
    pub fn quiet_panic(message: &'static str) -> ! {
        trefoil::panic::resume_unwind(Box::new(message))
    }

    /// Waits until `done()`, letting others run.
    pub fn until(done: impl Fn() -> bool) {
        while !done() {
            yield_now();
        }
    }
}

#[path = "cases/context.rs"]
mod context_cases;
#[path = "tasks/contexts.rs"]
mod contexts;
#[path = "cases/crates.rs"]
mod crates_cases;
#[path = "tasks/interrupts.rs"]
mod interrupts;
#[path = "cases/joinset.rs"]
mod joinset_cases;
#[path = "cases/local.rs"]
mod local_cases;
#[path = "tasks/overflows.rs"]
mod overflows;
#[path = "cases/panics.rs"]
mod panic_cases;
#[path = "tasks/panics.rs"]
mod panics;
#[path = "cases/scope.rs"]
mod scope_cases;
#[path = "cases/task.rs"]
mod task_cases;

use api::*;
use context_cases::*;
use contexts::*;
use crates_cases::*;
use interrupts::*;
use joinset_cases::*;
use local_cases::*;
use overflows::*;
use panic_cases::*;
use panics::*;
use scope_cases::*;
use task_cases::*;

/// Recurses without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// Panics. The table of boots names this function and this file.
#[inline(never)]
fn fall(message: &str) -> ! {
    panic!("{}", black_box(message))
}

fn records_go_to_the_console_with_goroutine_and_time() {
    trefoil::log::init();
    trefoil::log::init();
    let talker = Builder::new().name("talker").spawn(|| {
        log::trace!("too much");
        log::debug!("quite {}", "detailed");
        log::warn!("careful");
    });
    talker.unwrap().join().unwrap();
}

fn a_bad_level_is_named() {
    trefoil::log::init();
    log::debug!("quite detailed");
    log::info!("heard");
}
