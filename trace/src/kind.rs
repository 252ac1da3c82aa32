//! The kinds of records, the places where a goroutine waits for a core, and the reasons to leave
//! one.

/// Defines an enum with a number for each variant, and the way back from the number.
macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $n:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$doc])* $variant = $n,)*
        }

        impl $name {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Returns the one with this number.
            pub const fn from_u8(n: u8) -> Option<Self> {
                match n {
                    $($n => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Returns its name in texts.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

numbered! {
    /// A kind of decision. "The G" is the goroutine whose number is in `a`. `g0` is number 0.
    Kind {
        // --- Goroutines.
        /// The G was made, by the goroutine that runs on this M. It is put at `place`. `b`: the
        /// lower half of the address of its function, and above it that of the place that created
        /// it. Its name, if it has one, follows as [`Text`](Self::Text), the creator's stack as
        /// [`Stack`](Self::Stack).
        Create = 1 "create",
        /// The core leaves the context `a` for the context `b`. `how`: a [`Why`], the reason why
        /// `a` leaves. `place`: where `b` was taken from. `n`: the lower half of the address of the
        /// object that `a` waits for. The stack of `a`, if it waits, follows as `Stack`.
        Switch = 2 "switch",
        /// The G, which waited, can run, and was put at `place`. `how`: 0 by the goroutine that
        /// runs here, 1 by a timer, 2 by an interrupt, 3 by the end of a look at its stack, 4 by
        /// other work on g0.
        Ready = 3 "ready",
        /// The G was put at `place`. `how`: a [`Why`] if it has just left a core; 0 if it was
        /// moved.
        Put = 4 "put",
        /// The ring of this P was full: its `n` oldest, and then the G, went to the global queue.
        /// `b`: the oldest of them.
        Overflow = 5 "overflow",
        /// The M took `n` goroutines of P number `b`, from `place`, and runs the G, the last of
        /// them.
        Steal = 6 "steal",
        /// The M took `n` goroutines from the global queue: the G, which it runs, and others, which
        /// went to the end of its ring. `b`: of those, so many had no room and went back.
        Share = 7 "share",
        /// The G's call of `block_in_place` begins: the M gives its P away.
        Block = 8 "block",
        /// That call ends.
        BlockEnd = 9 "block end",
        /// The G is pinned to core `n` now.
        Pin = 10 "pin",
        /// The G is not pinned any more.
        Unpin = 11 "unpin",

        // --- P's. (`p` is the P of the record.)
        /// The M holds P number `p` from now on. `how`: 0 the P was free, 1 it was handed over.
        Hold = 16 "hold",
        /// The M gives P number `p` up. `how`: 0 to rest, 1 to block in place, 2 there are to be
        /// fewer P's, 3 handed over.
        Release = 17 "release",
        /// There are to be `n` P's. There were `b`.
        Procs = 18 "procs",
        /// The 61st dispatch: the global queue goes first.
        Tick = 19 "tick",

        // --- M's.
        /// The M begins to look for other P's work.
        Spin = 24 "spin",
        /// The M ends that. `how`: 1 it found work.
        SpinEnd = 25 "spin end",
        /// The M rests until the time `b` in nanoseconds. `how`: 1 it naps, and keeps its P.
        Rest = 26 "rest",
        /// The rest is over. `how`: 1 another M has woken it.
        Rise = 27 "rise",
        /// The M was woken, and `how`: 1 has found a goroutine to run, 0 has found nothing.
        Woken = 28 "woken",
        /// The M wakes M number `a`. `how`: 1 from an interrupt handler.
        Wake = 29 "wake",
        /// The M puts a wake-up off until its P's alarm: the budget for wake-ups is used up.
        Defer = 30 "defer",
        /// An interrupt from another core came.
        IpiReceived = 31 "ipi received",
        /// The M interrupts the core of M number `a`.
        IpiSent = 32 "ipi sent",

        // --- Slices and timers.
        /// The one-shot of the core rang. `how`: bit 0 a timer is due, bit 1 the slice is over.
        Alarm = 40 "alarm",
        /// The G has run long enough, and has to make way. `how`: 1 for a due timer or an
        /// interrupt's goroutine (the shorter limit of a wake-up).
        SliceEnd = 41 "slice end",
        /// The G in this P's slot has waited too long: any thief may take it.
        Ripe = 42 "ripe",
        /// The G, in the slot, goes behind the ring: its chain's slice is over.
        ChainEnd = 43 "chain end",
        /// The one-shot is set for the time `b` in nanoseconds.
        Arm = 44 "arm",
        /// A timer is set for the time `b` in nanoseconds: that of the G, or if `a` is 0 one that
        /// calls a function.
        TimerSet = 45 "timer set",
        /// The timer for the time `b` in nanoseconds has fired; `a` as for `TimerSet`.
        TimerFired = 46 "timer fired",
        /// A timer was taken back; `a` as for `TimerSet`.
        TimerCancel = 47 "timer cancel",

        // --- Memory.
        /// The stack of the G has grown to `b` bytes.
        Grow = 56 "grow",
        /// The stack of the G has shrunk to `b` bytes.
        Shrink = 57 "shrink",
        /// The stack of the G was packed into `b` bytes.
        Pack = 58 "pack",
        /// The stack of the G was unpacked.
        Unpack = 59 "unpack",
        /// An epoch of the scavenger ends: frames that no core can see any more go back. `b`:
        /// frames.
        Epoch = 60 "epoch",
        /// The heap ran low, and asked for memory back.
        Pressure = 61 "pressure",
        /// `a` of `b` frames are free.
        Frames = 62 "frames",

        // --- The program's own.
        /// The program says something; its text follows. `a`: a task or 0.
        Log = 72 "log",
        /// A region of the program begins; its name follows. `a`: a task or 0.
        RegionBegin = 73 "region begin",
        /// The innermost open region ends.
        RegionEnd = 74 "region end",
        /// Task number `a` begins, a part of task `b`; its name follows.
        TaskBegin = 75 "task begin",
        /// Task number `a` ends.
        TaskEnd = 76 "task end",

        // --- Parts of the record before.
        /// `how` bytes of text, in `a` and `b`; `n`: 0 for the first piece of a text, then 1, 2, …
        Text = 88 "text",
        /// `how` return addresses, their lower halves, four in `a` and `b`, innermost first; `n` as
        /// for `Text`.
        Stack = 89 "stack",

        // --- The recorder's own.
        /// The recorder begins on this M.
        Begin = 96 "begin",
        /// The queues of this P as they are: `a` the goroutine in the slot, `n` goroutines in the
        /// ring, oldest first, two in each `Queued` that follows. With `p` 255: the global queue.
        Snapshot = 97 "snapshot",
        /// Two goroutines of a `Snapshot`; `b` is 0 if there is one.
        Queued = 98 "queued",
    }
}

numbered! {
    /// The place of a goroutine that can run, or is about to.
    Place {
        /// None, or on no queue.
        Nowhere = 0 "nowhere",
        /// The slot of the P (`runnext`).
        Slot = 1 "slot",
        /// The ring of the P.
        Ring = 2 "ring",
        /// The global queue.
        Global = 3 "global queue",
        /// The inbox of goroutines that an interrupt has readied.
        Inbox = 4 "inbox",
        /// The M's own queue of goroutines that are pinned to it.
        Pinned = 5 "pinned",
        /// In hand: a timer, the inbox or a thief brought it, and the M runs it next.
        Hand = 6 "hand",
        /// On its way off a core: that core will queue it.
        Marked = 7 "marked",
        /// The timers of a P.
        Timers = 8 "timers",
    }
}

/// A reason to leave a core. Below 128: to wait, by the number of the scheduler's `WaitReason`; the
/// line `reason` in META has its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Why(pub u8);

impl Why {
    /// No reason: the core was on its g0.
    pub const NONE: Self = Self(0);
    /// It yields.
    pub const YIELD: Self = Self(128);
    /// Its core was taken away.
    pub const PREEMPT: Self = Self(129);
    /// It has ended.
    pub const END: Self = Self(130);
    /// It was ended where it stood.
    pub const DEATH: Self = Self(131);

    /// Returns true if the goroutine waits for something.
    pub const fn waits(self) -> bool {
        self.0 != 0 && self.0 < 128
    }

    /// Returns true if the goroutine is gone.
    pub const fn ends(self) -> bool {
        self.0 == Self::END.0 || self.0 == Self::DEATH.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_leads_back_to_its_kind() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_u8(kind as u8), Some(kind));
        }
        for &place in Place::ALL {
            assert_eq!(Place::from_u8(place as u8), Some(place));
        }
        assert_eq!(Kind::from_u8(0), None);
    }
}
