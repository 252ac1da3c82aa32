//! Records how long preemption is off: the longest stretches, and where they begin and end. Only in
//! a kernel built with the feature `stretch`.
//!
//! ```text
//!   depth   0 ──▶ 1 ─────▶ 2 ──▶ 1 ─────▶ 0            begins    ends
//!                 └──────── a stretch ────┘
//!
//!   G a: preempt_off … switch │ after(a) on b's stack … preempt_on      a cut: a due timer or a wake-up that
//!   g0:  … switch │ looks at its marks │ work between G's │ switch      came before it is seen here at the latest
//! ```
//!
//! A stretch begins where the depth leaves 0, and ends where it comes back. A switch hands its
//! level over, so the depth stays 1 across it; the stretch is cut there, since another G runs from
//! then on. The stretch is also cut where g0 has looked at its P's marks (`Platform::on_g0`) and
//! where a core that rests has looked for work (`Platform::idle`). A handler that interrupts depth
//! 0 is a stretch of its own; one that interrupts depth 1 belongs to that stretch. Rest is none.
//!
//! Under `-icount shift=0` a tick is an instruction. The recorder reads the clock last where a
//! stretch begins and first where it ends. So the longest stretch has about 20 instructions of the
//! recorder's own, and each nested level adds about 30. Each core has a table of its own, written
//! by that core only. A handler that has interrupted the writer never writes: such a handler finds
//! depth 1.
//!
//! A cargo feature of this crate, and no `--cfg` for the whole build: only `trefoil` and the test
//! image are compiled again, beside the other build's files. Without it the hooks are those of
//! `stretch_off.rs`: nothing.

use core::arch::asm;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use unwinding::abi::{_Unwind_Backtrace, _Unwind_GetIP, _Unwind_GetRegionStart, UnwindContext, UnwindReasonCode};
use x86_64::instructions::interrupts;

use super::clock;
use super::percpu::{self, MAX_CORES};

/// Shorter ones are not kept.
pub const FROM: u64 = 1_000;
/// Places that a core keeps.
const PLACES: usize = 64;
/// Frames of a place.
const FRAMES: usize = 24;

/// A stretch that was the longest of its place.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// Its core.
    pub core: usize,
    /// Ticks of the time-stamp counter.
    pub ticks: u64,
    /// How many of that place were kept.
    pub times: u64,
    /// Where it began: an address, or the vector of a handler.
    pub began: u64,
    /// Where it ended, and the callers: addresses, then zeros.
    pub ended: [u64; FRAMES],
}

/// An entry of the table; free while `ticks` is 0. Written by its core, with preemption off; any
/// core reads it.
struct Place {
    ticks: AtomicU64,
    times: AtomicU64,
    began: AtomicU64,
    at: AtomicU64,
    ended: [AtomicU64; FRAMES],
}

struct Core {
    /// When the stretch began that is on its way; 0: none is. This core's.
    since: AtomicU64,
    began: AtomicU64,
    places: [Place; PLACES],
}

impl Place {
    const fn new() -> Self {
        Self {
            ticks: AtomicU64::new(0),
            times: AtomicU64::new(0),
            began: AtomicU64::new(0),
            at: AtomicU64::new(0),
            ended: [const { AtomicU64::new(0) }; FRAMES],
        }
    }
}

impl Core {
    const fn new() -> Self {
        Self { since: AtomicU64::new(0), began: AtomicU64::new(0), places: [const { Place::new() }; PLACES] }
    }
}

static CORES: [Core; MAX_CORES] = [const { Core::new() }; MAX_CORES];

fn core() -> &'static Core {
    &CORES[percpu::current().index()]
}

/// Returns the caller's own address.
#[inline(always)]
fn here() -> u64 {
    let here;
    // SAFETY: reads the instruction pointer.
    unsafe { asm!("lea {}, [rip]", out(reg) here, options(nomem, nostack, preserves_flags)) };
    here
}

/// Begins a stretch if the depth has gone from 0 to 1.
#[inline(always)]
pub fn begins() {
    begin(here());
}

/// Ends the stretch if the depth is about to go from 1 to 0.
#[inline(always)]
pub fn ends() {
    end(here());
}

/// Cuts the stretch: another G can run from here on.
#[inline(always)]
pub fn cut() {
    let here = here();
    end(here);
    begin(here);
}

#[inline(never)]
fn begin(at: u64) {
    if percpu::depth() == 1 && !percpu::in_handler() {
        start(at);
    }
}

#[inline(never)]
fn end(at: u64) {
    let now = clock::ticks();
    if percpu::depth() == 1 && !percpu::in_handler() {
        stop(now, at);
    }
}

