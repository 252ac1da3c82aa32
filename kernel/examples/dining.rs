//! The dining philosophers: five goroutines, five forks, and each needs both beside him. Each takes
//! the lower-numbered fork first, so no circle of waiters can arise. With `-- naive` each takes the
//! left fork first. All of them starve, and the machine reports who waits for what.
#![no_std]
#![no_main]

use trefoil::prelude::*;

const NAMES: [&str; 5] = ["Aristotle", "Hypatia", "Kant", "Spinoza", "Weil"];

/// How often somebody ate with it.
type Fork = Mutex<u32>;

fn dine(seat: usize, forks: &[Fork; 5], meals: u32, naive: bool) {
    let (left, right) = (seat, (seat + 1) % forks.len());
    let (first, second) = if naive { (left, right) } else { (left.min(right), left.max(right)) };
    for _ in 0..meals {
        let mut one = forks[first].lock().unwrap();
        if naive {
            time::sleep(Duration::from_millis(1)); // everybody takes his left one now
        }
        let mut other = forks[second].lock().unwrap();
        *one += 1;
        *other += 1;
        runtime::yield_now(); // eats
        drop((one, other));
        runtime::yield_now(); // thinks
    }
}

#[trefoil::main]
fn main() {
    let naive = match runtime::args().next() {
        None => false,
        Some("naive") => true,
        Some(word) => {
            println!("dining: {word}: wants nothing, or naive");
            runtime::exit(1);
        }
    };
    let meals = 200;
    let forks: Arc<[Fork; 5]> = Arc::new(Default::default());
    let seated = Arc::new(WaitGroup::new());
    for (seat, name) in NAMES.into_iter().enumerate() {
        seated.add(1);
        let (forks, seated) = (forks.clone(), seated.clone());
        let philosopher = Builder::new().name(name).spawn(move || {
            dine(seat, &forks, meals, naive);
            println!("{name} has eaten {meals} times");
            seated.done();
        });
        drop(philosopher.unwrap_or_else(|e| panic!("{name}: {e}")));
    }
    seated.wait();
    let uses: u32 = forks.iter().map(|fork| *fork.lock().unwrap()).sum();
    println!("forks were used {uses} times; nobody starved");
}
