//! The machine's reports when it can't go on: every exception, panics from inside every lock,
//! overflow, deadlock.
#![no_std]
#![no_main]

mod support;

use core::arch::asm;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use trefoil::prelude::*;
use trefoil::sync::{Mutex, WaitGroup};

image! {
    divide_error:
        "smp 1 | exit 1 | expect exception 0 #DE | expect G 1 \"main\" | expect cr2 | expect reports::divide_error | expect end of report";
    debug: "smp 1 | exit 1 | expect exception 1 #DB | expect end of report";
    nmi: "smp 1 | exit 1 | expect exception 2 NMI | expect end of report";
    breakpoint: "smp 1 | exit 1 | expect exception 3 #BP | expect reports::breakpoint | expect end of report";
    overflow: "smp 1 | exit 1 | expect exception 4 #OF | expect end of report";
    bound_range: "smp 1 | exit 1 | expect exception 5 #BR | expect end of report";
    invalid_opcode: "smp 1,4 | exit 1 | expect exception 6 #UD | expect reports::invalid_opcode | expect end of report";
    no_device: "smp 1 | exit 1 | expect exception 7 #NM | expect end of report";
    double_fault: "smp 1 | exit 1 | expect exception 8 #DF | expect end of report";
    invalid_tss: "smp 1 | exit 1 | expect exception 10 #TS | expect error 0x18 | expect end of report";
    segment_not_present: "smp 1 | exit 1 | expect exception 11 #NP | expect end of report";
    stack_fault: "smp 1 | exit 1 | expect exception 12 #SS | expect end of report";
    general_protection:
        "smp 1 | exit 1 | expect exception 13 #GP | expect reports::general_protection | expect end of report";
    page_fault_read:
        "smp 1 | exit 1 | expect #PF page fault: read from 0x00005ead00000000, an unmapped page | refuse another fault | expect end of report";
    page_fault_write: "smp 1 | exit 1 | expect write to 0xffffffff80200000, a protected page | expect end of report";
    page_fault_fetch: "smp 1 | exit 1 | expect fetch from | expect end of report";
    jump_to_nowhere:
        "smp 1 | exit 1 | expect fetch from 0x0000000000000010 | expect #00 0x0000000000000010 | expect end of report";
    x87_error: "smp 1 | exit 1 | expect exception 16 #MF | expect end of report";
    alignment_check: "smp 1 | exit 1 | expect exception 17 #AC | expect end of report";
    machine_check: "smp 1 | exit 1 | expect exception 18 #MC | expect end of report";
    simd_error: "smp 1 | exit 1 | expect exception 19 #XM | expect end of report";
    virtualization: "smp 1 | exit 1 | expect exception 20 #VE | expect end of report";
    control_protection: "smp 1 | exit 1 | expect exception 21 #CP | expect end of report";
    reserved_exceptions: "smp 1 | exit 1 | expect exception 22 reserved | expect end of report";
    fault_in_another_g: "exit 1 | expect exception 6 #UD | expect \"culprit\" | expect end of report";
    g_overflows_its_stack:
        "exit 1 | expect \"glutton\" has used up its window | expect reports::recurse | expect has ended; its frames were abandoned | expect StackOverflow | expect end of report";
    kernel_stack_guard: "smp 1 | exit 1 | expect the guard page of the g0 stack of core 0 | expect end of report";
    g0_stack_overflows:
        "smp 1,2 | exit 1 | expect the guard page of the g0 stack of core 0 | expect reports::recurse | expect end of report | refuse another fault";
    ist_stack_overflows:
        "smp 1,2 | exit 1 | expect the guard page of the #DB stack of core 0 | expect reports::recurse | expect end of report | refuse another fault";
    boot_stack_overflows:
        "smp 1,2 | exit 1 | expect the guard page of the boot stack | expect reports::recurse | expect end of report | refuse another fault";
    broken_stack_pointer: "smp 1 | exit 1 | expect trefoil: fatal | expect end of report";
    main_panics:
        "exit 1 | expect fatal: panic at kernel/tests/reports.rs | expect main gives up | expect reports::main_panics | expect end of report";
    panic_in_drop:
        "expect panicked at kernel/tests/reports.rs | expect while another panic unwinds: G | expect : in a destructor | expect others go on";
    panic_holding_the_console:
        "smp 1,4 | exit 1 | expect with the console held | expect preemption is off | expect end of report";
    panic_holding_the_heap: "smp 1,4 | exit 1 | expect with the heap held | expect end of report";
    panic_holding_the_frames: "smp 1,4 | exit 1 | expect with the frames held | expect end of report";
    panic_holding_the_queue: "smp 1,4 | exit 1 | expect with the global queue held | expect end of report";
    panic_while_another_core_holds_everything:
        "append slice=60000000 wakeup=60000000 | smp 2,4 | exit 1 | expect while another core holds every lock | expect end of report | refuse did not stop";
    two_cores_panic_at_once: "smp 4 | exit 1 | expect panic at | expect end of report | refuse another fault";
    deadlock_on_a_channel:
        "exit 1 | expect deadlock | expect \"main\" [chan receive] | expect reports::deadlock_on_a_channel | expect end of report";
    deadlock_of_the_packed:
        "exit 1 | expect deadlock | expect \"cold 7\" [chan receive] | expect reports::waits_in_vain | expect \"main\" [join] | expect end of report";
    deadlock_of_many:
        "smp 1,4 | exit 1 | expect \"first\" [mutex lock] | expect \"second\" [mutex lock] | expect held by G | expect \"main\" [join] | expect end of report";
    a_lock_taken_twice:
        "smp 1,4 | exit 1 | expect \"twice\" [mutex lock] | expect \"reader\" [rwlock write] | expect \"once\" [once] | expect which it holds itself | expect end of report";
    deadlock_names_owner_and_time:
        "smp 1 | icount | exit 1 | expect \"waits\" [mutex lock] | expect , held by G 1 \"main\", for 0.3 | expect \"main\" [join] | expect for 0.00 s",
        "smp 2,4 | exit 1 | expect , held by G 1 \"main\", for";
    deadlock_of_a_crowd:
        "smp 1,2 | exit 1 | expect … and 299 more [chan receive] where G | expect … and 199 more [mutex lock] where G | expect waits_in_vain | expect end of report";
    deadlock_at_two_lines:
        "smp 1,2 | exit 1 | expect … and 149 more [chan receive] where G | expect … and 119 more [chan receive] where G | expect end of report";
    exit_with_failure: "exit 3 | expect some words without an end";
    ? unknown_case: "smp 1 | exit 1 | expect no such case";
}

