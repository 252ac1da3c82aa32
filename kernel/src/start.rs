//! Boot, as a list: the steps of the boot core, and the steps of every other core.

use alloc::boxed::Box;

use trefoil_boot::Handover;
use trefoil_boot::rest::Rest;
use trefoil_sched::internals::timers::Chore;
use trefoil_sched::{Builder, Config, M, Sched, run_m};
use x86_64::instructions::interrupts;

use crate::api::{options, schedtrace};
use crate::arch::exit::exit;
use crate::arch::percpu::{self, PerCpu};
use crate::arch::{acpi, apic, clock, cpu, gdt, idt, pic, serial, tlb};
use crate::mm::record::{self, Record};
use crate::mm::{self, kstack};
use crate::{console, println, recorder, report, runtime, scheduler};

mod cores;

unsafe extern "Rust" {
    /// The program's `main`, by `#[trefoil::main]`; of a program that has tests instead, the one in
    /// `testing/cases.rs`. Returns the exit status.
    safe fn __trefoil_main() -> u8;
    /// How far its stack may grow, by the same.
    safe static __TREFOIL_MAIN_STACK: usize;
}

/// Brings the boot core from `boot`'s hand-over to its first G.
#[unsafe(no_mangle)]
#[optimize(size)]
fn __trefoil_kernel_main(boot: Handover) -> ! {
    let core = record::install_boot_core(); //            gs: this core has a record
    let features = cpu::init_core(); //                   WP, SMEP, SMAP, UMIP
    serial::init(); //                                    reports can be seen
    gdt::use_early_stacks(core); //                       faults can be taken
    gdt::load(core);
    idt::init();
    idt::load();
    kstack::set_boot_stack(boot.boot_stack.start);
    mm::init(boot.info); //                               frames, heap
    mm::stack::fill_reserve(); //                        stacks can grow
    if !kstack::make_for(core) {
        report::message(format_args!("out of memory: no frames for the boot core's stacks"));
    }
    let told = options::init(boot.command_line);
    let top = boot.info.memory_regions.iter().map(|r| r.end).max().unwrap_or(0);
    let machine = acpi::read(boot.info.rsdp_addr.into_option(), top, told.faults, console::say);
    pic::mask_all();
    core.set_lapic_id(apic::init_core(&features));
    apic::rest_by(if told.halt { Rest::Halt } else { features.rest });
    core.arrive();
    apic::start_measuring(); //                           the clock, and with it the APIC timer
    let (reference, timer_hz) =
        clock::calibrate(machine.pm_timer, told.faults.no_reference, boot.entry_tsc, apic::count_down);
    apic::set_timer_hz(timer_hz);
    if reference == clock::Reference::None {
        println!("trefoil: clock: nothing tells how fast the time-stamp counter runs; taking 1 GHz");
    }
    recorder::init(&told.trace, options::line(), console::say); // if it is asked for
    if let (Some(at), len) = (boot.info.ramdisk_addr.into_option(), boot.info.ramdisk_len) {
        // SAFETY: boot found the ramdisk inside memory, mapped it and keeps it from being handed
        // out.
        runtime::set_input(unsafe { core::slice::from_raw_parts(at as *const u8, len as usize) });
    }
    let ids = machine.cores.ids();
    let sched: &'static Sched = Box::leak(Box::new(Sched::new(&Config {
        max_procs: told.maxprocs.unwrap_or(ids.len()),
        limit: ids.len(),
        seed: told.seed.unwrap_or_else(clock::ticks),
        slice: told.slice.map_or(Config::default().slice, |us| us * 1000),
        wakeup: told.wakeup.map_or(Config::default().wakeup, |us| us * 1000),
    })));
    scheduler::set_sched(sched);
    recorder::begin(sched, ids.len());
    make_m(core, sched); //                               this core is M 0 and holds P 0
    start_m(core);
    let main = Builder::new().name("main").stack_max(told.stack.unwrap_or(__TREFOIL_MAIN_STACK));
    let main = main.spawn(run_main).unwrap_or_else(|e| panic!("main: {e}"));
    scheduler::set_main_g(main.id());
    core::mem::forget(main); //                           main's end is the machine's end
    interrupts::enable(); //                              IDT, IST stacks and APIC are set up
    if let Some(at) = cores::start(&ids[1..], told.faults, clock::now(), sched) {
        POLL.start(at); //                                    nobody waits for the others
    }
    if reference != clock::Reference::None && reference != clock::Reference::Cpuid {
        REFINE.start(clock::now() + clock::REFINE_AFTER);
    }
    if told.faults.paced_uart {
        serial::pace(clock::now());
    }
    tlb::init(&features); //                              flushes that only QEMU's translator wants
    if let Some(ms) = told.schedtrace {
        schedtrace::start(ms, clock::now()); //           Go's line
    }
    on_g0(core)
}

/// Looks for missing cores.
static POLL: Chore = Chore::new(cores::poll);
/// Measures the clock again.
static REFINE: Chore = Chore::new(clock::refine);

/// Brings every other core from the trampoline to its first G. On its g0 stack, interrupts off.
pub(crate) fn ap_main(core: &'static Record) -> ! {
    record::install(core); //                             gs: this core has a record
    let features = cpu::init_core(); //                   WP, SMEP, SMAP, UMIP
    gdt::load(core); //                                   faults can be taken
    idt::load();
    mm::stack::fill_reserve(); //                        stacks can grow
    core.set_lapic_id(apic::init_core(&features));
    core.arrive();
    start_m(core); //                                     an M, with a P if one is free
    interrupts::enable(); //                              IDT, IST stacks and APIC are set up
    g0_main()
}

/// Gives `core` its M. Before the core starts, so that none allocates on its way up.
#[inline(never)]
#[optimize(size)]
pub(crate) fn make_m(core: &'static PerCpu, sched: &'static Sched) {
    let m = Box::leak(Box::new(M::new(core.index(), sched)));
    recorder::attach(m, console::say);
    core.prepare_m(m);
}

/// Makes this core's M take part; preemption is off from here on.
fn start_m(core: &'static PerCpu) {
    percpu::preempt_off();
    let Some(m) = core.take_m() else { report::message(format_args!("a core has no M")) };
    mm::stack::scavenge::rise(m, 0); //                  it may touch windows from here on
    m.sched().start_m(m);
}

/// Leaves the boot stack for g0's.
fn on_g0(core: &'static PerCpu) -> ! {
    // SAFETY: g0's stack is this core's and unused; `g0_main` does not return.
    unsafe {
        core::arch::asm!(
            "mov rsp, {top}",
            "xor ebp, ebp",
            "push 0", // the return address: backtraces end here
            "jmp {main}",
            top = in(reg) core.g0_stack().end,
            main = sym g0_main,
            options(noreturn)
        )
    }
}

/// Runs g0: looks for G's for ever.
extern "C" fn g0_main() -> ! {
    // `start_m` turned preemption off: the one level that `run_m` takes over.
    match percpu::current().m() {
        Some(m) => run_m(m),
        None => report::message(format_args!("a core has no M")),
    }
}

/// Runs the first G.
fn run_main() {
    let status = __trefoil_main();
    trefoil_sched::local::end_current();
    console::shut();
    recorder::at_exit();
    exit(status)
}
