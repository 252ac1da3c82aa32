//! Structure, locals, panics and futures on the host: the cases that `kernel/tests/tasks.rs` runs
//! on the machine.

mod support;

mod api {
    pub use trefoil_hosted::prelude::*;
    pub use trefoil_sched::context::{Context, ContextError};
    pub use trefoil_sched::joinset::{ErrGroup, JoinSet, TimedOut};
    pub use trefoil_sched::panic::{AssertUnwindSafe, catch_unwind, panic_message, panicking, resume_unwind};
    pub use trefoil_sched::scope::scope;
    pub use trefoil_sched::{exit_g, yield_now};

    /// Panics without a word from the host's hook.
    pub fn quiet_panic(message: &'static str) -> ! {
        std::panic::resume_unwind(Box::new(message))
    }

    /// Waits until `done()`, letting others run.
    pub fn until(done: impl Fn() -> bool) {
        while !done() {
            yield_now();
        }
    }
}

#[path = "../../kernel/tests/cases/context.rs"]
mod context;
#[path = "../../kernel/tests/cases/crates.rs"]
mod crates;
#[path = "../../kernel/tests/cases/joinset.rs"]
mod joinset;
#[path = "../../kernel/tests/cases/local.rs"]
mod local;
#[path = "../../kernel/tests/cases/panics.rs"]
mod panics;
#[path = "../../kernel/tests/cases/scope.rs"]
mod scope;
#[path = "../../kernel/tests/cases/task.rs"]
mod task;

/// Each case on one M, on four, and on four that are delayed at random points.
macro_rules! cases {
    ($module:ident: $($case:ident),* $(,)?) => {$(
        #[test]
        fn $case() {
            support::tidy(1, $module::$case);
            support::tidy(4, $module::$case);
            support::shaken(4, $module::$case);
        }
    )*};
}

cases! { scope:
    children_borrow_what_lives_outside, a_scope_without_children_returns, children_start_siblings_after_the_closure_has_ended,
    a_panic_of_the_closure_waits_for_the_children, values_that_borrow_are_dropped_in_time,
    a_child_that_is_not_made_is_not_waited_for, a_scope_waits_for_the_others_of_a_child_that_is_not_made,
    scopes_in_scopes_end_from_the_inside, a_storm_of_scopes_loses_nobody,
}

cases! { context:
    the_background_is_never_over, cancelling_reaches_all_below_and_none_above, a_cause_is_passed_down, a_deadline_ends_it_and_an_earlier_one_above_counts, a_cancel_before_the_deadline_stops_its_timer, values_are_found_by_type_from_the_inside, everybody_who_waits_is_woken, children_come_and_go_without_end, a_storm_of_cancels_and_children_forgets_nobody,
    a_deep_chain_is_dropped_and_cancelled_without_a_stack, many_children_are_cancelled_and_forgotten, a_value_whose_destructor_panics_leaves_the_others_to_be_dropped, a_storm_in_a_tree_cancels_all_that_is_below,
}

cases! { joinset:
    try_join_gives_the_handle_back_until_the_end, join_timeout_gives_up_in_time_and_can_be_repeated, join_timeout_races_the_end_and_loses_nothing, a_join_set_gives_results_as_they_come, a_join_set_has_every_end_as_a_result, a_join_set_that_is_dropped_lets_its_members_go_on, the_first_error_cancels_the_group, a_group_keeps_its_limit, a_panic_in_a_group_comes_out_of_wait,
}

cases! { task:
    block_on_gives_the_value, a_future_waits_for_another_goroutine, a_wake_up_from_the_poll_itself_polls_again,
    a_future_may_park_like_any_code, a_stale_waker_is_harmless, nested_block_ons_leave_each_other_their_wake_ups,
    a_future_that_panics_is_a_goroutine_that_panics, wakers_of_one_goroutine_are_the_same,
}

