//! The archive that Linux unpacks as its first file system: cpio's "new ASCII" format.

/// A file to be, with its mode as `stat` has it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its path, without a slash in front.
    pub name: &'a str,
    /// Its kind and rights.
    pub mode: u32,
    /// Its number, if it is a device.
    pub device: (u32, u32),
    /// Its contents.
    pub data: &'a [u8],
}

/// Makes the archive of these files. A folder has to come before its files.
pub fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    let trailer = Entry { name: "TRAILER!!!", mode: 0, device: (0, 0), data: &[] };
    for (inode, entry) in (1..).zip(entries.iter().chain([&trailer])) {
        let (len, name_len) = (entry.data.len() as u32, entry.name.len() as u32 + 1);
        // Inode, mode, user, group, links, time, size, device of the file system, device, length of
        // the name, checksum.
        let fields = [inode, entry.mode, 0, 0, 1, 0, len, 0, 0, entry.device.0, entry.device.1, name_len, 0];
        archive.extend_from_slice(b"070701");
        archive.extend(fields.iter().flat_map(|field| format!("{field:08X}").into_bytes()));
        archive.extend_from_slice(entry.name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(entry.data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_data_start_where_their_headers_say() {
        let entries = [
            Entry { name: "dev", mode: 0o40755, device: (0, 0), data: &[] },
            Entry { name: "dev/console", mode: 0o20600, device: (5, 1), data: &[] },
            Entry { name: "init", mode: 0o100_755, device: (0, 0), data: b"\x7fELF!" },
        ];
        let bytes = archive(&entries);
        let mut at = 0;
        for entry in &entries {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |i: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + 8 * i..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            assert_eq!((field(1), field(9), field(10)), (entry.mode, entry.device.0, entry.device.1));
            let name = at + 110;
            assert_eq!(&bytes[name..][..field(11) as usize - 1], entry.name.as_bytes());
            let data = (name + field(11) as usize).next_multiple_of(4);
            assert_eq!(&bytes[data..][..field(6) as usize], entry.data);
            at = (data + field(6) as usize).next_multiple_of(4);
        }
        assert!(bytes[at..].starts_with(b"070701") && bytes[at + 110..].starts_with(b"TRAILER!!!\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
