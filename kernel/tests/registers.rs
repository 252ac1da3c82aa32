//! Preemption: nobody notices that the core was taken away, nor that it goes on with another one.
//! Registers, flags, vector state, the red zone.
#![no_std]
#![no_main]

mod support;

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use trefoil::arch;
use trefoil::prelude::*;

image! {
    registers_survive:
        "append slice=50 | timeout 100",
        "smp 2 | append slice=50 | cpu max,-avx | timeout 100",
        "smp 2 | append slice=50 | cpu max,-xsave | timeout 100";
    registers_survive_in_frames_of_any_size: "append slice=50 | timeout 100";
    the_states_of_every_processor_are_known: "smp 1";
    the_last_bytes_of_a_stack_are_enough: "append slice=50";
    registers_survive_a_million_preemptions: "large | smp 1,2,4 | append slice=20 | timeout 900";
}

fn preemptions() -> u64 {
    runtime::stats().total().preemptions
}

static ROUNDS: AtomicU64 = AtomicU64::new(0);
/// Rounds that ended on another core than they began on.
static MOVED: AtomicU64 = AtomicU64::new(0);
static ENOUGH: AtomicBool = AtomicBool::new(false);

fn registers_survive() {
    torture_all(10_000);
}

fn registers_survive_a_million_preemptions() {
    torture_all(1_000_000);
}

/// Runs G's that check their registers, until `least` preemptions have come.
fn torture_all(least: u64) {
    let cores = runtime::max_procs();
    while runtime::cpus_started() < cores {
        runtime::yield_now();
    }
    let (begin, moved, each) = (preemptions(), MOVED.load(SeqCst), runtime::stats().ms.clone());
    ENOUGH.store(false, SeqCst);
    let handles: Vec<_> = (0..3 * cores as u64).map(|i| go(move || torture(i))).collect();
    while preemptions() - begin < least {
        time::sleep(Duration::from_millis(20));
    }
    ENOUGH.store(true, SeqCst);
    let wrong: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
    let (taken, moved) = (preemptions() - begin, MOVED.load(SeqCst) - moved);
    println!("{taken} preemptions, {} rounds, {moved} ended on another core", ROUNDS.load(Relaxed));
    assert_eq!(wrong, 0, "registers changed by themselves");
    assert!(cores == 1 || moved > least / 50, "only {moved} were moved");
    // No core has kept one G for itself while the others waited for the other cores.
    let each: Vec<_> =
        runtime::stats().ms.iter().zip(&each).map(|(now, then)| now.preemptions - then.preemptions).collect();
    assert!(each.iter().all(|&n| n > least / (50 * cores as u64)), "on each core: {each:?}");
}

/// Fills registers with a pattern, waits a while, and counts those that do not have it any more.
fn torture(seed: u64) -> u64 {
    // CPUID 1: OSXSAVE and AVX.
    let ymm = __cpuid(1).ecx >> 27 & 3 == 3;
    let (mut wrong, mut rounds) = (0, 0);
    while !ENOUGH.load(Relaxed) {
        let here = runtime::core();
        wrong += general(seed + rounds) + vectors(seed + rounds, ymm);
        MOVED.fetch_add(u64::from(runtime::core() != here), Relaxed);
        rounds += 1;
    }
    ROUNDS.fetch_add(rounds, Relaxed);
    wrong
}

/// Carry, parity, adjust, zero, sign, direction, overflow, alignment check, ID: those that a
/// program can set as it likes.
const FLAGS: u64 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 11 | 1 << 18 | 1 << 21;

