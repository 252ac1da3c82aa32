//! Stacks for events, in names of functions.
//!
//! ```text
//!   recorded    park, <closure>, recv, app::worker, app::main::{closure}, run, shell
//!   written                      recv, app::worker, app::main::{closure}
//! ```
//!
//! Of the runtime's innermost frames, only the call that the program made stays. The outermost
//! frame is the goroutine's function, because Go's tools name a goroutine by it. The frames around
//! it, which belong to the runtime, are left out.
//!
//! A stack that was not recorded has two frames: one for what the goroutine did, whose function is
//! that reason, and the goroutine's function.

use std::collections::HashMap;

use crate::trace::Trace;
use crate::trace::names::Code;
use crate::traces;

use super::encode::{Encoder, Frame, Stack};

/// The function of g0, which belongs to no goroutine.
const SYSTEM: &str = "g0";

/// Makes stacks, each once.
#[derive(Debug)]
pub struct Frames<'a> {
    trace: &'a Trace,
    /// The lower half of the address of each goroutine's function.
    entries: HashMap<u64, u32>,
    stacks: HashMap<Key, Stack>,
}

/// The source of a stack; the last part is the goroutine's function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Recorded(Box<[u32]>, u32),
    Reason(String, u32),
    Place(u32, u32),
    Entry(u32),
}

impl<'a> Frames<'a> {
    /// Creates the stacks of a trace.
    pub fn new(trace: &'a Trace) -> Self {
        let entries = trace.rows.iter().map(|row| (row.id, row.entry)).collect();
        Self { trace, entries, stacks: HashMap::new() }
    }

    /// Notes the function of a goroutine.
    pub fn born(&mut self, goroutine: u64, entry: u32) {
        self.entries.insert(goroutine, entry);
    }

    /// Returns the stack with which a goroutine begins.
    pub fn entry(&mut self, encoder: &mut Encoder, goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Entry(entry), |trace| outermost(trace, entry).into_iter().collect())
    }

    /// Returns a recorded stack of a goroutine; 0 is g0.
    pub fn stack(&mut self, encoder: &mut Encoder, addresses: &[u32], goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Recorded(addresses.into(), entry), |trace| {
            let codes: Vec<&Code> = addresses.iter().flat_map(|&address| trace.code(address)).collect();
            folded(&codes, outermost(trace, entry))
        })
    }

    /// Returns a stack of a goroutine that was not recorded. `reason` stands for the inner frame.
    pub fn pseudo(&mut self, encoder: &mut Encoder, reason: &str, goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Reason(reason.into(), entry), |trace| {
            let inner = Frame { function: reason.into(), ..Frame::default() };
            std::iter::once(inner).chain(outermost(trace, entry)).collect()
        })
    }

    /// Returns the stack of a goroutine that calls from a place in the source, of which `place` is
    /// the lower half of the address.
    pub fn place(&mut self, encoder: &mut Encoder, place: u32, goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Place(place, entry), |trace| {
            let outer = outermost(trace, entry);
            let Some(place) = trace.place(place) else { return outer.into_iter().collect() };
            let function = Some(&place.function).filter(|name| !name.is_empty()).cloned();
            let function = function.or_else(|| Some(outer.as_ref()?.function.clone())).unwrap_or_else(|| SYSTEM.into());
            let inner = Frame { function, file: place.file.clone(), line: place.line };
            let outer = outer.filter(|outer| outer.function != inner.function);
            std::iter::once(inner).chain(outer).collect()
        })
    }

    /// Returns the lower half of the address of the goroutine's function, or 0.
    fn function_of(&self, goroutine: u64) -> u32 {
        self.entries.get(&goroutine).copied().unwrap_or(0)
    }

    fn once(&mut self, encoder: &mut Encoder, key: Key, make: impl FnOnce(&Trace) -> Vec<Frame>) -> Stack {
        if let Some(&stack) = self.stacks.get(&key) {
            return stack;
        }
        let stack = encoder.stack(&make(self.trace));
        self.stacks.insert(key, stack);
        stack
    }
}

/// Returns the frame of a goroutine's function.
fn outermost(trace: &Trace, entry: u32) -> Option<Frame> {
    if entry == 0 {
        return None;
    }
    let function = trace.entry(entry);
    let code = trace.code(entry).last();
    let (file, line) = code.map_or((String::new(), 0), |code| (code.file.clone(), code.line));
    Some(Frame { function, file, line })
}

/// Returns the frames of a recorded stack that a person wants to see.
fn folded(codes: &[&Code], outermost: Option<Frame>) -> Vec<Frame> {
    // The runtime's frames outside of the goroutine's function.
    let own = outermost.as_ref().and_then(|frame| codes.iter().rposition(|code| code.function == frame.function));
    let is_program = |code: &&Code| !is_runtime(code);
    let end = own.or_else(|| codes.iter().rposition(is_program)).map_or(codes.len(), |last| last + 1);
    // The runtime's frames inside of the program's call.
    let begin = codes[..end].iter().position(is_program).map_or(0, |first| first.saturating_sub(1));
    let frames = codes[begin..end].iter();
    let frame = |code: &&Code| Frame { function: code.function.clone(), file: code.file.clone(), line: code.line };
    let mut frames: Vec<Frame> = frames.map(frame).collect();
    if own.is_none() {
        frames.extend(outermost);
    }
    frames
}

fn is_runtime(code: &Code) -> bool {
    let at = Some((code.file.clone(), code.line)).filter(|(file, _)| !file.is_empty());
    traces::is_runtime(&crate::symbols::Code { name: code.function.clone(), at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(codes: &[&str], outermost: Option<&str>) -> Vec<String> {
        let code = |name: &&str| Code { function: (*name).into(), file: "src/main.rs".into(), line: 1 };
        let codes: Vec<Code> = codes.iter().map(code).collect();
        let outermost = outermost.map(|name| Frame { function: name.into(), ..Frame::default() });
        folded(&codes.iter().collect::<Vec<_>>(), outermost).into_iter().map(|frame| frame.function).collect()
    }

    #[test]
    fn the_runtimes_frames_around_the_program_are_left_out() {
        let recorded =
            ["trefoil_sched::park", "trefoil::recv", "app::worker", "app::main::{closure#0}", "trefoil_sched::run"];
        let wanted = ["trefoil::recv", "app::worker", "app::main::{closure#0}"];
        assert_eq!(functions(&recorded, Some("app::main::{closure#0}")), wanted);
        assert_eq!(functions(&recorded, None), wanted);
    }

    #[test]
    fn a_goroutines_function_is_outermost_even_if_it_was_inlined() {
        let recorded = ["trefoil::recv", "app::worker"];
        assert_eq!(functions(&recorded, Some("app::main")), ["trefoil::recv", "app::worker", "app::main"]);
        assert_eq!(functions(&[], Some("app::main")), ["app::main"]);
    }

    #[test]
    fn a_stack_of_the_runtime_alone_stays() {
        assert_eq!(functions(&["trefoil::recv", "trefoil_sched::run"], None), ["trefoil::recv", "trefoil_sched::run"]);
    }
}
