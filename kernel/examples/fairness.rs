//! How fair locks are: how often each G gets a lock, and how long it waits. Sixteen G's contend for
//! a mutex, and writers stand beside a flood of readers.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use trefoil::prelude::*;

const TIME: Duration = Duration::from_millis(500);

/// The share of each of several G's.
struct Share {
    times: Vec<u64>,
    longest: Duration,
}

/// Lets `n` G's call `take` again and again until time is over. `take` calls its argument while it
/// holds the lock.
fn contest(n: usize, take: impl Fn(&dyn Fn()) + Clone + Send + 'static) -> impl FnOnce() -> Share {
    let stop = Arc::new(AtomicBool::new(false));
    let longest = Arc::new(AtomicU64::new(0));
    let gs: Vec<_> = (0..n)
        .map(|_| {
            let (stop, longest, take) = (stop.clone(), longest.clone(), take.clone());
            go(move || {
                let times = AtomicU64::new(0);
                while !stop.load(Relaxed) {
                    let begin = Instant::now();
                    take(&|| {
                        longest.fetch_max(begin.elapsed().as_nanos() as u64, Relaxed);
                        times.store(times.load(Relaxed) + 1, Relaxed);
                        (0..500u64).for_each(|i| _ = black_box(i));
                    });
                    (0..200u64).for_each(|i| _ = black_box(i));
                }
                times.load(Relaxed)
            })
        })
        .collect();
    move || {
        stop.store(true, Relaxed);
        let times = gs.into_iter().map(|g| g.join().unwrap()).collect();
        Share { times, longest: Duration::from_nanos(longest.load(Relaxed)) }
    }
}

fn show(what: &str, share: &Share) {
    let (most, least) = (share.times.iter().max().unwrap(), share.times.iter().min().unwrap());
    let sum: u64 = share.times.iter().sum();
    println!("{what}: {sum} times; most {most}, least {least}; longest wait {:?}", share.longest);
    assert!(*least > 0, "{what}: somebody never got it");
}

#[trefoil::main]
fn main() {
    while runtime::cpus_started() < runtime::max_procs() {
        time::sleep(Duration::from_millis(1));
    }
    let mutex = Arc::new(Mutex::new(()));
    let end = contest(16, move |inside| {
        let _held = mutex.lock().unwrap();
        inside();
    });
    time::sleep(TIME);
    show("mutex, each of 16", &end());

    let readers = Arc::new(RwLock::new(()));
    let lock = readers.clone();
    let end_readers = contest(12, move |inside| {
        let _held = readers.read().unwrap();
        inside();
    });
    let end_writers = contest(4, move |inside| {
        let _held = lock.write().unwrap();
        inside();
    });
    time::sleep(TIME);
    let (writers, readers) = (end_writers(), end_readers());
    show("rwlock, each of 4 writers", &writers);
    show("rwlock, each of 12 readers", &readers);
}
