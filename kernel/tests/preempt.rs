//! Preemption: nobody holds a core, and nobody notices that it was taken away.
#![no_std]
#![no_main]

mod support;

use core::arch::asm;
use core::arch::x86_64::__cpuid;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*};

use trefoil::prelude::*;
use trefoil::{JoinError, PreemptGuard, arch};

image! { "
    a_tight_loop_lets_the_others_run          |
    a_sleeper_keeps_time_beside_tight_loops   | smp 1 | icount
    a_sleeper_keeps_time_beside_tight_loops   | smp 2 | free-cores 2
    spinners_have_their_share_in_a_storm      | smp 1 | icount
    registers_survive                         | append slice=50 | timeout 100
    registers_survive                         | smp 2 | append slice=50 | cpu max,-avx | timeout 100
    registers_survive                         | smp 2 | append slice=50 | cpu max,-xsave | timeout 100
    registers_survive_in_frames_of_any_size   | append slice=50 | timeout 100
    the_states_of_every_processor_are_known   | smp 1
    the_last_bytes_of_a_stack_are_enough      | append slice=50
    allocations_are_preempted                 | append slice=20 | timeout 100
    panics_are_preempted                      | append slice=20 | timeout 100
    lines_are_preempted_and_stay_whole        | append slice=20 | shape line # of # by # ends | timeout 100
    one_g_has_no_interrupts                   | smp 1 | icount
    one_g_has_no_interrupts                   | smp 2,4
    a_guard_keeps_the_core_and_then_makes_way | smp 1 | append slice=100 | icount
    guards_nest_in_any_order                  | append slice=20
    a_new_slice_holds_at_once                 | append slice=60000000 wakeup=60000000
    slices_out_of_range_are_said              |
    odd_slices_are_named_and_boot_goes_on     | smp 1 | append slice=0 wakeup=0 | expect slice=\"0\": wants 5 to 60000000 microseconds; skipped | expect wakeup=\"0\": wants 5 to
    odd_slices_are_named_and_boot_goes_on     | smp 1 | append slice=60000001 wakeup=x | expect slice=\"60000001\": wants | expect wakeup=\"x\": wants
    parking_with_a_guard_is_said              | smp 1,2 | exit 1 | expect it would leave its core with a PreemptGuard | expect parking_with_a_guard_is_said
    yielding_with_a_guard_is_said             | smp 1,2 | exit 1 | expect it would leave its core with a PreemptGuard
    ending_with_a_guard_is_said               | smp 1,2 | exit 1 | expect it would leave its core with a PreemptGuard
    a_panic_with_a_guard_is_said              | smp 1,2 | exit 1 | expect it can't unwind: preemption is off

    registers_survive_a_million_preemptions   | large | smp 1,2,4 | append slice=20 | timeout 900
";
    a_tight_loop_lets_the_others_run, a_sleeper_keeps_time_beside_tight_loops, spinners_have_their_share_in_a_storm, registers_survive,
    registers_survive_in_frames_of_any_size, the_states_of_every_processor_are_known, the_last_bytes_of_a_stack_are_enough,
    allocations_are_preempted, panics_are_preempted, lines_are_preempted_and_stay_whole, one_g_has_no_interrupts,
    a_guard_keeps_the_core_and_then_makes_way, guards_nest_in_any_order, a_new_slice_holds_at_once, slices_out_of_range_are_said,
    odd_slices_are_named_and_boot_goes_on, parking_with_a_guard_is_said, yielding_with_a_guard_is_said, ending_with_a_guard_is_said,
    a_panic_with_a_guard_is_said, registers_survive_a_million_preemptions,
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

/// As [`spin`], for so long.
fn spin_for(time: Duration) -> u64 {
    let begin = time::Instant::now();
    let mut turns = 0;
    while begin.elapsed() < time {
        turns += 1;
        black_box(turns);
    }
    turns
}

fn preemptions() -> u64 {
    runtime::stats().total().preemptions
}

/// Many sleepers that are due all the time take the core away from two that never leave it: those are in front of the eighth in a row, for 100 µs each time.
fn spinners_have_their_share_in_a_storm() {
    const TIME: Duration = Duration::from_millis(40);
    static STOP: AtomicBool = AtomicBool::new(false);
    let alone = spin_for(TIME);
    for work in [0, 20] {
        STOP.store(false, SeqCst);
        let sleepers: Vec<_> = (0..30)
            .map(|i| {
                go(move || {
                    let mut naps = 0u64;
                    while !STOP.load(Relaxed) {
                        time::sleep(Duration::from_micros(10 + i % 7));
                        spin_for(Duration::from_micros(work));
                        naps += 1;
                    }
                    naps
                })
            })
            .collect();
        let spinners = [go(|| spin_for(TIME)), go(|| spin_for(TIME))];
        let shares = spinners.map(|s| s.join().unwrap() * 100 / alone);
        STOP.store(true, SeqCst);
        let naps: Vec<u64> = sleepers.into_iter().map(|s| s.join().unwrap()).collect();
        let (least, all) = (naps.iter().min().unwrap(), naps.iter().sum::<u64>());
        println!(
            "sleepers that work for {work} µs: spinners have {shares:?} % of a core; {all} naps, {least} at least"
        );
        // 100 µs of 100 + 8 × (work + what a wake-up takes), of which each spinner has half.
        let bound = if work == 0 { 30 } else { 14 };
        assert!(shares.iter().all(|&s| s >= bound), "{shares:?} %, each should have {bound}");
        assert!(*least > 10, "{naps:?}");
    }
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

/// G's that look after their registers, until so many preemptions have come.
fn torture_all(least: u64) {
    let cores = runtime::max_procs();
    while runtime::num_cpus() < cores {
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

/// Carry, parity, adjust, zero, sign, direction, overflow, alignment check, ID: those that a program can set as it likes.
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

/// What the vector unit is loaded with, and what is found there afterwards.
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
    let wanted = arch::cpu::vector_state;
    // x87, SSE, AVX; with MPX; with AVX-512; with PKRU and AMX; with a part of AVX-512 missing.
    assert_eq!(
        [0b11, 0b111, 0b1_1111, 0b1110_0111, 0b110_0010_1110_0111, 0b1010_0111].map(wanted),
        [0b11, 0b111, 0b111, 0b1110_0111, 0b1110_0111, 0b111]
    );
}

/// A G uses its window to the last byte above the red pages. The frame lies in those, and that is not its fault.
fn the_last_bytes_of_a_stack_are_enough() {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, SeqCst);
    let others: Vec<_> = (0..runtime::max_procs()).map(|_| go(|| spin(&STOP))).collect();
    for _ in 0..3 {
        let deep = go(|| {
            let lo = {
                let guard = trefoil_sched::PreemptGuard::new();
                trefoil_sched::current_g(&guard).stack().lo
            };
            let before = preemptions();
            while preemptions() < before + 20 {
                // SAFETY: the stack is this G's down to the red pages; it is put back before anything is called.
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
    others.into_iter().for_each(|o| _ = o.join().unwrap());
}

/// G's that do `f` and nothing else, until so many preemptions have come.
fn under_preemption(least: u64, f: impl Fn(u64) + Copy + Send + 'static) {
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, SeqCst);
    let begin = preemptions();
    let handles: Vec<_> = (0..3 * runtime::max_procs() as u64)
        .map(|i| {
            go(move || {
                let mut n = 0;
                while !STOP.load(Relaxed) {
                    f(1000 * i + n % 1000);
                    n += 1;
                }
                n
            })
        })
        .collect();
    while preemptions() - begin < least {
        time::sleep(Duration::from_millis(10));
    }
    STOP.store(true, SeqCst);
    let rounds: u64 = handles.into_iter().map(|h| h.join().unwrap()).sum();
    println!("{} preemptions in {rounds} rounds", preemptions() - begin);
}

fn allocations_are_preempted() {
    under_preemption(4_000, |n| {
        // All classes, the region, and growing in place.
        let blocks: Vec<Vec<u64>> = (0..20).map(|i| vec![n; 1 << (i % 12)]).collect();
        let mut list = Vec::new();
        (0..300).for_each(|i| list.push(n + i));
        assert!(blocks.iter().all(|b| b.iter().all(|&v| v == n)));
        assert_eq!(list.iter().sum::<u64>(), 300 * n + 299 * 150);
    });
}

/// Counts what is dropped.
struct Drops<'a>(&'a AtomicU32);
impl Drop for Drops<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[inline(never)]
fn panic_below(levels: u32, drops: &AtomicU32) -> u32 {
    let _drop = Drops(drops);
    if black_box(levels) == 0 { panic!("at the bottom") } else { panic_below(levels - 1, drops) + 1 }
}

fn panics_are_preempted() {
    under_preemption(2_000, |n| {
        static DROPS: [AtomicU32; 16] = [const { AtomicU32::new(0) }; 16];
        let levels = n as u32 % 20;
        let drops = &DROPS[n as usize / 1000];
        drops.store(0, SeqCst);
        let Err(JoinError::Panicked(why)) = go(move || panic_below(levels, drops)).join() else {
            panic!("it did not panic")
        };
        assert_eq!((why.downcast_ref::<&str>(), drops.load(SeqCst)), (Some(&"at the bottom"), levels + 1));
        assert!(matches!(go(|| runtime::exit_g()).join(), Err(JoinError::Exited)));
    });
}

fn lines_are_preempted_and_stay_whole() {
    let before = preemptions();
    while preemptions() - before < 100 {
        let handles: Vec<_> = (0..2 * runtime::max_procs() + 1)
            .map(|i| {
                go(move || {
                    for line in 0..30 {
                        print!("line {line} ");
                        print!("of {}", 30);
                        println!(" by {i} ends");
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|h| h.join().unwrap());
    }
}

fn one_g_has_no_interrupts() {
    static STOP: AtomicBool = AtomicBool::new(false);
    while runtime::num_cpus() < runtime::max_procs() {
        runtime::yield_now();
    }
    // The clock is refined, whoever was to come up has.
    time::sleep(Duration::from_millis(100));
    let _pin = runtime::pin();
    let here = runtime::core();
    // What woke us has left one that looks whether anybody waits.
    spin_for(Duration::from_millis(1));
    let interrupts = || runtime::stats().ms[here].timer_interrupts;
    let quiet = || {
        let before = interrupts();
        spin_for(Duration::from_millis(100));
        interrupts() - before
    };
    assert_eq!(quiet(), 0, "interrupts with one G");
    if runtime::max_procs() > 1 {
        return;
    }
    // With two there are, and with one again none, but for the one that finds nobody waiting.
    runtime::set_slice(Duration::from_millis(1));
    let other = go(|| spin(&STOP));
    assert!(quiet() > 20, "two G's take turns");
    STOP.store(true, SeqCst);
    other.join().unwrap();
    spin_for(Duration::from_millis(3));
    assert_eq!(quiet(), 0, "interrupts with one G again");
}

fn a_guard_keeps_the_core_and_then_makes_way() {
    static TURNS: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    let other = go(|| {
        while !STOP.load(Relaxed) {
            TURNS.fetch_add(1, Relaxed);
        }
    });
    time::sleep(Duration::from_millis(1));
    for round in 0..20 {
        let guard = PreemptGuard::new();
        let inner = PreemptGuard::new();
        let before = TURNS.load(SeqCst);
        // Ten slices; longer than the longest that the alarm may take.
        spin_for(Duration::from_millis(1));
        drop(inner);
        assert_eq!(TURNS.load(SeqCst), before, "round {round}: another one ran under the guard");
        drop(guard);
        // At once: no instruction of ours lies between but the load.
        assert!(TURNS.load(SeqCst) > before, "round {round}: it did not make way");
    }
    STOP.store(true, SeqCst);
    other.join().unwrap();
}

fn guards_nest_in_any_order() {
    let handles: Vec<_> = (0..3 * runtime::max_procs())
        .map(|i| {
            go(move || {
                for n in 0..2000 {
                    let (a, b) = (PreemptGuard::new(), PreemptGuard::new());
                    let here = runtime::core();
                    (0..(n + i) % 50).for_each(|_| spin_loop());
                    let (first, last) = if n % 2 == 0 { (a, b) } else { (b, a) };
                    drop(first);
                    assert_eq!(runtime::core(), here);
                    drop(last);
                    // Parking is fine again.
                    if n % 100 == 0 {
                        assert_eq!(go(move || n).join().unwrap(), n);
                    }
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

fn a_new_slice_holds_at_once() {
    static TURNS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    static STOP: AtomicBool = AtomicBool::new(false);
    // More than there are cores, on the last core: the first has a minute, and would keep it.
    while runtime::num_cpus() < runtime::max_procs() {
        runtime::yield_now();
    }
    let last = runtime::num_cpus() - 1;
    let spinners: Vec<_> = TURNS
        .iter()
        .map(|turns| {
            let spinner = move || {
                while !STOP.load(Relaxed) {
                    turns.fetch_add(1, Relaxed);
                }
            };
            if last == 0 { go(spinner) } else { Builder::new().pin(last).spawn(spinner).unwrap() }
        })
        .collect();
    // The slice first: with the other, a timer of the kernel's may make us wait behind a slice of a minute.
    assert_eq!(runtime::set_slice(Duration::from_millis(1)), Duration::from_secs(60));
    assert_eq!(runtime::slice(), Duration::from_millis(1));
    let begun = runtime::set_wakeup(Duration::from_micros(100));
    assert_eq!((begun, runtime::wakeup()), (Duration::from_secs(60), Duration::from_micros(100)));
    let begin = time::Instant::now();
    let sum = || TURNS.iter().map(|t| t.load(SeqCst)).collect::<Vec<_>>();
    let mut seen = sum();
    for _ in 0..5 {
        while sum().iter().zip(&seen).any(|(now, then)| now <= then) {
            time::sleep(Duration::from_millis(1));
            assert!(begin.elapsed() < Duration::from_secs(40), "{:?}", sum());
        }
        seen = sum();
    }
    STOP.store(true, SeqCst);
    spinners.into_iter().for_each(|s| s.join().unwrap());
}

fn slices_out_of_range_are_said() {
    for bad in [Duration::ZERO, Duration::from_nanos(4_999), Duration::from_nanos(60_000_000_001), Duration::MAX] {
        for (what, set) in
            [("set_slice", runtime::set_slice as fn(Duration) -> Duration), ("set_wakeup", runtime::set_wakeup)]
        {
            let Err(JoinError::Panicked(why)) = go(move || set(bad)).join() else { panic!("{bad:?} was taken") };
            let why = why.downcast_ref::<String>().unwrap();
            assert!(why.contains(&format!("{what}: wants 5µs to a minute, not {bad:?}")), "{why}");
        }
    }
    assert_eq!((runtime::slice(), runtime::wakeup()), (Duration::from_millis(10), Duration::from_micros(100)));
    // The ends are in range.
    for good in [Duration::from_micros(5), Duration::from_secs(60)] {
        runtime::set_slice(good);
        assert_eq!(runtime::set_slice(Duration::from_millis(10)), good);
    }
}

fn odd_slices_are_named_and_boot_goes_on() {
    assert_eq!((runtime::slice(), runtime::wakeup()), (Duration::from_millis(10), Duration::from_micros(100)));
}

fn parking_with_a_guard_is_said() {
    let _guard = PreemptGuard::new();
    time::sleep(Duration::from_millis(1));
}

fn yielding_with_a_guard_is_said() {
    drop(go(|| ()));
    let _guard = PreemptGuard::new();
    (0..100).for_each(|_| runtime::yield_now());
}

fn ending_with_a_guard_is_said() {
    _ = go(|| core::mem::forget(PreemptGuard::new())).join();
}

fn a_panic_with_a_guard_is_said() {
    let failed = go(|| {
        let _guard = PreemptGuard::new();
        panic!("in a hurry");
    });
    _ = failed.join();
}
