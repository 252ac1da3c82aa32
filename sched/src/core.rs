//! Which G runs next, and on which core: M, P, and everything that moves a G between them.
//!
//! ```text
//!   leave and come back   park (yield, park, ready, preempt)    leave (the next G, the switch)
//!                         enqueue (where a runnable G is put)
//!   find the next G       find (steps 1 to 7) · due (timers, the inbox) · victims, haul (thieves)
//!   rest                  rest (step 8, deadlock) · idle (the protocol, and its two words)
//!   handlers              interrupt · oneshot (when the core is interrupted next)
//!   a P's parts           p · slot (what runs next) · slice (how long)
//!   P's change hands      handoff (block_in_place) · max_procs · pin
//!   all of it             m · shared (Sched)
//!   seen from outside     trace (every decision as a record; no_trace where it is not built in)
//!   records               recycle (where they come from and go) · scan (another core looks) · drops · rounds
//! ```

pub mod drops;
pub mod due;
pub mod enqueue;
pub mod find;
pub mod handoff;
pub mod haul;
pub mod idle;
pub mod interrupt;
pub mod leave;
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
#[cfg(feature = "trace")]
pub mod trace;
#[cfg(not(feature = "trace"))]
#[path = "core/no_trace.rs"]
pub mod trace;
pub mod victims;
