//! The words of a run that failed.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use trefoil_hosted::{Builder, Config, Failure, run, run_test};
use trefoil_sched::chan;
use trefoil_sched::locks::Mutex;
use trefoil_sched::spawn::go;
use trefoil_sched::time::sleep;

/// Returns the lines of the failure of `main` on one M.
fn lines(config: Config, main: impl FnOnce() + Send + 'static) -> Vec<String> {
    let failure: Failure = run(config, main).expect_err("it came to its end");
    failure.to_string().lines().map(str::to_owned).collect()
}

fn one() -> Config {
    Config::with_procs(1)
}

#[test]
fn a_deadlock_names_each_goroutine_with_its_place() {
    let line = line!() + 3;
    let said = lines(one(), || {
        let (_tx, rx) = chan::bounded::<u8>(0);
        let joe = Builder::new().name("joe").spawn(move || rx.recv());
        let _ = joe.unwrap().join();
    });
    assert_eq!(said.len(), 3, "{said:#?}");
    assert_eq!(said[0], "deadlock: all goroutines are asleep, no timer is armed");
    assert!(said[1].starts_with("  G ") && said[1].ends_with(" \"main\" [join]"), "{said:#?}");
    let end = format!(" \"joe\" [chan receive], created at {}:{line}", file!());
    assert!(said[2].starts_with("  G ") && said[2].ends_with(&end), "{said:#?}");
}

#[test]
fn a_deadlock_says_who_holds_the_lock_and_who_waits_for_the_same() {
    let said = lines(one(), || {
        let mutex = Arc::new(Mutex::new(()));
        let _held = mutex.lock().unwrap();
        for name in ["ann", "bob"] {
            let mutex = mutex.clone();
            drop(Builder::new().name(name).spawn(move || drop(mutex.lock())));
        }
        let (_tx, rx) = chan::bounded::<u8>(0);
        let _ = rx.recv();
    });
    let of = |name: &str| said.iter().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{said:#?}"));
    let number = |name| of(name).split_whitespace().nth(1).unwrap();
    assert!(of("ann").contains(&format!("[mutex lock], held by G {}", number("main"))), "{said:#?}");
    assert!(of("bob").contains(&format!("[mutex lock], held by G {}", number("main"))), "{said:#?}");
    let (first, second) = if number("ann") < number("bob") { ("ann", "bob") } else { ("bob", "ann") };
    assert!(of(second).contains(&format!(", waits for the same object as G {}", number(first))), "{said:#?}");
    assert!(!of(first).contains("the same object") && !of("main").contains("held by"), "{said:#?}");
}

#[test]
fn many_goroutines_of_a_deadlock_are_grouped_by_reason_and_place() {
    let line = line!() + 4;
    let said = lines(one(), || {
        let (_tx, rx) = chan::bounded::<u8>(0);
        for rx in vec![rx; 100] {
            drop(go(move || rx.recv()));
        }
        let (_tx, rx) = chan::bounded::<u8>(0);
        let _ = rx.recv();
    });
    assert_eq!(said.len(), 22, "{said:#?}");
    assert_eq!(said[21], format!("  … and 81 more [chan receive], created at {}:{line}", file!()));
}

#[test]
fn a_run_without_an_end_lists_who_had_not_ended() {
    let limit = Duration::from_millis(300);
    let said = lines(Config { limit, ..one() }, || sleep(Duration::MAX));
    assert_eq!(said[0], "no end after 0.3 s; these goroutines had not ended:");
    assert!(said[1].ends_with(" \"main\" [sleep]"), "{said:#?}");
    let long = Failure::TimedOut { limit: Duration::from_secs(60), waiting: Vec::new() };
    assert!(long.to_string().starts_with("no end after 60 s; "));
}

#[test]
#[ignore = "fails: a scene"]
fn a_deadlock() {
    run_test(2, 60, || {
        let (_tx, rx) = chan::bounded::<u8>(0);
        let _ = rx.recv();
    });
}

#[test]
#[ignore = "fails: a scene"]
fn a_panic() {
    run_test(2, 60, || panic!("no luck"));
}

#[test]
#[ignore = "fails: a scene"]
fn an_error() {
    run_test(2, 60, || Err::<(), _>("no luck"));
}

#[test]
fn a_failed_test_says_its_seed_once() {
    for (scene, what) in [
        ("a_deadlock", "deadlock: all goroutines are asleep, no timer is armed\n  G "),
        ("a_panic", "no luck"),
        ("an_error", "no luck"),
    ] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--ignored", "--exact", scene]).env("TREFOIL_SEED", "77");
        let said = String::from_utf8_lossy(&child.output().unwrap().stdout).into_owned();
        assert!(said.contains(what), "{said}");
        assert_eq!(said.matches("TREFOIL_SEED=77 repeats the random choices of this run").count(), 1, "{said}");
        assert!(!said.contains("Waiting {"), "{said}");
    }
}
