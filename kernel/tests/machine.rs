//! The machine: cores, memory, firmware, interrupts, the command line; also when they are not as
//! they should be.
#![no_std]
#![no_main]

mod support;

use core::hint::black_box;
use core::sync::atomic::Ordering::Relaxed;

use trefoil::arch::{exceptions, percpu};
use trefoil::mm::paging::{self, translate};
use trefoil::prelude::*;
use x86_64::structures::paging::PageTableFlags;

image! {
    all_cores_come:
        "smp 1,2,3,4,8,16",
        "smp 4,sockets=2,cores=2,threads=1 8,sockets=2,cores=2,threads=2",
        "smp 1,4 | machine pc",
        "smp 1,4 | machine microvm",
        "smp 4 | append fault=late:2";
    main_does_not_wait: "smp 4 | append fault=deaf:3 | timeout 20";
    memory_can_be_used:
        "smp 2 | mem 64M",
        "smp 1 | mem 64M | machine microvm",
        "smp 2 | mem 2G",
        "smp 1 | mem 5G",
        "smp 1 | mem 16G",
        "smp 1 | mem 5G | machine pc";
    sections_have_their_rights: "smp 1,2";
    a_wake_up_is_an_interrupt: "smp 2,4";
    idle_cores_are_quiet: "smp 4";
    spurious_vectors_are_counted: "smp 1";
    the_clock_runs_and_never_goes_back:
        "smp 1,2,4",
        "smp 2 | machine microvm";
    no_repeat_fills_under_the_translator: "smp 1";
    the_input_is_there: "smp 1 | input /usr/share/common-licenses/GPL-3";
    no_input_is_empty: "smp 1";
    options_are_checked:
        "smp 1 | append maxprocs=zero colour=red seed=7 =x maxprocs=99 | expect unknown key \"colour\" | expect maxprocs=\"zero\" | expect maxprocs=\"99\" | expect went on";
    words_reach_the_program: "smp 1 | append app.speed=9";
    quoted_words_stay_whole: "smp 1 | append -- \"a b\" \"\" c\\ d  \"q\\\"\\\\\"";
    the_status_reaches_the_shell:
        "smp 1 | append app.code=0",
        "smp 1 | append app.code=1 | exit 1",
        "smp 1,4 | append app.code=2 | exit 2",
        "smp 1 | append app.code=16 | exit 16",
        "smp 1 | append app.code=42 | exit 42",
        "smp 1 | append app.code=127 | exit 127",
        "smp 1 | append app.code=128 | exit 1",
        "smp 1 | append app.code=-1 | exit 1",
        "smp 1 | append app.code=256 | exit 1";
    lines_do_not_interleave: "smp 1,4 | shape [# # #] | expect [0 0 0] | expect [7 29 7]";
    the_end_cuts_no_line: "smp 2,4 | shape [# # #] | expect [0 0 0]";
    the_end_comes_while_a_line_stands: "smp 1 | timeout 20";
    goes_on_alone:
        "smp 2 | append fault=no-acpi | expect no tables found; running on the boot core alone",
        "smp 2 | append fault=madt-checksum | expect MADT has a bad checksum; running on the boot core alone",
        "smp 2 | append fault=madt-truncated | expect MADT has an entry of impossible length",
        "smp 2 | append fault=rsdp-checksum | expect RSDP has a bad checksum";
    goes_on_without: "smp 4 | append fault=deaf:2 | expect the core with APIC id 2 did not answer; it is left out";
    no_clock_reference: "smp 1 | append fault=no-reference | expect nothing tells how fast";
    never_reached: "smp 1 | mem 32M | exit 1 | expect fatal: too little memory | expect needs at least";
}

fn wait_for_cores(n: usize) {
    let begin = Instant::now();
    while runtime::cpus_started() < n {
        assert!(begin.elapsed() < Duration::from_secs(20), "{} of {n} cores came", runtime::cpus_started());
        time::sleep(Duration::from_millis(1));
    }
}

fn all_cores_come() {
    let n = runtime::max_procs();
    assert_eq!(runtime::num_cpus(), n, "the machine's cores are known before they run");
    wait_for_cores(n);
    // Each of them runs G's. With more cores than the host has, some get their turn late.
    let begin = Instant::now();
    while runtime::stats().ms.iter().any(|m| m.runs == 0) {
        assert!(begin.elapsed() < Duration::from_secs(20), "a core ran nothing: {:?}", runtime::stats());
        let long_enough_for_all = || {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(2) {
                black_box(());
            }
        };
        let handles: Vec<_> = (0..n * 20).map(|_| go(long_enough_for_all)).collect();
        handles.into_iter().for_each(|h| h.join().unwrap());
    }
    assert_eq!(runtime::stats().ms.len(), n);
    let ids: Vec<u32> = percpu::all().map(|c| c.lapic_id()).collect();
    assert!(ids.iter().enumerate().all(|(i, id)| !ids[..i].contains(id)), "two cores with one APIC id: {ids:?}");
}

