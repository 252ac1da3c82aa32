//! Exceptions raised by real instructions, where `reports.rs` enters stubs by hand. Also failures
//! that reports survive, and registers that interrupts leave alone.
#![no_std]
#![no_main]

mod support;

use core::arch::asm;
use core::fmt;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use trefoil::arch::{apic, exceptions, gdt, percpu};
use trefoil::mm::record;
use trefoil::prelude::*;

image! {
    a_gate_beyond_the_idt_is_a_double_fault:
        "smp 1,2 | exit 1 | expect exception 8 #DF | expect exceptions::a_gate_beyond | expect end of report";
    a_missing_segment_is_named:
        "smp 1 | exit 1 | expect exception 11 #NP | expect entry 5 of the GDT | expect end of report";
    a_missing_stack_segment_is_named:
        "smp 1 | exit 1 | expect exception 12 #SS | expect entry 5 of the GDT | expect end of report";
    an_nmi_from_nowhere_is_reported:
        "smp 1 | exit 1 | expect exception 2 NMI | expect exceptions::an_nmi | expect end of report";
    an_nmi_reaches_a_core_that_masks_the_rest:
        "smp 2 | exit 1 | expect exception 2 NMI | expect exceptions::deaf_core | expect end of report";
    single_step_ends_after_one_instruction:
        "smp 1 | exit 1 | expect exception 1 #DB | expect exceptions::single_step | expect end of report";
    a_watchpoint_is_a_debug_exception:
        "smp 1 | exit 1 | expect exception 1 #DB | expect exceptions::a_watchpoint | expect end of report";
    emulated_x87_is_no_device:
        "smp 1 | exit 1 | expect exception 7 #NM | expect exceptions::emulated_x87 | expect end of report";
    a_fault_on_the_fault_stack_says_so:
        "smp 1,2 | exit 1 | expect a page fault inside the page fault handler | expect end of report";
    a_call_to_nowhere_shows_its_caller:
        "smp 1 | exit 1 | refuse no frame to start from | expect #00 0x0000000000000000 | expect exceptions::a_call_to_nowhere | expect end of report";
    a_call_beyond_canonical_shows_its_caller:
        "smp 1 | exit 1 | refuse no frame to start from | expect exception 13 #GP | expect exceptions::a_call_beyond | expect end of report";
    a_long_recursion_shows_both_ends:
        "smp 1 | exit 1 | expect frames more of exceptions::descend | expect exceptions::a_long_recursion | expect end of report",
        "smp 1 | exit 1 | append backtrace=full | expect more … | expect exceptions::descend | expect exceptions::a_long_recursion | expect end of report";
    a_panic_with_little_stack_left_is_reported:
        "smp 1 | exit 1 | expect hardly any room | expect exceptions::a_panic_with_little | refuse another fault | expect end of report";
    a_message_that_panics_ends_the_report:
        "smp 1 | exit 1 | expect another fault inside the report: panic | expect end of report";
    a_message_that_faults_ends_the_report:
        "smp 1 | exit 1 | expect another fault inside the report: exception 14 | expect end of report";
    a_panic_before_the_cores_have_come:
        "smp 4,16 | exit 1 | expect too early for the others | expect end of report | refuse did not stop";
    a_core_that_masks_interrupts_stops_too:
        "smp 4 | exit 1 | expect fatal: panic | expect end of report | refuse did not stop";
    a_fault_at_depth_names_the_depth: "smp 1 | exit 1 | expect preemption depth 3 | expect end of report";
    every_exception_ends_in_a_report:
        "smp 1 | append app.vector=9 | exit 1 | expect exception 9 coprocessor | expect end of report";
    unexpected_vectors_are_counted: "smp 1,2";
    interrupts_leave_registers_alone: "smp 2,4";
    faults_leave_registers_alone: "smp 2,4";
}

/// Runs the instructions, which must not come back.
macro_rules! raise {
    ($($asm:tt)*) => {{
        // SAFETY: raises an exception that ends the machine; that is the test.
        unsafe { asm!($($asm)*) };
        panic!("came back");
    }};
}

/// The operand of `lgdt` and `lidt`.
#[repr(C, packed)]
struct Table {
    limit: u16,
    base: u64,
}

#[inline(never)]
fn a_gate_beyond_the_idt_is_a_double_fault() {
    // Vectors 0 to 8 stay: #GP has no gate, and neither has the fault that this is.
    let mut idt = Table { limit: 0, base: 0 };
    raise!(
        "sidt [{idt}]",
        "mov word ptr [{idt}], 9 * 16 - 1",
        "lidt [{idt}]",
        "mov {wild}, [{wild}]",
        idt = in(reg) &raw mut idt,
        wild = inout(reg) 1u64 << 63 => _,
    )
}

