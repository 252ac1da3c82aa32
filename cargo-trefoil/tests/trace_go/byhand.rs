//! Traces of a few records, and the events that come of them.

use cargo_trefoil::go::{self, encode::event};
use cargo_trefoil::trace::{Meta, Ring, Trace, events::Events};
use trefoil_trace::{Kind, Place, Record, Why};

use super::{all_are_accepted, decode, folder, write_all};

/// The number of the scheduler's reason to wait on a channel.
const RECEIVE: u8 = 2;

/// A record of the M that holds P number `p`, at `at` nanoseconds.
fn record(at: u64, kind: Kind, p: u8, how: u8, [a, b]: [u64; 2]) -> Record {
    Record::from_words([at, Record::word(kind, p, how, Place::Nowhere, 0), a, b])
}

/// Returns the M and the type of each event that comes of the M's records, without the states at
/// the begin. Go's tools accept the trace.
fn events(name: &str, rings: Vec<Vec<Record>>) -> Vec<(u64, u8)> {
    let ring = |(m, records): (usize, Vec<Record>)| Ring { m: m as u32, first: 0, records };
    let rings = rings.into_iter().enumerate().map(ring).collect();
    let trace = Trace { meta: Meta { procs: 2, ..Meta::default() }, rings, ..Trace::default() };
    let bytes = go::export(&trace, &Events::of(&trace));
    let order = decode::order(&bytes);
    all_are_accepted(&write_all(&folder(name), [(format!("{name}.go"), bytes)].into_iter()));
    let is_said =
        |&(_, kind): &(u64, u8)| ![event::PROC_STATUS, event::GO_STATUS_STACK, event::PROCS_CHANGE].contains(&kind);
    order.into_iter().filter(is_said).collect()
}

#[test]
fn a_block_in_place_is_a_system_call_that_other_goroutines_may_be_made_in() {
    let none = Record::NO_P;
    let blocks = vec![
        record(100, Kind::Hold, 0, 0, [0, 0]),
        record(110, Kind::Switch, 0, 0, [0, 1]),
        record(120, Kind::Block, 0, 0, [1, 0]),
        record(121, Kind::Release, 0, 1, [0, 0]),
        record(150, Kind::Create, none, 0, [2, 0]),
        record(200, Kind::Hold, 1, 0, [0, 0]),
        record(201, Kind::BlockEnd, 1, 0, [1, 0]),
        record(210, Kind::Switch, 1, Why::END.0, [1, 0]),
    ];
    let takes = vec![record(130, Kind::Hold, 0, 0, [0, 0]), record(160, Kind::Switch, 0, 0, [0, 2])];
    let wanted = [
        (0, event::PROC_START),
        (0, event::GO_START),
        (0, event::GO_SYSCALL_BEGIN),
        (0, event::PROC_STOP),
        (1, event::PROC_START),
        // The call is interrupted, on a P of the M's own.
        (0, event::GO_SYSCALL_END_BLOCKED),
        (0, event::PROC_START),
        (0, event::GO_START),
        (0, event::GO_CREATE),
        (0, event::GO_SYSCALL_BEGIN),
        (0, event::PROC_STOP),
        (1, event::GO_START),
        (0, event::PROC_START),
        (0, event::GO_SYSCALL_END_BLOCKED),
        (0, event::GO_START),
        (0, event::GO_DESTROY),
    ];
    assert_eq!(events("block", vec![blocks, takes]), wanted);
}

#[test]
fn a_call_that_finds_no_p_at_its_end_leaves_a_goroutine_that_can_run() {
    let blocks = vec![
        record(110, Kind::Switch, 0, 0, [0, 1]),
        record(120, Kind::Block, 0, 0, [1, 0]),
        record(121, Kind::Release, 0, 1, [0, 0]),
        record(200, Kind::Switch, Record::NO_P, Why::YIELD.0, [1, 0]),
    ];
    let takes = vec![record(130, Kind::Hold, 0, 0, [0, 0]), record(210, Kind::Switch, 0, 0, [0, 1])];
    let wanted = [
        (0, event::GO_START),
        (0, event::GO_SYSCALL_BEGIN),
        (0, event::PROC_STOP),
        (1, event::PROC_START),
        (0, event::GO_SYSCALL_END_BLOCKED),
        (1, event::GO_START),
    ];
    assert_eq!(events("no-p", vec![blocks, takes]), wanted);
}

#[test]
fn a_goroutine_that_is_woken_on_its_way_off_a_core_is_unblocked_by_its_waker() {
    let mut marked = record(115, Kind::Ready, 1, 0, [1, 0]);
    marked.place = Place::Marked as u8;
    let waits = vec![
        record(110, Kind::Switch, 0, 0, [0, 1]),
        record(120, Kind::Switch, 0, RECEIVE, [1, 0]),
        record(121, Kind::Put, 0, RECEIVE, [1, 0]),
        record(130, Kind::Switch, 0, 0, [0, 1]),
    ];
    let wakes = vec![record(111, Kind::Switch, 1, 0, [0, 2]), marked];
    let wanted = [
        (0, event::GO_START),
        (1, event::GO_START),
        (0, event::GO_BLOCK),
        (1, event::GO_UNBLOCK),
        (0, event::GO_START),
    ];
    assert_eq!(events("marked", vec![waits, wakes]), wanted);
}

#[test]
fn what_ran_at_the_begin_needs_no_start() {
    let leaves = vec![
        record(110, Kind::Switch, 1, Why::YIELD.0, [7, 8]),
        record(120, Kind::Switch, 1, RECEIVE, [8, 0]),
        record(121, Kind::Release, 1, 0, [0, 0]),
    ];
    let wanted = [(0, event::GO_STOP), (0, event::GO_START), (0, event::GO_BLOCK), (0, event::PROC_STOP)];
    assert_eq!(events("begin", vec![leaves]), wanted);
}

#[test]
fn nothing_is_said_on_g0() {
    let logs = vec![
        record(110, Kind::Hold, 0, 0, [0, 0]),
        record(111, Kind::Log, 0, 0, [0, 0]),
        record(112, Kind::TaskBegin, 0, 0, [5, 0]),
        record(113, Kind::RegionBegin, 0, 0, [5, 0]),
        record(120, Kind::Switch, 0, 0, [0, 1]),
        record(121, Kind::TaskBegin, 0, 0, [5, 0]),
        record(122, Kind::RegionBegin, 0, 0, [5, 0]),
        record(123, Kind::RegionEnd, 0, 0, [5, 0]),
        record(124, Kind::RegionEnd, 0, 0, [5, 0]),
        record(125, Kind::TaskEnd, 0, 0, [5, 0]),
    ];
    let wanted = [
        event::PROC_START,
        event::GO_START,
        event::TASK_BEGIN,
        event::REGION_BEGIN,
        event::REGION_END,
        event::TASK_END,
    ];
    assert_eq!(events("g0", vec![logs]), wanted.map(|kind| (0, kind)));
}
