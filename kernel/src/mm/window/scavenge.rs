//! Giving memory back: pages that a parked G's stack does not need, stacks that stay parked, windows that nobody lives on.
//!
//! ```text
//!   one round    collect   pages → limbo      from: ended G's windows · warm free G's nobody wants · parked G's (under Scan)
//!                begin     an epoch           tables that the last round has left without pages → limbo, too
//!                … everybody passes …         rounds are never waited for: the next call looks whether it is over
//!                finish    limbo → empty, or packed; frames go back
//!   one pass     as many rounds as it takes to look at every G record once
//! ```
//!
//! Passes come with three degrees of urgency. *Idle*: one every [`PERIOD`], as long as anybody has parked since the last one. It shrinks what is
//! parked, packs what was parked through the whole period (Cold, see `gstate.rs`), and strips free windows beyond a few. *Pressed*: free memory has fallen below a
//! watermark: nothing counts as too recent, and rounds follow one another. *Forced*: somebody asks for everything ([`run`]): `runtime::scavenge()`, or a spawn
//! that found no memory.
//!
//! It runs on g0 between two G's, a bounded piece at a time ([`LOOKS`] records), on whichever core finds the lock free; and in forced passes on the caller's
//! stack. There is one round at a time on the whole machine, so only one core takes pages to limbo (see `entry.rs`).
//!
//! **The hard race** is a G that runs while its pages are in limbo. The Scan state holds it for as long as it is looked at and no longer. What it touches
//! comes back, *if that faults*: a core that has run it before may still have the entries in its TLB, and use and change the pages without anybody
//! noticing. So the round's end decides anew: it holds the G again, and by the stack pointer of *now* sees which of the pages are needed. A G that is not
//! parked then gets all of them back. No core has old entries by that time (that is what the epoch was for), and none gets new ones (limbo is not
//! present), so what is decided under Scan stays true.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use trefoil_sched::entry::{Backing, Entry};
use trefoil_sched::epoch::Epochs;
use trefoil_sched::{Cursor, G, GRef, M, PreemptGuard, Sched};

use super::packed::{self, Content};
use super::walk::{self, ADDRESS, TABLE_SPAN};
use super::{GUARD, Window, forget, is_dead};
use crate::arch::{apic, clock, percpu};
use crate::mm::frames::{self, FRAME};
use crate::mm::lock::Lock;
use crate::{panic, platform};

/// Slices of a round, at most: what an epoch costs is shared by so many. On a host that has fewer cores than the machine it costs milliseconds.
const ROUND: usize = 512;
/// Slices of a round that nobody is in a hurry for.
const ROUND_IDLE: usize = 128;
/// Tables of a round.
const TABLES: usize = 512;
/// G records that one piece of work looks at: in an idle pass, some microseconds.
const LOOKS: usize = 32;
/// The same when memory is wanted; fewer, if a round is full before. Most of a million are packed already, and quickly passed over.
const LOOKS_PRESSED: usize = 2048;
/// Idle passes begin this far apart, in nanoseconds.
const PERIOD: u64 = 500_000_000;
/// Idle rounds follow one another at this distance.
const PACE: u64 = 200_000;
/// What is nearer below a parked G's stack pointer stays.
const MARGIN: u64 = 256;
/// Free G's of the global list that keep their memory in an idle pass.
const KEEP_WARM: usize = 64;
/// After this long laggards are interrupted: 1 ms.
const PATIENCE: u64 = 1_000_000;
/// The same when memory is wanted: 20 µs.
const PATIENCE_PRESSED: u64 = 20_000;
/// A pressed pass that has found nothing is not repeated before this has passed: 5 ms.
const DESPAIR: u64 = 5_000_000;

/// What is to become of a slice of a window when its epoch is over.
#[derive(Clone, Copy)]
enum End {
    /// A window without a G: all goes back, and the addresses, unless it is retired. (First, so that an empty round is all zeros and takes no room in the image.)
    Free,
    /// What this parked G does not need goes back; its top page is packed if that was taken as well.
    Shrink(GRef),
    /// A free G's window: all goes back, the G goes to the bare list.
    Strip(GRef),
}

#[derive(Clone, Copy)]
struct Slice {
    window: Window,
    from: u64,
    to: u64,
    end: End,
}

const NO_SLICE: Slice = Slice { window: Window { lo: 0, hi: 0 }, from: 0, to: 0, end: End::Free };

