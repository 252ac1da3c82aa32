//! The way in which a core waits for work, by CPUID.
//!
//! `hlt` ends with an interrupt, so that waking a core takes an IPI. `mwait` ends also with a store
//! to the word that it watches, which saves the IPI on both sides. Under a hypervisor `hlt` is
//! right even where `mwait` exists: it gives the host its core, and most hypervisors make `mwait`
//! an exit, or a loop that never sleeps.
//!
//! Such a core gets only a store as its wake-up, so its processor must see every store. Some
//! processors do not, by their makers' own errata, and so they rest by `hlt`. Any processor rests
//! by `hlt` with `rest=hlt` on the command line.

/// CPUID leaf 1, `ecx`.
const MONITOR: u32 = 1 << 3;
/// The same.
const HYPERVISOR: u32 = 1 << 31;

/// The way in which a core waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// By `hlt`: for an interrupt.
    Halt,
    /// By `monitor` and `mwait`: for a store, or an interrupt. In C1, the hint 0: leaving it takes
    /// about 1 µs, and deeper states may stop the local APIC's timer.
    Mwait,
}

/// `ebx` of leaf 0 of Intel's processors: the name's first letters.
const INTEL: u32 = u32::from_le_bytes(*b"Genu");

/// Models of Intel's family 6 whose `mwait` may miss the store: Dunnington, Nehalem-EX and
/// Westmere-EX (unless the line is flushed before), Goldmont, Ice Lake servers (erratum ICX143),
/// Lunar Lake.
const fn is_deaf(model: u32) -> bool {
    matches!(model, 0x1d | 0x2e | 0x2f | 0x5c | 0x6a | 0xbd)
}

/// Decides by `eax` and `ebx` of CPUID's leaf 0 (the highest leaf, the maker), and by `eax` and
/// `ecx` of leaf 1 (the model, the features).
pub fn rest([highest_leaf, maker]: [u32; 2], [signature, features]: [u32; 2]) -> Rest {
    let family = signature >> 8 & 0xf;
    let model = signature >> 12 & 0xf0 | signature >> 4 & 0xf;
    let deaf = maker == INTEL && family == 6 && is_deaf(model);
    // Leaf 5 describes the abilities of `mwait`. A processor without leaf 5 has no `mwait`, even
    // with the bit set.
    match highest_leaf >= 5 && features & (MONITOR | HYPERVISOR) == MONITOR && !deaf {
        true => Rest::Mwait,
        false => Rest::Halt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Skylake-X, stepping 4.
    const SKYLAKE: u32 = 0x0005_0654;

    #[test]
    fn only_a_processor_of_ones_own_watches_a_word() {
        let by = |highest_leaf, features| rest([highest_leaf, INTEL], [SKYLAKE, features]);
        assert_eq!(by(0x16, MONITOR), Rest::Mwait);
        assert_eq!(by(5, MONITOR | 1), Rest::Mwait);
        // Under a hypervisor, whether it offers the instruction or not.
        assert_eq!(by(0x16, MONITOR | HYPERVISOR), Rest::Halt);
        assert_eq!(by(0x16, HYPERVISOR), Rest::Halt);
        // Too old, or lying.
        assert_eq!(by(0x16, 0), Rest::Halt);
        assert_eq!(by(4, MONITOR), Rest::Halt);
    }

    #[test]
    fn a_processor_that_may_miss_the_store_is_sent_interrupts() {
        let by = |maker: &[u8; 4], signature| rest([0x16, u32::from_le_bytes(*maker)], [signature, MONITOR]);
        // Goldmont, Ice Lake-SP and Lunar Lake as they say it themselves; the last digit is the
        // stepping.
        for signature in [0x0005_06c9, 0x0006_06a6, 0x000b_06d1, 0x0001_06d1, 0x0002_06e6, 0x0002_06f2] {
            assert_eq!(by(b"Genu", signature), Rest::Halt, "{signature:#x}");
            // The same number is another processor elsewhere.
            assert_eq!(by(b"Auth", signature), Rest::Mwait);
            assert_eq!(by(b"Genu", signature | 0xf00), Rest::Mwait);
        }
    }
}
