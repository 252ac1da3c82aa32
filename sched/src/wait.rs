//! How a G waits for what another G does, or for a time.
//!
//! ```text
//!   list      the waiters of an object, first come first served
//!   ticket    one word in a G decides between several events
//!   sleep     timers: how they are started
//!   group     the opener of a group learns that all members have ended
//!   deaths    the undertaker tells the waiters of a G that will never come
//! ```

pub mod deaths;
pub mod group;
pub mod list;
pub mod sleep;
pub mod ticket;