/// How much is wanted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Urgency {
    Idle,
    Pressed,
    Forced,
}

struct Round {
    slices: [Slice; ROUND],
    len: usize,
    /// How many it may have.
    limit: usize,
    /// The first address under each table in limbo.
    tables: [u64; TABLES],
    tables_len: usize,
    /// Tables for the next round.
    next_tables: [u64; TABLES],
    next_len: usize,
    /// The epoch that it waits for; 0: no round is under way.
    epoch: u64,
    begun: u64,
    /// When laggards were last interrupted.
    hurried: u64,
    cursor: Cursor,
    /// A pass is under way.
    in_pass: bool,
    /// Before this the next idle pass does not begin.
    next_pass: u64,
    /// Bytes that went back, ever; and until the last pass began.
    freed: u64,
    freed_before: u64,
    /// `parks() + 1` when the last pass began, and whether that pass found anything.
    parks: u64,
    busy: bool,
    /// Passes that came to their end.
    passes: u64,
}

static ROUND_STATE: Lock<Round> = Lock::new(Round {
    slices: [NO_SLICE; ROUND],
    len: 0,
    limit: 0,
    tables: [0; TABLES],
    tables_len: 0,
    next_tables: [0; TABLES],
    next_len: 0,
    epoch: 0,
    begun: 0,
    hurried: 0,
    cursor: Cursor::new(),
    in_pass: false,
    next_pass: 0,
    freed: 0,
    freed_before: 0,
    parks: 0,
    busy: false,
    passes: 0,
});

/// Windows without a G, linked through the words below their top: the next one's end, and how low each reaches.
static STALE: Lock<Stale> = Lock::new(Stale { first: 0, len: 0 });

struct Stale {
    first: u64,
    len: usize,
}

/// When there is something to do next, in ticks: what `poll` looks at. Relaxed: a core that sees an old value looks a little later.
static NEXT: AtomicU64 = AtomicU64::new(0);
/// The same in nanoseconds.
static NEXT_NS: AtomicU64 = AtomicU64::new(0);
/// Free memory has fallen below the watermark.
static PRESSED: AtomicBool = AtomicBool::new(false);

/// Until then nobody tries to [make room](make_room) again, in nanoseconds since boot.
static HOPELESS_UNTIL: AtomicU64 = AtomicU64::new(0);

/// How far everybody has come.
pub static EPOCHS: Epochs = Epochs::new();

/// Counted, never reset: for `runtime::stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScavengeStats {
    /// Passes over all G's.
    pub passes: u64,
    /// Bytes given back, ever.
    pub freed: u64,
}

/// Counts.
pub fn stats() -> ScavengeStats {
    let round = ROUND_STATE.lock();
    ScavengeStats { passes: round.passes, freed: round.freed }
}

/// Forgets what this core's TLB knows of the windows.
pub fn flush_tlb() {
    // SAFETY: the same tables again; entries that are right are found again.
    unsafe { asm!("mov {tmp}, cr3", "mov cr3, {tmp}", tmp = out(reg) _, options(nostack, preserves_flags)) };
}

/// Adds a window that nobody lives on.
///
/// # Safety
/// 1. As [`super::free`].
pub(super) unsafe fn put_stale(window: Window, low: u64) {
    let mut stale = STALE.lock();
    // SAFETY: 1. The page may be in limbo: then a touch brings it back.
    unsafe {
        let top = window.hi as *mut u64;
        top.sub(1).write(stale.first);
        top.sub(2).write(low);
    }
    stale.first = window.hi;
    stale.len += 1;
    if stale.len == ROUND_IDLE {
        NEXT.store(0, Ordering::Relaxed);
    }
}

fn take_stale() -> Option<(Window, u64)> {
    let mut stale = STALE.lock();
    let window = Window::of(stale.first.checked_sub(1)?)?;
    // SAFETY: a window in the list has its top page, whose words `put_stale` wrote.
    let (next, low) = unsafe {
        let top = window.hi as *const u64;
        (top.sub(1).read(), top.sub(2).read())
    };
    stale.first = next;
    stale.len -= 1;
    Some((window, low))
}

/// Memory is short: passes are pressed until it is not. Called where the pool hands out frames, with preemption off.
#[cold]
#[inline(never)]
pub fn press() {
    if !PRESSED.load(Ordering::Relaxed) {
        PRESSED.store(true, Ordering::Relaxed);
        NEXT.store(0, Ordering::Relaxed);
    }
    if clock::ticks() >= NEXT.load(Ordering::Relaxed)
        && let Some(m) = percpu::current().m()
    {
        m.attend_platform_if_alone();
    }
}

