//! The words of `cargo trefoil trace` that show a recorded trace.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::text::{csv, diff, map, summary, timehist};
use super::{Recording, Trace};

/// A text about recorded traces.
#[derive(Debug, Subcommand)]
pub enum View {
    /// Show a run on one page: cores, queues, delays, waits, spawn sites
    ///
    /// Times have three figures. A quantile such as p99 is the time that 99 % do not exceed.
    #[command(after_long_help = SUMMARY)]
    Summary {
        /// The traces
        #[command(flatten)]
        files: Files,
        /// Spawn sites to show, those that ran longest first
        #[arg(long, value_name = "N", default_value_t = SITES)]
        sites: usize,
    },
    /// List every run of a goroutine, with the wait and the delay before it
    #[command(after_long_help = TIMEHIST)]
    Timehist {
        /// The traces
        #[command(flatten)]
        files: Files,
        /// Only the runs of goroutine number N
        #[arg(short, long, value_name = "N")]
        goroutine: Option<u64>,
        /// Only the runs on M number N
        #[arg(short, long, value_name = "N")]
        m: Option<u32>,
        /// Only the runs after a delay of at least US microseconds
        #[arg(short, long, value_name = "US", default_value_t = 0)]
        delay: u64,
    },
    /// Draw the cores over time
    #[command(after_long_help = MAP)]
    Map {
        /// The traces
        #[command(flatten)]
        files: Files,
        /// Begin at MS milliseconds
        #[arg(long, value_name = "MS", value_parser = milliseconds)]
        from: Option<u64>,
        /// End at MS milliseconds
        #[arg(long, value_name = "MS", value_parser = milliseconds)]
        to: Option<u64>,
        /// Bands below each other: more of them show more of the time's detail
        #[arg(short, long, value_name = "N", default_value_t = 1)]
        bands: u32,
        /// Columns of a band
        #[arg(short, long, value_name = "N", default_value_t = 80)]
        columns: u32,
    },
    /// Write all events as comma-separated values
    #[command(after_long_help = CSV)]
    Csv {
        /// The traces
        #[command(flatten)]
        files: Files,
    },
    /// Name the differences of two runs: the first decision, and the totals
    #[command(after_long_help = DIFF)]
    Diff {
        /// A trace
        a: PathBuf,
        /// The trace to compare it with
        b: PathBuf,
    },
}

/// Spawn sites of a summary.
const SITES: usize = 12;

