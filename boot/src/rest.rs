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

use raw_cpuid::{CpuId, CpuIdReader};

/// The way in which a core waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// By `hlt`: for an interrupt.
    Halt,
    /// By `monitor` and `mwait`: for a store, or an interrupt. In C1, the hint 0: leaving it takes
    /// about 1 µs, and deeper states may stop the local APIC's timer.
    Mwait,
}

/// Models of Intel's family 6 whose `mwait` may miss the store: Dunnington, Nehalem-EX and
/// Westmere-EX (unless the line is flushed before), Goldmont, Ice Lake servers (erratum ICX143),
/// Lunar Lake.
const fn is_deaf(model: u8) -> bool {
    matches!(model, 0x1d | 0x2e | 0x2f | 0x5c | 0x6a | 0xbd)
}

/// Decides by what CPUID tells.
pub fn rest(cpu: &CpuId<impl CpuIdReader>) -> Rest {
    let Some(features) = cpu.get_feature_info() else { return Rest::Halt };
    let intel = cpu.get_vendor_info().is_some_and(|vendor| vendor.as_str() == "GenuineIntel");
    let deaf = intel && features.family_id() == 6 && is_deaf(features.model_id());
    // Leaf 5 describes the abilities of `mwait`. A processor without leaf 5 has no `mwait`, even
    // with the bit set.
    let watches = features.has_monitor_mwait() && cpu.get_monitor_mwait_info().is_some();
    if watches && !features.has_hypervisor() && !deaf { Rest::Mwait } else { Rest::Halt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use raw_cpuid::CpuIdResult;

    /// Skylake-X, stepping 4.
    const SKYLAKE: u32 = 0x0005_0654;
    /// Leaf 1, `ecx`.
    const MONITOR: u32 = 1 << 3;
    const HYPERVISOR: u32 = 1 << 31;

    /// Decides for a processor with this highest leaf and maker, and these words in leaf 1.
    fn rest_of(highest_leaf: u32, maker: &[u8; 12], signature: u32, features: u32) -> Rest {
        let [ebx, edx, ecx] = [0, 4, 8].map(|at| u32::from_le_bytes(core::array::from_fn(|i| maker[at + i])));
        rest(&CpuId::with_cpuid_reader(move |leaf, _| match leaf {
            0 => CpuIdResult { eax: highest_leaf, ebx, ecx, edx },
            1 => CpuIdResult { eax: signature, ebx: 0, ecx: features, edx: 0 },
            _ => CpuIdResult { eax: 0, ebx: 0, ecx: 0, edx: 0 },
        }))
    }

    #[test]
    fn only_a_processor_of_ones_own_watches_a_word() {
        let by = |highest_leaf, features| rest_of(highest_leaf, b"GenuineIntel", SKYLAKE, features);
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
        let by = |maker: &[u8; 12], signature| rest_of(0x16, maker, signature, MONITOR);
        // Goldmont, Ice Lake-SP and Lunar Lake as they say it themselves; the last digit is the
        // stepping.
        for signature in [0x0005_06c9, 0x0006_06a6, 0x000b_06d1, 0x0001_06d1, 0x0002_06e6, 0x0002_06f2] {
            assert_eq!(by(b"GenuineIntel", signature), Rest::Halt, "{signature:#x}");
            // The same number is another processor elsewhere.
            assert_eq!(by(b"CentaurHauls", signature), Rest::Mwait);
            assert_eq!(by(b"GenuineIntel", signature | 0xf00), Rest::Mwait);
        }
    }
}