/// Runs the instructions, which must not come back.
macro_rules! raise {
    ($($asm:tt)*) => {{
        // SAFETY: raises an exception that ends the machine; that is the test.
        unsafe { asm!($($asm)*) };
        panic!("came back");
    }};
}

/// Enters a vector's stub with a hand-built frame: for what ring 0 can't raise.
fn enter(vector: u8, error: u64) {
    trefoil::arch::exceptions::enter_with_frame(vector, error);
    panic!("came back");
}

#[inline(never)]
fn divide_error() {
    raise!("xor edx, edx", "xor ecx, ecx", "mov eax, 1", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
}

fn debug() {
    // The trap flag: a debug exception after the next instruction.
    raise!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "nop")
}

fn nmi() {
    enter(2, 0)
}

#[inline(never)]
fn breakpoint() {
    raise!("int3")
}

fn overflow() {
    enter(4, 0)
}

fn bound_range() {
    enter(5, 0)
}

#[inline(never)]
fn invalid_opcode() {
    raise!("ud2")
}

fn no_device() {
    // CR0.TS makes the next x87 instruction fault.
    raise!("mov rax, cr0", "or rax, 8", "mov cr0, rax", "fninit", out("rax") _)
}

fn double_fault() {
    enter(8, 0)
}

fn invalid_tss() {
    enter(10, 0x18)
}

fn segment_not_present() {
    enter(11, 0x18)
}

fn stack_fault() {
    enter(12, 0)
}

#[inline(never)]
fn general_protection() {
    raise!("mov rax, [{0}]", in(reg) 0x8000_0000_0000_0000u64, out("rax") _)
}

fn page_fault_read() {
    raise!("mov rax, [{0}]", in(reg) 0x5ead_0000_0000u64, out("rax") _)
}

fn page_fault_write() {
    // The kernel's own code is not for writing.
    raise!("mov qword ptr [{0}], 0", in(reg) 0xffff_ffff_8020_0000u64)
}

fn page_fault_fetch() {
    // A stack is not for executing.
    let code = black_box([0xc3u8; 16]);
    raise!("call {0}", in(reg) code.as_ptr())
}

fn jump_to_nowhere() {
    raise!("call {0}", in(reg) 0x10u64)
}

