//! The verbs and their options.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::new::Source;
use crate::options::{MachineArgs, ProgramArgs};
use crate::qemu::{self, Settings, Stdin};
use crate::selection::Selection;
use crate::trace_port::Collector;
use crate::trace_verb::TraceArgs;
use crate::words::text_of;
use crate::{boots, cargo, debug, doctor, elf, new, run};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Makes, boots, tests and debugs programs for Trefoil, the goroutine scheduler that is the whole
/// machine.
#[derive(Debug, Parser)]
#[command(name = "cargo-trefoil", bin_name = "cargo trefoil", version, styles = STYLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a program of your own
    New {
        /// The folder to make; its last part is the program's name
        #[arg(value_name = "PATH")]
        folder: PathBuf,
        /// Make a library, with an example that boots
        #[arg(long)]
        lib: bool,
        #[command(flatten)]
        source: SourceArgs,
    },
    /// Build a program and boot it in QEMU
    Run(ProgramArgs),
    /// Run the tests; those that need the machine boot it
    Test(TestArgs),
    /// Build a program and boot it under gdb, stopped at its main
    Debug(ProgramArgs),
    /// Boot a release build on one core with counted instructions: figures that repeat exactly
    Bench(ProgramArgs),
    /// Record every decision of a program's scheduler, or show a recorded run
    Trace(TraceArgs),
    /// Print the size of the release image without symbols
    Size(SizeArgs),
    /// Look for mistakes in this folder's program, and say what to do
    Doctor,
    /// Print a script that completes this command's words in SHELL
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Boot or execute what cargo has built
    #[command(hide = true)]
    Runner(RunnerArgs),
}

/// Where the new program gets Trefoil from. Unless told: a copy of the checkout that this command
/// was built in, or else the published version.
#[derive(Debug, Args)]
#[group(multiple = false)]
#[command(next_help_heading = "Trefoil itself")]
struct SourceArgs {
    /// Copy the checkout in DIR (unless told: the one that this command was built in) into the
    /// program, which then builds anywhere
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    copy: Option<Option<PathBuf>>,
    /// Depend on the checkout in DIR by a relative path
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    path: Option<Option<PathBuf>>,
    /// Depend on the git repository at URL
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// Depend on the published crates
    #[arg(long)]
    published: bool,
}

impl SourceArgs {
    fn source(self) -> Result<Source, String> {
        let checkout = |dir: Option<PathBuf>| {
            let gone = || "the checkout that this command was built in is gone: name one, as --path=DIR".to_string();
            dir.or_else(new::checkout).ok_or_else(gone)
        };
        match self {
            Self { copy: Some(dir), .. } => checkout(dir).map(Source::Copy),
            Self { path: Some(dir), .. } => checkout(dir).map(Source::Path),
            Self { git: Some(url), .. } => Ok(Source::Git(url)),
            Self { published: true, .. } => Ok(Source::Published),
            _ => Ok(Source::at_hand()),
        }
    }
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Words for `cargo test`, and after `--` for the tests: filters, --ignored, --nocapture
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

#[derive(Debug, Args)]
struct SizeArgs {
    #[command(flatten)]
    build: cargo::BuildArgs,
    /// An image that is built already
    #[arg(conflicts_with_all = ["bin", "example"])]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunnerArgs {
    /// The use of the file
    #[arg(long = "do", value_enum, default_value = "run")]
    action: Action,
    #[command(flatten)]
    machine: MachineArgs,
    /// The file that cargo has built, and the program's own words
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// The uses of a file that cargo has built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Boots an image, executes other programs.
    Run,
    /// Boots an image under gdb.
    Debug,
    /// Prints the stripped size.
    Size,
    /// Prints the path.
    Locate,
}

/// Does what the words say. `args` begins with the name of this program. Returns the exit status.
///
/// # Errors
/// The verb can't be done.
pub fn main(args: Vec<OsString>) -> Result<u8, String> {
    match Cli::parse_from(args).verb {
        Verb::New { folder, lib, source } => new::new(&folder, lib, &source.source()?).map(|()| 0),
        Verb::Run(args) => args.act(Action::Run),
        Verb::Debug(args) => args.act(Action::Debug),
        Verb::Bench(mut args) => {
            args.build.default_to_release();
            args.machine.icount = true;
            args.act(Action::Run)
        }
        Verb::Trace(args) => args.act().or_else(status),
        Verb::Size(mut args) => {
            args.build.default_to_release();
            built(args.file, &args.build, |file| act(Action::Size, file, &[], &MachineArgs::default()))
        }
        Verb::Test(args) => cargo::test(&args.args).map_or_else(status, |()| Ok(0)),
        Verb::Doctor => examine(),
        Verb::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "cargo-trefoil", &mut std::io::stdout());
            Ok(0)
        }
        Verb::Runner(args) => match args.program.split_first() {
            Some((file, words)) => act(args.action, Path::new(file), words, &args.machine),
            None => Err("no file to run".into()),
        },
    }
}

