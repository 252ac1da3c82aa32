//! Structure, locals, panics and futures. The cases that need no machine are in `cases/`, and run
//! on the host as well.
#![no_std]
#![no_main]

mod support;

use core::future::{Future, poll_fn};
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use core::task::{Poll, Waker};

use trefoil::arch::{acpi, apic, exceptions, ioapic, percpu};
use trefoil::panic;
use trefoil::sync::OnceLock;
use x86_64::instructions::port::PortWriteOnly;

image! { "
    children_borrow_what_lives_outside
    a_scope_without_children_returns
    children_start_siblings_after_the_closure_has_ended
    a_panic_of_the_closure_waits_for_the_children
    a_panic_that_nobody_joined_makes_the_scope_panic
    values_that_borrow_are_dropped_in_time
    a_child_that_is_not_made_is_not_waited_for
    a_scope_waits_for_the_others_of_a_child_that_is_not_made
    scopes_in_scopes_end_from_the_inside
    a_storm_of_scopes_loses_nobody                   | append slice=50
    a_borrow_from_a_dead_scope_stays                 | expect \"lender\" has used up its window
    a_dead_g_leaves_its_scope_after_its_own_children | append slice=50 | expect \"middle\" has used up its window
    a_child_that_overflows_makes_the_scope_panic     | expect \"glutton\" has used up its window
    block_on_gives_the_value
    a_future_waits_for_another_goroutine             | append slice=50
    a_wake_up_from_the_poll_itself_polls_again
    a_future_may_park_like_any_code
    a_stale_waker_is_harmless
    nested_block_ons_leave_each_other_their_wake_ups | append slice=50
    a_future_that_panics_is_a_goroutine_that_panics
    wakers_of_one_goroutine_are_the_same
    join_and_select_of_another_crate_work
    a_sender_that_goes_is_an_error_for_the_one_who_awaits
    many_futures_on_one_goroutine_are_woken_by_many | append slice=50
    a_future_is_aborted_from_another_goroutine
    an_async_mutex_excludes_across_goroutines_and_futures | append slice=50
    async_locks_of_another_crate_keep_their_promises
    a_delay_is_never_early
    a_delay_that_is_dropped_leaves_no_timer
    a_timeout_drops_what_is_late
    a_delay_may_change_hands_at_any_moment | append slice=50
    a_delay_that_comes_due_inside_a_poll_is_ready
    a_stream_gives_every_value_and_ends_with_its_channel | append slice=50
    many_streams_on_one_goroutine_are_merged             | append slice=50
    a_stream_that_goes_leaves_its_value_and_nobody_behind
    a_stream_passes_over_nobody_who_waits_behind_it
    clocks_and_timeouts_go_with_streams
    a_stream_may_change_hands_while_its_value_comes      | append slice=50
    an_interrupt_wakes_a_future
    an_interrupt_wakes_a_future                      | append slice=50
    who_waits_for_an_interrupt_alone_is_not_dead
    a_future_that_a_device_wakes_is_no_deadlock      | expect woken by the device
    who_does_not_say_so_is_taken_for_dead            | icount | exit 1 | expect deadlock | expect \"main\" [ | refuse woken by the device
    a_future_that_nobody_wakes_is_a_deadlock         | smp 1,2 | exit 1 | expect deadlock | expect \"main\" [
    catch_unwind_gives_the_value_or_the_payload
    catches_nest_and_pass_on
    panicking_is_true_where_a_panic_unwinds_and_nowhere_else
    a_destructor_may_panic_inside_a_catch_while_another_panic_unwinds
    exit_g_goes_through_catches_that_pass_it_on
    a_panic_poisons_a_mutex_also_when_it_is_caught
    panics_of_many_at_once_stay_apart                | append slice=50
    a_payload_that_panics_when_it_is_dropped_harms_nobody | expect panicked, and nobody joined it: bomb
    a_group_that_nobody_waits_for_drops_its_bombs_on_a_goroutine | append slice=50 | expect panicked, and nobody joined it: bomb
    a_group_whose_member_dies_cancels_a_deep_context | expect has used up its window
    a_join_error_is_an_error_that_can_be_shared
    what_anyhow_says_of_a_goroutine_is_its_panic
    an_unjoined_panic_that_began_without_a_word_is_told_of_at_the_end | expect \"quiet\" panicked, and nobody joined it: not a word | expect panicked, and nobody joined it: dropped late | expect panicked, and nobody joined it: (no message) | refuse joined it: loud | refuse joined it: in a scope
    a_message_that_can_not_be_made_is_cut_or_replaced | expect : so far: half a word | refuse is on its way
    a_message_that_panics_in_main_is_its_end         | exit 1 | expect the message panicked | expect end of report
    a_panic_in_a_destructor_ends_its_goroutine_alone | expect \"grenadier\" panicked at kernel/tests/tasks.rs | expect while another panic unwinds: G | expect : the second one | expect tasks::fall | expect others go on
    the_default_hook_says_who_where_and_how          | smp 1,4 | expect \"clumsy\" panicked at kernel/tests/tasks.rs | expect : it fell | expect tasks::fall
    a_hook_of_ones_own_takes_its_place               | refuse panicked at | expect mine: fell
    a_hook_that_panics_ends_its_goroutine_alone      | expect the hook fell | expect others go on
    main_catches_its_own_panics                      | expect \"main\" panicked at
    main_passes_a_panic_on_and_fails                 | exit 1 | expect main passes it on | expect end of report
    a_panic_in_a_destructor_of_main_is_fatal         | exit 1 | expect a destructor panicked while another panic unwinds | expect end of report
    the_background_is_never_over
    cancelling_reaches_all_below_and_none_above
    a_cause_is_passed_down
    a_deadline_ends_it_and_an_earlier_one_above_counts
    a_cancel_before_the_deadline_stops_its_timer
    values_are_found_by_type_from_the_inside
    everybody_who_waits_is_woken
    children_come_and_go_without_end
    a_storm_of_cancels_and_children_forgets_nobody | append slice=50
    a_deep_chain_is_dropped_and_cancelled_without_a_stack
    many_children_are_cancelled_and_forgotten
    a_value_whose_destructor_panics_leaves_the_others_to_be_dropped
    a_storm_in_a_tree_cancels_all_that_is_below    | append slice=50
    a_million_children_leave_no_memory_behind
    contexts_without_number_let_others_run         | smp 1 | icount | append slice=50
    try_join_gives_the_handle_back_until_the_end
    join_timeout_gives_up_in_time_and_can_be_repeated
    join_timeout_races_the_end_and_loses_nothing | append slice=50
    a_join_set_gives_results_as_they_come
    a_join_set_has_every_end_as_a_result
    a_join_set_that_is_dropped_lets_its_members_go_on | append slice=50
    the_first_error_cancels_the_group
    a_group_keeps_its_limit
    a_panic_in_a_group_comes_out_of_wait
    records_go_to_the_console_with_goroutine_and_time | append log=debug | expect \"talker\" DEBUG tasks: quite detailed | expect \"talker\" WARN tasks: careful | refuse too much
    records_go_to_the_console_with_goroutine_and_time | smp 1 | icount | append log=debug | expect [    0. | expect ] G | refuse too much
    a_bad_level_is_named                             | smp 1 | append log=loud | expect log=\"loud\": wants off, error, warn, info, debug or trace | expect INFO tasks: heard | refuse quite detailed
    each_goroutine_has_its_own                       | append slice=50
    cells_have_the_methods_of_std
    set_does_not_make_the_first_value
    many_keys_are_told_apart
    an_initial_value_may_use_others_and_itself
    destructors_run_at_the_end_newest_first
    a_destructor_meets_the_others_as_std_says
    a_destructor_that_panics_leaves_the_others_to_be_dropped
    results_that_nobody_wants_may_use_locals_and_leave_none_behind
    locals_of_main_are_dropped_before_the_machine_stops | expect the last word
    locals_of_a_dead_goroutine_do_not_live_on        | expect has used up its window
";
    children_borrow_what_lives_outside, a_scope_without_children_returns, children_start_siblings_after_the_closure_has_ended,
    a_panic_of_the_closure_waits_for_the_children, a_panic_that_nobody_joined_makes_the_scope_panic,
    values_that_borrow_are_dropped_in_time, a_child_that_is_not_made_is_not_waited_for, a_scope_waits_for_the_others_of_a_child_that_is_not_made,
    scopes_in_scopes_end_from_the_inside,
    a_storm_of_scopes_loses_nobody, a_borrow_from_a_dead_scope_stays, a_dead_g_leaves_its_scope_after_its_own_children,
    a_child_that_overflows_makes_the_scope_panic,
    block_on_gives_the_value, a_future_waits_for_another_goroutine, a_wake_up_from_the_poll_itself_polls_again,
    a_future_may_park_like_any_code, a_stale_waker_is_harmless, nested_block_ons_leave_each_other_their_wake_ups,
    a_future_that_panics_is_a_goroutine_that_panics, wakers_of_one_goroutine_are_the_same,
    an_interrupt_wakes_a_future, who_waits_for_an_interrupt_alone_is_not_dead, a_future_that_a_device_wakes_is_no_deadlock, who_does_not_say_so_is_taken_for_dead, a_future_that_nobody_wakes_is_a_deadlock,
    join_and_select_of_another_crate_work, a_sender_that_goes_is_an_error_for_the_one_who_awaits, many_futures_on_one_goroutine_are_woken_by_many, a_future_is_aborted_from_another_goroutine, an_async_mutex_excludes_across_goroutines_and_futures, async_locks_of_another_crate_keep_their_promises, a_delay_is_never_early, a_delay_that_is_dropped_leaves_no_timer, a_timeout_drops_what_is_late, a_delay_may_change_hands_at_any_moment, a_delay_that_comes_due_inside_a_poll_is_ready,
    a_stream_gives_every_value_and_ends_with_its_channel, many_streams_on_one_goroutine_are_merged, a_stream_that_goes_leaves_its_value_and_nobody_behind, a_stream_passes_over_nobody_who_waits_behind_it, clocks_and_timeouts_go_with_streams, a_stream_may_change_hands_while_its_value_comes,
    catch_unwind_gives_the_value_or_the_payload, catches_nest_and_pass_on, panicking_is_true_where_a_panic_unwinds_and_nowhere_else,
    a_destructor_may_panic_inside_a_catch_while_another_panic_unwinds, exit_g_goes_through_catches_that_pass_it_on,
    a_panic_poisons_a_mutex_also_when_it_is_caught, panics_of_many_at_once_stay_apart,
    a_panic_in_a_destructor_ends_its_goroutine_alone, the_default_hook_says_who_where_and_how, a_hook_of_ones_own_takes_its_place,
    a_hook_that_panics_ends_its_goroutine_alone, main_catches_its_own_panics, main_passes_a_panic_on_and_fails,
    a_panic_in_a_destructor_of_main_is_fatal,
    a_payload_that_panics_when_it_is_dropped_harms_nobody, a_group_that_nobody_waits_for_drops_its_bombs_on_a_goroutine, a_group_whose_member_dies_cancels_a_deep_context,
    a_join_error_is_an_error_that_can_be_shared, what_anyhow_says_of_a_goroutine_is_its_panic,
    an_unjoined_panic_that_began_without_a_word_is_told_of_at_the_end, a_message_that_can_not_be_made_is_cut_or_replaced, a_message_that_panics_in_main_is_its_end,
    the_background_is_never_over, cancelling_reaches_all_below_and_none_above, a_cause_is_passed_down, a_deadline_ends_it_and_an_earlier_one_above_counts, a_cancel_before_the_deadline_stops_its_timer, values_are_found_by_type_from_the_inside, everybody_who_waits_is_woken, children_come_and_go_without_end, a_storm_of_cancels_and_children_forgets_nobody,
    a_deep_chain_is_dropped_and_cancelled_without_a_stack, many_children_are_cancelled_and_forgotten, a_value_whose_destructor_panics_leaves_the_others_to_be_dropped, a_storm_in_a_tree_cancels_all_that_is_below, a_million_children_leave_no_memory_behind, contexts_without_number_let_others_run,
    try_join_gives_the_handle_back_until_the_end, join_timeout_gives_up_in_time_and_can_be_repeated, join_timeout_races_the_end_and_loses_nothing, a_join_set_gives_results_as_they_come, a_join_set_has_every_end_as_a_result, a_join_set_that_is_dropped_lets_its_members_go_on, the_first_error_cancels_the_group, a_group_keeps_its_limit, a_panic_in_a_group_comes_out_of_wait,
    records_go_to_the_console_with_goroutine_and_time, a_bad_level_is_named,
    each_goroutine_has_its_own, cells_have_the_methods_of_std, set_does_not_make_the_first_value, many_keys_are_told_apart,
    an_initial_value_may_use_others_and_itself, destructors_run_at_the_end_newest_first, a_destructor_meets_the_others_as_std_says,
    a_destructor_that_panics_leaves_the_others_to_be_dropped, results_that_nobody_wants_may_use_locals_and_leave_none_behind,
    locals_of_main_are_dropped_before_the_machine_stops, locals_of_a_dead_goroutine_do_not_live_on,
}

