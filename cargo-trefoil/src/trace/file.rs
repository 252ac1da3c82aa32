//! A trace file, read and checked.
//!
//! No length in the file is believed: each is compared with the bytes that are there before any
//! memory is asked for. A file that does not end with its TEND section was cut, and is refused.

use std::path::Path;

use trefoil_trace::{HEAD_BYTES, MAGIC, RECORD_BYTES, ROW_BYTES, Record, Row, tag};

use super::meta::Meta;
use super::names::Names;

/// The highest number of an M that a file may name.
const MAX_M: u32 = 4095;

/// A recorded run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The machine, its clock and its counters.
    pub meta: Meta,
    /// The records, by number of the M.
    pub rings: Vec<Ring>,
    /// The goroutines that lived when the trace was dumped, in the file's order.
    pub rows: Vec<Row>,
    /// Names of addresses. Empty if the file has no section SYMS.
    pub names: Names,
}

/// The records of one M.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    /// The number of the M.
    pub m: u32,
    /// The number of its first record: so many came before it and were overwritten.
    pub first: u64,
    /// The records, in the order in which they were written.
    pub records: Vec<Record>,
}

/// A file that is no valid trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The section: `META`, `RING 3`, … or `the head`.
    pub section: String,
    /// The place in the file, in bytes.
    pub offset: u64,
    /// The mistake.
    pub what: String,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no valid trace: {} at byte {}: {}", self.section, self.offset, self.what)
    }
}

impl std::error::Error for Error {}

/// The place that a mistake is told for.
#[derive(Debug, Clone)]
pub(super) struct At {
    section: String,
    offset: usize,
}

impl At {
    pub(super) fn new(section: &str, offset: usize) -> Self {
        Self { section: section.into(), offset }
    }

    /// The mistake `what`, so many bytes further on.
    pub(super) fn error(&self, further: usize, what: impl Into<String>) -> Error {
        Error { section: self.section.clone(), offset: (self.offset + further) as u64, what: what.into() }
    }
}

/// A section as it lies in the file.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) tag: [u8; 4],
    pub(super) index: u32,
    /// The offset of its head.
    pub(super) start: usize,
    pub(super) payload: &'a [u8],
}

impl Section<'_> {
    fn name(&self) -> String {
        let tag = String::from_utf8_lossy(&self.tag);
        if self.tag == tag::RING { format!("{tag} {}", self.index) } else { tag.into() }
    }

    fn at(&self) -> At {
        At { section: self.name(), offset: self.start + HEAD_BYTES }
    }
}

/// Splits a file into its sections; TEND, the last, is checked and left out.
pub(super) fn sections(bytes: &[u8]) -> Result<Vec<Section<'_>>, Error> {
    let head = At::new("the head", 0);
    match bytes.get(..MAGIC.len()) {
        Some(magic) if magic == MAGIC => {}
        Some(magic) if magic.starts_with(&MAGIC[..14]) => {
            let version = String::from_utf8_lossy(&magic[14..]).trim_end().to_string();
            return Err(head.error(14, format!("the format has version {version:?}, this tool reads version 1")));
        }
        _ => return Err(head.error(0, "the file does not begin with \"TREFOIL TRACE 1\"")),
    }
    let (mut all, mut start) = (Vec::new(), MAGIC.len());
    loop {
        let cut =
            |len: usize, wanted: u64, what: &str| format!("the file is cut: {wanted} bytes of {what}, {len} left");
        let rest = &bytes[start..];
        let Some(head) = rest.get(..HEAD_BYTES) else {
            let what = if rest.is_empty() {
                "the file is cut: it ends without a section TEND".into()
            } else {
                cut(rest.len(), HEAD_BYTES as u64, "a section's head")
            };
            return Err(At::new("between sections", start).error(0, what));
        };
        let tag: [u8; 4] = head[..4].try_into().expect("four bytes");
        let index = u32::from_le_bytes(head[4..8].try_into().expect("four bytes"));
        let length = u64::from_le_bytes(head[8..].try_into().expect("eight bytes"));
        if !tag.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
            let what = format!("no section's tag: {:?}", String::from_utf8_lossy(&tag));
            return Err(At::new("between sections", start).error(0, what));
        }
        let rest = &rest[HEAD_BYTES..];
        let mut section = Section { tag, index, start, payload: &[] };
        let Some(payload) = usize::try_from(length).ok().and_then(|length| rest.get(..length)) else {
            return Err(section.at().error(0, cut(rest.len(), length, "payload")));
        };
        section.payload = payload;
        start += HEAD_BYTES + payload.len();
        if tag != tag::TEND {
            all.push(section);
            continue;
        }
        let told = payload.try_into().map(u64::from_le_bytes);
        let told = told.map_err(|_| section.at().error(0, format!("8 bytes belong there, not {}", payload.len())))?;
        if told != section.start as u64 {
            let what = format!("{told} bytes should lie in front of this section, {} do", section.start);
            return Err(section.at().error(0, what));
        }
        if start != bytes.len() {
            return Err(section.at().error(8, format!("{} bytes follow the end", bytes.len() - start)));
        }
        return Ok(all);
    }
}