/// Records that a handler of `vector` has begun, if it has interrupted depth 0.
#[inline(never)]
pub fn handler_begins(vector: u64) {
    if percpu::depth() == 0 {
        start(vector);
    }
}

/// Records that a handler is about to end.
#[inline(always)]
pub fn handler_ends() {
    let (now, at) = (clock::ticks(), here());
    if percpu::depth() == 0 {
        stop(now, at);
    }
}

fn start(at: u64) {
    let core = core();
    core.began.store(at, Relaxed);
    core.since.store(clock::ticks(), Relaxed);
}

#[inline(never)]
fn stop(now: u64, at: u64) {
    let core = core();
    let since = core.since.load(Relaxed);
    core.since.store(0, Relaxed);
    let ticks = now.wrapping_sub(since);
    if since != 0 && ticks >= FROM {
        // A handler would find depth 0 if this is one of the handlers' own.
        interrupts::without_interrupts(|| core.keep(ticks, at));
    }
}

impl Core {
    /// Keeps it if it is the longest of its place; a new place takes the entry of the shortest.
    #[cold]
    fn keep(&self, ticks: u64, at: u64) {
        let began = self.began.load(Relaxed);
        let same = |place: &&Place| place.began.load(Relaxed) == began && place.at.load(Relaxed) == at;
        let place = match self.places.iter().find(same) {
            Some(place) => place,
            None => {
                let Some(place) = self.places.iter().min_by_key(|place| place.ticks.load(Relaxed)) else { return };
                if place.ticks.load(Relaxed) >= ticks {
                    return;
                }
                place.times.store(0, Relaxed);
                place.ticks.store(0, Relaxed);
                place.began.store(began, Relaxed);
                place.at.store(at, Relaxed);
                place
            }
        };
        place.times.store(place.times.load(Relaxed) + 1, Relaxed);
        if place.ticks.load(Relaxed) < ticks {
            place.ticks.store(ticks, Relaxed);
            place.ended.iter().for_each(|frame| frame.store(0, Relaxed));
            callers(&place.ended);
        }
    }
}

/// Writes the addresses of who calls, from the inside.
#[inline(never)]
fn callers(into: &[AtomicU64; FRAMES]) {
    struct Walk<'a> {
        into: &'a [AtomicU64; FRAMES],
        seen: usize,
        /// Behind the frames of this module.
        outside: bool,
    }
    extern "C" fn each(context: &UnwindContext<'_>, walk: *mut c_void) -> UnwindReasonCode {
        // SAFETY: right below: a pointer to a `Walk`, which nobody else uses meanwhile.
        let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
        let at = _Unwind_GetIP(context) as u64;
        if at == 0 || walk.seen == FRAMES {
            return UnwindReasonCode::NORMAL_STOP;
        }
        let function = _Unwind_GetRegionStart(context);
        if !walk.outside || function == end as *const () as usize {
            walk.outside |= function == stop as *const () as usize;
            return UnwindReasonCode::NO_REASON;
        }
        walk.into[walk.seen].store(at - 1, Relaxed);
        walk.seen += 1;
        UnwindReasonCode::NO_REASON
    }
    let mut walk = Walk { into, seen: 0, outside: false };
    _Unwind_Backtrace(each, (&raw mut walk).cast());
}

/// Forgets all.
pub fn reset() {
    for place in CORES.iter().flat_map(|core| &core.places) {
        place.ticks.store(0, Relaxed);
        place.times.store(0, Relaxed);
        place.at.store(0, Relaxed);
    }
}

/// Returns the `n`th longest that was kept since the last [`reset`], from 0. Allocates nothing.
pub fn nth(n: usize) -> Option<Stretch> {
    let mut bound = (u64::MAX, usize::MAX);
    let mut found = None;
    for _ in 0..=n {
        let all = CORES.iter().enumerate().flat_map(|(core, it)| it.places.iter().map(move |place| (core, place)));
        let next = all
            .enumerate()
            .map(|(number, (core, place))| ((place.ticks.load(Relaxed), number), core, place))
            .filter(|(key, ..)| key.0 > 0 && *key < bound)
            .max_by_key(|(key, ..)| *key)?;
        bound = next.0;
        found = Some(next);
    }
    found.map(|((ticks, _), core, place)| Stretch {
        core,
        ticks,
        times: place.times.load(Relaxed),
        began: place.began.load(Relaxed),
        ended: core::array::from_fn(|i| place.ended[i].load(Relaxed)),
    })
}