mod api {
    pub use trefoil::context::{Context, ContextError};
    pub use trefoil::joinset::{ErrGroup, JoinSet, TimedOut};
    pub use trefoil::panic::{AssertUnwindSafe, catch_unwind, panic_message, panicking, resume_unwind};
    pub use trefoil::prelude::*;
    pub use trefoil::runtime::{exit_g, yield_now};
    pub use trefoil::{JoinError, SpawnError};

    /// A panic without a word from the hook.
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
#[path = "cases/crates.rs"]
mod crates_cases;
#[path = "cases/joinset.rs"]
mod joinset_cases;
#[path = "cases/local.rs"]
mod local_cases;
#[path = "cases/panics.rs"]
mod panic_cases;
#[path = "cases/scope.rs"]
mod scope_cases;
#[path = "cases/task.rs"]
mod task_cases;

use api::*;
use context_cases::*;
use crates_cases::*;
use joinset_cases::*;
use local_cases::*;
use panic_cases::*;
use scope_cases::*;
use task_cases::*;

/// Recursion without end.
#[inline(never)]
fn glut(level: u64) -> u64 {
    let block = black_box([level; 32]);
    if block[3] == u64::MAX { 0 } else { glut(level + 1) + block[7] }
}

/// What the children of a scope whose G has died came to.
static NAMED: AtomicUsize = AtomicUsize::new(0);
static ENDED: AtomicUsize = AtomicUsize::new(0);

fn a_borrow_from_a_dead_scope_stays() {
    static STOP: AtomicBool = AtomicBool::new(false);
    /// Touches what it was lent, until it is told to stop.
    fn borrow(lent: &[u64; 8]) {
        while !STOP.load(SeqCst) {
            assert_eq!(black_box(lent)[3], 42, "somebody else's data");
            runtime::yield_now();
        }
    }
    for round in 1..=3 {
        STOP.store(false, SeqCst);
        let lender = Builder::new().name("lender").spawn(|| {
            let lent = black_box([42u64; 8]);
            scope(|s| {
                for _ in 0..4 {
                    s.go(|| borrow(&lent));
                    // This one does not touch it, and comes to its end.
                    s.go(|| {
                        (0..50).for_each(|_| runtime::yield_now());
                        ENDED.fetch_add(1, SeqCst);
                    });
                }
                runtime::yield_now();
                glut(lent[0])
            })
        });
        assert!(matches!(lender.unwrap().join(), Err(JoinError::StackOverflow)));
        until(|| ENDED.load(SeqCst) == 4 * round as usize);
        // Others come and go, and what nobody needs goes back.
        for _ in 0..5 {
            runtime::scavenge();
            (0..20).map(|i| go(move || black_box([i; 200])[7])).for_each(|h| assert!(h.join().unwrap() < 20));
        }
        let memory = runtime::stats().memory;
        assert_eq!((memory.abandoned, memory.stacks.kept, memory.stacks.retired), (round, 1, round - 1));
        STOP.store(true, SeqCst);
        until(|| runtime::num_goroutines() == 1 && runtime::stats().memory.stacks.kept == 0);
        assert_eq!(runtime::stats().memory.stacks.retired, round);
    }
}

fn a_dead_g_leaves_its_scope_after_its_own_children() {
    for _ in 0..5 {
        NAMED.store(0, SeqCst);
        let mine = black_box([7u64; 8]);
        let result = catch_unwind(|| {
            scope(|s| {
                let middle = Builder::new().name("middle").spawn_scoped(s, || {
                    scope(|inner| {
                        // The grandchild uses what only the outer scope lends.
                        inner.go(|| {
                            for _ in 0..300 {
                                assert_eq!(black_box(&mine)[5], 7);
                                runtime::yield_now();
                            }
                            NAMED.fetch_add(1, SeqCst);
                        });
                        scope(|innermost| {
                            innermost.go(|| {
                                (0..100).for_each(|_| runtime::yield_now());
                                assert_eq!(black_box(&mine)[5], 7);
                                NAMED.fetch_add(1, SeqCst);
                            });
                            glut(1)
                        })
                    })
                });
                assert!(matches!(middle.unwrap().join(), Err(JoinError::StackOverflow)));
            })
        });
        assert!(result.is_ok());
        assert_eq!(NAMED.load(SeqCst), 2, "the scope ended while others still used what it lends");
    }
}

fn a_child_that_overflows_makes_the_scope_panic() {
    let lent = [3u64; 4];
    let result = catch_unwind(|| {
        scope(|s| {
            Builder::new().name("glutton").spawn_scoped(s, || glut(lent[1])).unwrap();
        })
    });
    assert_eq!(panic_message(&*result.unwrap_err()), Some("a goroutine of the scope panicked"));
}

#[inline(never)]
fn fall(message: &str) -> ! {
    panic!("{}", black_box(message))
}

/// Panics when it is dropped.
struct Grenade(&'static str);

impl Drop for Grenade {
    fn drop(&mut self) {
        fall(self.0);
    }
}

fn a_panic_in_a_destructor_ends_its_goroutine_alone() {
    for round in 1..=3 {
        let mutex = Arc::new(sync::Mutex::new(0));
        let lent = AtomicUsize::new(0);
        let mine = mutex.clone();
        let grenadier = Builder::new().name("grenadier").spawn(move || {
            let _held = mine.lock().unwrap();
            let _first = Grenade("not run any more");
            let _second = Grenade("the second one");
            fall("the first one")
        });
        let error = grenadier.unwrap().join().unwrap_err();
        assert_eq!(error.message(), Some("the second one"));
        let told = go(move || drop(mutex.lock())).join().expect_err("what it held was granted");
        assert!(told.message().is_some_and(|text| text.contains("\"grenadier\", which died of a panic")), "{told}");
        assert_eq!(runtime::stats().memory.abandoned, round);
        assert!(!panicking());
        // In a scope: the others, and the scope, go on.
        let result = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.go(|| lent.fetch_add(1, SeqCst));
            })
        }));
        assert!(result.is_ok() && lent.load(SeqCst) == 1);
    }
    // Unclaimed, in a scope, which so panics.
    let result = catch_unwind(|| {
        scope(|s| {
            s.go(|| {
                let _grenade = Grenade("the second one");
                fall("the first one")
            });
        })
    });
    assert_eq!(panic_message(&*result.unwrap_err()), Some("a goroutine of the scope panicked"));
}

