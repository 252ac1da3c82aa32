//! How a machine is started: settings, turned into a QEMU command line.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::recording::Recording;
use crate::{trace_port, words};

/// The program.
pub const QEMU: &str = "qemu-system-x86_64";

/// The kernel option for a machine whose input is typed.
pub(crate) const TYPED: &str = "stdin=terminal";

/// The oldest version that is asked to boot an image.
const OLDEST: (u32, u32) = (6, 0);

/// The input for a machine's serial line. All but `Nothing` begin when the machine asks by XON
/// (Ctrl-Q), and end with Ctrl-D.
#[derive(Debug, Clone)]
pub enum Stdin {
    /// Nothing, ever: no end either.
    Nothing,
    /// The standard input of this process: a terminal, byte by byte as it is typed on; or anything
    /// else, to its end.
    Inherit,
    /// Some bytes, so long after the machine has asked.
    Bytes(Vec<u8>, Duration),
    /// Some bytes, no faster than a line of 115,200 baud brings them.
    Paced(Vec<u8>),
}

/// The machine that an image runs on. [`MachineArgs`](crate::options::MachineArgs) has the options
/// that set it.
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
    /// Where that limit comes from, for the person who finds the machine killed.
    pub limited_by: &'static str,
    /// The limit holds also where a person types.
    pub hurries: bool,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
    /// The processor, as QEMU's `-cpu` takes it.
    pub cpu: String,
    /// The input on the machine's serial line.
    pub stdin: Stdin,
    /// Count instructions: one core, no host time; the clock counts instructions.
    pub icount: bool,
    /// Record or replay the run: one core.
    pub recording: Option<Recording>,
    /// The file that takes what the recorder of decisions sends.
    pub trace: Option<PathBuf>,
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
            limited_by: "--timeout SECONDS or TIMEOUT changes the limit",
            hurries: false,
            extra: Vec::new(),
            cpu: "max".into(),
            stdin: Stdin::Nothing,
            icount: false,
            recording: None,
            trace: None,
        }
    }
}

impl Settings {
    /// Makes QEMU's command that boots `image` with the program's own `words`.
    ///
    /// # Errors
    /// `INPUT` is no readable file.
    pub fn command(&self, image: &Path, words: &[String]) -> Result<Command, String> {
        let mut qemu = Command::new(QEMU);
        let machine = match self.machine.strip_prefix("microvm") {
            // QEMU would name its devices on the command line.
            Some(more) => format!("microvm,pit=on,pic=on,rtc=on,isa-serial=on,auto-kernel-cmdline=off{more}"),
            None => self.machine.clone(),
        };
        qemu.args(["-M", &machine, "-m", &self.memory, "-smp", &self.smp]);
        // QEMU runs and counts each step of a `rep` as an instruction, so `rep` is not called fast
        // where instructions are counted.
        let counted = format!("{},-erms,tcg-cpuid=off", self.cpu);
        let cpu = if self.icount { &counted } else { &self.cpu };
        match &self.recording {
            Some(recording) => qemu.args(["-accel", "tcg", "-icount", &recording.icount(self.icount), "-cpu", cpu]),
            None if self.icount => qemu.args(["-accel", "tcg", "-icount", "shift=0,sleep=off", "-cpu", cpu]),
            None => qemu.args(["-accel", "tcg,thread=multi", "-cpu", cpu]),
        };
        qemu.args(["-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none", "-net", "none"]);
        qemu.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        if let Some(file) = &self.trace {
            qemu.args(trace_port::console(self.is_microvm(), file));
        }
        qemu.arg("-kernel").arg(image);
        if let Some(input) = &self.input {
            std::fs::File::open(input).map_err(|e| format!("INPUT={}: {e}", input.display()))?;
            qemu.arg("-initrd").arg(input);
        }
        let mut line = self.append.clone();
        if self.is_typed() {
            // First: APPEND may say something else.
            line = format!("{TYPED} {line}");
        }
        if !words.is_empty() {
            line = format!("{line} -- {}", words::join(words));
        }
        if !line.trim().is_empty() {
            qemu.args(["-append", line.trim()]);
        }
        qemu.args(&self.extra);
        Ok(qemu)
    }

    fn is_microvm(&self) -> bool {
        self.machine.starts_with("microvm")
    }

    /// Returns true if a person types the input, or has typed that of a replay.
    fn is_typed(&self) -> bool {
        match &self.recording {
            Some(Recording::Replay(file)) => Recording::is_typed(file),
            _ => matches!(self.stdin, Stdin::Inherit) && std::io::stdin().is_terminal(),
        }
    }
}

/// Checks, once in a process, that QEMU is there and new enough.
///
/// # Errors
/// The text says what to do.
pub fn check() -> Result<(), String> {
    static CHECKED: OnceLock<Result<(), String>> = OnceLock::new();
    let check = || {
        let out = Command::new(QEMU).arg("--version").stdin(Stdio::null()).output().map_err(|e| missing(&e))?;
        let said = String::from_utf8_lossy(&out.stdout);
        match version(&said) {
            Some((major, minor)) if (major, minor) < OLDEST => Err(format!(
                "{QEMU} is version {major}.{minor}; Trefoil needs {}.{} at least and is tested with 7.2: {INSTALL}",
                OLDEST.0, OLDEST.1
            )),
            // A version that can't be read may be a new one.
            _ => Ok(()),
        }
    };
    CHECKED.get_or_init(check).clone()
}

const INSTALL: &str = "install QEMU (Debian, Ubuntu: apt-get install qemu-system-x86; Fedora: dnf install \
                       qemu-system-x86; Arch: pacman -S qemu-system-x86)";

/// Returns what to tell where QEMU can't be started.
pub(crate) fn missing(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("{QEMU} is not here: {INSTALL}"),
        _ => format!("{QEMU}: {error}"),
    }
}

/// Returns the version in `QEMU emulator version 7.2.22 (Debian …)`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.split_once(" version ")?.1.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(settings: &Settings, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        let qemu = settings.command(Path::new("image"), &words).unwrap();
        qemu.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_version_is_read() {
        assert_eq!(version("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright"), Some((7, 2)));
        assert_eq!(version("QEMU emulator version 10.0.0"), Some((10, 0)));
        assert_eq!(version("something else"), None);
    }

    #[test]
    fn a_recording_runs_on_one_thread_of_the_translator() {
        let recording = Some(Recording::Record("a,b".into()));
        let settings = Settings { recording, smp: "1".into(), ..Settings::default() };
        let text = line(&settings, &[]);
        assert!(text.contains("-accel tcg -icount shift=auto,rr=record,rrfile=a,,b -cpu max "), "{text}");
        let text = line(&Settings { recording: Some(Recording::Replay("f".into())), icount: true, ..settings }, &[]);
        assert!(text.contains("-icount shift=0,rr=replay,rrfile=f -cpu max,-erms"), "{text}");
    }

    #[test]
    fn words_keep_their_spaces_and_microvm_its_options() {
        let settings =
            Settings { machine: "microvm,x-option=on".into(), append: "seed=1".into(), ..Settings::default() };
        let text = line(&settings, &["a b", "c"]);
        assert!(text.ends_with(r#"-append seed=1 -- "a b" c"#), "{text}");
        assert!(
            text.contains("-M microvm,pit=on,pic=on,rtc=on,isa-serial=on,auto-kernel-cmdline=off,x-option=on "),
            "{text}"
        );
    }
}
