//! Stacks for events, in names of functions.
//!
//! ```text
//!   recorded    park, recv, Iterator::for_each, app::worker, app::main::{closure}, run, shell
//!   written           recv,                     app::worker, app::main::{closure}
//! ```
//!
//! The program's frames stay, and of Trefoil's the call that the program made. The outermost frame
//! is the goroutine's function, because Go's tools name a goroutine by it.
//!
//! A goroutine of the runtime goes by its own name, so the program's first is `main`. A closure
//! stands at the place that creates the goroutine.
//!
//! A stack that was not recorded has two frames: one for what the goroutine did, whose function is
//! that reason, and the goroutine's function.

use std::collections::HashMap;

use crate::trace::Trace;
use crate::trace::names::Code;
use crate::traces;

use super::encode::{Encoder, Frame, Stack};
use super::plain::plain;

/// The function of g0, which belongs to no goroutine.
const SYSTEM: &str = "g0";

/// Makes stacks, each once.
#[derive(Debug)]
pub struct Frames<'a> {
    trace: &'a Trace,
    /// The function of each goroutine, by its place in `functions`.
    entries: HashMap<u64, usize>,
    /// The first has no frame: it is that of g0, and of a goroutine that is not known.
    functions: Vec<Option<Frame>>,
    places: HashMap<Born, usize>,
    stacks: HashMap<Key, Stack>,
}

/// The origin of a goroutine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Born {
    /// The lower half of the address of its function.
    pub entry: u32,
    /// The lower half of the address of the place that created it.
    pub created_at: u32,
}

/// The source of a stack; the last part is the goroutine's function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Recorded(Box<[u32]>, usize),
    Reason(String, usize),
    Place(u32, usize),
    Entry(usize),
}

impl<'a> Frames<'a> {
    /// Creates the stacks of a trace, whose goroutines are not known yet.
    pub fn new(trace: &'a Trace) -> Self {
        let (entries, places, stacks) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { trace, entries, functions: vec![None], places, stacks }
    }

    /// Notes the function of a goroutine. Returns true if the goroutine goes by its own name.
    pub fn born(&mut self, goroutine: u64, born: Born, name: &str) -> bool {
        let is_named = !name.is_empty() && self.is_runtimes(born.entry);
        let known = self.places.get(&born).filter(|_| !is_named).copied();
        let place = known.unwrap_or_else(|| {
            let mut frame = self.function(born);
            if let Some(frame) = frame.as_mut().filter(|_| is_named) {
                frame.function = name.into();
            }
            self.functions.push(frame);
            self.functions.len() - 1
        });
        if !is_named {
            self.places.insert(born, place);
        }
        self.entries.insert(goroutine, place);
        is_named
    }

    /// Returns true if the function is no program's, nor a shell around one.
    fn is_runtimes(&self, entry: u32) -> bool {
        let function = self.trace.entry(entry);
        !self.trace.code(entry).is_empty() && is_runtime(&Code { function, ..Code::default() })
    }

    /// Returns the frame of a goroutine's function.
    fn function(&self, born: Born) -> Option<Frame> {
        if born.entry == 0 {
            return None;
        }
        let function = plain(&self.trace.entry(born.entry));
        let code = self.trace.code(born.entry).last();
        let place = self.trace.place(born.created_at).filter(|_| function.ends_with('}'));
        let (file, line) = match (code, place) {
            (Some(code), _) if plain(&code.function) == function => (code.file.clone(), code.line),
            (_, Some(place)) => (place.file.clone(), place.line),
            _ => (String::new(), 0),
        };
        Some(Frame { function, file, line })
    }

    /// Returns the stack with which a goroutine begins.
    pub fn entry(&mut self, encoder: &mut Encoder, goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Entry(entry), |_, outer| outer.into_iter().collect())
    }

    /// Returns a recorded stack of a goroutine; 0 is g0.
    pub fn stack(&mut self, encoder: &mut Encoder, addresses: &[u32], goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Recorded(addresses.into(), entry), |trace, outer| {
            let codes: Vec<&Code> = addresses.iter().flat_map(|&address| trace.code(address)).collect();
            folded(&codes, outer)
        })
    }

    /// Returns a stack of a goroutine that was not recorded. `reason` stands for the inner frame.
    pub fn pseudo(&mut self, encoder: &mut Encoder, reason: &str, goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Reason(reason.into(), entry), |_, outer| {
            let inner = Frame { function: reason.into(), ..Frame::default() };
            std::iter::once(inner).chain(outer).collect()
        })
    }

    /// Returns the stack of a goroutine that calls from a place in the source, of which `place` is
    /// the lower half of the address.
    pub fn place(&mut self, encoder: &mut Encoder, place: u32, goroutine: u64) -> Stack {
        let entry = self.function_of(goroutine);
        self.once(encoder, Key::Place(place, entry), |trace, outer| {
            let Some(place) = trace.place(place) else { return outer.into_iter().collect() };
            let function = Some(plain(&place.function)).filter(|name| !name.is_empty());
            let function = function.or_else(|| Some(outer.as_ref()?.function.clone())).unwrap_or_else(|| SYSTEM.into());
            let inner = Frame { function, file: place.file.clone(), line: place.line };
            let outer = outer.filter(|outer| outer.function != inner.function);
            std::iter::once(inner).chain(outer).collect()
        })
    }

    /// Returns the place of the goroutine's function, or 0.
    fn function_of(&self, goroutine: u64) -> usize {
        self.entries.get(&goroutine).copied().unwrap_or(0)
    }

    fn once(
        &mut self,
        encoder: &mut Encoder,
        key: Key,
        make: impl FnOnce(&Trace, Option<Frame>) -> Vec<Frame>,
    ) -> Stack {
        if let Some(&stack) = self.stacks.get(&key) {
            return stack;
        }
        let (Key::Recorded(_, entry) | Key::Reason(_, entry) | Key::Place(_, entry) | Key::Entry(entry)) = &key;
        let stack = encoder.stack(&make(self.trace, self.functions[*entry].clone()));
        self.stacks.insert(key, stack);
        stack
    }
}