fn the_default_hook_says_who_where_and_how() {
    let clumsy = Builder::new().name("clumsy").spawn(|| fall("it fell")).unwrap();
    assert_eq!(clumsy.join().unwrap_err().message(), Some("it fell"));
}

fn a_hook_of_ones_own_takes_its_place() {
    panic::set_hook(Box::new(|info| {
        let at = info.location().map_or(0, |at| at.line());
        assert!(at > 0 && info.id() > 1 && info.name().as_str() == "clumsy");
        println!("mine: {}", info.payload_as_str().unwrap_or("?"));
    }));
    let clumsy = || Builder::new().name("clumsy").spawn(|| fall("fell")).unwrap().join().unwrap_err();
    clumsy();
    let mine = panic::take_hook();
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    panic::set_hook(Box::new(move |info| {
        CALLS.fetch_add(1, SeqCst);
        mine(info);
    }));
    clumsy();
    // Quiet ones do not call it.
    assert!(catch_unwind(|| quiet_panic("quiet")).is_err());
    assert_eq!(CALLS.load(SeqCst), 1);
    drop(panic::take_hook());
}

fn a_hook_that_panics_ends_its_goroutine_alone() {
    panic::set_hook(Box::new(|_| fall("the hook fell")));
    let error = go(|| fall("the first one")).join().unwrap_err();
    assert_eq!(error.message(), Some("the hook fell"));
    drop(panic::take_hook());
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

fn a_group_whose_member_dies_cancels_a_deep_context() {
    for _ in 0..5 {
        let (group, ctx) = ErrGroup::<()>::with_context(&Context::background());
        // Not on the dead one's g0: that would take long.
        let mut inner = ctx.clone();
        (0..2000).for_each(|_| inner = inner.with_cancel().0);
        group.go(|| {
            black_box(glut(1));
            Ok(())
        });
        assert!(inner.done().recv().is_err());
        assert_eq!(inner.err(), Some(ContextError::Canceled));
        let caught = catch_unwind(AssertUnwindSafe(|| group.wait()));
        assert_eq!(panic_message(&*caught.unwrap_err()), Some("ErrGroup: the goroutine's stack overflowed"));
    }
}

fn an_unjoined_panic_that_began_without_a_word_is_told_of_at_the_end() {
    drop(Builder::new().name("quiet").spawn(|| quiet_panic("not a word")));
    drop(go(|| panic::resume_unwind(Box::new(7u8))));
    let late = go(|| quiet_panic("dropped late"));
    until(|| late.is_finished());
    drop(late);
    // The hook has told of these.
    drop(go(|| fall("loud")));
    drop(go(|| scope(|_| fall("in a scope"))));
    // Who joins is told.
    assert!(go(|| quiet_panic("loud")).join().is_err());
    until(|| runtime::num_goroutines() == 1);
}

struct Word(fn());

impl core::fmt::Display for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("half a word")?;
        (self.0)();
        Err(core::fmt::Error)
    }
}

