//! How a G waits for something that another G does: the list of waiters, the ticket that decides
//! between several events, groups of G's, and the undertaker, who tells waiters of a death.

pub mod deaths;
pub mod group;
pub mod list;
pub mod sleep;
pub mod ticket;
