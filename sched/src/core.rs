//! Which G runs next, and on which core: M, P, and everything that moves a G between them.

pub mod drops;
pub mod due;
pub mod enqueue;
pub mod find;
pub mod handoff;
pub mod haul;
pub mod idle;
pub mod interrupt;
pub mod m;
pub mod max_procs;
pub mod oneshot;
pub mod p;
pub mod park;
pub mod pin;
pub mod recycle;
pub mod rest;
pub mod rounds;
pub mod scan;
pub mod shared;
pub mod slice;
pub mod slot;
pub mod victims;
