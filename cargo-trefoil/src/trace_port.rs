//! The port that recorded runs come by, from QEMU's arguments to the files.
//!
//! ```text
//!   virtio console ──QEMU──────▶ NAME.stream ──collect──▶ NAME.trefoil      the last trace
//!   serial line ─────[`Lines`]──┘                         NAME.1.trefoil    the snapshots before it,
//!                                                         NAME.2.trefoil    in their order
//! ```
//!
//! The files lie in the folder `trace` of cargo's target folder. A machine may end at any time, so
//! a stream may break off in the middle of a trace, and another trace may follow there: that of a
//! report. Such a trace is kept as it is, and named.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use trefoil_trace::{HEAD_BYTES, MAGIC, tag};

use crate::elf;
use crate::qemu::Settings;
use crate::symbols::behind_erased;
use crate::trace::names;

/// Returns QEMU's arguments for the console.
pub fn console(is_microvm: bool, file: &Path) -> Vec<String> {
    // The device works inside the write that notifies it, so that the machine neither waits nor
    // counts how long it waits.
    let bus: &[&str] = match is_microvm {
        true => &["-global", "virtio-mmio.ioeventfd=off", "-device", "virtio-serial-device"],
        false => &["-device", "virtio-serial-pci,ioeventfd=off,vectors=0"],
    };
    let path = file.display().to_string().replace(',', ",,");
    let file = format!("file,id=trefoil-trace,path={path}");
    let port = ["-device", "virtconsole,chardev=trefoil-trace", "-chardev", &file];
    bus.iter().chain(&port).map(|word| word.to_string()).collect()
}

/// Begins each line of a recorded run on the serial line, by `kernel/src/recorder/port/lines.rs`.
const PREFIX: &[u8] = b"trefoil-trace: ";

/// Takes a recorded run out of a serial line.
#[derive(Debug)]
pub struct Lines {
    stream: PathBuf,
    /// Opened by the first line: until then it is QEMU's.
    file: Option<File>,
}

impl Lines {
    /// Writes what the lines carry to the end of `stream`.
    pub fn new(stream: &Path) -> Self {
        Self { stream: stream.into(), file: None }
    }

    /// Returns true if the unfinished `line` may become one that is taken.
    pub fn may_take(line: &[u8]) -> bool {
        let line = behind_erased(line);
        !line.is_empty() && line.starts_with(&PREFIX[..PREFIX.len().min(line.len())])
    }

    /// Takes a line of a recorded run, and returns the bytes in front of it, which a person sees.
    /// `None`: it is another line.
    pub fn take<'a>(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        let taken = behind_erased(line);
        let text = taken.strip_prefix(PREFIX)?;
        let text = std::str::from_utf8(text).unwrap_or_default().trim_end_matches('\r');
        // A torn line leaves a gap in the stream, and the trace is found to be damaged.
        if let Ok(bytes) = STANDARD.decode(text) {
            let open = || File::options().create(true).append(true).open(&self.stream).ok();
            self.file = self.file.take().or_else(open);
            let _ = self.file.as_mut().map(|file| file.write_all(&bytes));
        }
        Some(&line[..line.len() - taken.len()])
    }
}

/// A trace in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    range: Range<usize>,
    is_whole: bool,
}

/// Finds the traces in a stream.
fn parts(stream: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < stream.len() {
        let rest = &stream[start..];
        let part = match whole(rest) {
            Some(len) => Part { range: start..start + len, is_whole: true },
            None => {
                let next = rest.windows(MAGIC.len()).skip(1).position(|bytes| bytes == MAGIC);
                let end = next.map_or(stream.len(), |at| start + 1 + at);
                Part { range: start..end, is_whole: false }
            }
        };
        start = part.range.end;
        parts.push(part);
    }
    parts
}

/// Returns the bytes of the trace that `bytes` begin with, if it is whole.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut at = bytes.starts_with(&MAGIC).then_some(MAGIC.len())?;
    loop {
        let head = bytes.get(at..at.checked_add(HEAD_BYTES)?)?;
        let length = u64::from_le_bytes(head[8..].try_into().ok()?);
        let payload = at + HEAD_BYTES;
        let end = payload.checked_add(usize::try_from(length).ok()?)?;
        let payload = bytes.get(payload..end)?;
        if head[..4] == tag::TEND {
            let told = u64::from_le_bytes(payload.try_into().ok()?);
            return (told == at as u64).then_some(end);
        }
        at = end;
    }
}

