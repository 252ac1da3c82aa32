//! The parts of `cargo trefoil`, the command that makes, boots, tests and debugs Trefoil programs.
//!
//! The command is one program in two roles. A person types `cargo trefoil VERB`; most verbs call
//! cargo to build. Cargo then calls the same program as its runner: it boots Trefoil images in QEMU
//! and executes other programs as they are.
//!
//! | module | its idea |
//! |---|---|
//! | [`cli`] | the verbs and their options |
//! | [`options`] | the machine's options, from the command line and the environment |
//! | [`qemu`] | a machine as a QEMU command line |
//! | [`words`] | words with spaces on a kernel command line |
//! | [`run`] | one machine from start to end |
//! | [`boots`] | the boots of a test image |
//! | `terminal` | a terminal is raw while a machine reads it, and never afterwards |
//! | `serial` | the serial line on its way to a person |
//! | `traces` | backtraces with names, folded |
//! | [`debug`] | a machine under gdb, which is shown goroutines |
//! | [`doctor`] | a program's folder is searched for mistakes |
//! | [`trace_port`], [`trace_verb`] | a run is recorded, and its trace collected |
//! | [`trace`] | a recorded run, read and told |
//! | [`go`] | a recorded run for Go's tools |
//! | [`html`] | a recorded run as one HTML page |
//! | [`perfetto`] | a recorded run as a trace for Perfetto |
//! | [`recording`] | the recorded machine and the replayed one are the same |

pub mod boots;
pub mod cargo;
pub mod cli;
pub mod debug;
pub mod doctor;
pub mod elf;
mod feed;
pub mod go;
pub mod html;
mod interrupt;
pub mod new;
pub mod options;
pub mod perfetto;
pub mod qemu;
pub mod recording;
pub mod run;
pub mod selection;
mod serial;
pub mod symbols;
mod terminal;
pub mod trace;
pub mod trace_port;
pub mod trace_verb;
mod traces;
pub mod words;
