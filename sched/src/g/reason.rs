//! The reasons for which a G waits.

/// Why a G waits. Shown in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum WaitReason {
    /// The G does not wait.
    None = 0,
    /// In `send` on a channel.
    ChanSend = 1,
    /// In `recv` on a channel.
    ChanRecv = 2,
    /// In `Mutex::lock`.
    Mutex = 3,
    /// In `WaitGroup::wait` or `ErrGroup::wait`.
    WaitGroup = 4,
    /// In `JoinHandle::join`.
    Join = 5,
    /// In `sleep`.
    Sleep = 6,
    /// In `select!` or `Select`.
    Select = 7,
    /// In `select!` without any arm: for ever.
    SelectNoCases = 8,
    /// In `RwLock::read`.
    RwLockRead = 10,
    /// In `RwLock::write`.
    RwLockWrite = 11,
    /// In `Condvar::wait`.
    Condvar = 12,
    /// While another G initialises a `Once`, `OnceLock` or `LazyLock`.
    Once = 13,
    /// In `Semaphore::acquire`, or in `ErrGroup::go` at the group's limit.
    Semaphore = 14,
    /// In `Barrier::wait`.
    Barrier = 15,
    /// At the end of a `scope`.
    Scope = 20,
    /// For what comes from outside, as in `stdin`.
    Input = 32,
    /// For room in what leaves for the console.
    Output = 33,
    /// In `block_on`.
    Task = 21,
}

impl WaitReason {
    /// Go's words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "not waiting",
            Self::ChanSend => "chan send",
            Self::ChanRecv => "chan receive",
            Self::Mutex => "mutex lock",
            Self::WaitGroup => "waitgroup wait",
            Self::Join => "join",
            Self::Sleep => "sleep",
            Self::Select => "select",
            Self::SelectNoCases => "select (no cases)",
            Self::RwLockRead => "rwlock read",
            Self::RwLockWrite => "rwlock write",
            Self::Condvar => "condvar wait",
            Self::Once => "once",
            Self::Semaphore => "semaphore acquire",
            Self::Barrier => "barrier wait",
            Self::Scope => "scope end",
            Self::Input => "input",
            Self::Output => "console output",
            Self::Task => "future",
        }
    }

    /// Returns the reason with this number; `None` for a number that is none.
    pub fn from_u8(n: u8) -> Self {
        match n {
            1 => Self::ChanSend,
            2 => Self::ChanRecv,
            3 => Self::Mutex,
            4 => Self::WaitGroup,
            5 => Self::Join,
            6 => Self::Sleep,
            7 => Self::Select,
            8 => Self::SelectNoCases,
            10 => Self::RwLockRead,
            11 => Self::RwLockWrite,
            12 => Self::Condvar,
            13 => Self::Once,
            14 => Self::Semaphore,
            15 => Self::Barrier,
            20 => Self::Scope,
            32 => Self::Input,
            33 => Self::Output,
            21 => Self::Task,
            _ => Self::None,
        }
    }
}