/// A machine whose recorder is on, and the place for its traces.
#[derive(Debug)]
pub struct Collector {
    image: PathBuf,
    /// The folder of the files.
    folder: PathBuf,
    name: String,
}

/// The traces of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The files with whole traces; the run's last trace is the last.
    pub whole: Vec<PathBuf>,
    /// The files with traces that break off, and their bytes.
    pub broken: Vec<(PathBuf, u64)>,
    /// The mistakes in whole traces.
    pub mistakes: Vec<String>,
}

/// The endings of the files that a trace becomes.
pub const ENDINGS: [&str; 4] = ["trefoil", "perfetto", "go", "html"];

impl Collector {
    /// Prepares a run of `image` if the kernel options turn the recorder on. Gives the machine the
    /// port, and removes the files of earlier runs.
    ///
    /// # Errors
    /// The image can't be read, or the folder not be made.
    pub fn of(image: &Path, settings: &mut Settings) -> Result<Option<Self>, String> {
        if !turns_on(&settings.append) {
            return Ok(None);
        }
        if !elf::has_recorder(image)? {
            eprintln!(
                "cargo-trefoil: {} has no recorder, so trace= records nothing: `cargo trefoil trace` builds one in, \
                 as `--features trace` does",
                image.display()
            );
            return Ok(None);
        }
        let it = Self { image: image.into(), folder: folder(image), name: name(image) };
        fs::create_dir_all(&it.folder).map_err(|e| format!("{}: {e}", it.folder.display()))?;
        it.clear()?;
        settings.trace = Some(it.stream());
        Ok(Some(it))
    }

    fn stream(&self) -> PathBuf {
        self.folder.join(format!("{}.stream", self.name))
    }

    /// Returns the file for the trace number `n` of `number`, from 0.
    fn file(&self, n: usize, number: usize) -> PathBuf {
        match n + 1 == number {
            true => self.folder.join(format!("{}.trefoil", self.name)),
            false => self.folder.join(format!("{}.{}.trefoil", self.name, n + 1)),
        }
    }

