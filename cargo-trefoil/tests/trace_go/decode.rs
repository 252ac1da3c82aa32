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
    each(bytes, |event| counts[usize::from(event.kind)] += 1);
    counts
}

/// Returns the M and the type of all events, in order of time.
pub fn order(bytes: &[u8]) -> Vec<(u64, u8)> {
    let mut all = Vec::new();
    each(bytes, |event| all.push((event.time, event.thread, event.kind)));
    all.sort();
    all.into_iter().map(|(_, thread, kind)| (thread, kind)).collect()
}

/// Adds one to the sequence number of the `n`th start of a goroutine.
pub fn corrupt_a_start(bytes: &mut [u8], n: usize) {
    let mut starts = Vec::new();
    each(bytes, |event| {
        if event.kind == event::GO_START {
            starts.push(event.last);
        }
    });
    // The last byte of a number has its highest bits. Here it is the only one.
    assert!(bytes[starts[n]] < 0x7f, "a larger number");
    bytes[starts[n]] += 1;
}

struct Event {
    thread: u64,
    time: u64,
    kind: u8,
    /// The place of its last byte.
    last: usize,
}

/// Calls `see` with each event.
fn each(bytes: &[u8], mut see: impl FnMut(Event)) {
    let mut at = 16;
    while at < bytes.len() {
        assert_eq!(bytes[at], 1, "no batch at {at}");
        at += 1;
        let [_, thread, mut time, length] = std::array::from_fn(|_| number(bytes, &mut at));
        let end = at + length as usize;
        while thread != u64::MAX && at < end {
            let kind = bytes[at];
            at += 1;
            time += number(bytes, &mut at);
            for _ in 0..arguments(kind) {
                number(bytes, &mut at);
            }
            see(Event { thread, time, kind, last: at - 1 });
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
