//! Evidence that preemption is off.
//!
//! The current M is only meaningful while the G that asks cannot be moved to another core. A
//! [`PreemptGuard`] is that fact as a value: `M::current` wants one, every spin lock wants one, and
//! the switch consumes one and returns a new one, so that no reference to the old M survives it.
//! Guards nest; each is one increment of the core's depth.

use core::marker::PhantomData;

use crate::platform;

/// While it lives, the current G stays on its M. Not `Send`: it belongs to this core.
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

    /// Takes over a level that somebody else entered: a switch arrives with preemption off.
    ///
    /// # Safety
    /// 1. The caller owns one level of the current core's depth that no guard stands for.
    #[inline(always)]
    pub unsafe fn adopt() -> Self {
        Self { _core: PhantomData }
    }

    /// Gives the level away without leaving it: the other half of [`adopt`](Self::adopt).
    #[inline(always)]
    pub fn release(self) {
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
