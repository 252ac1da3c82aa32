//! The time of day.

use trefoil::arch::rtc;
use trefoil::prelude::*;
use trefoil::time::{NoSystemTime, SystemTime, UNIX_EPOCH};

/// 2026-01-02 03:04:05 UTC.
const BASE: u64 = 1_767_323_045;

pub fn the_date_is_that_of_the_real_time_clock() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let late = now.checked_sub(Duration::from_secs(BASE)).expect("not before the machine began");
    assert!(late < Duration::from_secs(50), "{late:?} behind the time at which the machine began");
}

pub fn the_date_goes_on_with_the_clock() {
    let (date, clock) = (SystemTime::now(), Instant::now());
    for _ in 0..5 {
        time::sleep(Duration::from_millis(20));
        let passed = date.elapsed().unwrap();
        assert!(clock.elapsed() + Duration::from_millis(1) >= passed, "the date is ahead: {passed:?}");
        assert!(passed >= Duration::from_millis(20));
    }
    let dates: Vec<JoinHandle<SystemTime>> = (0..100).map(|_| go(SystemTime::now)).collect();
    let mut last = date;
    for handle in dates {
        last = last.max(handle.join().unwrap());
    }
    assert!(SystemTime::now() >= last, "a date on one core lies before that of another");
}

pub fn many_read_the_real_time_clock_at_once() {
    // The date of boot that each reading means: they differ by the second that is not told.
    let boots = || {
        let reading = rtc::read().unwrap();
        reading.seconds * 1_000_000_000 - reading.at
    };
    let handles: Vec<_> = (0..200).map(|_| go(boots)).collect();
    let boots: Vec<u64> = handles.into_iter().map(|h| h.join().unwrap()).collect();
    let (first, last) = (boots.iter().min().unwrap(), boots.iter().max().unwrap());
    assert!(last - first < 1_100_000_000, "{} ns between two readings", last - first);
}

pub fn a_date_before_an_update_is_whole() {
    // Reads across the change of the year, of which every register is part.
    const NEW_YEAR: u64 = 1_830_297_600;
    let until = Instant::now() + Duration::from_secs(5);
    let mut begun = Instant::now();
    let mut before = rtc::read().unwrap().seconds;
    assert!((NEW_YEAR - 5..NEW_YEAR + 40).contains(&before), "{before}");
    while begun < until {
        let (next, now) = (Instant::now(), rtc::read().unwrap().seconds);
        // A host with much to do lets seconds pass between two reads.
        let passed = begun.elapsed().as_secs() + 1;
        assert!((before..=before + passed).contains(&now), "{now} after {before}, {passed} s later at most");
        (before, begun) = (now, next);
    }
    assert!(before >= NEW_YEAR);
}

pub fn a_machine_without_a_clock_says_so() {
    assert_eq!(SystemTime::try_now(), Err(NoSystemTime::Absent));
}

pub fn a_date_that_nobody_knows_panics() {
    SystemTime::now();
}

pub fn dates_count_as_in_std() {
    let second = Duration::from_secs(1);
    assert_eq!(UNIX_EPOCH + second - second, UNIX_EPOCH);
    assert_eq!((UNIX_EPOCH - second).duration_since(UNIX_EPOCH - second * 3).unwrap(), second * 2);
    assert_eq!(UNIX_EPOCH.duration_since(UNIX_EPOCH + second).unwrap_err().duration(), second);
    assert_eq!(format!("{:?}", UNIX_EPOCH + Duration::new(5, 7)), "SystemTime { tv_sec: 5, tv_nsec: 7 }");
    assert_eq!(format!("{:?}", UNIX_EPOCH - Duration::from_nanos(1)), "SystemTime { tv_sec: -1, tv_nsec: 999999999 }");
    // The ends, as on Unix.
    let last = UNIX_EPOCH + Duration::new(i64::MAX as u64, 999_999_999);
    assert_eq!(last.checked_add(Duration::from_nanos(1)), None);
    let first = UNIX_EPOCH - second * (1 << 31) * (1 << 31) - second * (1 << 31) * (1 << 30) * 2;
    assert_eq!(first.checked_sub(Duration::from_nanos(1)), None);
    assert_eq!(last.duration_since(first).unwrap(), Duration::new(u64::MAX, 999_999_999));
    assert_eq!(first.duration_since(last).unwrap_err().duration(), Duration::new(u64::MAX, 999_999_999));
    // `Duration` is `core`'s, and an `Instant` shows as the time since boot.
    assert_eq!(format!("{:?} {:.1?}", Duration::from_micros(1500), Duration::from_nanos(2_345_678)), "1.5ms 2.3ms");
    assert_eq!(format!("{:?}", Instant::from_nanos(1_500_000)), "1.5ms");
}
