//! The operations, a row each.

mod channels;
mod goroutines;
mod locks;
mod machine;

pub use channels::*;
pub use goroutines::*;
pub use locks::*;
pub use machine::*;
use trefoil::prelude::*;

fn contend(n: usize, f: impl Fn() + Send + Sync + 'static) {
    let f = Arc::new(f);
    let all: Vec<_> = (0..n)
        .map(|_| {
            let f = f.clone();
            go(move || (0..20).for_each(|_| f()))
        })
        .collect();
    all.into_iter().for_each(|g| g.join().unwrap());
}
