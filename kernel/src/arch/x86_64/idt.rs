//! The IDT: a gate for each of the 256 vectors, all on IST stacks, all through one stub.
//!
//! ```text
//!   IST top ─▶ │ ss, rsp, rflags, cs, rip          │ pushed by the processor
//!              │ error code                        │ by the processor or as 0
//!              │ vector                            │ by the vector's entry
//!              │ rax … r15 (15 registers)          │ by the stub
//!              │ fxsave area (512 bytes)           │ before any Rust runs: it uses XMM registers freely
//! ```
//!
//! `fxsave` is enough: all Rust here is made for baseline x86-64, so no handler touches the upper
//! halves of the YMM registers. The stub has CFI as a signal frame, so that unwinding crosses it
//! into the interrupted code. The entries before it have none: nothing is ever called from there.
//!
//! `fxsave` itself raises #NM when CR0.TS or CR0.EM is set, and nothing here ever sets them. If
//! something does, #NM must not raise itself for ever: its entry clears both bits first.

use core::arch::naked_asm;
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;

use x86_64::VirtAddr;
use x86_64::instructions::tables::{DescriptorTablePointer, lidt};
use x86_64::registers::control::Cr0Flags;
use x86_64::structures::idt::{Entry, HandlerFunc};

use super::{exceptions, gdt};

/// The frame that the stub leaves on the stack, lowest address first. A handler may change its
/// return address.
#[repr(C)]
#[derive(Debug)]
#[expect(missing_docs, reason = "registers by their names")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Its lowest byte is the vector.
    pub vector: u64,
    pub error: u64,
    pub rip: Cell<u64>,
    pub cs: u64,
    pub rflags: Cell<u64>,
    pub rsp: Cell<u64>,
    pub ss: u64,
}

/// Bytes of a vector's entry: `push`, `push`, `jmp`.
const ENTRY_BYTES: usize = 2 + 2 + 5;

/// Holds 256 entries of 9 bytes. Exceptions 8, 10–14, 17, 21, 29 and 30 come with an error code;
/// the others push a 0 in its place. The number of the vector is pushed as a signed byte: from 128
/// on all the bits above it are set.
#[unsafe(naked)]
unsafe extern "C" fn idt_entries() {
    naked_asm!(
        "2:",
        ".set idt_vector, 0",
        ".rept 256",
        // Backwards is an error: no entry is longer.
        ".org 2b + idt_vector * {entry_bytes}, 0x90",
        ".if (idt_vector == 8) || ((idt_vector >= 10) && (idt_vector <= 14)) || (idt_vector == 17) || (idt_vector == 21) || (idt_vector == 29) || (idt_vector == 30)",
        ".else",
        "pushq $0",
        ".endif",
        ".if idt_vector < 128",
        "pushq $idt_vector",
        ".else",
        "pushq $(idt_vector - 256)",
        ".endif",
        ".if idt_vector == 7",
        "jmp {no_device}",
        ".else",
        "jmp {common}",
        ".endif",
        ".set idt_vector, idt_vector + 1",
        ".endr",
        common = sym idt_common,
        no_device = sym idt_no_device,
        entry_bytes = const ENTRY_BYTES,
        options(att_syntax),
    )
}

/// CR0's bits that make every vector instruction, `fxsave` included, raise #NM.
const CR0_EM_TS: Cr0Flags = Cr0Flags::EMULATE_COPROCESSOR.union(Cr0Flags::TASK_SWITCHED);

/// #NM: makes the stub's `fxsave` possible. Flags need no care: the frame holds the interrupted
/// ones.
#[unsafe(naked)]
unsafe extern "C" fn idt_no_device() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        ".cfi_def_cfa rsp, 56",
        ".cfi_offset rip, -40",
        ".cfi_offset rsp, -16",
        "push rax",
        ".cfi_adjust_cfa_offset 8",
        "mov rax, cr0",
        "and rax, {keep}",
        "mov cr0, rax",
        "pop rax",
        ".cfi_adjust_cfa_offset -8",
        "jmp {common}",
        ".cfi_endproc",
        keep = const !(CR0_EM_TS.bits() as i32),
        common = sym idt_common,
    )
}

