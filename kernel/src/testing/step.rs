//! An interrupt at the n-th instruction, for tests.
//!
//! ```text
//!   run(n, event, f)      TF on ─▶ f(): #DB after each instruction, whatever it calls: the switch, g0, other G's
//!                                       │ n-th: TF off, the event
//!                                       ▼
//!                                  the timer's own vector, as an IPI to this core: taken at the very next boundary, or as soon as interrupts are on
//! ```
//!
//! TF is a flag like any other. A voluntary switch leaves it on, so the steps go on in the code
//! that runs next on this core. A preempted G takes the flag along. Handlers are not stepped: the
//! processor turns TF off there. `run` with n = 1, 2, 3… until nothing fires interrupts `f` once at
//! each of its boundaries.
//!
//! [`run_in`] reaches code behind a hundred thousand instructions faster: a breakpoint register
//! turns TF on where the code begins.
//!
//! [`die`] ends the G that steps at its n-th instruction, as an overflow there would. Only that G's
//! own instructions count: other G's on its core are stepped over.
//!
//! `sti; hlt` is one unit to the machine, and would not be if #DB came in between. So the handler
//! steps over it, and the core does not rest.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use trefoil_sched::{Cause, M, PreemptGuard};
use x86_64::registers::debug::{DebugAddressRegister, Dr0, Dr1, Dr6, Dr6Flags, Dr7, Dr7Flags};
use x86_64::registers::rflags::RFlags;

use crate::arch::exceptions::{self, VECTOR_TIMER};
use crate::arch::idt::Frame;
use crate::arch::percpu::{self, PerCpu};
use crate::arch::preempt::{self, INTERRUPTS};
use crate::arch::{abandon, apic};
use crate::report::death;

/// The trap flag.
const TF: u64 = RFlags::TRAP_FLAG.bits();
/// The resume flag: the next instruction runs although a breakpoint is at it.
const RF: u64 = RFlags::RESUME_FLAG.bits();
/// DR6 without a reason: the bits that are always set.
const NO_REASON: u64 = 0xffff_0ff0;
/// The bytes of `sti; hlt`.
const REST: [u8; 2] = [0xfb, 0xf4];

/// The event at the boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Event {
    /// The slice of the running G is over: the timer's vector comes.
    Timer = 1,
    /// The same, without the interrupt controller: the work of the timer's handler when the slice
    /// is over.
    Preempt = 2,
    /// Another core's wake-up comes, for nothing.
    Wake = 3,
    /// A preemption first, then its own path is stepped; at the boundary the timer comes again.
    Again = 4,
    /// The G that steps overflows its stack; see [`die`].
    Die = 5,
}

/// Boundaries left until the event.
static LEFT: AtomicU64 = AtomicU64::new(0);
static EVENT: AtomicU64 = AtomicU64::new(0);
/// With [`run_in`]: how many bytes the stretches have. 0: all boundaries count.
static STRETCH: AtomicU64 = AtomicU64::new(0);
/// With [`run_in`]: the beginning of the stretch that was reached last.
static BEGAN: AtomicU64 = AtomicU64::new(0);
/// With [`Event::Die`]: the number of the G that dies.
static VICTIM: AtomicU64 = AtomicU64::new(0);
/// Set while steps are being counted.
static ON: AtomicBool = AtomicBool::new(false);
/// Boundaries at depth 0 with interrupts on, on a G.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// Runs `f` with `event` at its `n`th instruction boundary, counted from 1. Returns false if `f`
/// had fewer boundaries. One at a time on the whole machine.
pub fn run(n: u64, event: Event, f: impl FnOnce()) -> bool {
    prepare(n, event, 0);
    // SAFETY: from the next instruction on #DB comes, and `stepped` expects it.
    unsafe { asm!("pushfq", "or dword ptr [rsp], {tf}", "popfq", tf = const TF) };
    f();
    // SAFETY: changes the trap flag only; `on_debug` expects each #DB until then.
    unsafe { asm!("pushfq", "and dword ptr [rsp], {tf}", "popfq", tf = const !(TF as i32)) };
    has_fired()
}

/// Runs `f`, and ends the calling G at the `n`th instruction boundary of its own, counted from 1.
/// At depth 0 the G ends there and then. With preemption off it is doomed there and ends when
/// preemption is on again, as after a touch of a red page. Returns false if `f` had fewer
/// boundaries, and true if the G outlived its doom. One G at a time on the whole machine.
pub fn die(n: u64, f: impl FnOnce()) -> bool {
    let me = {
        let guard = PreemptGuard::new();
        trefoil_sched::current_g(&guard).id()
    };
    VICTIM.store(me, Ordering::Relaxed);
    run(n, Event::Die, f)
}

/// Leaves out the reports of G's that die from now on, or prints them again: a sweep ends
/// thousands.
pub fn quiet_deaths(quiet: bool) {
    death::quiet(quiet);
}

