//! The recorder of an M: its core writes, while another core closes it, reads, and opens it again.
//!
//! A record that a reader gets is whole: it tells the number under which it was written. A number
//! without a record gives nothing, although the memory was not clear.
#![cfg(loom)]

mod support;

use loom::sync::Arc;
use loom::thread;
use trefoil_sched::internals::modelled::{Mode, Recorder};

struct Shared(Recorder);

// SAFETY: the model touches the atomics of the recorder only.
unsafe impl Sync for Shared {}
// SAFETY: nothing in a recorder belongs to a thread.
unsafe impl Send for Shared {}

/// Returns the numbers of the whole records. Each must tell its number.
fn whole(recorder: &Recorder, counted: u64) -> Vec<u64> {
    let found = recorder.kept(counted).filter_map(|n| recorder.get(n).map(|record| (n, record)));
    found
        .inspect(|(n, record)| assert_eq!(*record, [1000 + n, *n, 2 * n, 3 * n], "record {n} is torn"))
        .map(|(n, _)| n)
        .collect()
}

/// Writes `before` records, then `during` more while another core dumps twice.
fn model(mode: Mode, before: u64, during: u64) {
    support::cores::model(move || {
        let recorder = Arc::new(Shared(Recorder::new()));
        recorder.0.start_model(mode);
        (0..before).for_each(|n| recorder.0.write_model(n));
        let writer = recorder.clone();
        let writer = thread::spawn(move || (before..before + during).for_each(|n| writer.0.write_model(n)));
        let closed_at = recorder.0.close();
        let first = whole(&recorder.0, closed_at);
        recorder.0.open(closed_at);
        writer.join().unwrap();
        assert_eq!(recorder.0.close(), before + during, "all are counted, kept or not");
        let second = whole(&recorder.0, before + during);
        let kept = recorder.0.kept(before + during);
        assert!(first.iter().all(|n| !kept.contains(n) || second.contains(n)), "{first:?} {second:?}");
        // All records from before the dump are there, as far as there is room.
        assert!(kept.filter(|n| *n < before).all(|n| second.contains(&n)), "{second:?}");
    });
}

#[test]
fn a_dump_of_a_ring_that_fills_sees_whole_records_only() {
    model(Mode::Full, 5, 2);
}

#[test]
fn a_full_ring_keeps_its_first_records() {
    model(Mode::Full, 7, 2);
}

#[test]
fn a_dump_of_a_ring_that_goes_round_sees_whole_records_only() {
    model(Mode::Flight, 20, 2);
}

#[test]
fn numbers_that_have_no_record_have_no_old_one_either() {
    model(Mode::Flight, 16, 11);
}
