//! The one door to loom: every model runs through [`run`]. So no model can forget the look at what
//! its schedulers and its G's have come to when nothing is on its way any more.
#![allow(dead_code)]

use loom::model::Builder;
use trefoil_sched::internals::state::State;
use trefoil_sched::{GRef, Sched, model};

/// The objects that an execution of a model has made.
#[derive(Default)]
struct Made {
    scheds: Vec<&'static Sched>,
    gs: Vec<GRef>,
    /// The execution is one of [`run`].
    is_looked_at: bool,
}

loom::lazy_static! {
    /// Not loom's: it is no part of what is explored.
    static ref MADE: std::sync::Mutex<Made> = std::sync::Mutex::default();
}

/// The invariants of this scheduler are checked in the end.
pub fn enroll(sched: &'static Sched) {
    let mut made = MADE.lock().unwrap();
    assert!(made.is_looked_at, "a scheduler in a model that `ending::run` does not run");
    made.scheds.push(sched);
}

/// Notes a G that must not be between two places in the end.
pub fn enroll_g(g: GRef) {
    MADE.lock().unwrap().gs.push(g);
}

/// Explores `f`. Each execution ends with `settle`, which brings about all that is still pending,
/// and with the invariants. The result of `f` lives until then.
pub fn run<R>(builder: Builder, f: impl Fn() -> R + Send + Sync + 'static, settle: fn(&'static Sched)) {
    builder.check(move || {
        MADE.lock().unwrap().is_looked_at = true;
        let kept = f();
        let Made { scheds, gs, .. } = std::mem::take(&mut *MADE.lock().unwrap());
        for sched in scheds {
            settle(sched);
            if let Some(what) = model::broken(sched) {
                panic!("in the end: {what}");
            }
        }
        for (i, g) in gs.into_iter().enumerate() {
            let (state, is_scanned) = (g.state(), matches!(g.state(), State::Scan | State::ScanReady));
            assert!(
                !is_scanned && !matches!(state, State::Parking | State::ParkingReady),
                "in the end: the model's G {i} is {state:?}"
            );
        }
        drop(kept);
    });
}