/// Returns the frames of a recorded stack that a person wants to see.
fn folded(codes: &[&Code], outermost: Option<Frame>) -> Vec<Frame> {
    let frame = |code: &&Code| Frame { function: plain(&code.function), file: code.file.clone(), line: code.line };
    let all: Vec<Frame> = codes.iter().map(frame).collect();
    // The runtime's frames outside of the goroutine's function.
    let own = outermost.as_ref().and_then(|outer| all.iter().rposition(|frame| frame.function == outer.function));
    let end = own.map_or(all.len(), |own| own + 1);
    let mut frames: Vec<Frame> = match codes[..end].iter().position(|code| !is_runtime(code)) {
        Some(first) => {
            let call = all[..first].iter().rfind(|frame| is_trefoils(frame));
            let programs = (first..end).filter(|&at| !is_runtime(codes[at]) || Some(at) == own).map(|at| &all[at]);
            call.into_iter().chain(programs).cloned().collect()
        }
        None => all[..end].to_vec(),
    };
    if own.is_none() {
        frames.extend(outermost);
    }
    frames
}

/// Returns true if Trefoil has the function's source. Rust's library has that of some methods.
fn is_trefoils(frame: &Frame) -> bool {
    let is_rusts = ["core/", "alloc/", "std/"].iter().any(|start| frame.file.starts_with(start));
    frame.function.starts_with("trefoil") && !is_rusts
}

fn is_runtime(code: &Code) -> bool {
    let at = Some((code.file.clone(), code.line)).filter(|(file, _)| !file.is_empty());
    traces::is_runtime(&crate::symbols::Code { name: code.function.clone(), at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use trefoil_trace::{head, tag};

    fn functions(codes: &[&str], outermost: Option<&str>) -> Vec<String> {
        let code = |name: &&str| Code { function: (*name).into(), file: "src/main.rs".into(), line: 1 };
        let codes: Vec<Code> = codes.iter().map(code).collect();
        let outermost = outermost.map(|name| Frame { function: name.into(), ..Frame::default() });
        folded(&codes.iter().collect::<Vec<_>>(), outermost).into_iter().map(|frame| frame.function).collect()
    }

    /// A trace without records, with these names of addresses.
    fn named(names: &str) -> Trace {
        let mut file = trefoil_trace::MAGIC.to_vec();
        for (tag, payload) in [(tag::META, "image 0x8000000080000000"), (tag::SYMS, names)] {
            file.extend(head(tag, 0, payload.len() as u64));
            file.extend(payload.as_bytes());
        }
        let bytes = file.len() as u64;
        file.extend(head(tag::TEND, 0, 8));
        file.extend(bytes.to_le_bytes());
        Trace::parse(&file).unwrap()
    }

    #[test]
    fn a_goroutine_is_named_by_its_function_or_if_that_is_the_runtimes_by_itself() {
        let shell = "trefoil_sched::api::spawn::start::run::<app::main::{closure#0}, ()>";
        let trace = named(&format!(
            "8000000080000010\t{shell}\tsched/start.rs\t7\n\
             8000000080000020\ttrefoil::start::run_main\tkernel/start.rs\t8\n\
             8000000080000030\tapp::worker\tsrc/main.rs\t9\n\
             @8000000080000040\tsrc/main.rs\t5\t1\tapp::main\n"
        ));
        let mut frames = Frames::new(&trace);
        let mut name = |entry, name| {
            let is_named = frames.born(1, Born { entry, created_at: 0x8000_0040 }, name);
            let Frame { function, file, line } = frames.functions[frames.entries[&1]].clone().unwrap();
            (function, format!("{file}:{line}"), is_named)
        };
        assert_eq!(name(0x8000_0010, "a name"), ("app::main::{closure#0}".into(), "src/main.rs:5".into(), false));
        assert_eq!(name(0x8000_0020, "main"), ("main".into(), "kernel/start.rs:8".into(), true));
        assert_eq!(name(0x8000_0030, ""), ("app::worker".into(), "src/main.rs:9".into(), false));
    }

    #[test]
    fn the_runtimes_frames_around_the_program_are_left_out() {
        let recorded = [
            "trefoil_sched::park",
            "<trefoil::Receiver<app::Line>>::recv",
            "<core::iter::Map<app::Line, ()> as core::iter::Iterator>::for_each::<app::worker::{closure#0}>",
            "app::worker::<u8>",
            "<alloc::vec::Vec<app::Line>>::retain",
            "app::main::{closure#0}",
            "trefoil_sched::run",
        ];
        let wanted = ["trefoil::Receiver::recv", "app::worker", "app::main::{closure#0}"];
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