/// On g0: passes epochs, and does a piece of work if one is due. True: it did.
#[inline(always)]
pub fn poll(m: &M) -> bool {
    if EPOCHS.is_behind(m.index()) {
        pass(m.index());
    }
    // A core that was just woken has been woken for something: that comes first.
    let due = clock::ticks() >= NEXT.load(Ordering::Relaxed) && !m.was_woken();
    due && work()
}

#[cold]
fn pass(m: usize) {
    EPOCHS.pass(m, flush_tlb);
}

/// The interrupt that asks a laggard to pass. The interrupted code had preemption off `depth` deep: at 0 it holds nothing.
pub fn on_interrupt(depth: u32) {
    let core = percpu::current();
    let Some(m) = core.m() else { return };
    if depth == 0 && EPOCHS.is_behind(m.index()) {
        pass(m.index());
    } else {
        m.attend_platform();
    }
}

/// False: another core is at it.
#[cold]
fn work() -> bool {
    let guard = PreemptGuard::new();
    let Some(sched) = platform::try_sched() else { return false };
    let Some(mut round) = ROUND_STATE.try_lock() else { return false };
    let urgency = if frames::is_low() {
        Urgency::Pressed
    } else {
        PRESSED.store(false, Ordering::Relaxed);
        Urgency::Idle
    };
    let wait = round.step(sched, &guard, urgency);
    if wait == 0 {
        M::current(&guard).attend_platform_if_alone();
    }
    let next = if wait == 0 { 0 } else { clock::now() + wait };
    NEXT_NS.store(next, Ordering::Relaxed);
    NEXT.store(if wait == 0 { 0 } else { clock::ticks_at(next) }, Ordering::Relaxed);
    true
}

/// The resting core that wakes up for the next piece of work; `usize::MAX`: none does.
static KEEPER: AtomicUsize = AtomicUsize::new(usize::MAX);

/// When the next piece of work is due, in nanoseconds since boot: a resting core wakes up for it. `u64::MAX`: nobody has parked since the last pass, so there is nothing to
/// look for.
fn next_due() -> u64 {
    let Some(round) = ROUND_STATE.try_lock() else { return u64::MAX };
    if round.epoch == 0 && !round.in_pass && !round.busy && round.parks == parks() + 1 && STALE.lock().len == 0 {
        return u64::MAX;
    }
    NEXT_NS.load(Ordering::Relaxed)
}

/// How often anybody has parked or ended.
fn parks() -> u64 {
    platform::try_sched().map_or(0, |sched| sched.ms().map(|m| m.counters.parks.get()).sum())
}

/// The pool is empty, and so is this core's fault reserve: the next G may not even be unpacked. Packs and strips until there is something. On g0.
#[cold]
pub fn make_room() {
    let Some(sched) = platform::try_sched() else { return };
    let guard = PreemptGuard::new();
    if clock::now() < HOPELESS_UNTIL.load(Ordering::Relaxed) {
        return;
    }
    sched.trim();
    sched.trim_resting(&guard);
    sched.trim_own(&guard);
    let m = M::current(&guard).index();
    let mut passes = None;
    loop {
        if EPOCHS.is_behind(m) {
            pass(m);
        }
        if let Some(mut round) = ROUND_STATE.try_lock() {
            // One pass under way, and one from its beginning to its end.
            let target = *passes.get_or_insert(round.passes + 2);
            if round.passes >= target && round.epoch == 0 && round.len == 0 {
                HOPELESS_UNTIL.store(clock::now() + DESPAIR, Ordering::Relaxed);
                return;
            }
            round.step(sched, &guard, Urgency::Forced);
        }
        super::free_deferred();
        super::fill_reserve();
        if !percpu::current().reserve.is_low() {
            return;
        }
        core::hint::spin_loop();
    }
}

