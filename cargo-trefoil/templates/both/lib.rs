//! The work, with its unit tests. Under test it is compiled for the host: `trefoil` is then a
//! scheduler on std threads, with the same names.
#![cfg_attr(not(test), no_std)]

#[cfg(test)]
extern crate trefoil_hosted as trefoil;
#[cfg(not(test))]
extern crate trefoil_kernel as trefoil;

use trefoil::prelude::*;

/// Adds the squares from 1 to `n`, a goroutine for each.
pub fn sum_of_squares(n: u64) -> u64 {
    let squares: Vec<_> = (1..=n).map(|n| go(move || n * n)).collect();
    squares.into_iter().map(|h| h.join().unwrap()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[trefoil::test]
    fn squares_are_added() {
        assert_eq!(sum_of_squares(0), 0);
        assert_eq!(sum_of_squares(5), 55);
    }
}