fn x87_error() {
    // Unmasks all x87 exceptions, divides by zero, and waits for the verdict.
    let control = 0x0340u16;
    raise!("fldcw [{0}]", "fld1", "fldz", "fdivp st(1), st", "fwait", in(reg) &control)
}

fn alignment_check() {
    enter(17, 0)
}

fn machine_check() {
    enter(18, 0)
}

fn simd_error() {
    enter(19, 0)
}

fn virtualization() {
    enter(20, 0)
}

fn control_protection() {
    enter(21, 1)
}

fn reserved_exceptions() {
    enter(22, 0)
}

fn fault_in_another_g() {
    let handle = Builder::new().name("culprit").spawn(invalid_opcode).unwrap();
    handle.join().unwrap();
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is the test")]
fn recurse(n: u64) -> u64 {
    let block = black_box([n; 16]);
    recurse(n + 1) + block[3]
}

fn g_overflows_its_stack() {
    let handle = Builder::new().name("glutton").spawn(|| recurse(0)).unwrap();
    handle.join().unwrap();
}

fn kernel_stack_guard() {
    let stack = trefoil::arch::percpu::get(0).unwrap().g0_stack();
    raise!("mov rax, [{0}]", in(reg) stack.start - 8, out("rax") _)
}

/// Recurses without end, on a stack with only a kilobyte left above `lowest`.
fn overflow_at(lowest: u64) {
    raise!("mov rsp, {0}", "xor edi, edi", "call {1}", in(reg) lowest + 1024, sym recurse_c)
}

extern "C" fn recurse_c(n: u64) -> u64 {
    recurse(n)
}

fn g0_stack_overflows() {
    overflow_at(trefoil::arch::percpu::get(0).unwrap().g0_stack().start);
}

fn ist_stack_overflows() {
    let core = trefoil::arch::percpu::get(0).unwrap();
    overflow_at(trefoil::arch::gdt::ist_stack(core, trefoil::arch::gdt::IST_DEBUG).start);
}

fn boot_stack_overflows() {
    overflow_at(trefoil::mm::kstack::boot_stack());
}

fn broken_stack_pointer() {
    // The first push faults; so would the handler's, if it used this stack.
    raise!("mov rsp, {0}", "push 0", in(reg) 0x5ead_0000_0000u64)
}

#[inline(never)]
fn main_panics() {
    panic!("main gives up");
}

fn panic_in_drop() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    let handle = go(|| {
        let _grenade = Grenade;
        panic!("the first one");
    });
    let _ = handle.join();
}

fn panic_holding_the_console() {
    go(|| trefoil::console::with_locked(|| panic!("with the console held"))).join().unwrap();
}

fn panic_holding_the_heap() {
    go(|| trefoil::mm::heap::with_locked(|| panic!("with the heap held"))).join().unwrap();
}

fn panic_holding_the_frames() {
    go(|| trefoil::mm::frames::with_locked(|| panic!("with the frames held"))).join().unwrap();
}

fn panic_holding_the_queue() {
    go(|| trefoil::runtime::with_globq_locked(|| panic!("with the global queue held"))).join().unwrap();
}

fn panic_while_another_core_holds_everything() {
    static HELD: AtomicU32 = AtomicU32::new(0);
    let hold = || loop {
        spin_loop();
    };
    let holder = go(move || {
        trefoil::console::with_locked(|| {
            trefoil::mm::heap::with_locked(|| {
                trefoil::mm::frames::with_locked(|| {
                    trefoil::runtime::with_globq_locked(|| {
                        HELD.store(1, SeqCst);
                        hold()
                    })
                })
            })
        })
    });
    while HELD.load(SeqCst) == 0 {
        spin_loop();
    }
    drop(holder);
    panic!("while another core holds every lock");
}

fn two_cores_panic_at_once() {
    while runtime::cpus_started() < 4 {
        time::sleep(Duration::from_millis(1));
    }
    static READY: AtomicU32 = AtomicU32::new(0);
    for _ in 0..3 {
        drop(go(|| {
            READY.fetch_add(1, SeqCst);
            while READY.load(SeqCst) < 4 {
                spin_loop();
            }
            trefoil::console::with_locked(|| panic!("one of several"));
        }));
    }
    READY.fetch_add(1, SeqCst);
    while READY.load(SeqCst) < 4 {
        spin_loop();
    }
    panic!("one of several");
}

#[inline(never)]
fn deadlock_on_a_channel() {
    let (_tx, rx) = chan::bounded::<u32>(0);
    let _ = rx.recv();
}

