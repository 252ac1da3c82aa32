//! The parts of the tool for this repository.
//!
//! As a library, so that the tests of the source and of the figures use the same code.

pub mod book;
pub mod compare;
pub mod figures;
pub mod go;
pub mod markers;
pub mod pictures;
pub mod sample;
pub mod tidy;
pub mod walk;

/// The verbs.
pub const USAGE: &str = "usage: xtask sample FILE [WORDS…] | compare-programs | figures [FILE] | pictures | book | \
                         setup-go | walk [TEXT] | tidy [--all|--ratchet|--invariants|--paths]";
