//! How a core waits for work, by what CPUID says.
//!
//! `hlt` ends with an interrupt, so that waking a core takes an IPI. `mwait` ends also with a store to the word that it watches, which saves the IPI on both
//! sides. Under a hypervisor `hlt` is right even where `mwait` exists: it gives the host its core, and most hypervisors make `mwait` an exit, or
//! a loop that never sleeps.

/// CPUID leaf 1, `ecx`.
const MONITOR: u32 = 1 << 3;
/// The same.
const HYPERVISOR: u32 = 1 << 31;

/// How a core waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// By `hlt`: for an interrupt.
    Halt,
    /// By `monitor` and `mwait`: for a store, or an interrupt. In C1, the hint 0: leaving it takes about 1 µs, and deeper states may stop the local APIC's
    /// timer.
    Mwait,
}

/// Decides by the highest leaf and `ecx` of leaf 1.
pub fn rest(highest_leaf: u32, features: u32) -> Rest {
    // Leaf 5 describes what `mwait` can do; a processor without it has no `mwait`, whatever the bit says.
    match highest_leaf >= 5 && features & (MONITOR | HYPERVISOR) == MONITOR {
        true => Rest::Mwait,
        false => Rest::Halt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_processor_of_ones_own_watches_a_word() {
        assert_eq!(rest(0x16, MONITOR), Rest::Mwait);
        assert_eq!(rest(5, MONITOR | 1), Rest::Mwait);
        // Under a hypervisor, whether it offers the instruction or not.
        assert_eq!(rest(0x16, MONITOR | HYPERVISOR), Rest::Halt);
        assert_eq!(rest(0x16, HYPERVISOR), Rest::Halt);
        // Too old, or lying.
        assert_eq!(rest(0x16, 0), Rest::Halt);
        assert_eq!(rest(4, MONITOR), Rest::Halt);
    }
}
