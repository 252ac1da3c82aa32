//! Deaths of readers of stdin.

use core::sync::atomic::{AtomicU64, Ordering::*};

use trefoil::prelude::*;
use trefoil::sync::Mutex;

use crate::{PATIENCE, sweep};

/// Returns the number of the next whole line of the flood. Skips the rest of a line that somebody
/// else began.
fn whole_line() -> u64 {
    loop {
        let line = runtime::stdin().next().expect("the flood is too short");
        if line.len() == 63 {
            return line[..8].parse().unwrap();
        }
        assert!(line.len() < 63, "two lines are one: {line:?}");
    }
}

/// Asserts that a reader comes to its end. A panic that names the victim would do for `judge`, but
/// not here: it means that the victim's death took stdin along.
fn reads<T>(reader: JoinHandle<T>) -> T {
    let joined = reader.join_timeout(PATIENCE / 2).unwrap_or_else(|_| panic!("a reader hangs"));
    joined.unwrap_or_else(|_| panic!("stdin is lost"))
}

/// Asserts that of the lines since the last call `most` were lost or taken, or fewer.
fn goes_on(most: u64) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = reads(go(whole_line));
    let missing = number.checked_sub(LAST.swap(number, Relaxed) + 1).expect("a line came again");
    assert!(missing <= most, "{missing} lines are missing before line {number}");
}

fn a_line() {
    assert!(runtime::stdin().next().is_some(), "the flood is too short");
}

/// The next reader gets the rest: only the bytes that a dead reader has taken are lost with it.
pub fn in_stdin() {
    assert_eq!(whole_line(), 0);
    sweep("stdin, some bytes", || (), |()| assert!(runtime::stdin().read(&mut [0; 10]) > 0), |()| goes_on(1));
    sweep("stdin, a line", || (), |()| a_line(), |()| goes_on(1));
    // Others wait for their turn while the victim has it.
    sweep(
        "stdin, crowded",
        || Mutex::new((0..2).map(|_| go(a_line)).collect::<Vec<_>>()),
        |_| a_line(),
        |readers| {
            for reader in readers.lock().unwrap().drain(..) {
                reads(reader);
            }
            goes_on(3);
        },
    );
}
