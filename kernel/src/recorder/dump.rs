//! A dump writes the records of all rings to the port, as a trace file.
//!
//! The owner of the port dumps, so there is one dump at a time. First it closes all recorders. From
//! then on the rings stay as they are, but for a record that a core is just writing. The dump has
//! zeros in place of such a record, and of a number that has no record. So the length of a section
//! is known before its first byte, although other cores run.
//!
//! A report dumps as well, on a machine that stands still, with any lock held by anyone. So this
//! takes no lock and allocates nothing.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

use trefoil_sched::internals::recorder::Recorder;
use trefoil_sched::internals::state::State;
use trefoil_sched::{G, WaitReason};
use trefoil_trace::{MAGIC, RECORD_BYTES, ROW_BYTES, Row, head, tag};

use super::port::Port;
use super::{BEGUN, LINE, TOLD};
use crate::arch::{clock, image};
use crate::scheduler::{CPUS, sched};

/// Room for the lines of META: 64 M's with all their counters take 14 KiB.
const META: usize = 32 << 10;

/// The lines of META. Belongs to the owner of the port.
struct Lines(UnsafeCell<Text>);

// SAFETY: only `dump` touches it, and the owner of the port is alone in there.
unsafe impl Sync for Lines {}

static LINES: Lines = Lines(UnsafeCell::new(Text { bytes: [0; META], len: 0 }));

/// A text of limited length; its rest is cut off.
struct Text {
    bytes: [u8; META],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let n = s.len().min(META - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// The bytes on their way.
struct Out {
    port: Port,
    written: u64,
}

impl Out {
    fn write(&mut self, bytes: &[u8]) {
        self.port.write(bytes);
        self.written += bytes.len() as u64;
    }

    fn section(&mut self, tag: [u8; 4], index: usize, length: u64) {
        self.write(&head(tag, index as u32, length));
    }
}

/// Writes a trace file to the port, for this `cause`.
pub fn dump(port: Port, cause: &str) {
    let mut out = Out { port, written: 0 };
    let counted: [u64; 64] = {
        let mut counted = [0; 64];
        sched().ms().for_each(|m| counted[m.index()] = m.recorder().close());
        counted
    };
    out.write(&MAGIC);
    // SAFETY: `out` owns the port, so nobody else is here.
    let lines = unsafe { &mut *LINES.0.get() };
    lines.len = 0;
    // A `Text` takes everything.
    let _ = describe(lines, cause, &counted);
    out.section(tag::META, 0, lines.len as u64);
    out.write(&lines.bytes[..lines.len]);
    for m in sched().ms() {
        ring(&mut out, m.index(), m.recorder(), counted[m.index()]);
    }
    goroutines(&mut out);
    let before = out.written;
    out.section(tag::TEND, 0, 8);
    out.write(&before.to_le_bytes());
    out.port.finish();
    sched().ms().for_each(|m| m.recorder().open(counted[m.index()]));
}

/// Writes the records of one M.
fn ring(out: &mut Out, index: usize, recorder: &Recorder, counted: u64) {
    let kept = recorder.kept(counted);
    out.section(tag::RING, index, 8 + (kept.end - kept.start) * RECORD_BYTES as u64);
    out.write(&kept.start.to_le_bytes());
    for number in kept {
        recorder.get(number).unwrap_or([0; 4]).iter().for_each(|word| out.write(&word.to_le_bytes()));
    }
}

/// Writes the table of goroutines.
fn goroutines(out: &mut Out) {
    let mut count = 0u64;
    sched().for_each_g(|g| count += u64::from(row(g).is_some()));
    out.section(tag::GTAB, 0, count * ROW_BYTES as u64);
    // Goroutines may come and go meanwhile.
    sched().for_each_g(|g| {
        if count > 0
            && let Some(row) = row(g)
        {
            out.write(&row.to_bytes());
            count -= 1;
        }
    });
    (0..count).for_each(|_| out.write(&[0; ROW_BYTES]));
}

fn row(g: &G) -> Option<Row> {
    let state = match g.state() {
        State::Idle | State::Dead => return None,
        State::Runnable | State::ParkingReady | State::ScanReady => 1,
        State::Running => 2,
        State::Parking | State::Waiting | State::Cold | State::Scan => 4,
    };
    let mut name = [0; 32];
    let text = g.name();
    let bytes = text.as_str().as_bytes();
    name[..bytes.len().min(31)].copy_from_slice(&bytes[..bytes.len().min(31)]);
    let low = g.stack_low.load(Ordering::Relaxed);
    Some(Row {
        id: g.id(),
        state,
        why: if state == 4 { g.wait_reason() as u8 } else { 0 },
        object: if state == 4 { g.waits_for() as u32 } else { 0 },
        entry: g.entry_low(),
        created_at: g.created_low(),
        stack: g.stack().hi.saturating_sub(low).min(g.stack().size()) as u32,
        name,
    })
}

/// Writes the lines of META.
fn describe(out: &mut Text, cause: &str, counted: &[u64; 64]) -> fmt::Result {
    let flight = TOLD.get().is_some_and(|told| told.mode == Some(trefoil_boot::options::trace::Mode::Flight));
    writeln!(out, "mode {}", if flight { "flight" } else { "full" })?;
    writeln!(out, "cause {cause}")?;
    writeln!(out, "cores {}", CPUS.load(Ordering::Relaxed))?;
    writeln!(out, "procs {}", sched().num_ps())?;
    writeln!(out, "seed {}", sched().seed())?;
    clock::describe(out)?;
    writeln!(out, "begin {}", BEGUN.load(Ordering::Relaxed))?;
    writeln!(out, "now {}", clock::ticks())?;
    writeln!(out, "image {:#x}", image::code().start)?;
    for n in 1..128 {
        let reason = WaitReason::from_u8(n);
        if reason != WaitReason::None {
            writeln!(out, "reason {n} {}", reason.as_str())?;
        }
    }
    for m in sched().ms() {
        let (s, recorder) = (m.stats(), m.recorder());
        write!(out, "m {} counted {} capacity {}", m.index(), counted[m.index()], recorder.capacity())?;
        write!(out, " runs {} steals {} hauls {} parks {}", s.runs, s.steals, s.hauls, s.parks)?;
        write!(out, " wakes_sent {} wakes_received {}", s.wakes_sent, s.wakes_received)?;
        write!(out, " wakes_useless {} preemptions {}", s.wakes_useless, s.preemptions)?;
        writeln!(out, " timer_interrupts {} idle_ns {} up_ns {}", s.timer_interrupts, s.idle_ns, s.up_ns)?;
    }
    let ready = sched().latency_ready();
    for (i, n) in ready.counts().enumerate().filter(|&(_, n)| n > 0) {
        writeln!(out, "ready {i} {n}")?;
    }
    let line = LINE.get().copied().unwrap_or(&[]);
    let words = line.split(|&byte| byte == 0).filter_map(|word| core::str::from_utf8(word).ok());
    words.filter(|word| !word.is_empty()).try_for_each(|word| writeln!(out, "option {word}"))
}
