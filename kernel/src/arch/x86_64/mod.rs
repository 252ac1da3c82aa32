//! x86-64: all assembly of the kernel and all unsafe talk to the processor live here.
pub mod abandon;
pub mod acpi;
pub mod apic;
pub mod clock;
pub mod cpu;
pub mod exceptions;
pub mod exit;
pub mod gdt;
pub mod idt;
mod ioapic;
pub mod mem;
pub mod percpu;
pub mod pic;
pub mod preempt;
pub mod report_stack;
pub mod serial;
pub mod smp;
pub mod switch;