fn main_does_not_wait() {
    // One core never answers, which is known half a second after the start: `main` must have begun
    // long before.
    assert!(runtime::cpus_started() < 4);
    assert_eq!(runtime::num_cpus(), 4, "nobody knows yet that one is missing");
    let begun = Instant::now().as_nanos();
    assert!(begun < 300_000_000, "main began {begun} ns after boot");
    wait_for_cores(3);
}

fn memory_can_be_used() {
    let before = trefoil::mm::frames::stats();
    // Takes nearly all of it, a frame at a time. The memory must be real: each frame keeps its own
    // number.
    let n = (before.free - 500).min(200_000);
    let mut frames: Vec<u64> = Vec::with_capacity(n as usize);
    for _ in 0..n.min(before.free - 2000) {
        let Some(frame) = trefoil::mm::frames::alloc() else { break };
        // SAFETY: a fresh frame, in the physical map.
        unsafe { trefoil::mm::phys_to_virt(frame).cast::<u64>().write(frame ^ 0x5a5a) };
        frames.push(frame);
    }
    assert!(frames.len() as u64 >= n - 2500, "{} of {n} frames", frames.len());
    for &frame in &frames {
        // SAFETY: written right above.
        let word = unsafe { trefoil::mm::phys_to_virt(frame).cast::<u64>().read() };
        assert_eq!(word, frame ^ 0x5a5a, "a frame is there twice");
    }
    // SAFETY: 1. each came from `alloc`, and nothing maps them.
    frames.iter().for_each(|&frame| unsafe { trefoil::mm::frames::free(frame) });
    let mut big: Vec<u8> = Vec::new();
    big.resize(8 << 20, 7);
    assert!(big.iter().all(|&b| b == 7));
}

fn sections_have_their_rights() {
    fn rights(address: u64) -> PageTableFlags {
        translate(address).expect("mapped").1
    }
    let code = rights(sections_have_their_rights as *const () as u64);
    assert_eq!(code, PageTableFlags::empty(), "code is R-X");
    let constant: &'static str = "a constant";
    assert_eq!(rights(constant.as_ptr() as u64), PageTableFlags::NO_EXECUTE, "constants are R--");
    static DATA: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(1);
    assert_eq!(rights(DATA.as_ptr() as u64), paging::DATA, "data is RW-");
    let local = 5u8;
    assert_eq!(rights(&raw const local as u64), paging::DATA, "stacks are RW-");
    for core in percpu::all() {
        assert!(translate(core.g0_stack().start).is_some());
        assert!(translate(core.g0_stack().start - 1).is_none(), "no guard page under g0 of core {}", core.index());
        for ist in 1..=7 {
            let stack = trefoil::arch::gdt::ist_stack(core, ist);
            assert!(
                translate(stack.start).is_some() && translate(stack.start - 1).is_none(),
                "no guard page under IST {ist}"
            );
        }
    }
    assert!(translate(0x10_0000).is_none() && translate(0).is_none(), "the identity map is still there");
    let (cr0, cr4): (u64, u64);
    // SAFETY: reads registers.
    unsafe { core::arch::asm!("mov {}, cr0", "mov {}, cr4", out(reg) cr0, out(reg) cr4) };
    assert!(cr0 >> 16 & 1 == 1, "WP is off");
    for (bit, name) in [(11, "UMIP"), (20, "SMEP"), (21, "SMAP")] {
        assert!(cr4 >> bit & 1 == 1, "{name} is off");
    }
}

fn no_repeat_fills_under_the_translator() {
    let mut bytes = vec![0u8; 64 << 10];
    let mut best = |fill: fn(&mut [u8])| {
        (0..50)
            .map(|_| {
                let begin = Instant::now();
                fill(black_box(&mut bytes));
                begin.elapsed()
            })
            .min()
    };
    let ours = best(|bytes| bytes.fill(black_box(7)));
    let repeat = best(|bytes| {
        let (at, len) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: the bytes are the slice's.
        unsafe {
            core::arch::asm!("rep stosb", inout("rcx") len => _, inout("rdi") at => _, in("al") 7u8, options(nostack))
        };
    });
    println!("64 KiB are filled in {ours:?}, and by a `rep` in {repeat:?}");
    assert!(ours.unwrap() * 3 < repeat.unwrap(), "QEMU's translator takes a `rep` byte by byte, and it is used");
}

