//! Go's side: a Linux machine whose only program is `compare/go`.
//!
//! One machine runs all programs, each in a fresh process, since booting takes longer than most of
//! them. The guest stops a program that takes too long; a machine that says nothing for longer than
//! that is killed, and the programs that are left get another one.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::cpio::{self, Entry};
use super::options::Options;
use super::results::{Failure, Line, Results, Side};
use super::{MEMORY, checkout, downloads, output};
use cargo_trefoil::run::{self, Machine};

/// The kernel's options, beside the programs.
const APPEND: &str = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable";

/// How long a machine takes at most to boot or to end, on a busy host.
const SLACK: Duration = Duration::from_secs(60);

/// A Linux machine, ready to boot.
pub struct Guest {
    kernel: PathBuf,
    files: PathBuf,
    /// Of Linux.
    pub version: String,
}

impl Guest {
    /// Builds what the machine boots.
    pub fn build(folder: &Path) -> Result<Self, String> {
        let go = downloads::go()?;
        let (kernel, version) = downloads::linux(folder)?;
        let (program, files) = (folder.join("programs"), folder.join("initramfs.cpio"));
        let mut build = Command::new(go);
        build.current_dir(checkout().join("compare/go")).args(["build", "-trimpath", "-ldflags=-s -w", "-o"]);
        build.arg(&program).arg(".").env("GOCACHE", folder.join("go-cache")).env("GOTOOLCHAIN", "local");
        build.env("CGO_ENABLED", "0").env_remove("GOFLAGS").env_remove("GOROOT");
        output(&mut build)?;
        let init = std::fs::read(&program).map_err(|e| format!("{}: {e}", program.display()))?;
        let archive = cpio::archive(&[
            Entry { name: "dev", mode: 0o40_755, device: (0, 0), data: &[] },
            Entry { name: "dev/console", mode: 0o20_600, device: (5, 1), data: &[] },
            Entry { name: "init", mode: 0o100_755, device: (0, 0), data: &init },
        ]);
        std::fs::write(&files, archive).map_err(|e| format!("{}: {e}", files.display()))?;
        Ok(Self { kernel, files, version })
    }

    /// Runs all programs on machines of `cores` cores.
    pub fn run(&self, options: &Options, cores: u32, log: &Path, to: &mut Results) -> Result<(), String> {
        let mut log = std::fs::File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        let words = options.programs.iter().flat_map(|program| program.go_words()).collect();
        let boot = |left: &[String]| {
            let append = format!("{APPEND} seconds={} programs={}", options.limit.as_secs(), left.join(","));
            run::spawn(self.command(cores, &append), Stdio::null())
        };
        run_all(words, boot, cores, options.limit + SLACK, &mut log, to)
    }

    /// Makes QEMU's command. Linux clears and copies by `rep stosb` and `rep movsb` where the
    /// processor says that they are fast (`erms`). QEMU's translator makes them slow. So that Go
    /// does not pay for this, its processor has no `erms`.
    fn command(&self, cores: u32, append: &str) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-smp", &cores.to_string(), "-m", MEMORY, "-cpu", "max,-erms"]);
        qemu.args(["-display", "none", "-serial", "stdio", "-monitor", "none", "-net", "none", "-no-reboot"]);
        qemu.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.files).args(["-append", append]);
        qemu
    }
}

/// Has machines run the programs in `left`. `boot` boots one that is to run those it is given. A
/// machine that says nothing for `silence` is killed.
fn run_all(
    mut left: Vec<String>,
    mut boot: impl FnMut(&[String]) -> Result<Machine, String>,
    cores: u32,
    silence: Duration,
    log: &mut impl Write,
    to: &mut Results,
) -> Result<(), String> {
    while !left.is_empty() {
        let machine = boot(&left)?;
        let end = listen(machine, &mut left, cores, silence, log, to)?;
        if !left.is_empty() {
            // The machine was at the first of those that are left.
            let word = left.remove(0);
            eprintln!("  {word}: {end:?}");
            to.fail((Side::Go, cores, word), end);
        }
    }
    Ok(())
}

