//! Record and replay: QEMU writes down when each outside event came, and repeats the run from that.
//!
//! The events fit only the same machine with the same files. So a recording `FILE` has a companion
//! `FILE.machine`, a text that describes the machine. A replay compares it with its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::qemu;

/// Which of the two, and the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recording {
    /// Writes the events of this run to the file.
    Record(PathBuf),
    /// Repeats the run whose events are in the file.
    Replay(PathBuf),
}

impl Recording {
    /// Returns QEMU's `-icount` argument. The option's own commas are doubled.
    ///
    /// `sleep=off` does not go with a recording: QEMU 7.2 then hangs as soon as the machine rests.
    pub fn icount(&self, counts: bool) -> String {
        let shift = if counts { "0" } else { "auto" };
        let (verb, file) = match self {
            Self::Record(file) => ("record", file),
            Self::Replay(file) => ("replay", file),
        };
        format!("shift={shift},rr={verb},rrfile={}", file.display().to_string().replace(',', ",,"))
    }

    /// Returns true if the input of the run in `file` was typed at a terminal.
    pub fn is_typed(file: &Path) -> bool {
        let kept = std::fs::read_to_string(companion(file)).unwrap_or_default();
        let append = kept.lines().find_map(|line| line.strip_prefix("-append ")).unwrap_or_default();
        append.split_whitespace().next() == Some(qemu::TYPED)
    }

    /// Keeps the description of the machine that `qemu` starts, or compares it with the one kept.
    ///
    /// # Errors
    /// A file can't be read or written; the machine is not the one of the recording.
    pub fn agree(&self, qemu: &Command, image: &Path, input: Option<&Path>) -> Result<(), String> {
        let now = describe(qemu, image, input)?;
        match self {
            Self::Record(file) => {
                let kept = companion(file);
                std::fs::write(&kept, now).map_err(|e| format!("{}: {e}", kept.display()))
            }
            Self::Replay(file) => {
                let kept = companion(file);
                let then = std::fs::read_to_string(&kept)
                    .map_err(|e| format!("{}: {e}; --record {} makes a recording", kept.display(), file.display()))?;
                match difference(&then, &now) {
                    None => Ok(()),
                    Some((then, now)) => Err(format!(
                        "{}: recorded with `{then}`, but this is `{now}`: replay the same machine, image and words",
                        file.display()
                    )),
                }
            }
        }
    }
}

/// Returns the first line that differs, of both texts.
fn difference<'a>(then: &'a str, now: &'a str) -> Option<(&'a str, &'a str)> {
    let (mut then, mut now) = (then.lines(), now.lines());
    loop {
        match (then.next(), now.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return Some((a.unwrap_or("nothing"), b.unwrap_or("nothing"))),
        }
    }
}

/// Returns the path of the description.
fn companion(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".machine");
    name.into()
}

/// Describes the machine, an option a line. Files go by their content.
fn describe(qemu: &Command, image: &Path, input: Option<&Path>) -> Result<String, String> {
    let (mut text, mut option) = (String::new(), String::new());
    for arg in qemu.get_args().map(OsStr::to_string_lossy) {
        if arg.starts_with('-') && !matches!(option.as_str(), "-append") {
            text += "\n";
            option = arg.clone().into_owned();
        } else if matches!(option.as_str(), "-icount" | "-kernel" | "-initrd") {
            option.clear();
            continue;
        } else {
            text += " ";
            option.clear();
        }
        text += &arg;
    }
    text += &format!("\nimage {:016x}", fingerprint(image)?);
    if let Some(input) = input {
        text += &format!("\ninput {:016x}", fingerprint(input)?);
    }
    Ok(text.trim_start().to_string() + "\n")
}

/// Returns the FNV-1a hash of a file.
fn fingerprint(file: &Path) -> Result<u64, String> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n"), Some(("b", "c")));
        assert_eq!(difference("a\n", "a\nc\n"), Some(("nothing", "c")));
    }

    #[test]
    fn a_description_has_options_and_contents_but_no_paths() {
        let me = std::env::current_exe().unwrap();
        let mut qemu = Command::new("qemu");
        qemu.args(["-m", "1G", "-icount", "rr=record", "-kernel", "/some/image", "-append", "-- a"]);
        let text = describe(&qemu, &me, None).unwrap();
        let (options, image) = text.split_once("image ").unwrap();
        assert_eq!((options, image.trim().len()), ("-m 1G\n-icount\n-kernel\n-append -- a\n", 16));
    }
}
