//! Looks into an image's file: the note that each Trefoil image carries, the table of a test image,
//! the stripped size.

use std::path::Path;
use std::process::Command;

const NOTE_NAME: &[u8] = b"Trefoil\0";

fn word(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(len)?)?;
    Some(field.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
}

/// Returns true if the notes of this ELF file name Trefoil.
fn has_note(elf: &[u8]) -> Option<bool> {
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return Some(false);
    }
    let (headers, size, count) = (word(elf, 32, 8)? as usize, word(elf, 54, 2)? as usize, word(elf, 56, 2)? as usize);
    for header in (0..count).map(|i| headers + i * size) {
        const PT_NOTE: u64 = 4;
        if word(elf, header, 4)? != PT_NOTE {
            continue;
        }
        let (start, len) = (word(elf, header + 8, 8)? as usize, word(elf, header + 32, 8)? as usize);
        let (mut at, end) = (start, start.checked_add(len)?);
        while at + 12 <= end {
            let (name, desc) = (word(elf, at, 4)? as usize, word(elf, at + 4, 4)? as usize);
            if elf.get(at + 12..at + 12 + name)? == NOTE_NAME {
                return Some(true);
            }
            at += 12 + name.next_multiple_of(4) + desc.next_multiple_of(4);
        }
    }
    Some(false)
}

/// Returns the `len` bytes that an image has at `address` when it is loaded, if its file has them.
pub(crate) fn loaded(elf: &[u8], address: u64, len: usize) -> Option<&[u8]> {
    const PT_LOAD: u64 = 1;
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (headers, size, count) = (word(elf, 32, 8)? as usize, word(elf, 54, 2)? as usize, word(elf, 56, 2)? as usize);
    for i in 0..count {
        let header = headers.checked_add(i * size)?;
        let field = |at: usize| word(elf, header.checked_add(at)?, 8);
        let (start, begin, in_file) = (field(8)?, field(16)?, field(32)?);
        if word(elf, header, 4)? != PT_LOAD || !(begin..begin.saturating_add(in_file)).contains(&address) {
            continue;
        }
        let before = address - begin;
        let from = usize::try_from(start.checked_add(before)?).ok()?;
        let fits = (len as u64) <= in_file - before;
        return elf.get(from..from.checked_add(len)?).filter(|_| fits);
    }
    None
}

/// Returns true if `file` is a Trefoil image.
///
/// # Errors
/// `file` can't be read.
pub fn is_image(file: &Path) -> Result<bool, String> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(has_note(&bytes).unwrap_or(false))
}

/// Returns the contents of the section called `wanted`, if `elf` has one.
fn section<'a>(elf: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let (headers, size, count) = (word(elf, 40, 8)? as usize, word(elf, 58, 2)? as usize, word(elf, 60, 2)? as usize);
    let place = |i: usize| {
        let header = headers + i * size;
        Some((word(elf, header + 24, 8)? as usize, word(elf, header + 32, 8)? as usize))
    };
    let names = place(word(elf, 62, 2)? as usize)?.0;
    for i in 0..count {
        let name = elf.get(names + word(elf, headers + i * size, 4)? as usize..)?;
        if name.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.starts_with(b"\0")) {
            let (at, len) = place(i)?;
            return elf.get(at..at.checked_add(len)?);
        }
    }
    None
}

/// Reads the table of a test image's boots; `None` for other images.
///
/// # Errors
/// The file can't be read.
pub fn tests(file: &Path) -> Result<Option<String>, String> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let text = section(&bytes, ".trefoil.tests");
    Ok(text.map(|text| String::from_utf8_lossy(text).replace('\0', "\n")))
}

/// Returns true if the image has a recorder of decisions.
///
/// # Errors
/// The file can't be read.
pub fn has_recorder(file: &Path) -> Result<bool, String> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(section(&bytes, ".trefoil.trace").is_some())
}

/// Measures the image without symbols and debug information, in bytes.
///
/// # Errors
/// `strip` is missing or fails.
pub fn stripped_size(file: &Path) -> Result<u64, String> {
    let out = std::env::temp_dir().join(format!("trefoil-stripped-{}", std::process::id()));
    let status = Command::new("strip").arg("-o").arg(&out).arg(file).status();
    if !status.map_err(|e| format!("strip (package binutils): {e}"))?.success() {
        return Err(format!("strip failed on {}", file.display()));
    }
    let size = std::fs::metadata(&out).map_err(|e| e.to_string())?.len();
    let _ = std::fs::remove_file(&out);
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cut_of_an_elf_file_panics() {
        let me = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(has_note(&me), Some(false));
        for n in 0..1024 {
            has_note(&me[..n]);
            loaded(&me[..n], 0x1000, 16);
        }
    }
}