/// Loads a GDT whose entry 5 is data that is not present.
fn load_gdt_with_a_gap() {
    let gdt: &'static mut [u64; 6] =
        Box::leak(Box::new([0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0, 0, 0x00cf_1300_0000_ffff]));
    let table = Table { limit: 6 * 8 - 1, base: gdt.as_ptr() as u64 };
    // SAFETY: code and data are as they were; the task register keeps what it has loaded.
    unsafe { asm!("cli", "lgdt [{}]", in(reg) &table) };
}

fn a_missing_segment_is_named() {
    load_gdt_with_a_gap();
    raise!("mov ds, {0:e}", in(reg) 5 << 3)
}

fn a_missing_stack_segment_is_named() {
    load_gdt_with_a_gap();
    raise!("mov ss, {0:e}", in(reg) 5 << 3)
}

#[inline(never)]
fn an_nmi_from_nowhere_is_reported() {
    apic::send_nmi(apic::id());
    loop {
        core::hint::spin_loop();
    }
}

/// Spins with interrupts off and tells where.
#[inline(never)]
fn deaf_core(here: &AtomicU64) {
    // SAFETY: only delays this core's interrupts; the machine ends like this.
    unsafe { asm!("cli") };
    here.store(1 + u64::from(apic::id()), SeqCst);
    loop {
        core::hint::spin_loop();
    }
}

/// Sends a G to another core, where it takes no interrupts. Returns that core's APIC id.
fn deafen_another_core() -> u32 {
    static HERE: AtomicU64 = AtomicU64::new(0);
    drop(go(|| deaf_core(&HERE)));
    while HERE.load(SeqCst) == 0 {
        core::hint::spin_loop();
    }
    (HERE.load(SeqCst) - 1) as u32
}

fn an_nmi_reaches_a_core_that_masks_the_rest() {
    apic::send_nmi(deafen_another_core());
    loop {
        core::hint::spin_loop();
    }
}

#[inline(never)]
fn single_step_ends_after_one_instruction() {
    raise!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "ud2")
}

#[inline(never)]
fn a_watchpoint_is_a_debug_exception() {
    let mut watched = 0u64;
    // DR7: watch DR0 for writes of eight bytes.
    raise!(
        "mov dr0, {at}",
        "mov dr7, {control}",
        "mov qword ptr [{at}], 1",
        "nop",
        at = in(reg) &raw mut watched,
        control = in(reg) 0b1001u64 << 16 | 2,
    )
}

#[inline(never)]
fn emulated_x87_is_no_device() {
    // CR0.EM: the stub's own `fxsave` would fault, too.
    raise!("mov {0}, cr0", "or {0}, 4", "mov cr0, {0}", "fnop", out(reg) _)
}

fn a_fault_on_the_fault_stack_says_so() {
    let stack = gdt::ist_stack(percpu::current(), gdt::IST_PAGE_FAULT);
    raise!("mov rsp, {0}", "push 0", in(reg) stack.start)
}

/// Calls an address, with nothing that the unwinder does not know.
#[inline(never)]
fn call(address: u64) {
    // SAFETY: it is no function; that is the test.
    let f: fn() = unsafe { core::mem::transmute(black_box(address)) };
    f();
    black_box(());
}

#[inline(never)]
fn a_call_to_nowhere_shows_its_caller() {
    // A null function pointer can't be made in Rust.
    raise!("xor eax, eax", "call rax", out("rax") _)
}

#[inline(never)]
fn a_call_beyond_canonical_shows_its_caller() {
    call(1 << 63);
    black_box(());
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the test")]
fn descend(n: u64) -> u64 {
    let block = black_box([n; 16]);
    descend(n + 1) + block[3]
}

#[inline(never)]
fn a_long_recursion_shows_both_ends() {
    black_box(descend(0));
}

/// Runs `f` with less than about 2 KiB between the stack pointer and `low`.
#[inline(never)]
fn deep(low: usize, f: &dyn Fn()) {
    let block = black_box([0u64; 32]);
    if block.as_ptr() as usize > low + 2048 {
        deep(low, f)
    } else {
        f()
    }
    black_box(&block);
}

#[inline(never)]
fn a_panic_with_little_stack_left_is_reported() {
    let here = black_box(0u8);
    // The window's lowest five pages are guard and red.
    let low = ((&raw const here) as usize & !((256 << 10) - 1)) + 5 * 4096;
    deep(low, &|| panic!("hardly any room"));
}

/// Can't be shown.
struct Touchy(fn());

impl fmt::Display for Touchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)();
        f.write_str("came back")
    }
}