/// Gives back everything that can be given back, and returns how many bytes that was. Not in a handler, with none of the locks of this module held.
pub fn run() -> u64 {
    let Some(sched) = platform::try_sched() else { return 0 };
    let before = ROUND_STATE.lock().freed;
    // What is cached for reuse comes first, so that this pass finds it.
    sched.trim();
    {
        let guard = PreemptGuard::new();
        sched.trim_resting(&guard);
        sched.trim_own(&guard);
    }
    // A pass that is under way may have missed what lies behind it: the one that begins next counts; and tables follow their pages by a round.
    let target = {
        let round = ROUND_STATE.lock();
        round.passes + if round.in_pass { 2 } else { 1 }
    };
    loop {
        let guard = PreemptGuard::new();
        let m = M::current(&guard).index();
        if EPOCHS.is_behind(m) {
            // This is a scheduling point as good as any: nothing is held here.
            pass(m);
        }
        if let Some(mut round) = ROUND_STATE.try_lock() {
            if round.passes >= target && round.epoch == 0 && round.len == 0 && round.next_len == 0 {
                return round.freed - before;
            }
            round.step(sched, &guard, Urgency::Forced);
        }
        super::free_deferred();
        drop(guard);
        core::hint::spin_loop();
    }
}

/// The heap has no frames. Whether it may look again, since [`run`] has been tried: for a goroutine that holds nothing, and not in vain again and again.
#[cold]
pub fn for_the_heap() -> bool {
    if percpu::depth() > 0 || percpu::in_handler() || panic::current_g().is_none() {
        return false;
    }
    if clock::now() < HOPELESS_UNTIL.load(Ordering::Relaxed) {
        return false;
    }
    if run() == 0 {
        HOPELESS_UNTIL.store(clock::now() + DESPAIR, Ordering::Relaxed);
    }
    true
}

impl Round {
    /// A piece of work. Returns how many nanoseconds later the next one is due; 0: at once.
    fn step(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency) -> u64 {
        if self.epoch != 0 {
            if !EPOCHS.is_over(self.epoch) {
                self.hurry(urgency);
                return PACE;
            }
            self.finish(sched, guard);
        }
        self.collect(sched, guard, urgency);
        if self.len > 0 || self.tables_len > 0 {
            self.epoch = EPOCHS.begin();
            self.begun = clock::now();
            // We hold nothing: everything that was found is in the round.
            pass(M::current(guard).index());
            if EPOCHS.is_over(self.epoch) {
                self.finish(sched, guard);
            }
        }
        let more = self.in_pass || self.next_len > 0 || self.epoch != 0 || self.len > 0;
        match urgency {
            Urgency::Idle if more => PACE,
            Urgency::Idle => self.next_pass.saturating_sub(clock::now()).clamp(PACE, PERIOD),
            // A pass that has found nothing will not find more at once.
            _ if !more && self.freed == self.freed_before => DESPAIR,
            _ => 0,
        }
    }

    /// Interrupts those that keep the round waiting.
    fn hurry(&mut self, urgency: Urgency) {
        let now = clock::now();
        let patience = if urgency == Urgency::Idle { PATIENCE } else { PATIENCE_PRESSED };
        if now < self.begun.max(self.hurried) + patience {
            return;
        }
        self.hurried = now;
        let me = percpu::current().index();
        for m in EPOCHS.laggards(self.epoch).filter(|&m| m != me) {
            if let Some(core) = percpu::get(m) {
                apic::send_flush(core.lapic_id());
            }
        }
    }

    fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// The whole of a window that nobody runs on; red pages may be mapped, too.
    fn add(&mut self, window: Window, from: u64, end: End) {
        let from = from.clamp(window.lo + GUARD, window.top());
        self.slices[self.len] = Slice { window, from, to: window.hi, end };
        self.len += 1;
        walk::each_page(from..window.hi, |_, entry| {
            entry.retire();
        });
    }