fn a_message_that_can_not_be_made_is_cut_or_replaced() {
    let cut = |_: ()| panic!("so far: {} and so on", Word(|| ()));
    assert_eq!(go(move || cut(())).join().map(|()| 0).unwrap_err().message(), Some("so far: half a word"));
    assert_eq!(panic_message(&*catch_unwind(|| cut(())).unwrap_err()), Some("so far: half a word"));
    // It panics itself: that one is caught, here and in a goroutine, and leaves nothing behind.
    let replaced = || panic!("so far: {}", Word(|| fall("the message panicked")));
    for _ in 0..3 {
        let caught = catch_unwind(|| -> u32 { replaced() });
        assert_eq!(panic_message(&*caught.unwrap_err()), Some("the message panicked"));
        assert!(!panicking());
        let error = go(move || -> u32 { replaced() }).join().unwrap_err();
        assert_eq!(error.message(), Some("the message panicked"));
    }
    // And in a destructor that runs because of a panic, it ends that goroutine alone.
    struct Says;
    impl Drop for Says {
        fn drop(&mut self) {
            panic!("so far: {}", Word(|| fall("the message panicked")));
        }
    }
    let error = go(|| {
        let _says = Says;
        fall("the first one")
    });
    assert_eq!(error.join().map(|()| 0).unwrap_err().message(), Some("the message panicked"));
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

fn a_message_that_panics_in_main_is_its_end() {
    panic!("so far: {}", Word(|| fall("the message panicked")));
}

fn main_catches_its_own_panics() {
    for _ in 0..3 {
        let caught = catch_unwind(|| fall("caught"));
        assert_eq!(panic_message(&*caught.unwrap_err()), Some("caught"));
    }
    let result = catch_unwind(|| scope(|_| fall("in a scope")));
    assert!(result.is_err());
}

fn main_passes_a_panic_on_and_fails() {
    let caught = catch_unwind(|| fall("main passes it on"));
    panic::resume_unwind(caught.unwrap_err())
}

fn a_panic_in_a_destructor_of_main_is_fatal() {
    let _ = catch_unwind(|| {
        let _grenade = Grenade("the second one");
        fall("the first one")
    });
}

/// One goroutine makes, cancels and drops contexts; another looks how long it had to wait for its
/// turn.
fn contexts_without_number_let_others_run() {
    const MANY: usize = 20_000;
    static LONGEST: AtomicUsize = AtomicUsize::new(0);
    let (done, over) = chan::bounded::<()>(0);
    let watcher = go(move || {
        let mut last = Instant::now();
        while over.try_recv() != Err(chan::TryRecvError::Disconnected) {
            runtime::yield_now();
            let now = Instant::now();
            LONGEST.fetch_max((now - last).as_micros() as usize, SeqCst);
            last = now;
        }
    });
    // Two slices of 50 µs, and what a core does between two goroutines. An instruction takes a
    // nanosecond.
    let check = |what: &str| {
        runtime::yield_now();
        let longest = LONGEST.swap(0, SeqCst);
        println!("{what}: {longest} us");
        assert!(longest < 130, "{what}: nobody else ran for {longest} us");
    };
    runtime::yield_now();
    LONGEST.store(0, SeqCst);
    let (parent, cancel) = Context::background().with_cancel();
    let mut children = Vec::with_capacity(MANY);
    (0..MANY).for_each(|_| children.push(parent.with_cancel().0));
    check("children made");
    cancel.cancel();
    check("children cancelled");
    assert!(children.iter().all(|child| child.err().is_some()));
    drop(children);
    check("cancelled children dropped");
    let (parent, _cancel) = Context::background().with_cancel();
    let mut children = Vec::with_capacity(MANY);
    (0..MANY).for_each(|_| children.push(parent.with_cancel().0));
    drop(children);
    check("children made and dropped");
    let (top, cancel) = Context::background().with_cancel();
    let mut inner = top.clone();
    (0..MANY).for_each(|i| inner = inner.with_cancel().0.with_value(i));
    check("a chain made");
    cancel.cancel();
    check("a chain cancelled");
    drop((top, cancel, inner));
    check("a chain dropped");
    drop(done);
    watcher.join().unwrap();
}

fn a_million_children_leave_no_memory_behind() {
    const CHILDREN: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let live = || runtime::stats().memory.heap.live_bytes;
    let (root, _cancel) = Context::background().with_cancel();
    let before = live();
    let mut living = Vec::new();
    for i in 1..=CHILDREN {
        let (child, cancel) = root.with_cancel();
        match i % 4 {
            0 => cancel.cancel(),
            1 => drop(root.with_timeout(Duration::from_secs(3600))),
            _ => {}
        }
        if i % 8 < 4 {
            living.push(child.with_cancel().0);
        }
        if living.len() == 8 {
            living.clear();
        }
        if i % 1000 == 0 {
            // Beside them: the timers' heap, what a core prints into.
            assert!(live() < before + (32 << 10), "{} bytes after {i} children", live() - before);
        }
    }
    assert!(root.err().is_none());
}

fn locals_of_main_are_dropped_before_the_machine_stops() {
    struct Word;
    impl Drop for Word {
        fn drop(&mut self) {
            println!("the last word");
        }
    }
    goroutine_local! { static WORD: Word = Word }
    // The kit looks at the heap before `main` ends, unless a goroutine has died of its stack.
    assert!(go(|| glut(1)).join().is_err());
    WORD.with(|_| ());
}

fn locals_of_a_dead_goroutine_do_not_live_on() {
    goroutine_local! { static MARK: core::cell::Cell<u64> = core::cell::Cell::new(0) }
    for i in 1..20 {
        let dead = go(move || {
            MARK.set(i);
            glut(i)
        });
        assert!(matches!(dead.join(), Err(JoinError::StackOverflow)));
        let marks: Vec<_> = (0..20).map(|_| go(|| MARK.get())).collect();
        assert!(marks.into_iter().all(|h| h.join().unwrap() == 0), "a local of a goroutine that has ended");
    }
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

/// A vector that nobody has.
const SPARE: u8 = 0x77;
/// Whom its handler wakes.
static WOKEN: OnceLock<Waker> = OnceLock::new();
/// The interrupts that were asked for, and which was the last of them when the handler ran. (Not
/// how often it did: that is for the machine to say.)
static ASKED: AtomicUsize = AtomicUsize::new(0);
static RUNG: AtomicUsize = AtomicUsize::new(0);

/// From now on the handler of the spare vector leaves its mark, and wakes this goroutine.
fn listen() {
    task::block_on(poll_fn(|context| {
        WOKEN.get_or_init(|| context.waker().clone());
        Poll::Ready(())
    }));
    exceptions::ON_UNEXPECTED.call_once(|| {
        || {
            RUNG.fetch_max(ASKED.load(SeqCst), SeqCst);
            WOKEN.get().into_iter().for_each(Waker::wake_by_ref);
        }
    });
}

/// Interrupts core number `i`, modulo how many there are.
fn ring(i: usize) {
    ASKED.fetch_add(1, SeqCst);
    let cores = percpu::all().count();
    percpu::all().nth(i % cores).into_iter().for_each(|core| apic::send(core.lapic_id(), SPARE));
}

fn an_interrupt_wakes_a_future() {
    listen();
    for i in 0..300 {
        // Before the poll looks, after it has looked (so that it comes on the way to the park), and
        // while its goroutine is parked.
        let (way, mut rung) = (i % 3, false);
        let wait = poll_fn(|_| {
            if !rung && way == 0 {
                ring(i / 3);
            }
            let seen = RUNG.load(SeqCst);
            if !rung && way == 1 {
                ring(i / 3);
            }
            if !rung && way == 2 {
                go(move || ring(i / 3));
            }
            rung = true;
            if seen > i { Poll::Ready(seen) } else { Poll::Pending }
        });
        assert_eq!(task::block_on_interrupt(wait), i + 1, "way {way}");
    }
}

fn who_waits_for_an_interrupt_alone_is_not_dead() {
    // Each poll asks for an interrupt of the next core; while it is on its way all cores rest, or
    // are about to.
    listen();
    let wait = poll_fn(|_| {
        let seen = RUNG.load(SeqCst);
        if seen < 50 {
            ring(seen);
        }
        if seen < 50 { Poll::Pending } else { Poll::Ready(()) }
    });
    task::block_on_interrupt(wait);
}

/// A future that the old PC's timer wakes in 50 ms. Nobody else knows of it: no timer of the
/// scheduler's is armed, and every core rests meanwhile.
fn woken_by_a_device() -> impl Future<Output = ()> {
    listen();
    // What the kernel itself has to do soon after boot is done by then.
    time::sleep(Duration::from_millis(150));
    let before = RUNG.load(SeqCst);
    let mut first = true;
    poll_fn(move |_| {
        if core::mem::take(&mut first) {
            ASKED.fetch_add(1, SeqCst);
            // SAFETY: channel 0 of the PIT, once, in 59,659 of its ticks. This machine has a better
            // clock, so nobody uses it.
            unsafe {
                PortWriteOnly::new(0x43).write(0x30u8);
                PortWriteOnly::new(0x40).write(0x0bu8);
                PortWriteOnly::new(0x40).write(0xe9u8);
            }
            let route = acpi::isa_route(0).expect("a PC has one");
            let core = percpu::all().next().expect("there is a core").lapic_id();
            assert!(ioapic::connect(route, SPARE, core));
        }
        if RUNG.load(SeqCst) > before { Poll::Ready(()) } else { Poll::Pending }
    })
}

fn a_future_that_a_device_wakes_is_no_deadlock() {
    let begin = Instant::now();
    task::block_on_interrupt(woken_by_a_device());
    assert!(begin.elapsed() >= Duration::from_millis(200), "the machine never rested");
    println!("woken by the device");
}

fn who_does_not_say_so_is_taken_for_dead() {
    task::block_on(woken_by_a_device());
    println!("woken by the device");
}

fn a_future_that_nobody_wakes_is_a_deadlock() {
    task::block_on(core::future::pending::<()>());
}