/// Pushes all general registers: the first part of [`Frame`].
macro_rules! push_general {
    () => {
        trefoil_context::registers::push!("rax" "rbx" "rcx" "rdx" "rsi" "rdi" "rbp" "r8" "r9" "r10" "r11" "r12" "r13" "r14" "r15")
    };
}

/// The opposite of [`push_general`].
macro_rules! pop_general {
    () => {
        trefoil_context::registers::pop!("r15" "r14" "r13" "r12" "r11" "r10" "r9" "r8" "rbp" "rdi" "rsi" "rdx" "rcx" "rbx" "rax")
    };
}

pub(super) use {pop_general, push_general};

#[unsafe(naked)]
unsafe extern "C" fn idt_common() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        // CFA = one past `ss`; here rsp points at the vector.
        ".cfi_def_cfa rsp, 56",
        ".cfi_offset rip, -40",
        ".cfi_offset rsp, -16",
        push_general!(),
        // 22 words below a 16-byte aligned top: aligned for fxsave and for the call.
        "mov rdi, rsp",
        "sub rsp, 512",
        ".cfi_adjust_cfa_offset 512",
        "fxsave64 [rsp]",
        "cld",
        "fninit",
        "ldmxcsr [rip + {mxcsr}]",
        "call {dispatch}",
        "fxrstor64 [rsp]",
        "add rsp, 512",
        ".cfi_adjust_cfa_offset -512",
        pop_general!(),
        "add rsp, 16",
        ".cfi_adjust_cfa_offset -16",
        "iretq",
        ".cfi_endproc",
        mxcsr = sym MXCSR,
        dispatch = sym exceptions::dispatch,
    )
}

/// All floating-point exceptions masked, as the ABI has it at a program's start.
pub(super) static MXCSR: u32 = 0x1f80;

/// Returns the start of the common stub of all vectors: in a backtrace, the interrupted code comes
/// after it.
pub fn stub() -> usize {
    idt_common as *const () as usize
}

/// Returns the start of vector `vector`'s stub, for tests that enter a stub with a frame of their
/// own.
pub fn entry(vector: u8) -> usize {
    idt_entries as *const () as usize + vector as usize * ENTRY_BYTES
}

/// The crate's table has no access by number to entries with an error code, nor any to reserved
/// ones. Here every vector has the same stub, and a reserved one is reported like the others.
#[repr(C, align(16))]
struct Table(UnsafeCell<[MaybeUninit<Entry<HandlerFunc>>; 256]>);

// SAFETY: written by `init` on the boot core before any core loads it, read by processors after.
unsafe impl Sync for Table {}

static IDT: Table = Table(UnsafeCell::new([const { MaybeUninit::uninit() }; 256]));

fn ist(vector: u8) -> u8 {
    match vector {
        1 => gdt::IST_DEBUG,
        2 => gdt::IST_NMI,
        8 => gdt::IST_DOUBLE_FAULT,
        14 => gdt::IST_PAGE_FAULT,
        18 => gdt::IST_MACHINE_CHECK,
        0..32 => gdt::IST_EXCEPTIONS,
        _ => gdt::IST_INTERRUPTS,
    }
}

/// Fills the table. On the boot core, once, when it has its GDT.
pub fn init() {
    for vector in 0..=255u8 {
        let at = VirtAddr::new_truncate(entry(vector) as u64);
        // The crate counts the stacks from 0.
        let stack = u16::from(ist(vector)) - 1;
        // SAFETY: no core uses the table yet. The address is a stub that saves all registers and
        // ends with `iretq`, and the TSS has each of these stacks.
        unsafe {
            let gate = (*IDT.0.get())[vector as usize].write(Entry::missing());
            gate.set_handler_addr(at).set_stack_index(stack);
        };
    }
}

/// Loads the table on this core.
pub fn load() {
    let base = VirtAddr::new_truncate(IDT.0.get() as u64);
    // SAFETY: the table is filled and lives for ever.
    unsafe { lidt(&DescriptorTablePointer { limit: size_of::<Table>() as u16 - 1, base }) };
}