    fn collect(&mut self, sched: &'static Sched, guard: &PreemptGuard, urgency: Urgency) {
        self.limit = if urgency == Urgency::Idle { ROUND_IDLE } else { ROUND };
        self.tables_len = 0;
        for at in 0..self.next_len {
            let table = self.next_tables[at];
            if let Some((entry, Backing::Present(_))) = walk::find_table(table)
                && entry.retire()
            {
                self.tables[self.tables_len] = table;
                self.tables_len += 1;
            }
        }
        self.next_len = 0;
        while !self.is_full()
            && let Some((window, low)) = take_stale()
        {
            self.add(window, low, End::Free);
        }
        let keep = if urgency == Urgency::Idle { KEEP_WARM } else { 0 };
        while !self.is_full() && sched.num_warm() > keep {
            let Some(g) = sched.take_warm(guard, 1).pop() else { break };
            let window = Window::from(g.stack());
            let low = g.stack_low.load(Ordering::Relaxed) as u64;
            self.add(window, low, End::Strip(g));
        }
        if self.is_full() {
            return;
        }
        if !self.in_pass {
            if urgency == Urgency::Idle && (clock::now() < self.next_pass || self.parks == parks() + 1 && !self.busy) {
                return;
            }
            self.next_pass = clock::now() + PERIOD;
            self.in_pass = true;
            self.busy = false;
            self.parks = parks() + 1;
            self.freed_before = self.freed;
            if urgency != Urgency::Forced {
                sched.trim();
            }
            if urgency == Urgency::Pressed {
                sched.trim_resting(guard);
            }
        }
        let mut cursor = self.cursor;
        let (mut looks, mut done) = (if urgency == Urgency::Idle { LOOKS } else { LOOKS_PRESSED }, false);
        while looks > 0 && !done {
            // A chunk of records more than asked for may come: leave room for it.
            let room = self.limit.saturating_sub(self.len + 16).min(looks);
            if room == 0 {
                break;
            }
            looks -= room;
            done = sched.walk_gs(&mut cursor, room, |g| {
                if g.state().is_parked() && !has_nothing(g) {
                    sched.scan(guard, g, |g, cold| self.look(g, cold || urgency != Urgency::Idle));
                }
            });
        }
        self.cursor = cursor;
        if done {
            self.in_pass = false;
            self.passes += 1;
        }
    }

    /// Looks at a parked G, held still.
    fn look(&mut self, g: GRef, may_pack: bool) {
        let Some(needs) = Needs::of(g) else { return };
        if self.is_full() {
            return;
        }
        let window = needs.window;
        let low = (g.stack_low.load(Ordering::Relaxed) as u64).clamp(window.lo + GUARD, window.top());
        if needs.may_pack() && !may_pack {
            // Recent: the next pass may pack it.
            self.busy |= !super::is_packed(window.hi);
        }
        let to = if needs.may_pack() && may_pack { window.hi } else { needs.keep };
        let mut any = false;
        walk::each_page(low..to, |_, entry| any |= entry.retire());
        if any {
            self.slices[self.len] = Slice { window, from: low, to, end: End::Shrink(g) };
            self.len += 1;
        }
    }

    /// The end of a round for the pages `from..to` of a G that was parked at its beginning: held still again, it keeps what it needs now.
    fn settle(&mut self, g: GRef, window: Window, from: u64, to: u64) {
        // It may have gone deeper between then and now.
        let now = g.stack_low.load(Ordering::Relaxed) as u64;
        let mut low = if now < from { now } else { to.min(window.top()) };
        let needs = Needs::of(g).filter(|needs| needs.window == window);
        walk::each_page(from..to, |page, entry| {
            let Backing::Limbo(limbo) = entry.get() else {
                if matches!(entry.get(), Backing::Present(_)) {
                    low = low.min(page);
                }
                return;
            };
            let frame = match &needs {
                Some(needs) if page < needs.keep => reclaim(entry, limbo).then_some(limbo & ADDRESS),
                Some(needs) if page == window.top() && needs.may_pack() => packed::pack_page(entry, limbo, needs.used),
                _ => None,
            };
            match frame {
                Some(frame) => self.give(frame),
                None => {
                    entry.restore(limbo);
                    low = low.min(page);
                }
            }
        });
        if needs.is_some() {
            g.stack_low.store(low as usize, Ordering::Relaxed);
        }
    }

    /// The round's epoch is over: whatever is still in limbo is ours.
    fn finish(&mut self, sched: &'static Sched, guard: &PreemptGuard) {
        let packs = &percpu::current().packs;
        packs.set(true);
        self.settle_all(sched, guard);
        packs.set(false);
    }

