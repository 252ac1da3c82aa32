//! Timers on real threads.

use std::time::Duration;

use trefoil_hosted::{Config, Failure, run};
use trefoil_sched::spawn::go;
use trefoil_sched::time::{Instant, sleep, sleep_until};

#[test]
fn who_sleeps_for_ever_is_no_deadlock() {
    let config = Config { limit: Duration::from_millis(300), ..Config::with_procs(2) };
    let result = run(config, || {
        let sleepers = [
            go(|| sleep(Duration::MAX)),
            go(|| sleep_until(Instant::NEVER)),
            go(|| sleep(Duration::from_secs(1 << 40))),
        ];
        sleepers.into_iter().for_each(|s| s.join().unwrap());
    });
    match result {
        Err(Failure::TimedOut(waiting)) => {
            assert_eq!(waiting.iter().filter(|w| w.state == "sleep").count(), 3, "{waiting:?}");
        }
        other => panic!("{other:?}"),
    }
}