cases! { crates:
    join_and_select_of_another_crate_work, a_sender_that_goes_is_an_error_for_the_one_who_awaits, many_futures_on_one_goroutine_are_woken_by_many, a_future_is_aborted_from_another_goroutine, an_async_mutex_excludes_across_goroutines_and_futures, async_locks_of_another_crate_keep_their_promises, a_delay_is_never_early, a_delay_that_is_dropped_leaves_no_timer, a_timeout_drops_what_is_late, a_delay_may_change_hands_at_any_moment, a_delay_that_comes_due_inside_a_poll_is_ready,
    a_stream_gives_every_value_and_ends_with_its_channel, many_streams_on_one_goroutine_are_merged, a_stream_that_goes_leaves_its_value_and_nobody_behind, a_stream_passes_over_nobody_who_waits_behind_it, clocks_and_timeouts_go_with_streams, a_stream_may_change_hands_while_its_value_comes,
}

cases! { panics:
    catch_unwind_gives_the_value_or_the_payload, catches_nest_and_pass_on, panicking_is_true_where_a_panic_unwinds_and_nowhere_else,
    a_destructor_may_panic_inside_a_catch_while_another_panic_unwinds, exit_g_goes_through_catches_that_pass_it_on,
    a_panic_poisons_a_mutex_also_when_it_is_caught, panics_of_many_at_once_stay_apart,
    a_join_error_is_an_error_that_can_be_shared, what_anyhow_says_of_a_goroutine_is_its_panic,
}

cases! { local:
    each_goroutine_has_its_own, cells_have_the_methods_of_std, set_does_not_make_the_first_value, many_keys_are_told_apart,
    an_initial_value_may_use_others_and_itself,
}

/// One test, since the cases share a counter of drops.
#[test]
fn locals_are_dropped_as_std_says() {
    for procs in [1, 4] {
        support::tidy(procs, local::destructors_run_at_the_end_newest_first);
        support::tidy(procs, local::a_destructor_meets_the_others_as_std_says);
        support::tidy(procs, local::results_that_nobody_wants_may_use_locals_and_leave_none_behind);
        let config = trefoil_hosted::Config::with_procs(procs);
        let (result, account) =
            trefoil_hosted::account(config, local::a_destructor_that_panics_leaves_the_others_to_be_dropped);
        result.unwrap();
        assert_eq!(account.unjoined.len(), 1, "{:?}", account.unjoined);
    }
}

/// Not by `tidy`, since two of its panics stay unjoined.
#[test]
fn a_panic_that_nobody_joined_makes_the_scope_panic() {
    for procs in [1, 4] {
        let (result, account) = trefoil_hosted::account(
            trefoil_hosted::Config::with_procs(procs),
            scope::a_panic_that_nobody_joined_makes_the_scope_panic,
        );
        result.unwrap();
        assert_eq!(account.unjoined.len(), 2, "{:?}", account.unjoined);
        assert!(account.unfinished.is_empty() && account.stacks == 0);
    }
}

/// How many panics are told of in `a_payload_that_panics_when_it_is_dropped_harms_nobody`: each
/// thing once, and once for each bomb in it.
const BOMBS: usize = (3 + 1 + 3 + 2) + (3 + 1 + 3 + 3) + 2 * (3 + 1) + 2 * (3 + 1) + (3 + 1);

/// Each of the panics stays unjoined, and is reported once.
#[test]
fn what_panics_when_it_is_dropped_harms_nobody() {
    for procs in [1, 4] {
        let config = trefoil_hosted::Config::with_procs(procs);
        let (result, account) =
            trefoil_hosted::account(config, panics::a_payload_that_panics_when_it_is_dropped_harms_nobody);
        result.unwrap();
        assert_eq!(account.unjoined.len(), BOMBS, "{:#?}", account.unjoined);
        assert!(account.unfinished.is_empty() && account.stacks == 0);
        let config = trefoil_hosted::Config::with_procs(procs).shaken();
        let (result, account) =
            trefoil_hosted::account(config, panics::a_group_that_nobody_waits_for_drops_its_bombs_on_a_goroutine);
        result.unwrap();
        assert!(account.unfinished.is_empty() && account.stacks == 0);
    }
}
