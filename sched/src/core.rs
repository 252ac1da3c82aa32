//! Which G runs next, and on which core: M, P, and everything that moves a G between them.

pub mod find;
pub mod handoff;
pub mod haul;
pub mod idle;
pub mod m;
pub mod p;
pub mod park;
pub mod pin;
pub mod shared;
pub mod victims;