/// The traces to show.
#[derive(Debug, Args)]
pub struct Files {
    /// Traces, as `cargo trefoil trace` writes them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

const SUMMARY: &str = "\
CORES, by M (a core)
  running     its share of the time on goroutines, also as a bar (full: all the time)
  spinning    on the search for other P's work
  resting     asleep, until a wake-up or a timer
  runs        times that a goroutine began to run; preempted: those that lost the core
  hauls       thefts from other P's; stolen: goroutines in them
  wakes       other M's that this one woke
  woken       times that this one was woken; in vain: those that found no work

QUEUES, by P
  running     its share of the time with a goroutine that runs
  from …      the place from which its goroutines came to run: its slot, its ring, the global
              queue, the hand (a timer, a thief or an interrupt brought them), the pinned ones
  mean length, longest
              goroutines in its slot and ring, over time

READY TO RUN
  The delay from the time at which a goroutine can run to its run, by the cause why it can: a
  goroutine or a timer readied it, it was created, it yielded, its core was taken away. The
  histogram counts all delays by powers of two.

WAITS, by reason
  count, total, p50 to max of the waits that ended; at the end: goroutines that still wait

SPAWN SITES, by the place that created the goroutines and the function that they run. A line has
  their name, if they share one, their function, the place, and their number.
  run         from the begin of a run to its end
  ready to run, wait, sleep
              each stretch in that state

THE PROGRAM'S OWN
  regions and tasks, by name, and the number of log lines";

const TIMEHIST: &str = "\
Columns
  time        begin of the run, in milliseconds from the recorder's begin
  M, P        the core, and the P that it held
  goroutine   its number, and its name or its function's
  wait        how long it waited before it was ready; -: it did not wait
  delay       how long it was ready and no core ran it; -: since before the trace
  run         how long it ran
  from        the place where the core found it: slot, ring, global queue, hand, pinned
  made ready by
              the goroutine that readied it (`G1 go`: created it), a timer, an interrupt, or
              itself, if it yielded or lost its core
  leaves for  the reason why the run ended: the wait's reason, yield, preempted, end";

const MAP: &str = "\
A column is a piece of time, and a row is a core. A letter is the goroutine that had most of the
piece; the legend below names it, with all its time in the picture. If more than 52 goroutines ran,
a letter is a spawn site. The strip above the cores shows how many goroutines waited for a core; a
full block is the most in the picture. The ruler counts from the recorder's begin.";

const CSV: &str = "\
Columns
  number      of the event, from 0
  ns          time, in nanoseconds of the machine's clock
  m, p        the M that decided, and the P that it held
  running     the goroutine on that M before the event; 0: g0
  event       the kind of the event
  how         for a switch or a put the reason why the goroutine left; else a number
  place       the queue that the goroutine was put into or taken from
  n, a, b     the record's other numbers; a is mostly a goroutine
  goroutine   the name of the goroutine in a, or its function's
  at          the place that created it
  text        a log line, or the name of a goroutine, a region or a task
  stack       the functions on the stack, innermost first, separated by semicolons

The columns keep their names and their order; new ones come behind.";

const DIFF: &str = "\
Decisions are compared without their times and addresses, in the order of both traces. Shown are
the last that are the same, and the first that differ; how many of each M's decisions are the same;
and all totals that differ. The exit status is 0 if the two traces are the same, and else 1.";

fn milliseconds(text: &str) -> Result<u64, String> {
    match text.parse::<f64>() {
        Ok(ms) if (0.0..1e12).contains(&ms) => Ok((ms * 1e6) as u64),
        _ => Err("a number of milliseconds, such as 1.5, belongs here".into()),
    }
}

impl View {
    /// Makes the word that shows the run in `file` on one page.
    pub fn summary(file: &Path) -> Self {
        Self::Summary { files: Files { files: vec![file.into()] }, sites: SITES }
    }

    /// Writes the text to standard output. Returns the exit status.
    ///
    /// # Errors
    /// A file can't be read, or is no whole trace.
    pub fn act(&self) -> Result<u8, String> {
        let mut out = BufWriter::new(io::stdout().lock());
        let status = self.write(&mut out)?;
        match out.flush() {
            // The reader, such as `head`, has had enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
            _ => Ok(status),
        }
    }

    /// Writes the text. Returns the exit status.
    fn write(&self, out: &mut dyn Write) -> Result<u8, String> {
        let result = match self {
            Self::Summary { files, sites } => {
                files.each(out, |out, name, run| summary::write(out, name, run, *sites))?
            }
            Self::Timehist { files, goroutine, m, delay } => {
                let filter = timehist::Filter { goroutine: *goroutine, m: *m, delay: delay.saturating_mul(1_000) };
                files.each(out, |out, name, run| timehist::write(out, name, run, &filter))?
            }
            Self::Map { files, from, to, bands, columns } => {
                let window = map::Window { from: *from, to: *to, bands: *bands, columns: *columns };
                files.each(out, |out, name, run| map::write(out, name, run, &window))?
            }
            Self::Csv { files } => files.each(out, |out, _, run| csv::write(out, run))?,
            Self::Diff { a, b } => {
                let (of_a, of_b) = (read(a)?, read(b)?);
                let (name_a, name_b) = (a.display().to_string(), b.display().to_string());
                let a = diff::Named { name: &name_a, run: &of_a };
                let b = diff::Named { name: &name_b, run: &of_b };
                match diff::write(out, a, b) {
                    Ok(differ) => return Ok(u8::from(differ)),
                    Err(error) => Err(error),
                }
            }
        };
        match result {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
            _ => Ok(0),
        }
    }
}

fn read(file: &Path) -> Result<Recording, String> {
    Trace::read(file).map(Recording::new)
}

impl Files {
    /// Writes a text for each file, with an empty line between two.
    fn each(
        &self,
        out: &mut dyn Write,
        write: impl Fn(&mut dyn Write, &str, &Recording) -> io::Result<()>,
    ) -> Result<io::Result<()>, String> {
        for (n, file) in self.files.iter().enumerate() {
            let run = read(file)?;
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
            let between = if n > 0 { writeln!(out) } else { Ok(()) };
            if let Err(error) = between.and_then(|()| write(out, &name, &run)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}