fn general(seed: u64) -> u64 {
    // Interrupts on; bit 1 is always set.
    let flags = 0x202 | seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 & FLAGS | (!seed & 1) << 10 | (!seed & 2) << 17;
    let wrong: u64;
    // SAFETY: uses registers, the stack and the red zone only, and leaves the direction flag clear.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            // The red zone: 15 words, all but the one that the flags will take.
            "mov ecx, 15",
            "3:",
            "lea rax, [rdi + rcx]",
            "neg rcx",
            "mov [rsp + 8 * rcx - 8], rax",
            "neg rcx",
            "dec ecx",
            "jnz 3b",
            "mov r15, rdi",
            "lea rax, [rdi + 1]", "lea rbx, [rdi + 2]", "lea rdx, [rdi + 3]", "lea rbp, [rdi + 5]",
            "lea r8, [rdi + 6]", "lea r9, [rdi + 7]", "lea r10, [rdi + 8]", "lea r11, [rdi + 9]", "lea r12, [rdi + 10]",
            "lea r13, [rdi + 11]", "lea r14, [rdi + 12]",
            "mov ecx, 5000",
            "push rsi",
            "popfq",
            // `loop` leaves the flags alone.
            "2:",
            "loop 2b",
            "pushfq",
            "cld",
            "xor [rsp], rsi",
            "pop rcx",
            "cmp rcx, 0", "setne cl", "movzx ecx, cl", "xchg rcx, rsi",
            // rsi = what is wrong from here on.
            "lea rcx, [rdi + 1]", "cmp rcx, rax", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 2]", "cmp rcx, rbx", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 3]", "cmp rcx, rdx", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 5]", "cmp rcx, rbp", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 6]", "cmp rcx, r8", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 7]", "cmp rcx, r9", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 8]", "cmp rcx, r10", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 9]", "cmp rcx, r11", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 10]", "cmp rcx, r12", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 11]", "cmp rcx, r13", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "lea rcx, [rdi + 12]", "cmp rcx, r14", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "cmp r15, rdi", "setne cl", "movzx ecx, cl", "add rsi, rcx",
            "mov ecx, 15",
            "4:",
            "lea rax, [rdi + rcx]",
            "neg rcx",
            "cmp [rsp + 8 * rcx - 8], rax",
            "setne al",
            "movzx eax, al",
            "add rsi, rax",
            "neg rcx",
            "dec ecx",
            "jnz 4b",
            "pop rbp",
            "pop rbx",
            inout("rdi") seed => _, inout("rsi") flags => wrong,
            out("rax") _, out("rdx") _, out("rcx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    wrong
}

/// The contents of the vector unit: values to load, or those found there afterwards.
#[repr(C)]
struct Vectors {
    /// 16 registers of 32 bytes.
    registers: [u64; 64],
    /// The x87 stack.
    stack: [i64; 8],
    mxcsr: u32,
    control: u16,
}

/// The 16 registers, by 32 or by 16 bytes, with the x87 registers and all control words.
macro_rules! vectors {
    ($load:literal, $register:literal, $step:literal, $from:expr, $to:expr) => {
        asm!(
            "ldmxcsr [{from} + 576]",
            "fninit",
            "fldcw [{from} + 580]",
            ".set i, 0",
            ".rept 8",
            "fild qword ptr [{from} + 512 + 8 * i]",
            ".set i, i + 1",
            ".endr",
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            concat!($load, " ", $register, "\\i, [{from} + ", $step, " * \\i]"),
            ".endr",
            "mov ecx, 5000",
            "2:",
            "loop 2b",
            ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            concat!($load, " [{to} + ", $step, " * \\i], ", $register, "\\i"),
            ".endr",
            "stmxcsr [{to} + 576]",
            "fnstcw [{to} + 580]",
            ".set i, 7",
            ".rept 8",
            "fistp qword ptr [{to} + 512 + 8 * i]",
            ".set i, i - 1",
            ".endr",
            "fninit",
            "ldmxcsr [{usual}]",
            from = in(reg) $from, to = in(reg) $to, usual = in(reg) &0x1f80u32,
            out("rcx") _, out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
            out("xmm14") _, out("xmm15") _, out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _, out("st(4)") _,
            out("st(5)") _, out("st(6)") _, out("st(7)") _,
        )
    };
}

