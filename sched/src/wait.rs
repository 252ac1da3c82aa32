//! How a G waits for something that another G does. The list holds the waiters, and the ticket
//! decides between several events. There are groups of G's, and the undertaker tells waiters of a
//! death.

pub mod deaths;
pub mod group;
pub mod list;
pub mod sleep;
pub mod ticket;