#[inline(never)]
fn waits_in_vain(rx: &chan::Receiver<u64>) -> u64 {
    black_box(rx.recv().unwrap()) + 1
}

fn deadlock_of_the_packed() {
    // The report walks stacks that are in blocks of the heap.
    let (_tx, rx) = chan::bounded::<u64>(0);
    let cold: Vec<_> = (0..20)
        .map(|i| {
            let rx = rx.clone();
            Builder::new().name(&format!("cold {i}")).spawn(move || waits_in_vain(&rx)).unwrap()
        })
        .collect();
    let waiting = || runtime::goroutines().iter().filter(|g| g.wait_reason == runtime::WaitReason::ChanRecv).count();
    while waiting() < cold.len() {
        runtime::yield_now();
    }
    runtime::scavenge();
    assert_eq!(runtime::stats().memory.stacks.packed, 20);
    cold.into_iter().for_each(|c| _ = c.join().unwrap());
}

fn deadlock_of_many() {
    let (a, b) = (Arc::new(Mutex::new(())), Arc::new(Mutex::new(())));
    // Each holds its first before either asks for its second.
    let both_hold_one = Arc::new(WaitGroup::new());
    both_hold_one.add(2);
    let lock_both = |first: Arc<Mutex<()>>, second: Arc<Mutex<()>>| {
        let both_hold_one = both_hold_one.clone();
        move || {
            let _first = first.lock().unwrap();
            both_hold_one.done();
            both_hold_one.wait();
            let _second = second.lock().unwrap();
        }
    };
    let first = Builder::new().name("first").spawn(lock_both(a.clone(), b.clone())).unwrap();
    let _second = Builder::new().name("second").spawn(lock_both(b, a)).unwrap();
    first.join().unwrap();
}

fn a_lock_taken_twice() {
    let named = |name: &str, f: fn()| Builder::new().name(name).spawn(f).unwrap();
    let twice = named("twice", || {
        let mutex = Mutex::new(());
        let _first = mutex.lock().unwrap();
        drop(mutex.lock());
    });
    let _reader = named("reader", || {
        let rwlock = sync::RwLock::new(());
        let _first = rwlock.read().unwrap();
        drop(rwlock.write());
    });
    let _once = named("once", || {
        let once = sync::Once::new();
        once.call_once(|| once.call_once(|| ()));
    });
    twice.join().unwrap();
}

fn deadlock_names_owner_and_time() {
    let mutex = Arc::new(Mutex::new(()));
    let _held = mutex.lock().unwrap();
    let waits = {
        let mutex = mutex.clone();
        Builder::new().name("waits").spawn(move || drop(mutex.lock())).unwrap()
    };
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(310) {
        runtime::yield_now();
    }
    waits.join().unwrap();
}

/// A hundred are shown in full: of those that came last, since the newest records come first. The
/// others are two kinds.
fn deadlock_of_a_crowd() {
    let (_tx, rx) = chan::bounded::<u64>(0);
    let mutex = Arc::new(Mutex::new(()));
    let _held = mutex.lock().unwrap();
    let (mut receivers, mut lockers) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        let rx = rx.clone();
        receivers.push(go(move || waits_in_vain(&rx)));
    }
    for _ in 0..300 {
        let mutex = mutex.clone();
        lockers.push(go(move || drop(mutex.lock())));
    }
    receivers.into_iter().for_each(|r| _ = r.join().unwrap());
}

#[inline(never)]
fn waits_at_one_of_two(rx: &chan::Receiver<u64>, second: bool) -> u64 {
    let first = if second { 0 } else { rx.recv().unwrap() };
    black_box(first) + rx.recv().unwrap()
}

/// Two calls in one function are two places.
fn deadlock_at_two_lines() {
    let (_tx, rx) = chan::bounded::<u64>(0);
    let wait = |second| {
        let rx = rx.clone();
        go(move || waits_at_one_of_two(&rx, second))
    };
    let waiting: Vec<_> = (0..270).map(|i| wait(i < 120)).collect();
    // Some of these are shown in full: their records are among the newest hundred.
    let others: Vec<_> = (0..200).map(|_| go(|| drop(sync::Semaphore::new(0).acquire()))).collect();
    waiting.into_iter().for_each(|w| _ = w.join().unwrap());
    drop(others);
}

fn exit_with_failure() {
    print!("some words without an end");
    runtime::exit(3);
}
