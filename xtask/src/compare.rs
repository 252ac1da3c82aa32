//! `make compare-programs`: whole programs on Trefoil beside the same ones in Go on Linux, on the
//! same emulated machine.
//!
//! The programs are `kernel/examples/programs` and `compare/go`. Each round runs Go's and then
//! Trefoil's, on one core and then on two, so that a disturbance of the host meets both. A figure
//! is the median of the rounds. Downloads, builds and logs lie in `target/compare-programs`.

mod cpio;
mod downloads;
mod linux;
pub mod options;
pub mod results;
pub mod table;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cargo_trefoil::qemu::Settings;
use cargo_trefoil::run;

use crate::markers;
use crate::pictures::chart;

use options::Options;
use results::{Failure, Line, Results, Side};

/// The machines that are compared: their cores.
const CORES: [u32; 2] = [1, 2];

/// The memory of either side's machine.
const MEMORY: &str = "2G";

/// The page that has the table.
const PAGE: &str = "docs/performance.md";

/// Compares, prints the table, and writes it into the page if everything was run. Returns 1 if a
/// program failed.
///
/// # Errors
/// Something can't be downloaded, built, started or written.
pub fn compare(options: &Options) -> Result<u8, String> {
    let folder = checkout().join("target/compare-programs");
    std::fs::create_dir_all(folder.join("log")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let image = options.runs(Side::Trefoil).then(build_image).transpose()?;
    let guest = options.runs(Side::Go).then(|| linux::Guest::build(&folder)).transpose()?;
    let mut results = Results::default();
    for round in 1..=options.rounds {
        for cores in CORES {
            let log = |side| folder.join(format!("log/{side}-{cores}-{round}.log"));
            if let Some(guest) = &guest {
                eprintln!("round {round}, Go, {cores} core(s)");
                guest.run(options, cores, &log(Side::Go), &mut results)?;
            }
            if let Some(image) = &image {
                eprintln!("round {round}, Trefoil, {cores} core(s)");
                run_trefoil(image, options, cores, &log(Side::Trefoil), &mut results)?;
            }
        }
    }
    let go = guest.map(|guest| format!(" Go {} on Linux {},", downloads::GO, guest.version)).unwrap_or_default();
    let (trefoil, qemu) = (revision(), qemu_version()?);
    let rounds = if options.rounds == 1 { "one round".into() } else { format!("medians of {} rounds", options.rounds) };
    let table = table::render(&results, &options.programs);
    let text = format!("Trefoil {trefoil},{go} QEMU {qemu}; milliseconds, {rounds}:\n\n{table}");
    println!("{text}");
    for failure in results.failures() {
        println!("{failure}");
    }
    if options.is_whole() {
        write_page(&text)?;
    }
    Ok(u8::from(results.failures().next().is_some()))
}

fn write_page(text: &str) -> Result<(), String> {
    let page = checkout().join(PAGE);
    let old = std::fs::read_to_string(&page).map_err(|e| format!("{PAGE}: {e}"))?;
    let new = markers::replace(&old, table::PART, text).map_err(|e| format!("{PAGE}: {e}"))?;
    std::fs::write(&page, new).map_err(|e| format!("{PAGE}: {e}"))?;
    println!("the table is in {PAGE}");
    chart::write(checkout())
}

/// Builds Trefoil's programs.
fn build_image() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = checkout().join("target");
    let mut build = Command::new(cargo);
    build.current_dir(checkout()).args(["build", "--quiet", "--profile", "compare"]);
    build.args(["--package", "trefoil", "--example", "programs", "--target-dir"]).arg(&target);
    output(&mut build)?;
    Ok(target.join("compare/examples/programs"))
}

/// Boots each program in a machine of its own.
fn run_trefoil(image: &Path, options: &Options, cores: u32, log: &Path, to: &mut Results) -> Result<(), String> {
    let mut log = std::fs::File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
    let settings =
        Settings { smp: cores.to_string(), memory: MEMORY.into(), timeout: options.limit, ..Settings::default() };
    for program in &options.programs {
        let mut text: Vec<u8> = Vec::new();
        let code = run::run(image, &[program.name.into()], &settings, &mut text)?;
        let _ = log.write_all(&text);
        let text = String::from_utf8_lossy(&text);
        text.lines().filter(|line| line.starts_with("RESULT")).for_each(|line| eprintln!("  {line}"));
        match outcome(program.name, code, &text) {
            Ok(line) => to.add(Side::Trefoil, cores, line),
            Err(why) => {
                eprintln!("  {}: {why:?}", program.name);
                to.fail((Side::Trefoil, cores, program.name.into()), why);
            }
        }
    }
    Ok(())
}

/// Returns the result of a program whose machine ended with `code` and had printed `text`.
fn outcome(program: &str, code: u8, text: &str) -> Result<Line, Failure> {
    let result = text.lines().filter_map(Line::parse).find(|line| line.word == program);
    match (code, result) {
        (0, Some(line)) => Ok(line),
        (run::EXIT_TIMEOUT, _) => Err(Failure::TooLong),
        _ => {
            // A report's first line says what went wrong; the last one is something.
            let mut lines = text.lines().filter(|line| !line.trim().is_empty());
            let said = lines.clone().find(|line| line.contains("panicked")).or_else(|| lines.next_back());
            Err(Failure::Ended(said.unwrap_or("the machine said nothing").into()))
        }
    }
}

/// Returns the checkout that this tool was built from.
fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

/// Runs `command` to its end. Returns what it printed.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|e| format!("{name}: {e}"))?;
    if !out.status.success() {
        return Err(format!("{name} ended with {}", out.status));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Returns the commit that is measured, or the version where there is no git.
fn revision() -> String {
    let git = |args: &[&str]| {
        let out = Command::new("git").current_dir(checkout()).args(args).stderr(Stdio::null()).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_string())
    };
    let described = git(&["describe", "--always", "--dirty= (changed)", "--exclude=*"]);
    described.unwrap_or_else(|| env!("CARGO_PKG_VERSION").into())
}

/// Returns the number in `QEMU emulator version 7.2.22 (Debian …)`.
fn qemu_version() -> Result<String, String> {
    let said = output(Command::new("qemu-system-x86_64").arg("--version"))?;
    Ok(said.split_whitespace().nth(3).unwrap_or("of an unknown version").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_counts_only_if_its_machine_ended_well() {
        let text = "boot\nRESULT name=pring procs=2 t_ms=5.00\n";
        assert_eq!(outcome("pring", 0, text).unwrap().figures, [("t".to_string(), 5.0)]);
        assert_eq!(outcome("pring", run::EXIT_TIMEOUT, text), Err(Failure::TooLong));
        assert!(outcome("pmutex", 0, text).is_err(), "another program's result");
        let said = outcome("pring", 1, "G 7 panicked at x\n  #00\nthe end\n\n");
        assert_eq!(said, Err(Failure::Ended("G 7 panicked at x".into())));
        assert_eq!(outcome("pring", 1, ""), Err(Failure::Ended("the machine said nothing".into())));
    }
}
