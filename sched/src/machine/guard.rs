//! Evidence that preemption is off.
//!
//! The current M is only meaningful while the G that asks cannot be moved to another core. A
//! [`PreemptGuard`] is that fact as a value: `M::current` wants one, and every spin lock wants one.
//! The switch consumes one and returns a new one, so no reference to the old M survives it. Guards
//! nest; each is one increment of the core's depth.

use core::marker::PhantomData;

use crate::machine::platform;

/// Keeps the current G on its M while it lives. Not `Send`: a guard belongs to its core.
#[derive(Debug)]
pub struct PreemptGuard {
    _core: PhantomData<*mut ()>,
}

impl PreemptGuard {
    /// Turns preemption off (one level deeper).
    #[inline(always)]
    pub fn new() -> Self {
        platform::preempt_off();
        Self { _core: PhantomData }
    }

    /// Takes over a level that other code entered: a switch arrives with preemption off.
    ///
    /// # Safety
    /// 1. The caller owns one level of the current core's depth that no guard stands for.
    #[inline(always)]
    pub unsafe fn adopt() -> Self {
        Self { _core: PhantomData }
    }

    /// Gives the level away without leaving it: the other half of [`adopt`](Self::adopt).
    #[inline(always)]
    pub fn hand_over(self) {
        core::mem::forget(self);
    }
}

impl Default for PreemptGuard {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for PreemptGuard {
    #[inline(always)]
    fn drop(&mut self) {
        platform::preempt_on();
    }
}
