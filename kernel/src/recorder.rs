//! The recorder on this machine: memory for the rings, and the moments at which a trace is dumped.
//! Only in a kernel built with the feature `trace`; the others have `no_recorder.rs`.
//!
//! ```text
//!   scheduler ─▶ a ring of records for each M      `trefoil_sched`, `core/trace.rs`
//!                        │
//!                        ▼  dump: exit, panic, deadlock, snapshot(), a G that waited too long
//!   META, RING …, GTAB, TEND ─▶ port ─▶ the host   dump.rs, port.rs; the format: crate `trefoil-trace`
//! ```

use alloc::alloc::{Layout, alloc};
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use spin::Once;
use trefoil_boot::options::trace::{Mode as Told, Port, Trace};
use trefoil_sched::internals::recorder::Mode;
pub use trefoil_sched::internals::recorder::{BUILT, note};
use trefoil_sched::{M, PreemptGuard, Sched};
use trefoil_trace::{Kind, RECORD_BYTES};
use x86_64::instructions::interrupts;

use crate::arch::{clock, image, reporter, serial};
use crate::mm::frames;
use crate::scheduler::sched;

mod dump;
pub mod port;

/// The largest ring, unless the command line asks for more.
const MOST: usize = 16 << 20;

/// The smallest ring.
const LEAST: usize = 4 << 10;

/// All rings together take this part of the memory at most, unless the command line asks for more.
const SHARE: u64 = 4;

/// The options. Set before the first M is made, if the recorder is on.
static TOLD: Once<Trace> = Once::new();

/// The command line.
static LINE: Once<&'static [u8]> = Once::new();

/// Bytes of a ring.
static SIZE: AtomicUsize = AtomicUsize::new(0);

/// The time-stamp counter when the recorder began.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// A deadlock is being reported.
static DEADLOCK: AtomicBool = AtomicBool::new(false);

/// Tells the runner that this image has a recorder.
#[used]
#[unsafe(link_section = ".trefoil.trace")]
static MARK: u8 = 1;

/// Sets the port up if the command line turns the recorder on, or wants the port alone. Once, at
/// boot.
pub fn init(told: &Trace, line: &'static [u8], say: fn(fmt::Arguments<'_>)) {
    let is_on = told.mode.is_some();
    if !is_on && (told.size.is_some() || told.on_latency.is_some()) {
        say(format_args!("trefoil: trace: the recorder is off: trace=full or trace=flight turns it on"));
    }
    if !is_on && told.port.is_none() {
        return;
    }
    let over_serial = told.port == Some(Port::Serial);
    if port::init(over_serial) == port::Way::Lines && !over_serial {
        say(format_args!("trefoil: trace: no virtio console here: the trace goes over the serial line"));
    }
    if !is_on {
        return;
    }
    TOLD.call_once(|| *told);
    LINE.call_once(|| line);
    BEGUN.store(clock::ticks(), Ordering::Relaxed);
}

/// Turns the recorder on for the P's of `sched`, on a machine of so many cores. Before the first M
/// is made.
pub fn begin(sched: &'static Sched, cores: usize) {
    let Some(told) = TOLD.get() else { return };
    let share = (frames::stats().free * frames::FRAME / SHARE) as usize / cores.max(1);
    let size = told.size.unwrap_or(share.min(MOST)).max(LEAST);
    SIZE.store(1 << size.ilog2(), Ordering::Relaxed);
    sched.start_trace();
}

