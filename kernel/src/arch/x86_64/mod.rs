//! x86-64: all assembly of the kernel and all unsafe talk to the processor live here.
pub mod abandon;
pub mod acpi;
pub mod apic;
pub mod clock;
pub mod cpu;
pub mod exceptions;
pub mod exit;
pub mod gdt;
pub mod guard;
pub mod idt;
pub mod image;
pub mod ioapic;
pub mod landing;
pub mod lock;
pub mod mem;
pub mod percpu;
pub mod phys;
pub mod pic;
pub mod preempt;
pub mod report_stack;
pub mod reporter;
pub mod serial;
pub mod smp;
#[cfg_attr(not(feature = "stretch"), path = "stretch_off.rs")]
pub mod stretch;
pub mod tlb;
pub mod upcalls;