fn a_wake_up_is_an_interrupt() {
    wait_for_cores(runtime::max_procs());
    time::sleep(Duration::from_millis(5));
    let taken = || percpu::all().map(|c| c.wake_ipis.load(Relaxed)).sum::<u64>();
    let before = taken();
    let begin = Instant::now();
    loop {
        // The others rest again before each round; a burst of G's on this core wakes them.
        time::sleep(Duration::from_millis(2));
        let handles: Vec<_> = (0..100).map(|_| go(|| (0..50_000u64).fold(0, |a, b| black_box(a ^ b)))).collect();
        handles.into_iter().for_each(|h| assert_eq!(h.join().unwrap(), 0));
        // In this order: a wake-up is counted by its sender first.
        let ipis = taken();
        let sent = runtime::stats().total().wakes_sent;
        assert!(ipis <= sent, "{sent} wake-ups sent, {ipis} interrupts taken");
        if ipis > before {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{sent} wake-ups sent, {ipis} interrupts taken");
    }
}

fn idle_cores_are_quiet() {
    wait_for_cores(4);
    time::sleep(Duration::from_millis(600)); // past the boot's own timers
    let before = runtime::stats();
    time::sleep(Duration::from_millis(200));
    let after = runtime::stats();
    let interrupts = after.total().timer_interrupts - before.total().timer_interrupts;
    let runs = after.total().runs - before.total().runs;
    let idle = after.total().idle_ns - before.total().idle_ns;
    // One is due; the APIC timer's frequency is known to a fraction of a percent, so that a long
    // wait may end early and be armed again for the rest, a few times.
    assert!(interrupts <= 8, "{interrupts} timer interrupts for one deadline");
    assert!(runs <= 4, "{runs} G's run while everybody slept");
    println!("{interrupts} timer interrupts, {runs} G's run, {idle} ns idle in 200 ms");
}

fn spurious_vectors_are_counted() {
    let core = percpu::get(0).unwrap();
    for vector in [exceptions::VECTOR_SPURIOUS, exceptions::VECTOR_PIC + 7, exceptions::VECTOR_PIC + 15] {
        let before = core.spurious.load(Relaxed);
        exceptions::enter_with_frame(vector, 0);
        assert_eq!(core.spurious.load(Relaxed), before + 1);
    }
    let before = core.unexpected.load(Relaxed);
    exceptions::enter_with_frame(0x77, 0);
    assert_eq!(core.unexpected.load(Relaxed), before + 1);
}

fn the_clock_runs_and_never_goes_back() {
    let handles: Vec<_> = (0..8)
        .map(|_| {
            go(|| {
                let mut last = Instant::now();
                for i in 0..20_000 {
                    let now = Instant::now();
                    assert!(now >= last, "the clock went back from {last:?} to {now:?}");
                    last = now;
                    if i % 500 == 0 {
                        time::sleep(Duration::from_micros(300));
                    }
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
    let begin = Instant::now();
    time::sleep(Duration::from_millis(20));
    let slept = begin.elapsed();
    assert!((20..500).contains(&slept.as_millis()), "20 ms took {slept:?}");
}

fn the_input_is_there() {
    let text = core::str::from_utf8(runtime::input()).unwrap();
    assert!(text.contains("GNU GENERAL PUBLIC LICENSE"), "{} bytes of something else", text.len());
}

fn no_input_is_empty() {
    assert!(runtime::input().is_empty());
}

fn options_are_checked() {
    println!("went on");
}

fn words_reach_the_program() {
    let words: Vec<_> = runtime::args().collect();
    assert!(words.contains(&"speed=9") && words.contains(&"words_reach_the_program"), "{words:?}");
}

fn quoted_words_stay_whole() {
    let words: Vec<_> = runtime::args().collect();
    assert_eq!(words, ["a b", "", "c d", "q\"\\", "--", "quoted_words_stay_whole"]);
}

fn the_status_reaches_the_shell() {
    let code = runtime::args().find_map(|word| word.strip_prefix("code=")).and_then(|code| code.parse().ok());
    runtime::exit(code.unwrap_or_else(|| panic!("no code")));
}

fn lines_do_not_interleave() {
    // Each G builds its lines from several calls, and others run in between; the table says what
    // every line must look like.
    let handles: Vec<_> = (0..8)
        .map(|i| {
            go(move || {
                for n in 0..30 {
                    print!("[{i}");
                    runtime::yield_now();
                    print!(" {n} ");
                    runtime::yield_now();
                    println!("{i}]");
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}

/// All cores print when the machine ends: the last line is whole too.
fn the_end_cuts_no_line() {
    for i in 1..=2 * runtime::max_procs() {
        go(move || (0..u32::MAX).for_each(|n| println!("[{i} {n} {i}]")));
    }
    println!("[0 0 0]");
    time::sleep(Duration::from_millis(30));
    runtime::exit(0);
}

/// The G that ends the machine holds the port itself.
fn the_end_comes_while_a_line_stands() {
    trefoil::console::with_locked(|| runtime::exit(0));
}

fn goes_on_alone() {
    assert_eq!((runtime::num_cpus(), runtime::cpus_started(), runtime::max_procs()), (1, 1, 1));
    assert_eq!(go(|| 5).join().unwrap(), 5);
}

fn goes_on_without() {
    assert_eq!(runtime::num_cpus(), 4, "nobody knows yet that one is missing");
    wait_for_cores(3);
    time::sleep(Duration::from_millis(800));
    assert_eq!((runtime::num_cpus(), runtime::cpus_started()), (3, 3));
    let handles: Vec<_> = (0..50u64).map(|i| go(move || i)).collect();
    assert!(handles.into_iter().map(|h| h.join().unwrap()).eq(0..50));
}

fn no_clock_reference() {
    time::sleep(Duration::from_millis(1));
}

fn never_reached() {
    println!("this much memory was enough after all");
}
