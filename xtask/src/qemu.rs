//! How a machine is started: the environment's wishes, turned into a QEMU command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The input for a machine's serial line. All but `Nothing` and a terminal begin when the machine
/// asks by XON (Ctrl-Q), and end with Ctrl-D.
#[derive(Debug, Clone)]
pub enum Stdin {
    /// Nothing, ever: no end either.
    Nothing,
    /// The standard input of xtask itself: a terminal, which QEMU reads as it is typed on; or
    /// anything else, to its end.
    Inherit,
    /// Some bytes, so long after the machine has asked.
    Bytes(Vec<u8>, Duration),
    /// Some bytes, no faster than a line of 115,200 baud brings them.
    Paced(Vec<u8>),
}

/// The machine that an image runs on. `MACHINE`, `SMP`, `MEM`, `INPUT`, `APPEND`, `TIMEOUT`,
/// `QEMU_ARGS` and `ICOUNT` set it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `q35` (a PC), `pc`, or `microvm`.
    pub machine: String,
    /// Cores, as QEMU's `-smp` takes them.
    pub smp: String,
    /// Memory, as QEMU's `-m` takes it.
    pub memory: String,
    /// The boot module.
    pub input: Option<PathBuf>,
    /// Kernel options.
    pub append: String,
    /// The machine is killed after this.
    pub timeout: Duration,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
    /// The processor, as QEMU's `-cpu` takes it.
    pub cpu: String,
    /// The input on the machine's serial line.
    pub stdin: Stdin,
    /// Count instructions: one core, no host time; the clock counts instructions.
    pub icount: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            machine: "q35".into(),
            smp: "4".into(),
            memory: "1G".into(),
            input: None,
            append: String::new(),
            timeout: Duration::from_secs(120),
            extra: Vec::new(),
            cpu: "max".into(),
            stdin: Stdin::Nothing,
            icount: false,
        }
    }
}

impl Settings {
    /// Returns the defaults, changed by the environment.
    ///
    /// # Errors
    /// A value that makes no sense is named.
    pub fn from_env() -> Result<Self, String> {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let mut it = Self { icount: var("ICOUNT").is_some_and(|v| v != "0"), ..Self::default() };
        if it.icount {
            it.smp = "1".into();
        }
        it.machine = var("MACHINE").unwrap_or(it.machine);
        it.smp = var("SMP").unwrap_or(it.smp);
        it.memory = var("MEM").unwrap_or(it.memory);
        it.input = var("INPUT").map(PathBuf::from);
        it.append = var("APPEND").unwrap_or(it.append);
        it.extra = var("QEMU_ARGS").unwrap_or_default().split_whitespace().map(String::from).collect();
        if let Some(seconds) = var("TIMEOUT") {
            let seconds = seconds.parse().map_err(|_| format!("TIMEOUT={seconds}: wants a number of seconds"))?;
            it.timeout = Duration::from_secs(seconds);
        }
        Ok(it)
    }

    /// Makes QEMU's command that boots `image` with the program's own `words`.
    ///
    /// # Errors
    /// `INPUT` is no readable file.
    pub fn command(&self, image: &Path, words: &[String]) -> Result<Command, String> {
        let mut qemu = Command::new("qemu-system-x86_64");
        let machine = match self.machine.as_str() {
            "microvm" => "microvm,pit=on,pic=on,rtc=on,isa-serial=on",
            other => other,
        };
        qemu.args(["-M", machine, "-m", &self.memory, "-smp", &self.smp]);
        if self.icount {
            // QEMU runs and counts each step of a `rep` as an instruction, so `rep` is not called
            // fast here.
            qemu.args([
                "-accel",
                "tcg",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                &format!("{},-erms,tcg-cpuid=off", self.cpu),
            ]);
        } else {
            qemu.args(["-accel", "tcg,thread=multi", "-cpu", &self.cpu]);
        }
        qemu.args(["-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none", "-net", "none"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        qemu.arg("-kernel").arg(image);
        if let Some(input) = &self.input {
            std::fs::File::open(input).map_err(|e| format!("INPUT={}: {e}", input.display()))?;
            qemu.arg("-initrd").arg(input);
        }
        let mut line = self.append.clone();
        if !words.is_empty() {
            line = format!("{line} -- {}", words.join(" "));
        }
        if !line.trim().is_empty() {
            qemu.args(["-append", line.trim()]);
        }
        qemu.args(&self.extra);
        Ok(qemu)
    }
}