    /// Removes the files of earlier runs, so that nobody takes them for this one's.
    fn clear(&self) -> Result<(), String> {
        let fail = |e: std::io::Error| format!("{}: {e}", self.folder.display());
        for entry in fs::read_dir(&self.folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let file = entry.file_name();
            let rest = file.to_str().and_then(|file| file.strip_prefix(&self.name)?.strip_prefix('.'));
            let Some(rest) = rest else { continue };
            let (number, ending) = rest.rsplit_once('.').unwrap_or(("", rest));
            let is_ours = number.bytes().all(|digit| digit.is_ascii_digit());
            if is_ours && (ending == "stream" || ENDINGS.contains(&ending)) {
                fs::remove_file(entry.path()).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Makes files of what came, with the names of the image's addresses, and tells what is wrong
    /// with it. Called when the machine has ended, in whatever way.
    ///
    /// # Errors
    /// A file can't be read or written.
    pub fn collect(&self) -> Result<Collected, String> {
        let stream = self.stream();
        let bytes = match fs::read(&stream) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|e| format!("{}: {e}", stream.display()))?,
        };
        let _ = fs::remove_file(&stream);
        let parts = parts(&bytes);
        let mut collected = Collected::default();
        for (n, part) in parts.iter().enumerate() {
            let file = self.file(n, parts.len());
            let trace = &bytes[part.range.clone()];
            let named = if part.is_whole { names::add(trace, &self.image) } else { Ok(trace.to_vec()) };
            let kept = named.unwrap_or_else(|error| {
                collected.mistakes.push(format!("{}: {error}", file.display()));
                trace.to_vec()
            });
            fs::write(&file, kept).map_err(|e| format!("{}: {e}", file.display()))?;
            match part.is_whole {
                true => collected.whole.push(file),
                false => collected.broken.push((file, trace.len() as u64)),
            }
        }
        Ok(collected)
    }
}

impl Collected {
    /// Says what is wrong, and where the files are.
    pub fn tell(&self) {
        if self.whole.is_empty() && self.broken.is_empty() {
            eprintln!("cargo-trefoil: no trace came: the machine ended before it sent one");
        }
        for (file, bytes) in &self.broken {
            eprintln!("cargo-trefoil: {}: this trace breaks off: {bytes} bytes of it came", file.display());
        }
        for mistake in &self.mistakes {
            eprintln!("cargo-trefoil: {mistake}");
        }
        for file in &self.whole {
            eprintln!("cargo-trefoil: trace: {}", file.display());
        }
    }
}

/// Returns true if kernel options turn the recorder on, or its port.
fn turns_on(options: &str) -> bool {
    let mut ours = options.split_whitespace().take_while(|word| *word != "--");
    ours.any(|word| word.starts_with("trace=") || word.starts_with("trace_port="))
}

/// The target folders of the verb `trace`, in the program's: other builds are not disturbed.
pub const TRACED: &str = "traced";
/// The same for programs without frame pointers.
pub const TRACED_BARE: &str = "traced-bare";

/// Returns the folder for the traces of `image`: in cargo's target folder, or where this command
/// was called.
fn folder(image: &Path) -> PathBuf {
    let is_target = |dir: &&Path| dir.join("CACHEDIR.TAG").is_file();
    let target = image.ancestors().skip(1).find(is_target);
    // The verb `trace` has a target folder of its own in that folder.
    let target =
        target.map(|dir| dir.parent().filter(|_| dir.ends_with(TRACED) || dir.ends_with(TRACED_BARE)).unwrap_or(dir));
    target.unwrap_or(Path::new("target")).join("trace")
}

/// Returns the program's name: the image's, without cargo's number.
fn name(image: &Path) -> String {
    let stem = image.file_stem().unwrap_or_default().to_string_lossy();
    match stem.rsplit_once('-') {
        Some((name, number)) if number.len() == 16 && number.bytes().all(|b| b.is_ascii_hexdigit()) => name.into(),
        _ => stem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace whose one section holds `payload`.
    fn trace(payload: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(trefoil_trace::head(tag::META, 0, payload.len() as u64));
        bytes.extend(payload);
        let len = bytes.len() as u64;
        bytes.extend(trefoil_trace::head(tag::TEND, 0, 8));
        bytes.extend(len.to_le_bytes());
        bytes
    }

    fn found(stream: &[u8]) -> Vec<(Range<usize>, bool)> {
        parts(stream).into_iter().map(|part| (part.range, part.is_whole)).collect()
    }

    #[test]
    fn traces_in_a_stream_are_told_apart() {
        let (one, two) = (trace(b"one"), trace(&[&MAGIC[..], b"a text of the program's"].concat()));
        let both = [&one[..], &two].concat();
        assert_eq!(found(&both), [(0..one.len(), true), (one.len()..both.len(), true)]);
        assert_eq!(found(b""), []);
    }

    #[test]
    fn a_trace_that_breaks_off_anywhere_does_not_take_the_next_one_with_it() {
        let (one, two) = (trace(b"the first"), trace(b"the second"));
        for cut in 1..one.len() {
            let stream = [&one[..cut], &two].concat();
            assert_eq!(found(&stream), [(0..cut, false), (cut..stream.len(), true)], "{cut}");
            assert_eq!(found(&one[..cut]), [(0..cut, false)]);
        }
    }

    #[test]
    fn a_line_of_the_run_is_taken_and_the_typed_one_before_it_stays() {
        let file = std::env::temp_dir().join(format!("trefoil-lines-{}", std::process::id()));
        let _ = fs::remove_file(&file);
        let mut lines = Lines::new(&file);
        assert_eq!(lines.take(b"hello"), None);
        assert_eq!(lines.take(b"trefoil-trace: AQID\r"), Some(&b""[..]));
        assert_eq!(lines.take(b"half\r\x1b[Ktrefoil-trace: BA=="), Some(&b"half\r\x1b[K"[..]));
        assert_eq!(lines.take(b"trefoil-trace: torn!"), Some(&b""[..]));
        assert_eq!(fs::read(&file).unwrap(), [1, 2, 3, 4]);
        let _ = fs::remove_file(&file);
        for (line, may) in [(&b"t"[..], true), (b"trefoil-trace: AQ", true), (b"trefoil: x", false), (b"", false)] {
            assert_eq!(Lines::may_take(line), may);
        }
    }

    #[test]
    fn the_option_is_the_kernels() {
        assert!(turns_on("seed=1 trace=full") && turns_on("trace=flight -- x") && turns_on("trace_port=fastest"));
        assert!(!turns_on("trace_size=1M") && !turns_on("schedtrace=1 -- trace=full") && !turns_on(""));
    }

    #[test]
    fn a_programs_name_has_no_number_of_cargos() {
        assert_eq!(name(Path::new("/t/release/examples/hello")), "hello");
        assert_eq!(name(Path::new("/t/debug/deps/trace_port-ec728ac4699bea43")), "trace_port");
        assert_eq!(name(Path::new("/t/debug/my-app")), "my-app");
    }
}