    fn settle_all(&mut self, sched: &'static Sched, guard: &PreemptGuard) {
        self.epoch = 0;
        for at in 0..self.tables_len {
            let Some((entry, Backing::Limbo(limbo))) = walk::find_table(self.tables[at]) else { continue };
            let may_pack = Window::of(self.tables[at]).is_some_and(|w| w.class() == 0);
            if let Some(frame) = packed::pack_table(entry, limbo, may_pack) {
                self.give(frame);
            }
        }
        self.tables_len = 0;
        let slices = core::mem::replace(&mut self.len, 0);
        for at in 0..slices {
            let Slice { window, from, to, end } = self.slices[at];
            if let End::Shrink(g) = end {
                if !sched.scan(guard, g, |g, _| self.settle(g, window, from, to)) {
                    walk::each_page(from..to, |_, entry| {
                        if let Backing::Limbo(limbo) = entry.get() {
                            entry.restore(limbo);
                        }
                    });
                }
                self.look_at_tables(from..to);
                continue;
            }
            let mut back = false;
            walk::each_page(from..to, |_, entry| match entry.get() {
                Backing::Limbo(limbo) if reclaim(entry, limbo) => self.give(limbo & ADDRESS),
                backing => back |= backing != Backing::Empty,
            });
            match end {
                // Somebody has touched a page of a stack that has ended: once more.
                _ if back => {
                    self.slices[self.len] = Slice { window, from, to, end };
                    self.len += 1;
                    walk::each_page(from..to, |_, entry| {
                        entry.retire();
                    });
                }
                End::Strip(g) => {
                    g.stack_low.store(usize::MAX, Ordering::Relaxed);
                    sched.give_bare(guard, g);
                }
                _ if !is_dead(window.lo) => forget(window),
                _ => {}
            }
            self.look_at_tables(from..to);
        }
    }

    /// Remembers the tables under `range` that have no page any more, for the next round.
    fn look_at_tables(&mut self, range: core::ops::Range<u64>) {
        let mut at = range.start & !(TABLE_SPAN - 1);
        while at < range.end && self.next_len < TABLES {
            let known = self.next_tables[..self.next_len].last() == Some(&at);
            if !known
                && let Some((_, Backing::Present(word))) = walk::find_table(at)
                && match packed::content(word & ADDRESS) {
                    Content::Nothing => true,
                    Content::Packed(_) => Window::of(at).is_some_and(|w| w.class() == 0),
                    Content::Pages => false,
                }
            {
                self.next_tables[self.next_len] = at;
                self.next_len += 1;
            }
            at += TABLE_SPAN;
        }
    }

    fn give(&mut self, frame: u64) {
        self.freed += FRAME;
        // SAFETY: 1. its entry has been in limbo for an epoch and leads elsewhere now: nobody can reach it.
        unsafe { frames::free(frame) };
    }
}

/// What a parked G needs of its window.
struct Needs {
    window: Window,
    /// Pages from here on.
    keep: u64,
    /// Bytes below the top.
    used: u64,
}

impl Needs {
    /// Of a G that is held still.
    fn of(g: &G) -> Option<Self> {
        let (window, sp) = (Window::from(g.stack()), g.saved_sp() as u64);
        if window.hi == 0 || !window.contains(sp) {
            return None;
        }
        let keep = (sp - MARGIN).max(window.lo + GUARD) & !(FRAME - 1);
        Some(Self { window, keep, used: window.hi - sp })
    }

    /// Whether what it uses is worth packing.
    fn may_pack(&self) -> bool {
        self.used <= packed::MOST && self.keep == self.window.top()
    }
}

/// Whether the only page of `g` that there was is packed: a guess, without holding it.
fn has_nothing(g: &G) -> bool {
    let low = g.stack_low.load(Ordering::Relaxed) as u64;
    Window::of(low).is_some_and(|window| low == window.top() && super::is_packed(window.hi))
}

/// A page of a stack goes.
fn reclaim(entry: &Entry, limbo: u64) -> bool {
    let ours = entry.reclaim(limbo);
    if ours {
        percpu::current().stacks.pages.fetch_sub(1, Ordering::Relaxed);
    }
    ours
}

/// Before this core rests until `until`: what to wake up for, and from here on it holds nothing. Returns what to tell [`rise`]. None: there was something to do,
/// so look again for work first.
pub fn rest(m: &M, until: u64) -> Option<(u64, u64)> {
    if poll(m) {
        return None;
    }
    let mut until = until;
    if KEEPER.load(Ordering::Relaxed) == usize::MAX {
        let due = next_due();
        if due < until && KEEPER.compare_exchange(usize::MAX, m.index(), Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            until = due;
        }
    }
    Some((until, EPOCHS.rest(m.index())))
}

/// After the rest.
pub fn rise(m: &M, flushed: u64) {
    EPOCHS.rise(m.index(), flushed, flush_tlb);
    if KEEPER.load(Ordering::Relaxed) == m.index() {
        KEEPER.store(usize::MAX, Ordering::Relaxed);
    }
}
