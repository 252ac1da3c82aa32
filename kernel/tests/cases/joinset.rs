//! Join handles with deadlines, join sets, error groups.

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::api::*;

pub fn try_join_gives_the_handle_back_until_the_end() {
    let (tx, rx) = chan::bounded::<u64>(0);
    let handle = go(move || rx.recv().unwrap());
    let handle = handle.try_join().unwrap_err();
    tx.send(3).unwrap();
    until(|| handle.is_finished());
    assert_eq!(handle.try_join().unwrap().unwrap(), 3);
}

pub fn join_timeout_gives_up_in_time_and_can_be_repeated() {
    let (tx, rx) = chan::bounded::<u64>(0);
    let mut handle = go(move || rx.recv().unwrap());
    for _ in 0..3 {
        let begin = Instant::now();
        handle = handle.join_timeout(Duration::from_millis(3)).unwrap_err();
        assert!(begin.elapsed() >= Duration::from_millis(3));
    }
    handle = handle.join_timeout(Duration::ZERO).unwrap_err();
    tx.send(7).unwrap();
    assert_eq!(handle.join_timeout(Duration::from_secs(60)).unwrap().unwrap(), 7);
    // Dropped after a timeout: its value has an owner.
    let ended = Arc::new(AtomicUsize::new(0));
    let end = ended.clone();
    let handle = go(move || {
        time::sleep(Duration::from_millis(2));
        end.fetch_add(1, SeqCst);
    });
    drop(handle.join_timeout(Duration::from_millis(1)));
    until(|| Arc::strong_count(&ended) == 1);
    assert_eq!(ended.load(SeqCst), 1);
}

pub fn join_timeout_races_the_end_and_loses_nothing() {
    let handles: Vec<_> = (0..8u64)
        .map(|seed| {
            go(move || {
                for i in 0..60u64 {
                    let nanos = (seed * 7919 + i * 104_729) % 200_000;
                    let mut handle = go(move || {
                        time::sleep(Duration::from_nanos(100_000));
                        i
                    });
                    let value = loop {
                        match handle.join_timeout(Duration::from_nanos(nanos)) {
                            Ok(value) => break value,
                            Err(back) => {
                                handle = back;
                                yield_now();
                            }
                        }
                    };
                    assert_eq!(value.unwrap(), i);
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

pub fn a_join_set_gives_results_as_they_come() {
    let mut set = JoinSet::new();
    let mut ends = Vec::new();
    for i in 0..5u64 {
        let (tx, rx) = chan::bounded::<()>(0);
        set.go(move || {
            let _ = rx.recv();
            i
        });
        ends.push(tx);
    }
    assert!(set.try_join_next().is_none());
    assert_eq!(set.join_next_timeout(Duration::from_millis(1)).unwrap_err(), TimedOut);
    for i in [3, 0, 4, 1, 2] {
        ends[i].close();
        assert_eq!(set.join_next().unwrap().unwrap(), i as u64);
    }
    assert!(set.join_next().is_none() && set.is_empty());
}

pub fn a_join_set_has_every_end_as_a_result() {
    let mut set = JoinSet::new();
    set.go(|| 1u64);
    set.go(|| quiet_panic("in a set"));
    set.go(|| exit_g());
    let named = Builder::new().name("named");
    assert!(set.spawn(named, || 2).is_ok());
    assert!(set.spawn(Builder::new().stack_max(0), || 3).is_err());
    assert_eq!(set.len(), 4);
    let all = set.join_all();
    let sum: u64 = all.iter().filter_map(|outcome| outcome.as_ref().ok()).sum();
    assert_eq!((sum, all.len()), (3, 4));
    assert!(all.iter().any(|o| o.as_ref().is_err_and(|e| e.message() == Some("in a set"))));
}

pub fn a_join_set_that_is_dropped_lets_its_members_go_on() {
    let ended = Arc::new(AtomicUsize::new(0));
    for _ in 0..20 {
        let mut set = JoinSet::new();
        for i in 0..10 {
            let ended = ended.clone();
            set.go(move || {
                (0..i).for_each(|_| yield_now());
                ended.fetch_add(1, SeqCst);
                vec![i; 10]
            });
        }
        let _ = set.join_next();
        yield_now();
    }
    until(|| ended.load(SeqCst) == 200);
}

pub fn the_first_error_cancels_the_group() {
    let (group, ctx) = ErrGroup::with_context(&Context::background());
    for i in 0..10 {
        let ctx = ctx.clone();
        group.go(move || {
            if i == 5 {
                return Err("five");
            }
            let _ = ctx.done().recv();
            if i == 7 { Err("after it") } else { Ok(()) }
        });
    }
    assert_eq!(group.wait(), Err("five"));
    assert_eq!(ctx.err(), Some(ContextError::Canceled));
    // Without an error the context ends with `wait`.
    let (group, ctx) = ErrGroup::<u32>::with_context(&Context::background());
    group.go(|| Ok(()));
    assert_eq!(group.wait(), Ok(()));
    assert!(ctx.err().is_some());
}

pub fn a_group_keeps_its_limit() {
    let group = ErrGroup::<()>::new();
    group.set_limit(3);
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..30 {
        let (running, most) = (running.clone(), most.clone());
        group.go(move || {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            (0..5).for_each(|_| yield_now());
            running.fetch_sub(1, SeqCst);
            Ok(())
        });
    }
    group.wait().unwrap();
    assert!((1..=3).contains(&most.load(SeqCst)));
    let (tx, rx) = chan::bounded::<()>(0);
    for _ in 0..3 {
        let rx = rx.clone();
        assert!(group.try_go(move || rx.recv().map_err(|_| ())));
    }
    assert!(!group.try_go(|| Ok(())));
    assert!(catch_unwind(AssertUnwindSafe(|| group.set_limit(5))).is_err());
    drop(tx);
    assert_eq!(group.wait(), Err(()));
}

pub fn a_panic_in_a_group_comes_out_of_wait() {
    let (group, ctx) = ErrGroup::<()>::with_context(&Context::background());
    let waits = ctx.clone();
    group.go(move || {
        let _ = waits.done().recv();
        Ok(())
    });
    group.go(|| quiet_panic("in a group"));
    let caught = catch_unwind(AssertUnwindSafe(|| group.wait()));
    assert_eq!(panic_message(&*caught.unwrap_err()), Some("in a group"));
}