fn a_message_that_panics_ends_the_report() {
    panic!("{}", Touchy(|| panic!("no")));
}

fn a_message_that_faults_ends_the_report() {
    panic!("{}", Touchy(|| raise!("mov {0}, [{0}]", inout(reg) 8u64 => _)));
}

fn a_panic_before_the_cores_have_come() {
    panic!("too early for the others");
}

fn a_core_that_masks_interrupts_stops_too() {
    deafen_another_core();
    panic!("as it can't hear");
}

fn a_fault_at_depth_names_the_depth() {
    (0..3).for_each(|_| percpu::preempt_off());
    raise!("ud2")
}

fn every_exception_ends_in_a_report() {
    let vector = runtime::args().find_map(|word| word.strip_prefix("vector=")?.parse().ok());
    exceptions::enter_with_frame(vector.expect("vector=N"), 0);
    panic!("came back");
}

fn unexpected_vectors_are_counted() {
    percpu::preempt_off();
    let core = percpu::current();
    let count = || (core.unexpected.load(SeqCst), core.spurious.load(SeqCst));
    let (unexpected, spurious) = count();
    exceptions::enter_with_frame(0x77, 0);
    assert_eq!(count(), (unexpected + 1, spurious));
    exceptions::enter_with_frame(exceptions::VECTOR_SPURIOUS, 0);
    exceptions::enter_with_frame(exceptions::VECTOR_PIC + 7, 0);
    assert_eq!(count(), (unexpected + 1, spurious + 2));
    percpu::preempt_on();
}

/// Fills every register that interrupted code may rely on, the red zone included, with values made
/// of `seed`; waits until `*flag` is not 0; says how many of them have changed.
#[inline(never)]
fn hold_everything(seed: u64, flag: *const u64) -> u64 {
    let changed: u64;
    // SAFETY: the block saves what it may not change (rbx, rbp), names the rest, and leaves the
    // stack as it was: below rsp lies what the `sub` has reserved, and the 128 bytes of the red
    // zone under that.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "sub rsp, 256",
            "lea rbx, [rsp + 128]", // rsp of a leaf that uses its red zone
            "xchg rsp, rbx",
            "mov rcx, 16",
            "2:",
            "mov rax, rdi",
            "add rax, rcx",
            "neg rcx",
            "mov [rsp + rcx * 8], rax",
            "neg rcx",
            "dec rcx",
            "jnz 2b",
            "movq xmm0, rdi",
            "punpcklqdq xmm0, xmm0",
            "movaps xmm1, xmm0", "movaps xmm2, xmm0", "movaps xmm3, xmm0", "movaps xmm4, xmm0", "movaps xmm5, xmm0",
            "movaps xmm6, xmm0", "movaps xmm7, xmm0", "movaps xmm8, xmm0", "movaps xmm9, xmm0", "movaps xmm10, xmm0",
            "movaps xmm11, xmm0", "movaps xmm12, xmm0", "movaps xmm13, xmm0", "movaps xmm14, xmm0", "movaps xmm15, xmm0",
            "mov rbx, rdi", "mov rbp, rdi", "mov rcx, rdi", "mov rdx, rdi", "mov r8, rdi", "mov r9, rdi",
            "mov r10, rdi", "mov r11, rdi", "mov r12, rdi", "mov r13, rdi", "mov r14, rdi", "mov r15, rdi",
            // Only rax and rsi are not full.
            "3:",
            "pause",
            "cmp qword ptr [rsi], 0",
            "je 3b",
            "xor eax, eax",
            "cmp rbx, rdi", "setne al",
            "xor rbp, rdi", "or rax, rbp",
            "xor rcx, rdi", "or rax, rcx",
            "xor rdx, rdi", "or rax, rdx",
            "xor r8, rdi", "or rax, r8",
            "xor r9, rdi", "or rax, r9",
            "xor r10, rdi", "or rax, r10",
            "xor r11, rdi", "or rax, r11",
            "xor r12, rdi", "or rax, r12",
            "xor r13, rdi", "or rax, r13",
            "xor r14, rdi", "or rax, r14",
            "xor r15, rdi", "or rax, r15",
            "movq xmm0, rdi",
            "punpcklqdq xmm0, xmm0",
            "pxor xmm1, xmm0", "pxor xmm2, xmm0", "pxor xmm3, xmm0", "pxor xmm4, xmm0", "pxor xmm5, xmm0",
            "pxor xmm6, xmm0", "pxor xmm7, xmm0", "pxor xmm8, xmm0", "pxor xmm9, xmm0", "pxor xmm10, xmm0",
            "pxor xmm11, xmm0", "pxor xmm12, xmm0", "pxor xmm13, xmm0", "pxor xmm14, xmm0", "pxor xmm15, xmm0",
            "por xmm1, xmm2", "por xmm1, xmm3", "por xmm1, xmm4", "por xmm1, xmm5", "por xmm1, xmm6", "por xmm1, xmm7",
            "por xmm1, xmm8", "por xmm1, xmm9", "por xmm1, xmm10", "por xmm1, xmm11", "por xmm1, xmm12", "por xmm1, xmm13",
            "por xmm1, xmm14", "por xmm1, xmm15",
            "movq rcx, xmm1", "or rax, rcx",
            "punpckhqdq xmm1, xmm1",
            "movq rcx, xmm1", "or rax, rcx",
            "mov rcx, 16",
            "4:",
            "neg rcx",
            "mov rdx, [rsp + rcx * 8]",
            "neg rcx",
            "sub rdx, rdi",
            "sub rdx, rcx",
            "or rax, rdx",
            "dec rcx",
            "jnz 4b",
            "add rsp, 128",
            "pop rbp",
            "pop rbx",
            in("rdi") seed,
            in("rsi") flag,
            out("rax") changed,
            out("rcx") _, out("rdx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
        );
    }
    changed
}

