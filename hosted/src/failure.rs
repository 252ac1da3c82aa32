//! Why a run failed, in the words of the kernel's reports.
//!
//! ```text
//!   deadlock: all goroutines are asleep, no timer is armed
//!     G 1 "main" [join]
//!     G 2 "joe" [mutex lock], held by G 1, created at src/lib.rs:12
//!     G 3 [mutex lock], held by G 1, waits for the same object as G 2, created at src/lib.rs:15
//! ```

use core::fmt;
use core::panic::Location;
use std::time::Duration;

use trefoil_sched::internals::state::State;
use trefoil_sched::join::JoinError;
use trefoil_sched::locks::{Holder, holder};
use trefoil_sched::{GRef, Sched};

use crate::machine::Machine;

/// G's that have a line each. The others are counted, by state and creator.
const IN_FULL: usize = 20;

/// Why a run failed.
#[derive(Debug)]
pub enum Failure {
    /// Every M rested and nobody would ever have run again.
    Deadlock(Vec<Waiting>),
    /// The scheduler's rules were broken; the text says which.
    Broken(&'static str),
    /// `main` did not end in time.
    TimedOut {
        /// The [`Config::limit`](crate::Config::limit).
        limit: Duration,
        /// The G's that had not ended.
        waiting: Vec<Waiting>,
    },
    /// `main` panicked, or called `exit_g`.
    Main(JoinError),
}

/// A G that had not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub id: u64,
    /// Its name, or "".
    pub name: String,
    /// Its state, with the wait reason if it waits.
    pub state: String,
    /// The address of the object it waits for; 0 if it waits for none.
    pub object: usize,
    /// The number of the G that holds the object, in a deadlock, if the object knows it.
    pub held_by: Option<u64>,
    /// The place in the program that created it; `None` for `main`.
    pub created_at: Option<&'static Location<'static>>,
}

impl Waiting {
    pub(crate) fn of(g: GRef, machine: &Machine) -> Self {
        let (state, object) = match g.state() {
            State::Waiting => (g.wait_reason().as_str().to_owned(), g.waits_for()),
            other => (format!("{other:?}").to_lowercase(), 0),
        };
        let created_at = g.created_at().filter(|_| !machine.is_main(g));
        Self { id: g.id(), name: g.name().as_str().to_owned(), state, object, held_by: None, created_at }
    }
}

/// Enters who holds what the others wait for.
///
/// # Safety
/// 1. The G's of `waiting` that are parked stay so.
pub(crate) unsafe fn find_holders(sched: &'static Sched, waiting: &mut [Waiting]) {
    sched.for_each_g(|g| {
        let Some(waits) = waiting.iter_mut().find(|w| w.id == g.id() && g.state().is_parked()) else { return };
        // SAFETY: 1. the G is parked, and stays so by this function's own rule.
        waits.held_by = match unsafe { holder(sched, g) } {
            Some(Holder::Lives(holder)) => Some(holder.id()),
            Some(Holder::Ended(id)) => Some(id),
            Some(Holder::Died(_)) | None => None,
        };
    });
}

/// A G by number and name.
impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G {}", self.id)?;
        if !self.name.is_empty() {
            write!(f, " \"{}\"", self.name)?;
        }
        write!(f, " [{}]", self.state)?;
        match self.held_by {
            Some(id) if id == self.id => f.write_str(", which it holds itself"),
            Some(id) => write!(f, ", held by G {id}"),
            None => Ok(()),
        }
    }
}

/// The lines of G's that had not ended.
struct Lines<'a>(&'a [Waiting]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, others) = self.0.split_at(self.0.len().min(IN_FULL));
        for (i, g) in shown.iter().enumerate() {
            write!(f, "\n  {g}")?;
            if let Some(first) = shown[..i].iter().find(|other| g.object != 0 && other.object == g.object) {
                write!(f, ", waits for the same object as G {}", first.id)?;
            }
            write!(f, "{}", Created(g.created_at))?;
        }
        let mut groups: Vec<(&Waiting, usize)> = Vec::new();
        for g in others {
            match groups.iter_mut().find(|(first, _)| (&first.state, first.created_at) == (&g.state, g.created_at)) {
                Some((_, count)) => *count += 1,
                None => groups.push((g, 1)),
            }
        }
        for (like, count) in groups {
            write!(f, "\n  … and {count} more [{}]{}", like.state, Created(like.created_at))?;
        }
        Ok(())
    }
}

/// The place that created a G, if there is one.
struct Created(Option<&'static Location<'static>>);

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => write!(f, ", created at {}:{}", at.file(), at.line()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadlock(waiting) => {
                write!(f, "deadlock: all goroutines are asleep, no timer is armed{}", Lines(waiting))
            }
            Self::Broken(rule) => f.write_str(rule),
            Self::TimedOut { limit, waiting } => {
                let seconds = limit.as_secs_f64();
                write!(f, "no end after {seconds} s; these goroutines had not ended:{}", Lines(waiting))
            }
            Self::Main(error) => write!(f, "main: {error}"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Main(error) => Some(error),
            _ => None,
        }
    }
}
