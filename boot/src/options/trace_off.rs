//! In the place of `trace.rs` in an image without a recorder: the recorder's keys are unknown.

/// No options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trace;

impl Trace {
    #[inline(always)]
    pub(super) fn set(&mut self, _key: &[u8], _value: &[u8]) -> Option<Option<&'static str>> {
        None
    }
}
