//! Exported traces, read by Perfetto's own trace processor.

use cargo_trefoil::trace::Trace;
use cargo_trefoil::trace::events::Events;
use cargo_trefoil::trace::lives::{self, Cause, State};
use cargo_trefoil::trace::sample::Sample;

mod perfetto;

use perfetto::{Timed, check, tool};

fn trace(sample: &Sample) -> Trace {
    Trace::parse(&sample.file()).unwrap()
}

#[test]
fn perfetto_finds_no_error_each_dispatch_each_waker_and_the_latency() {
    let Some(tool) = tool() else { return };
    for seed in 1..=5 {
        let sample = Sample { seed, cores: [4, 1, 2, 8, 4][seed as usize - 1], events: 20_000, ..Sample::default() };
        let dispatches = check(&tool, &format!("sample-{seed}"), &trace(&sample), Some(Timed::Everything));
        assert!(dispatches > 2_000, "{dispatches}");
    }
}

#[test]
fn a_flight_and_clocks_that_differ_are_as_good() {
    let Some(tool) = tool() else { return };
    let flight = Sample { seed: 6, flight: true, capacity: 2_000, events: 20_000, ..Sample::default() };
    assert!(check(&tool, "flight", &woken(trace(&flight)), Some(Timed::Woken)) > 500);
    let skewed = Sample { seed: 7, skew: 200, events: 20_000, ..Sample::default() };
    assert!(check(&tool, "skewed", &woken(trace(&skewed)), Some(Timed::Woken)) > 2_000);
    let full = Sample { seed: 8, capacity: 3_000, events: 30_000, ..Sample::default() };
    assert!(check(&tool, "full", &trace(&full), None) > 500);
}

/// Gives a trace the histogram of a kernel that times all goroutines that were created or readied.
fn woken(mut trace: Trace) -> Trace {
    trace.meta.ready.clear();
    for life in lives::of(&trace, &Events::of(&trace)).values() {
        for pair in life.spans.windows(2) {
            let is_woken = matches!(pair[0].state, State::Runnable(Cause::Created { .. } | Cause::Readied { .. }));
            if is_woken && matches!(pair[1].state, State::Running { .. }) {
                *trace.meta.ready.entry(u64::BITS - pair[0].ns().leading_zeros()).or_default() += 1;
            }
        }
    }
    trace
}
