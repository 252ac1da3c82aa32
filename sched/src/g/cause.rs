//! Why a G was ended where it stood.

/// The reason for which a G was ended where it stood. Its frames are abandoned, and no destructor
/// runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Cause {
    /// The stack has used up its window.
    StackOverflow = 1,
    /// No memory was left for the stack to grow.
    OutOfMemory = 2,
    /// The G touched the stack of a G that had ended.
    DeadStack = 3,
    /// A destructor panicked while the G unwound. Its outcome is [there
    /// already](crate::spawn::came_to_panic).
    Panicked = 4,
}

impl Cause {
    /// Returns the cause as a report names it: "died of …".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StackOverflow => "stack overflow",
            Self::OutOfMemory => "lack of memory",
            Self::DeadStack => "a touch of a dead stack",
            Self::Panicked => "a panic in a destructor",
        }
    }

    /// Returns the cause with this number.
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::StackOverflow),
            2 => Some(Self::OutOfMemory),
            3 => Some(Self::DeadStack),
            4 => Some(Self::Panicked),
            _ => None,
        }
    }
}