/// Laws 1 and 2: one core holds everything while another one sends it interrupts.
fn interrupts_leave_registers_alone() {
    static DONE: AtomicU64 = AtomicU64::new(0);
    static TARGET: AtomicU64 = AtomicU64::new(0);
    const INTERRUPTS: u64 = 5000;
    let target = go(|| {
        percpu::preempt_off();
        let core = percpu::current();
        let before = core.wake_ipis.load(SeqCst);
        TARGET.store(1 + core.index() as u64, SeqCst);
        let changed = hold_everything(0x0123_4567_89ab_cdef, DONE.as_ptr());
        let taken = core.wake_ipis.load(SeqCst) - before;
        percpu::preempt_on();
        (changed, taken)
    });
    while TARGET.load(SeqCst) == 0 {
        core::hint::spin_loop();
    }
    let core = percpu::get(TARGET.load(SeqCst) as usize - 1).unwrap();
    let before = core.wake_ipis.load(SeqCst);
    while core.wake_ipis.load(SeqCst) < before + INTERRUPTS {
        let seen = core.wake_ipis.load(SeqCst);
        apic::send_wake(core.lapic_id());
        while core.wake_ipis.load(SeqCst) == seen {
            core::hint::spin_loop();
        }
    }
    DONE.store(1, SeqCst);
    let (changed, taken) = target.join().unwrap();
    assert!(taken >= INTERRUPTS, "only {taken} interrupts came");
    assert_eq!(changed, 0);
}

/// The same for a page fault that returns: the wait's first look at its flag grows the stack.
fn faults_leave_registers_alone() {
    static READY: AtomicU64 = AtomicU64::new(0);
    static FLAG: AtomicU64 = AtomicU64::new(0);
    let target = go(|| {
        let here = black_box(0u8);
        // A word in the middle of this G's window, which nothing has touched.
        let untouched = ((&raw const here) as usize & !((256 << 10) - 1)) + (100 << 10);
        percpu::preempt_off();
        let core = percpu::current();
        FLAG.store(untouched as u64, SeqCst);
        READY.store(1 + core.index() as u64, SeqCst);
        let changed = hold_everything(0xfedc_ba98_7654_3210, untouched as *const u64);
        percpu::preempt_on();
        changed
    });
    while READY.load(SeqCst) == 0 {
        core::hint::spin_loop();
    }
    let core = record::get(READY.load(SeqCst) as usize - 1).unwrap();
    let wait_until = Instant::now() + Duration::from_secs(5);
    let mapped = || trefoil::mm::paging::translate(FLAG.load(SeqCst)).is_some();
    while !mapped() || core.stacks.grown.load(SeqCst) == 0 {
        assert!(Instant::now() < wait_until, "the stack did not grow");
    }
    // SAFETY: the page is mapped, and the G whose stack it belongs to waits for this.
    unsafe { (*(FLAG.load(SeqCst) as *const AtomicU64)).store(1, SeqCst) };
    assert_eq!(target.join().unwrap(), 0);
}