/// Takes what a machine says, and takes the programs that it is done with out of `left`. Returns
/// what became of the machine; it is gone then.
fn listen(
    mut machine: Machine,
    left: &mut Vec<String>,
    cores: u32,
    silence: Duration,
    log: &mut impl Write,
    to: &mut Results,
) -> Result<Failure, String> {
    let lines = lines(machine.0.stdout.take().ok_or("QEMU has no output")?);
    let mut last = "the machine said nothing".to_string();
    loop {
        let Ok(heard) = lines.recv_timeout(silence) else { return Ok(Failure::TooLong) };
        let Some(line) = heard else { return Ok(Failure::Ended(last)) };
        let _ = writeln!(log, "{line}");
        if let Some(result) = Line::parse(&line) {
            eprintln!("  {line}");
            left.retain(|word| *word != result.word);
            to.add(Side::Go, cores, result);
        } else if let Some((word, why)) = failed(&line) {
            eprintln!("  {line}");
            if let Some(at) = left.iter().position(|known| known == word) {
                to.fail((Side::Go, cores, left.remove(at)), why);
            }
        }
        if !line.trim().is_empty() {
            last = line;
        }
    }
}

/// Finds the program that failed by a line of the guest, and why.
fn failed(line: &str) -> Option<(&str, Failure)> {
    let (word, why) = line.split_once("FAILED ")?.1.trim().split_once(' ')?;
    let late = why.starts_with("took longer than");
    Some((word, if late { Failure::TooLong } else { Failure::Ended(why.into()) }))
}

/// Receives a machine's output, line by line as it comes; `None` at its end.
fn lines(output: impl std::io::Read + Send + 'static) -> Receiver<Option<String>> {
    let (to, lines) = channel();
    // The thread ends with the machine, or when nobody listens any more.
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if to.send(Some(String::from_utf8_lossy(&line).trim_end().to_string())).is_err() {
                return;
            }
        }
        let _ = to.send(None);
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::super::results::Cell;
    use super::*;

    #[test]
    fn the_guest_says_which_program_failed_and_whether_it_was_late() {
        let late = failed("FAILED pring:nogc took longer than 2m0s");
        assert_eq!(late, Some(("pring:nogc", Failure::TooLong)));
        let other = failed("FAILED pring ended with exit status 2\r");
        assert_eq!(other, Some(("pring", Failure::Ended("ended with exit status 2".into()))));
        assert_eq!(failed("RESULT name=pring procs=1 t_ms=1"), None);
    }

    #[test]
    fn a_machine_that_hangs_is_killed_and_the_others_get_another_one() {
        let scripts = [
            "echo RESULT name=pring procs=2 t_ms=5; echo FAILED psieve took longer than 2m0s; exec sleep 600",
            "echo a panic; exit 1",
            "echo RESULT name=pwords gc=off procs=2 t_ms=6; echo RESULT name=pwords procs=2 t_ms=7",
        ];
        let (mut booted, mut results) = (Vec::new(), Results::default());
        let boot = |left: &[String]| {
            booted.push(left.join(","));
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(scripts[booted.len() - 1]);
            run::spawn(shell, Stdio::null())
        };
        let words = ["pring", "psieve", "pcons0", "pmutex", "pwords:nogc", "pwords"].map(String::from).into();
        run_all(words, boot, 2, Duration::from_secs(1), &mut Vec::new(), &mut results).unwrap();
        let rest = ["pring,psieve,pcons0,pmutex,pwords:nogc,pwords", "pmutex,pwords:nogc,pwords", "pwords:nogc,pwords"];
        assert_eq!(booted, rest);
        for (word, expected) in [
            ("pring", Cell::Median(5.0)),
            ("psieve", Cell::TooLong),
            ("pcons0", Cell::TooLong),
            ("pmutex", Cell::Failed),
            ("pwords:nogc", Cell::Median(6.0)),
            ("pwords", Cell::Median(7.0)),
        ] {
            assert_eq!(results.cell(Side::Go, 2, word, "t"), expected, "{word}");
        }
        assert!(results.failures().any(|failure| failure.contains("a panic")));
    }

    #[test]
    fn lines_come_without_their_ends_and_then_the_end() {
        let lines = lines(&b"one\r\n\ntwo"[..]);
        let heard: Vec<_> = lines.iter().collect();
        assert_eq!(heard, [Some("one".into()), Some(String::new()), Some("two".into()), None]);
    }
}
