//! The verb `trace`: a program is built with the recorder and booted, and its trace collected.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use crate::html::pair::{self, Named};
use crate::options::ProgramArgs;
use crate::qemu::{Settings, Stdin};
use crate::trace::events::Events;
use crate::trace::view::View;
use crate::trace::{Recording, Trace};
use crate::trace_port::Collector;
use crate::words::text_of;
use crate::{cargo, elf, go, html, perfetto, run};

/// A program to record, or a word about recorded runs.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct TraceArgs {
    #[command(subcommand)]
    recorded: Option<Recorded>,
    #[command(flatten)]
    record: RecordArgs,
}

/// The words about recorded runs.
#[derive(Debug, Subcommand)]
enum Recorded {
    /// Translate traces for Perfetto, Go's tools and a browser, into files beside them
    Export {
        /// The traces, as NAME.trefoil
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Show two runs side by side in a browser, with one clock: with and without a mechanism
    #[command(after_long_help = COMPARE)]
    Compare {
        /// A trace
        a: PathBuf,
        /// The trace to compare it with
        b: PathBuf,
        /// The page to write, instead of A-and-B.html beside A
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    #[command(flatten)]
    View(View),
}

const COMPARE: &str = "\
The page makes no request. Each run has a pane with the options that the other run has not, its
timeline and its replay. The controls drive both. The runs are lined up by the time since their
first program event, or by the fraction of the run. A click on a goroutine chooses the one of the
other run that has the same name, function and place of creation. The table has the totals of both
runs, and their ratio.";

impl TraceArgs {
    /// Does what the words say. Returns the exit status.
    ///
    /// # Errors
    /// A program can't be recorded, or a trace not be read.
    pub fn act(self) -> Result<u8, cargo::Failure> {
        match self.recorded {
            None => self.record.act(),
            Some(Recorded::Export { files }) => {
                files.iter().try_for_each(|file| export(file))?;
                Ok(0)
            }
            Some(Recorded::Compare { a, b, output }) => {
                compare(&a, &b, output)?;
                Ok(0)
            }
            Some(Recorded::View(view)) => Ok(view.act()?),
        }
    }
}

/// The program, its machine and its recorder.
#[derive(Debug, Args)]
struct RecordArgs {
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    recorder: RecorderArgs,
}

/// The options of the recorder.
#[derive(Debug, Args)]
#[command(next_help_heading = "The recorder")]
struct RecorderArgs {
    /// The records that are kept where there are too many
    #[arg(long, value_enum, default_value = "full")]
    mode: Mode,
    /// Memory for the records of each core, as 64K or 16M
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// Record no stacks: events cost less, and the program is built without frame pointers
    #[arg(long)]
    no_stacks: bool,
    /// Dump when a goroutine that can run waits longer than US microseconds for a core
    #[arg(long, value_name = "US")]
    on_latency: Option<u64>,
}

/// The records that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// The first ones
    Full,
    /// The last ones
    Flight,
}

impl RecorderArgs {
    /// Returns the kernel options.
    fn options(&self) -> String {
        let mode = match self.mode {
            Mode::Full => "full",
            Mode::Flight => "flight",
        };
        let mut options = format!("trace={mode}");
        if let Some(size) = &self.size {
            options += &format!(" trace_size={size}");
        }
        if let Some(us) = self.on_latency {
            options += &format!(" trace_on_latency={us}");
        }
        options
    }
}

impl RecordArgs {
    /// Builds and boots the program, and collects its trace. Returns the program's exit status.
    fn act(mut self) -> Result<u8, cargo::Failure> {
        // A mistake is told before the build.
        let settings = self.program.machine.settings()?;
        let image = match self.program.file {
            Some(file) => file,
            None => {
                self.program.build.default_to_release();
                self.program.build.add_recorder(!self.recorder.no_stacks)?;
                cargo::build(&self.program.build)?
            }
        };
        if !elf::is_image(&image)? {
            return Err(format!("{}: this is no image of Trefoil's", image.display()).into());
        }
        // First: APPEND may have options of the recorder's, and ends with words of the program's.
        let append = format!("{} {}", self.recorder.options(), settings.append);
        let mut settings = Settings { stdin: Stdin::Inherit, append, ..settings };
        let Some(collector) = Collector::of(&image, &mut settings)? else {
            return Err(format!("{}: this image has no recorder", image.display()).into());
        };
        let status = run::run(&image, &text_of(&self.program.words), &settings, &mut run::Terminal)?;
        let collected = collector.collect()?;
        collected.tell();
        if let Some(file) = collected.whole.last() {
            export(file)?;
            View::summary(file).act()?;
        }
        Ok(status)
    }
}

/// Translates the trace in `file` for other tools, into files beside it, and says which.
fn export(file: &Path) -> Result<(), String> {
    let trace = Trace::read(file)?;
    let events = Events::of(&trace);
    let title = file.file_stem().unwrap_or_default().to_string_lossy();
    let formats = [
        ("perfetto", "https://ui.perfetto.dev", perfetto::export(&trace, &events)),
        ("go", "go tool trace", go::export(&trace, &events)),
        ("html", "a browser", html::export(&trace, &events, &title)),
    ];
    for (ending, reader, bytes) in formats {
        let file = file.with_extension(ending);
        std::fs::write(&file, bytes).map_err(|e| format!("{}: {e}", file.display()))?;
        eprintln!("cargo-trefoil: trace: {}, for {reader}", file.display());
    }
    Ok(())
}

/// Writes the page of two traces, and says where it is.
fn compare(a: &Path, b: &Path, output: Option<PathBuf>) -> Result<(), String> {
    let read = |file: &Path| Trace::read(file).map(Recording::new);
    let (run_a, run_b) = (read(a)?, read(b)?);
    let stems = [a, b].map(|file| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    let output = output.unwrap_or_else(|| a.with_file_name(format!("{}-and-{}.html", stems[0], stems[1])));
    // Files of one name lie in folders of different names.
    let names = if stems[0] == stems[1] { [a, b].map(|file| file.display().to_string()) } else { stems };
    let run_a = Named { name: &names[0], run: &run_a };
    let run_b = Named { name: &names[1], run: &run_b };
    let files = [a, b].map(|file| file.display().to_string());
    let difference = pair::difference(Named { name: &files[0], ..run_a }, Named { name: &files[1], ..run_b });
    if let Some(difference) = difference {
        eprintln!("cargo-trefoil: trace: {difference}; the page shows both");
    }
    std::fs::write(&output, pair::export(run_a, run_b)).map_err(|e| format!("{}: {e}", output.display()))?;
    eprintln!("cargo-trefoil: trace: {}, for a browser", output.display());
    Ok(())
}