/// Runs `f` as [`run`] does, but counts only boundaries in the stretches that begin at `places`,
/// behind their first instruction. Each stretch is `bytes` long. Not with [`Event::Again`].
pub fn run_in(places: [u64; 2], bytes: u64, n: u64, event: Event, f: impl FnOnce()) -> bool {
    prepare(n, event, bytes);
    // #DB comes before the instruction at these places, and `stepped` expects it.
    Dr0::write(places[0]);
    Dr1::write(places[1]);
    Dr7::write((Dr7Flags::LOCAL_BREAKPOINT_0_ENABLE | Dr7Flags::LOCAL_BREAKPOINT_1_ENABLE).into());
    f();
    // The G may be on another core than before. The old core's breakpoints stay on, and its later
    // hits are passed by.
    Dr7::write(Dr7Flags::empty().into());
    has_fired()
}

fn prepare(n: u64, event: Event, stretch: u64) {
    LEFT.store(n, Ordering::Relaxed);
    EVENT.store(event as u64, Ordering::Relaxed);
    STRETCH.store(stretch, Ordering::Relaxed);
    exceptions::set_on_debug(stepped);
    ON.store(true, Ordering::SeqCst);
}

fn has_fired() -> bool {
    ON.store(false, Ordering::SeqCst);
    LEFT.load(Ordering::Relaxed) == 0
}

/// Returns how many boundaries have been counted since the last [`run`], [`run_in`] or [`die`] with
/// `n` began.
pub fn counted(n: u64) -> u64 {
    n - LEFT.load(Ordering::Relaxed)
}

/// Returns at how many of the boundaries with an event a G could be preempted there and then.
pub fn open() -> u64 {
    OPEN.load(Ordering::Relaxed)
}

/// Returns true if a breakpoint register says that its place has been reached.
fn hit() -> bool {
    let why = Dr6::read();
    // SAFETY: clears the reason of the #DB. (The crate does not write this register.)
    unsafe { asm!("mov dr6, {}", in(reg) NO_REASON, options(nomem, nostack, preserves_flags)) };
    why.intersects(Dr6Flags::TRAP0 | Dr6Flags::TRAP1)
}

fn stepped(core: &PerCpu, frame: &Frame) -> bool {
    let flags = frame.rflags.get();
    let stretch = STRETCH.load(Ordering::Relaxed);
    if stretch > 0 && hit() {
        // The instruction there runs now, and is stepped while there is something to count.
        let more = ON.load(Ordering::Relaxed) && LEFT.load(Ordering::Relaxed) > 0;
        frame.rflags.set(flags | RF | if more { TF } else { 0 });
        BEGAN.store(frame.rip.get(), Ordering::Relaxed);
        return true;
    }
    if !ON.load(Ordering::Relaxed) {
        // A G that was preempted while steps were counted.
        frame.rflags.set(flags & !TF);
        return flags & TF != 0;
    }
    // SAFETY: the interrupted code is there, and more of it after it.
    if unsafe { (frame.rip.get() as *const [u8; 2]).read_unaligned() } == REST {
        frame.rip.set(frame.rip.get() + 2);
        frame.rflags.set(frame.rflags.get() | INTERRUPTS);
    }
    let left = LEFT.load(Ordering::Relaxed);
    if left == 0 {
        frame.rflags.set(frame.rflags.get() & !TF);
        return true;
    }
    if stretch > 0 && frame.rip.get().wrapping_sub(BEGAN.load(Ordering::Relaxed)) >= stretch {
        // Until the next one begins.
        frame.rflags.set(frame.rflags.get() & !TF);
        return true;
    }
    if EVENT.load(Ordering::Relaxed) == Event::Die as u64 && !is_victim(core) {
        return true;
    }
    if EVENT.load(Ordering::Relaxed) == Event::Again as u64 && core.m().is_some_and(|m| m.running().is_some()) {
        // From here on as `Timer`, but in the stub.
        EVENT.store(Event::Timer as u64, Ordering::Relaxed);
        preempt::request(core, frame);
        frame.rflags.set(frame.rflags.get() | TF);
        return true;
    }
    LEFT.store(left - 1, Ordering::Relaxed);
    if left == 1 {
        frame.rflags.set(frame.rflags.get() & !TF);
        fire(core, frame);
    }
    true
}

/// Returns true if this core runs the G that is to die.
fn is_victim(core: &PerCpu) -> bool {
    core.m().and_then(M::running).is_some_and(|g| g.id() == VICTIM.load(Ordering::Relaxed))
}

fn fire(core: &PerCpu, frame: &Frame) {
    let Some(m) = core.m() else { return };
    let open = preempt::can_take(core, frame);
    OPEN.fetch_add(u64::from(open), Ordering::Relaxed);
    if EVENT.load(Ordering::Relaxed) == Event::Die as u64 {
        // As the #PF handler decides: whether interrupts are on does not matter.
        let now = percpu::depth() == 0 && preempt::on_its_stack(core, frame);
        if !now || !abandon::take_over(core, frame, frame.rsp.get(), Cause::StackOverflow) {
            m.running().inspect(|g| g.doom(Cause::StackOverflow));
            percpu::pend();
        }
    } else if EVENT.load(Ordering::Relaxed) == Event::Preempt as u64 {
        preempt::request(core, frame);
    } else if EVENT.load(Ordering::Relaxed) == Event::Wake as u64 {
        apic::send_wake(core.lapic_id());
    } else {
        m.expire_slice();
        apic::send(core.lapic_id(), VECTOR_TIMER);
    }
}
