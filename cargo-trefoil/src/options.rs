//! The machine's options. Each stands on the command line or in the environment; the command line
//! wins. An empty variable is none, since `make` exports those that nobody has set.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cargo;
use crate::qemu::Settings;
use crate::recording::Recording;

/// Most cores that the kernel handles.
const MAX_CORES: u64 = 64;

/// With less memory the firmware or the boot code stands still, without a word.
const LEAST_MEMORY: u128 = 16 << 20;

/// The options as they were typed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "The machine")]
pub struct MachineArgs {
    /// Cores, 1 to 64 [env: SMP] [default: 4]
    #[arg(long, value_name = "CORES")]
    pub smp: Option<String>,
    /// Memory [env: MEM] [default: 1G]
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,
    /// q35, pc or microvm [env: MACHINE] [default: q35]
    #[arg(long, value_name = "NAME")]
    pub machine: Option<String>,
    /// The file that the program gets as `runtime::input()` [env: INPUT]
    #[arg(long, value_name = "FILE")]
    pub input: Option<String>,
    /// Kernel options: maxprocs=2 schedtrace=100 … [env: APPEND]
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// The kernel option seed=N: the start of random choices [env: SEED]
    #[arg(long, value_name = "N")]
    pub seed: Option<String>,
    /// Seconds until the machine is killed [env: TIMEOUT] [default: 120; none if it is typed to]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<String>,
    /// Count instructions: one core, a clock that counts them [env: ICOUNT=1]
    #[arg(long)]
    pub icount: bool,
    /// Write down what comes from outside, on one core, for --replay [env: RECORD]
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub record: Option<String>,
    /// Repeat a recorded run exactly [env: REPLAY]
    #[arg(long, value_name = "FILE")]
    pub replay: Option<String>,
    /// More arguments for QEMU [env: QEMU_ARGS]
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub qemu_args: Option<String>,
}

/// The program and its machine.
#[derive(Debug, Args)]
pub struct ProgramArgs {
    #[command(flatten)]
    pub(crate) build: cargo::BuildArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// An image that is built already
    #[arg(conflicts_with_all = ["bin", "example"])]
    pub(crate) file: Option<PathBuf>,
    /// The program's own words
    #[arg(last = true)]
    pub(crate) words: Vec<OsString>,
}

impl MachineArgs {
    /// The options with a value: name, variable, value.
    fn values(&self) -> [(&'static str, &'static str, &Option<String>); 10] {
        [
            ("--smp", "SMP", &self.smp),
            ("--mem", "MEM", &self.mem),
            ("--machine", "MACHINE", &self.machine),
            ("--input", "INPUT", &self.input),
            ("--append", "APPEND", &self.append),
            ("--seed", "SEED", &self.seed),
            ("--timeout", "TIMEOUT", &self.timeout),
            ("--record", "RECORD", &self.record),
            ("--replay", "REPLAY", &self.replay),
            ("--qemu-args", "QEMU_ARGS", &self.qemu_args),
        ]
    }

    /// Returns the machine of these options and the environment.
    ///
    /// # Errors
    /// A value that makes no sense is named.
    pub fn settings(&self) -> Result<Settings, String> {
        self.read(|name| std::env::var(name).ok())
    }

    /// Returns the machine of these options and of the variables that `var` knows.
    fn read(&self, var: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
        // The value, and how an error shows it.
        let find = |variable: &str| {
            let (name, _, typed) = self.values().into_iter().find(|(_, known, _)| *known == variable)?;
            match typed {
                Some(value) => Some((value.clone(), format!("{name} {value}"))),
                None => var(variable).filter(|v| !v.is_empty()).map(|v| (v.clone(), format!("{variable}={v}"))),
            }
        };
        let mut it = Settings { icount: self.icount || is_set(var("ICOUNT")), ..Settings::default() };
        it.recording = match (find("RECORD"), find("REPLAY")) {
            (Some(_), Some((_, shown))) => return Err(format!("{shown}: a run is recorded or replayed, not both")),
            (Some((file, _)), None) => Some(Recording::Record(file.into())),
            (None, Some((file, _))) => Some(Recording::Replay(file.into())),
            (None, None) => None,
        };
        if it.icount || it.recording.is_some() {
            it.smp = "1".into();
        }
        if let Some((cores, shown)) = find("SMP") {
            it.smp = smp(cores).map_err(|wants| format!("{shown}: wants {wants}"))?;
            if it.recording.is_some() && it.smp != "1" {
                return Err(format!("{shown}: QEMU records and replays machines of one core only"));
            }
        }
        if let Some((size, shown)) = find("MEM") {
            it.memory = memory(size).map_err(|wants| format!("{shown}: wants {wants}"))?;
        }
        if let Some((machine, shown)) = find("MACHINE") {
            let base = machine.split(',').next().unwrap_or_default();
            if !matches!(base, "q35" | "pc" | "microvm") && !base.starts_with("pc-") {
                return Err(format!("{shown}: wants q35 (a PC), pc (an older one) or microvm (without firmware)"));
            }
            it.machine = machine;
        }
        if let Some((file, shown)) = find("INPUT") {
            std::fs::File::open(&file).map_err(|e| format!("{shown}: {e}"))?;
            it.input = Some(PathBuf::from(file));
        }
        it.append = find("APPEND").map(|(options, _)| options).unwrap_or_default();
        if let Some((seed, shown)) = find("SEED") {
            seed.parse::<u64>().map_err(|_| format!("{shown}: wants a number from 0 to 2^64-1"))?;
            // First: APPEND may end with words of the program's own.
            it.append = format!("seed={seed} {}", it.append);
        }
        if let Some((seconds, shown)) = find("TIMEOUT") {
            let seconds = seconds.parse().map_err(|_| format!("{shown}: wants a number of seconds"))?;
            it.timeout = Duration::from_secs(seconds);
            it.hurries = true;
        }
        it.extra = find("QEMU_ARGS").unwrap_or_default().0.split_whitespace().map(String::from).collect();
        Ok(it)
    }
}

