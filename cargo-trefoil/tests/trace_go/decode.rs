//! The events of a Go trace, as far as tests count and corrupt them.

use cargo_trefoil::go::encode::event;

/// The number of arguments of an event, without its time; a structural event has none.
fn arguments(kind: u8) -> usize {
    match kind {
        event::PROC_STOP | event::GO_DESTROY | event::GO_SYSCALL_END | event::GO_SYSCALL_END_BLOCKED => 0,
        event::HEAP_ALLOC | event::GO_LABEL => 1,
        event::PROCS_CHANGE
        | event::PROC_START
        | event::PROC_STATUS
        | event::GO_START
        | event::GO_STOP
        | event::GO_BLOCK
        | event::GO_SYSCALL_BEGIN
        | event::TASK_END => 2,
        event::GO_CREATE | event::GO_UNBLOCK | event::REGION_BEGIN | event::REGION_END => 3,
        event::TASK_BEGIN | event::USER_LOG | event::GO_STATUS_STACK => 4,
        _ => panic!("an event of type {kind}"),
    }
}

/// Counts the events of each type.
pub fn counts(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    each(bytes, |kind, _| counts[usize::from(kind)] += 1);
    counts
}

/// Adds one to the sequence number of the `n`th start of a goroutine.
pub fn corrupt_a_start(bytes: &mut [u8], n: usize) {
    let mut starts = Vec::new();
    each(bytes, |kind, last| {
        if kind == event::GO_START {
            starts.push(last);
        }
    });
    // The last byte of a number has its highest bits. Here it is the only one.
    assert!(bytes[starts[n]] < 0x7f, "a larger number");
    bytes[starts[n]] += 1;
}

/// Calls `see` with the type of each event, and the place of its last byte.
fn each(bytes: &[u8], mut see: impl FnMut(u8, usize)) {
    let mut at = 16;
    while at < bytes.len() {
        assert_eq!(bytes[at], 1, "no batch at {at}");
        at += 1;
        let [_, thread, _, length] = std::array::from_fn(|_| number(bytes, &mut at));
        let end = at + length as usize;
        while thread != u64::MAX && at < end {
            let kind = bytes[at];
            at += 1;
            for _ in 0..=arguments(kind) {
                number(bytes, &mut at);
            }
            see(kind, at - 1);
        }
        at = end;
    }
}

fn number(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return number;
        }
    }
}
