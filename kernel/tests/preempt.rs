//! Preemption: nobody holds a core, and nobody notices that it was taken away.
#![no_std]
#![no_main]

mod support;

use core::arch::asm;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

use trefoil::prelude::*;

image! { "
    a_tight_loop_lets_the_others_run          |
    a_sleeper_keeps_time_beside_tight_loops   | smp 1 | icount
    a_sleeper_keeps_time_beside_tight_loops   | smp 2,4
    slices_are_set_and_absurd_ones_said
    slices_are_set_and_absurd_ones_said       | smp 1 | append slice=0 wakeup=60000001 | expect slice | expect wakeup
    registers_survive                         | append slice=50 | timeout 100
";
    a_tight_loop_lets_the_others_run, a_sleeper_keeps_time_beside_tight_loops, slices_are_set_and_absurd_ones_said, registers_survive,
}

/// A loop without a call.
fn spin(stop: &AtomicBool) -> u64 {
    let mut turns = 0;
    while !stop.load(Relaxed) {
        turns += 1;
        black_box(turns);
    }
    turns
}

fn a_tight_loop_lets_the_others_run() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..2 * runtime::max_procs()).map(|_| go(|| spin(&STOP))).collect();
    // `main` itself comes back again and again.
    for i in 0..20 {
        assert_eq!(go(move || i + 1).join().unwrap(), i + 1);
        runtime::yield_now();
    }
    time::sleep(Duration::from_millis(50));
    STOP.store(true, SeqCst);
    let turns: Vec<u64> = spinners.into_iter().map(|s| s.join().unwrap()).collect();
    assert!(turns.iter().all(|&t| t > 1000), "{turns:?}");
    assert!(runtime::stats().total().preemptions > 2, "{:?}", runtime::stats().total());
}

fn a_sleeper_keeps_time_beside_tight_loops() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let spinners: Vec<_> = (0..runtime::max_procs() + 1).map(|_| go(|| spin(&STOP))).collect();
    time::sleep(Duration::from_millis(5));
    let mut late: Vec<u64> = (0..100)
        .map(|_| {
            let due = time::Instant::now() + Duration::from_millis(1);
            time::sleep(Duration::from_millis(1));
            (time::Instant::now() - due).as_nanos() as u64
        })
        .collect();
    late.sort_unstable();
    STOP.store(true, SeqCst);
    println!("late by {} ns (p50), {} ns (p99), {} ns (max)", late[50], late[98], late[99]);
    spinners.into_iter().for_each(|s| assert!(s.join().unwrap() > 0));
    if runtime::max_procs() == 1 {
        // By counted turns.
        assert!(late[50] <= 3_000 && late[98] <= 200_000, "p50 {} ns, p99 {} ns", late[50], late[98]);
    } else {
        // By the host's clock, which stops cores as it likes; without preemption this would be a slice.
        assert!(late[50] <= 2_000_000, "p50 {} ns", late[50]);
    }
}

fn slices_are_set_and_absurd_ones_said() {
    // What the command line could not mean has been named, and the defaults hold.
    assert_eq!((runtime::slice(), runtime::wakeup()), (Duration::from_millis(10), Duration::from_micros(100)));
    assert_eq!(runtime::set_slice(Duration::from_micros(5)), Duration::from_millis(10));
    assert_eq!(runtime::set_wakeup(Duration::from_secs(60)), Duration::from_micros(100));
    assert_eq!((runtime::slice(), runtime::wakeup()), (Duration::from_micros(5), Duration::from_secs(60)));
    for absurd in [Duration::ZERO, Duration::from_micros(4), Duration::from_micros(60_000_001), Duration::MAX] {
        for set in [runtime::set_slice, runtime::set_wakeup] {
            let said = go(move || set(absurd)).join().unwrap_err();
            assert!(said.message().is_some_and(|text| text.contains("wants 5µs to a minute")), "{said:?}");
        }
    }
    assert_eq!(runtime::slice(), Duration::from_micros(5));
}

static ROUNDS: AtomicU64 = AtomicU64::new(0);

fn registers_survive() {
    let begin = runtime::stats().total().preemptions;
    let handles: Vec<_> = (0..3 * runtime::max_procs() as u64).map(|i| go(move || torture(i))).collect();
    let wrong: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
    println!("{} preemptions, {} rounds", runtime::stats().total().preemptions - begin, ROUNDS.load(Relaxed));
    assert_eq!(wrong, 0, "registers changed by themselves");
}

/// Fills registers with a pattern, waits a while, and counts those that do not have it any more.
fn torture(seed: u64) -> u64 {
    let mut wrong = 0;
    let begin = time::Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        wrong += general(seed) + vectors(seed);
        ROUNDS.fetch_add(1, Relaxed);
        spin_loop();
    }
    wrong
}

