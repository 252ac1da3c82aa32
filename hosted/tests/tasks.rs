//! Structure, locals, panics and futures on the host: the cases that `kernel/tests/tasks.rs` runs on the machine.

mod support;

mod api {
    pub use trefoil_sched::join::panic_message;
    pub use trefoil_sched::panic::{AssertUnwindSafe, catch_unwind};
    pub use trefoil_sched::spawn::{SpawnError, go};
    pub use trefoil_sched::{Builder, exit_g, scope, yield_now};

    /// A panic that the host's hook does not print.
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

#[path = "../../kernel/tests/cases/scope.rs"]
mod scope;

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
    a_child_that_is_not_made_is_not_waited_for, scopes_in_scopes_end_from_the_inside, a_storm_of_scopes_loses_nobody,
}

/// Its panics are told: `tidy` would not like that.
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