fn is_set(variable: Option<String>) -> bool {
    variable.is_some_and(|value| !value.is_empty() && value != "0")
}

/// Checks QEMU's `-smp`: a number of cores, or a topology, which QEMU checks.
fn smp(text: String) -> Result<String, &'static str> {
    let first = text.split(',').next().unwrap_or_default();
    match first.parse() {
        Ok(1..=MAX_CORES) => Ok(text),
        Err(_) if first.contains('=') => Ok(text),
        _ => Err("1 to 64 cores"),
    }
}

/// Checks QEMU's `-m`.
fn memory(text: String) -> Result<String, &'static str> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    // QEMU takes a number without a letter as MiB.
    let shift = match &*text[digits.len()..].to_ascii_uppercase() {
        "K" => 10,
        "" | "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("a size, as 512M or 2G"),
    };
    let number: u64 = digits.parse().map_err(|_| "a size, as 512M or 2G")?;
    if u128::from(number) << shift < LEAST_MEMORY { Err("16M at least") } else { Ok(text) }
}

impl Settings {
    /// Returns the machine that the environment alone describes.
    ///
    /// # Errors
    /// A value that makes no sense is named.
    pub fn from_env() -> Result<Self, String> {
        MachineArgs::default().settings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &MachineArgs, vars: &[(&str, &str)]) -> Result<Settings, String> {
        args.read(|name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()))
    }

    fn with(set: impl FnOnce(&mut MachineArgs)) -> MachineArgs {
        let mut args = MachineArgs::default();
        set(&mut args);
        args
    }

    #[test]
    fn the_command_line_wins_over_the_environment_and_an_empty_variable_is_none() {
        let args = with(|a| a.smp = Some("2".into()));
        let settings = read(&args, &[("SMP", "8"), ("MEM", "64M"), ("MACHINE", ""), ("ICOUNT", "0")]).unwrap();
        assert_eq!((&settings.smp[..], &settings.memory[..], &settings.machine[..]), ("2", "64M", "q35"));
        assert!(!settings.icount && !settings.hurries);
        assert!(read(&args, &[("TIMEOUT", "120")]).unwrap().hurries, "the limit was asked for");
    }

    #[test]
    fn counting_and_recording_take_one_core_unless_told() {
        assert_eq!(read(&with(|a| a.icount = true), &[]).unwrap().smp, "1");
        assert_eq!(read(&with(|a| a.icount = true), &[("SMP", "2")]).unwrap().smp, "2");
        assert_eq!(read(&MachineArgs::default(), &[("RECORD", "f")]).unwrap().smp, "1");
        let error = read(&with(|a| a.replay = Some("f".into())), &[("SMP", "2")]).unwrap_err();
        assert_eq!(error, "SMP=2: QEMU records and replays machines of one core only");
        assert!(read(&with(|a| a.replay = Some("f".into())), &[("RECORD", "g")]).unwrap_err().contains("not both"));
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named_with_what_would() {
        for (variable, value, said) in [
            ("SMP", "0", "SMP=0: wants 1 to 64 cores"),
            ("SMP", "300", "SMP=300: wants 1 to 64 cores"),
            ("SMP", "-1", "SMP=-1: wants 1 to 64 cores"),
            ("SMP", "two", "SMP=two: wants 1 to 64 cores"),
            ("SMP", "65,sockets=5", "SMP=65,sockets=5: wants 1 to 64 cores"),
            ("MEM", "lots", "MEM=lots: wants a size, as 512M or 2G"),
            ("MEM", "0", "MEM=0: wants 16M at least"),
            ("MEM", "2", "MEM=2: wants 16M at least"),
            ("MEM", "64X", "MEM=64X: wants a size, as 512M or 2G"),
            ("MACHINE", "vax", "MACHINE=vax: wants q35 (a PC), pc (an older one) or microvm (without firmware)"),
            ("INPUT", "/no/such/file", "INPUT=/no/such/file: No such file or directory (os error 2)"),
            ("SEED", "x", "SEED=x: wants a number from 0 to 2^64-1"),
            ("TIMEOUT", "soon", "TIMEOUT=soon: wants a number of seconds"),
        ] {
            assert_eq!(read(&MachineArgs::default(), &[(variable, value)]).unwrap_err(), said);
        }
        let error = read(&with(|a| a.smp = Some("0".into())), &[]).unwrap_err();
        assert_eq!(error, "--smp 0: wants 1 to 64 cores");
    }

    #[test]
    fn topologies_and_versions_are_qemus_affair() {
        for smp in ["1", "64", "4,sockets=2,cores=2", "cpus=4,sockets=2"] {
            assert_eq!(read(&MachineArgs::default(), &[("SMP", smp)]).unwrap().smp, smp);
        }
        for machine in ["pc", "pc-i440fx-7.2", "q35,kernel-irqchip=off", "microvm"] {
            assert_eq!(read(&MachineArgs::default(), &[("MACHINE", machine)]).unwrap().machine, machine);
        }
    }

    #[test]
    fn a_seed_stands_before_the_programs_words() {
        let args = with(|a| a.seed = Some("7".into()));
        assert_eq!(read(&args, &[("APPEND", "maxprocs=1 -- x")]).unwrap().append, "seed=7 maxprocs=1 -- x");
    }
}