fn general(seed: u64) -> u64 {
    let wrong: u64;
    // SAFETY: uses registers and the red zone only.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov r15, rdi",
            "lea rax, [rdi + 1]", "lea rbx, [rdi + 2]", "lea rdx, [rdi + 3]", "lea rsi, [rdi + 4]", "lea rbp, [rdi + 5]",
            "lea r8, [rdi + 6]", "lea r9, [rdi + 7]", "lea r10, [rdi + 8]", "lea r11, [rdi + 9]", "lea r12, [rdi + 10]",
            "lea r13, [rdi + 11]",
            "mov [rsp - 8], rdi", "mov [rsp - 64], rdi", "mov [rsp - 128], rdi",
            "std",
            "mov ecx, 2000",
            "2:",
            "dec ecx",
            "jnz 2b",
            "pushfq",
            "pop r14",
            "cld",
            // What was written below rsp has been overwritten at -8 by the push: the other two are left.
            "shr r14, 10",
            "and r14, 1",
            "xor r14, 1", // DF was set: 0
            "lea rcx, [rdi + 1]", "cmp rcx, rax", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 2]", "cmp rcx, rbx", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 3]", "cmp rcx, rdx", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 4]", "cmp rcx, rsi", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 5]", "cmp rcx, rbp", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 6]", "cmp rcx, r8", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 7]", "cmp rcx, r9", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 8]", "cmp rcx, r10", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 9]", "cmp rcx, r11", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 10]", "cmp rcx, r12", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "lea rcx, [rdi + 11]", "cmp rcx, r13", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "cmp r15, rdi", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "cmp [rsp - 64], rdi", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "cmp [rsp - 128], rdi", "setne cl", "movzx ecx, cl", "add r14, rcx",
            "pop rbp",
            "pop rbx",
            inout("rdi") seed => _,
            out("rax") _, out("rdx") _, out("rsi") _, out("rcx") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") wrong, out("r15") _,
        );
    }
    wrong
}

fn vectors(seed: u64) -> u64 {
    let mut bytes = [0u64; 64];
    for (i, word) in bytes.iter_mut().enumerate() {
        *word = seed * 1000 + i as u64;
    }
    let mut after = [0u64; 64];
    let (mxcsr, control) = (0x1f80u32 | (seed as u32 & 3) << 13, 0x037fu16 & !0x0c00 | (seed as u16 & 3) << 10);
    let (mut mxcsr_after, mut control_after) = (0u32, 0u16);
    // SAFETY: uses registers only, and puts the control words back. AVX is there: `-cpu max`.
    unsafe {
        asm!(
            "ldmxcsr [{m}]",
            "fldcw [{c}]",
            "vmovdqu ymm0, [{from}]", "vmovdqu ymm1, [{from} + 32]", "vmovdqu ymm2, [{from} + 64]", "vmovdqu ymm3, [{from} + 96]",
            "vmovdqu ymm4, [{from} + 128]", "vmovdqu ymm5, [{from} + 160]", "vmovdqu ymm6, [{from} + 192]",
            "vmovdqu ymm7, [{from} + 224]", "vmovdqu ymm8, [{from} + 256]", "vmovdqu ymm9, [{from} + 288]",
            "vmovdqu ymm10, [{from} + 320]", "vmovdqu ymm11, [{from} + 352]", "vmovdqu ymm12, [{from} + 384]",
            "vmovdqu ymm13, [{from} + 416]", "vmovdqu ymm14, [{from} + 448]", "vmovdqu ymm15, [{from} + 480]",
            "fld1",
            "mov ecx, 2000",
            "2:",
            "dec ecx",
            "jnz 2b",
            "vmovdqu [{to}], ymm0", "vmovdqu [{to} + 32], ymm1", "vmovdqu [{to} + 64], ymm2", "vmovdqu [{to} + 96], ymm3",
            "vmovdqu [{to} + 128], ymm4", "vmovdqu [{to} + 160], ymm5", "vmovdqu [{to} + 192], ymm6",
            "vmovdqu [{to} + 224], ymm7", "vmovdqu [{to} + 256], ymm8", "vmovdqu [{to} + 288], ymm9",
            "vmovdqu [{to} + 320], ymm10", "vmovdqu [{to} + 352], ymm11", "vmovdqu [{to} + 384], ymm12",
            "vmovdqu [{to} + 416], ymm13", "vmovdqu [{to} + 448], ymm14", "vmovdqu [{to} + 480], ymm15",
            "fstp st(0)",
            "stmxcsr [{ma}]",
            "fnstcw [{ca}]",
            "vzeroupper",
            m = in(reg) &mxcsr, c = in(reg) &control, from = in(reg) &bytes, to = in(reg) &mut after, ma = in(reg) &mut mxcsr_after,
            ca = in(reg) &mut control_after,
            out("rcx") _, out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
            out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
            out("xmm14") _, out("xmm15") _,
        );
        asm!("ldmxcsr [{}]", "fldcw [{}]", in(reg) &0x1f80u32, in(reg) &0x037fu16);
    }
    let wrong = bytes.iter().zip(&after).filter(|(a, b)| a != b).count() as u64;
    wrong + u64::from(mxcsr_after & 0xffc0 != mxcsr & 0xffc0) + u64::from(control_after != control)
}