fn vectors(seed: u64, ymm: bool) -> u64 {
    let before = Vectors {
        registers: core::array::from_fn(|i| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i as u64)),
        stack: core::array::from_fn(|i| seed as i64 * 1000 - i as i64),
        // Rounding, flush to zero, denormals are zero, and the six exception flags.
        mxcsr: 0x1f80 | (seed as u32 & 7) << 13 | (seed as u32 >> 1 & 1) << 6 | seed as u32 >> 2 & 0x3f,
        // Rounding and precision.
        control: 0x003f | (seed as u16 & 3) << 10 | [0, 2, 3][seed as usize % 3] << 8 | 0x40,
    };
    let mut after = Vectors { registers: [0; 64], stack: [0; 8], mxcsr: 0, control: 0 };
    // SAFETY: uses registers only, and puts the control words back. AVX is on if `ymm` says so.
    unsafe {
        if ymm {
            vectors!("vmovdqu", "ymm", "32", &before, &mut after);
            asm!("vzeroupper");
        } else {
            vectors!("movdqu", "xmm", "16", &before, &mut after);
        }
    }
    let words = if ymm { 64 } else { 32 };
    let wrong = (0..words).filter(|&i| before.registers[i] != after.registers[i]).count();
    let wrong = wrong + (0..8).filter(|&i| before.stack[i] != after.stack[i]).count();
    wrong as u64 + u64::from(after.mxcsr != before.mxcsr) + u64::from(after.control != before.control)
}

/// AVX-512 wants 2,688 bytes; with AMX it would be 11,008.
fn registers_survive_in_frames_of_any_size() {
    for bytes in [2688, 11_008] {
        arch::preempt::set_xsave_bytes(bytes);
        assert!(arch::preempt::frame_bytes() > bytes as usize && arch::preempt::frame_bytes() < 4 * 4096);
        torture_all(2_000);
        the_last_bytes_of_a_stack_are_enough();
    }
}

fn the_states_of_every_processor_are_known() {
    let wanted = |present| arch::cpu::vector_state(present).bits();
    // x87, SSE, AVX; with MPX; with AVX-512; with PKRU and AMX; with a part of AVX-512 missing.
    assert_eq!(
        [0b11, 0b111, 0b1_1111, 0b1110_0111, 0b110_0010_1110_0111, 0b1010_0111].map(wanted),
        [0b11, 0b111, 0b111, 0b1110_0111, 0b1110_0111, 0b111]
    );
}

/// A G uses its window to the last byte above the red pages. The frame lies in those, and that is
/// not its fault.
fn the_last_bytes_of_a_stack_are_enough() {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, SeqCst);
    let others: Vec<_> = (0..runtime::max_procs())
        .map(|_| {
            go(|| {
                while !STOP.load(Relaxed) {
                    spin_loop();
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let deep = go(|| {
            let lo = {
                let guard = trefoil_sched::PreemptGuard::new();
                trefoil_sched::current_g(&guard).stack().lo
            };
            let before = preemptions();
            while preemptions() < before + 20 {
                // SAFETY: the stack is this G's down to the red pages; it is put back before
                // anything is called.
                unsafe {
                    asm!(
                        "mov {saved}, rsp",
                        "mov rsp, {end}",
                        "mov [rsp], {saved}",
                        "mov ecx, 100000",
                        "2:",
                        "loop 2b",
                        "cmp [rsp], {saved}",
                        "je 3f",
                        "ud2",
                        "3:",
                        "mov rsp, {saved}",
                        saved = out(reg) _, end = in(reg) lo + 5 * 4096, out("rcx") _,
                    );
                }
            }
            7
        });
        assert_eq!(deep.join().unwrap(), 7);
    }
    STOP.store(true, SeqCst);
    others.into_iter().for_each(|o| o.join().unwrap());
}