/// Gives the M of core `index` its ring, before the M starts. Without memory the M records nothing,
/// and `say` tells that.
pub fn attach(m: &M, say: fn(fmt::Arguments<'_>)) {
    let Some(told) = TOLD.get() else { return };
    let bytes = SIZE.load(Ordering::Relaxed);
    let layout = Layout::array::<[u64; 4]>(bytes / RECORD_BYTES).ok();
    // SAFETY: a ring has one record at least.
    let ring = layout.map_or(core::ptr::null_mut(), |layout| unsafe { alloc(layout) }).cast::<MaybeUninit<[u64; 4]>>();
    if ring.is_null() {
        say(format_args!(
            "trefoil: trace: no memory for {bytes} bytes of records: core {} records nothing; trace_size=SIZE takes less",
            m.index()
        ));
        return;
    }
    // SAFETY: fresh memory for that many records, which is never freed.
    let ring = unsafe { core::slice::from_raw_parts_mut(ring, bytes / RECORD_BYTES) };
    m.start_trace(ring, if told.mode == Some(Told::Flight) { Mode::Flight } else { Mode::Full });
    m.recorder().record_stacks(cfg!(frame_pointers));
    if let Some(us) = told.on_latency {
        m.recorder().set_late_after(us * 1000);
    }
}

/// Records the free frames this often, in ticks: some milliseconds.
const FRAMES_EACH: u64 = 10_000_000;

/// The tick from which on the free frames are recorded next.
static FRAMES_NEXT: AtomicU64 = AtomicU64::new(0);

/// On g0: records how many frames are free, from time to time. Dumps the trace when a G has waited
/// too long for a core, once.
#[inline(always)]
pub fn on_g0(m: &M) {
    if m.traces() {
        on_g0_cold(m);
    }
}

#[cold]
#[inline(never)]
fn on_g0_cold(m: &M) {
    let now = clock::ticks();
    if now >= FRAMES_NEXT.load(Ordering::Relaxed) {
        FRAMES_NEXT.store(now + FRAMES_EACH, Ordering::Relaxed);
        let frames = frames::stats();
        note(m, Kind::Frames, frames.free, frames.total);
    }
    if m.recorder().take_late().is_some() {
        late();
    }
}

/// Fills `addresses` with the return addresses of the code that runs here, by its frame pointers.
/// Returns how many there are: none if the program was built without frame pointers.
///
/// A chain that leaves the stack of the G that runs, or does not lead upwards, ends there: then the
/// register was used for something else.
pub fn stack_trace(m: &M, addresses: &mut [u32]) -> usize {
    let Some(stack) = m.running().map(|g| g.stack()) else { return 0 };
    let code = image::code();
    let mut frame: usize;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let mut found = 0;
    let lowest = (&raw const found).addr().max(stack.lo);
    while found < addresses.len() && frame >= lowest && frame + 16 <= stack.hi && frame.is_multiple_of(8) {
        // SAFETY: the two words lie in the stack of the G that runs, above its stack pointer. So
        // they are mapped, and nobody else writes them.
        let (next, back) = unsafe { (*(frame as *const usize), *(frame as *const usize).add(1)) };
        if !code.contains(&(back as u64)) {
            break;
        }
        addresses[found] = back as u32;
        found += 1;
        if next <= frame {
            break;
        }
        frame = next;
    }
    found
}

#[cold]
#[inline(never)]
fn late() {
    // The next ones are told by the first: they wait for this dump.
    sched().ms().for_each(|m| m.recorder().set_late_after(u64::MAX));
    if let Some(port) = port::claim(serial::put_bytes) {
        dump::dump(port, "latency");
    }
}

/// Dumps the trace as it is now, and goes on recording. Lines, if there have to be any, leave by
/// `send`. Returns false if no recorder runs, or another trace is on its way.
///
/// The records of the time that the dump takes are lost: they are counted as dropped.
pub fn snapshot(send: port::Send) -> bool {
    if TOLD.get().is_none() {
        return false;
    }
    // The goroutine stays on its core; the others run on.
    let _guard = PreemptGuard::new();
    port::claim(send).map(|port| dump::dump(port, "snapshot")).is_some()
}

/// Dumps the trace at the end of the program. The console is shut already. Stops the other cores,
/// so that counters and records belong together: the machine ends next.
pub fn at_exit() {
    if TOLD.get().is_none() {
        return;
    }
    interrupts::disable();
    if reporter::claim() {
        reporter::stop_others();
    }
    // SAFETY: 1. the other cores have been stopped. 2. the machine ends next.
    let port = unsafe { port::seize(serial::put_bytes) };
    dump::dump(port, "exit");
}

/// Returns how many records all M's have made: for tests.
#[doc(hidden)]
pub fn counted() -> u64 {
    sched().ms().map(|m| m.recorder().counted()).sum()
}

/// Notes that the report is of a deadlock.
pub fn is_deadlock() {
    DEADLOCK.store(true, Ordering::Relaxed);
}

/// Dumps the trace at the end of a report, in which no other core runs any more.
pub fn at_report() {
    if TOLD.get().is_none() {
        return;
    }
    // SAFETY: 1. the report has stopped the other cores. 2. a report ends the machine.
    let port = unsafe { port::seize(serial::put_bytes) };
    dump::dump(port, if DEADLOCK.load(Ordering::Relaxed) { "deadlock" } else { "panic" });
}
