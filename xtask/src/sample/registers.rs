//! The registers of all processors, as QEMU's monitor prints them.

/// Where a processor was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The processor.
    pub cpu: usize,
    /// Its `rip`; in code of 32 or 16 bits, `eip`.
    pub address: u64,
    /// Whether it was in `hlt`.
    pub at_rest: bool,
}

/// Reads what `info registers -a` prints: for each processor a line `CPU#0`, and some lines later
/// one that begins with `RIP=` or `EIP=` and ends with `HLT=0` or `HLT=1`.
pub fn registers(text: &str) -> Vec<Sample> {
    let (mut samples, mut cpu) = (Vec::new(), None);
    for line in text.lines() {
        // The monitor's answer may stand before the first line.
        if let Some((_, number)) = line.split_once("CPU#") {
            cpu = number.trim().parse().ok();
        } else if let Some(rest) = line.strip_prefix("RIP=").or(line.strip_prefix("EIP=")) {
            let mut words = rest.split_whitespace();
            let address = words.next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
            if let (Some(cpu), Some(address)) = (cpu.take(), address) {
                samples.push(Sample { cpu, address, at_rest: words.any(|word| word == "HLT=1") });
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"return\": \"
CPU#0
RAX=0000000000000001 RBX=ffffe00000010060 RCX=0000000000000000 RDX=0000000000000000
RIP=ffffffff80212345 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0010 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000

CPU#1
RAX=0000000000000001 RBX=ffffe00000010060 RCX=0000000000000000 RDX=0000000000000000
RIP=ffffffff80254321 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1

CPU#2
EAX=00000000 EBX=00000000 ECX=00000000 EDX=00060fb1
EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1
\"}";

    #[test]
    fn each_processor_has_its_address_and_whether_it_rests() {
        let sample = |cpu, address, at_rest| Sample { cpu, address, at_rest };
        let expected =
            [sample(0, 0xffff_ffff_8021_2345, false), sample(1, 0xffff_ffff_8025_4321, true), sample(2, 0xfff0, true)];
        assert_eq!(registers(TEXT), expected);
    }

    #[test]
    fn a_processor_without_an_address_is_left_out() {
        let sample = Sample { cpu: 1, address: 16, at_rest: false };
        assert_eq!(registers("RIP=10\nCPU#0\nRIP=?\nCPU#x\nRIP=10\nCPU#1\nRIP=10"), [sample]);
        assert_eq!(registers(""), []);
    }
}