impl ProgramArgs {
    fn act(&self, action: Action) -> Result<u8, String> {
        // A mistake is told before the build.
        self.machine.settings()?;
        built(self.file.clone(), &self.build, |file| act(action, file, &self.words, &self.machine))
    }
}

/// Does something with the file, which cargo builds if it is not there already.
fn built(
    file: Option<PathBuf>,
    build: &cargo::BuildArgs,
    act: impl FnOnce(&Path) -> Result<u8, String>,
) -> Result<u8, String> {
    match file.map_or_else(|| cargo::build(build), Ok) {
        Ok(file) => act(&file),
        Err(failure) => status(failure),
    }
}

fn status(failure: cargo::Failure) -> Result<u8, String> {
    match failure {
        cargo::Failure::Status(status) => Ok(status),
        cargo::Failure::Call(error) => Err(error),
    }
}

/// Prints the mistakes in this folder and with QEMU.
fn examine() -> Result<u8, String> {
    let mut mistakes = doctor::mistakes()?;
    mistakes.extend(qemu::check().err());
    for mistake in &mistakes {
        println!("{mistake}");
    }
    if mistakes.is_empty() {
        println!("no mistake found; the page `When it does not build` explains messages of the build");
    }
    Ok(u8::from(!mistakes.is_empty()))
}

fn act(action: Action, file: &Path, words: &[OsString], machine: &MachineArgs) -> Result<u8, String> {
    match action {
        Action::Size => elf::stripped_size(file).map(|size| {
            println!("{}: {size} bytes stripped", file.display());
            0
        }),
        Action::Locate => {
            println!("{}", file.display());
            Ok(0)
        }
        Action::Debug => debug::debug(file, &text_of(words), &machine.settings()?),
        Action::Run if !elf::is_image(file)? => Err(run::execute(file, words)),
        Action::Run => boot(file, &text_of(words), machine),
    }
}

fn boot(file: &Path, words: &[String], machine: &MachineArgs) -> Result<u8, String> {
    if let Some(tests) = elf::tests(file)? {
        return match Selection::parse_words(words) {
            Ok(selection) => boots::run_all(file, &tests, &selection),
            Err(error) => error.exit(),
        };
    }
    let mut settings = Settings { stdin: Stdin::Inherit, ..machine.settings()? };
    let collector = Collector::of(file, &mut settings)?;
    let status = run::run(file, words, &settings, &mut run::Terminal)?;
    if let Some(collector) = collector {
        collector.collect()?.tell();
    }
    Ok(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_word_after_the_dashes_is_the_programs_own() {
        let cli = Cli::try_parse_from(["cargo-trefoil", "run", "--smp", "2", "image", "--", "--smp", "a b"]).unwrap();
        let Verb::Run(args) = cli.verb else { panic!("{cli:?}") };
        assert_eq!(
            (args.machine.smp.as_deref(), text_of(&args.words)),
            (Some("2"), vec!["--smp".into(), "a b".into()])
        );
        assert_eq!(args.file.as_deref(), Some(Path::new("image")));
    }

    #[test]
    fn the_runner_takes_every_word_after_the_file() {
        let cli = Cli::try_parse_from(["cargo-trefoil", "runner", "image", "--smp", "--", "-x"]).unwrap();
        let Verb::Runner(args) = cli.verb else { panic!("{cli:?}") };
        assert_eq!((args.machine.smp, text_of(&args.program).join(" ")), (None, "image --smp -- -x".into()));
    }
}