impl Trace {
    /// Reads a trace from the bytes of its file.
    ///
    /// ```
    /// use cargo_trefoil::trace::{sample::Sample, Trace};
    ///
    /// let bytes = Sample { events: 100, ..Sample::default() }.file();
    /// assert_eq!(Trace::parse(&bytes).unwrap().meta.mode, "full");
    /// let error = Trace::parse(&bytes[..bytes.len() - 1]).unwrap_err();
    /// assert!(error.to_string().contains("TEND"), "{error}");
    /// ```
    ///
    /// # Errors
    /// The bytes are no whole trace.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut trace = Self::default();
        let mut has_meta = false;
        for section in sections(bytes)? {
            let at = section.at();
            match section.tag {
                tag::META if has_meta => return Err(at.error(0, "a second META section")),
                tag::META => {
                    trace.meta = Meta::parse(section.payload, &at)?;
                    has_meta = true;
                }
                tag::RING => trace.rings.push(ring(&section, &at)?),
                tag::GTAB => trace.rows.extend(rows(section.payload, &at)?),
                tag::SYMS => trace.names.parse(section.payload, &at)?,
                // Those of later versions.
                _ => {}
            }
        }
        if !has_meta {
            return Err(At::new("META", bytes.len()).error(0, "the file has no such section"));
        }
        trace.rings.sort_by_key(|ring| ring.m);
        if let Some(twice) = trace.rings.windows(2).find(|pair| pair[0].m == pair[1].m) {
            let section = format!("RING {}", twice[0].m);
            return Err(At::new(&section, 0).error(0, "the file has two sections for this M"));
        }
        Ok(trace)
    }

    /// Reads the trace in `file`.
    ///
    /// # Errors
    /// The file can't be read, or is no whole trace.
    pub fn read(file: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&bytes).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Returns how many records M number `m` wrote, and how many of them the file lacks.
    pub fn dropped(&self, m: u32) -> (u64, u64) {
        let ring = self.rings.iter().find(|ring| ring.m == m);
        let (first, kept) = ring.map_or((0, 0), |ring| (ring.first, ring.records.len() as u64));
        let counted = self.meta.counter(m, "counted").unwrap_or(first.saturating_add(kept));
        (counted, counted.saturating_sub(kept))
    }
}

fn ring(section: &Section<'_>, at: &At) -> Result<Ring, Error> {
    if section.index > MAX_M {
        return Err(at.error(0, format!("there is no M {}: the highest is {MAX_M}", section.index)));
    }
    let Some((first, records)) = section.payload.split_first_chunk() else {
        return Err(
            at.error(0, format!("8 bytes with the first record's number belong there, not {}", section.payload.len()))
        );
    };
    let (records, rest) = records.as_chunks::<RECORD_BYTES>();
    if !rest.is_empty() {
        let what = format!("{} records of {RECORD_BYTES} bytes, and {} bytes more", records.len(), rest.len());
        return Err(at.error(8 + records.as_flattened().len(), what));
    }
    let records = records.iter().map(Record::from_bytes).collect();
    Ok(Ring { m: section.index, first: u64::from_le_bytes(*first), records })
}

fn rows(payload: &[u8], at: &At) -> Result<Vec<Row>, Error> {
    let (rows, rest) = payload.as_chunks::<ROW_BYTES>();
    if !rest.is_empty() {
        let what = format!("{} rows of {ROW_BYTES} bytes, and {} bytes more", rows.len(), rest.len());
        return Err(at.error(rows.as_flattened().len(), what));
    }
    Ok(rows.iter().map(Row::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        Trace::parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_refused() {
        let bytes = Sample { events: 200, ..Sample::default() }.file();
        assert!(Trace::parse(&bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(Trace::parse(&bytes[..len]).is_err(), "{len} of {}", bytes.len());
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_section_and_place() {
        let head = |tag, index, length| [&MAGIC[..], &trefoil_trace::head(tag, index, length)].concat();
        assert_eq!(
            refused(&head(tag::RING, 3, u64::MAX)),
            "no valid trace: RING 3 at byte 32: the file is cut: 18446744073709551615 bytes of payload, 0 left"
        );
        assert_eq!(
            refused(&MAGIC),
            "no valid trace: between sections at byte 16: the file is cut: it ends without a section TEND"
        );
        assert_eq!(
            refused(b"TREFOIL TRACE 2\n"),
            "no valid trace: the head at byte 14: the format has version \"2\", this tool reads version 1"
        );
        let end = [&head(tag::TEND, 0, 8)[..], &17u64.to_le_bytes()].concat();
        assert_eq!(
            refused(&end),
            "no valid trace: TEND at byte 32: 17 bytes should lie in front of this section, 16 do"
        );
        let odd = [&head(tag::RING, 0, 9)[..], &[0; 9], &trefoil_trace::head(tag::TEND, 0, 8), &41u64.to_le_bytes()];
        assert_eq!(
            refused(&odd.concat()),
            "no valid trace: RING 0 at byte 40: 0 records of 32 bytes, and 1 bytes more"
        );
    }
}
