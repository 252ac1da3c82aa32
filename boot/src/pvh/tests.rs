//! Every lie a loader may tell.

use super::*;
use MemoryRegionKind::{UnknownBios, Usable};

/// Physical memory from 0 on.
struct Ram(Vec<u8>);

impl Memory for Ram {
    fn bytes(&self, physical: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(physical).ok()?;
        self.0.get(start..start.checked_add(len)?)
    }
}

impl Ram {
    fn new() -> Self {
        Self(vec![0; 0x4000])
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.0[at as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn put_memory_map(&mut self, at: u64, entries: &[(u64, u64, u32)]) {
        for (i, &(start, len, kind)) in entries.iter().enumerate() {
            let at = at + (i * MEMORY_ENTRY_BYTES) as u64;
            self.put(at, &start.to_le_bytes());
            self.put(at + 8, &len.to_le_bytes());
            self.put(at + 16, &kind.to_le_bytes());
        }
    }
}

fn start_info() -> Vec<u8> {
    let mut bytes = vec![0u8; START_INFO_BYTES];
    bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4] = 1;
    bytes[12] = 2;
    bytes[16..24].copy_from_slice(&0x1234u64.to_le_bytes());
    bytes[24..32].copy_from_slice(&0x2000u64.to_le_bytes());
    bytes[32..40].copy_from_slice(&0xf_0000u64.to_le_bytes());
    bytes[40..48].copy_from_slice(&0x1000u64.to_le_bytes());
    bytes[48] = 7;
    bytes
}

fn parsed() -> StartInfo {
    StartInfo::parse(&start_info()).unwrap()
}

#[test]
fn a_good_start_info_is_read() {
    let wanted = StartInfo {
        modules: 2,
        module_list: 0x1234,
        command_line: 0x2000,
        rsdp: 0xf_0000,
        memory_map: 0x1000,
        memory_entries: 7,
    };
    assert_eq!(parsed(), wanted);
    let mut later = start_info();
    later[4] = 9;
    assert_eq!(StartInfo::parse(&later), Ok(wanted), "later versions only add fields");
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = start_info();
    for n in 0..52 {
        assert_eq!(StartInfo::parse(&bytes[..n]), Err(Error::Truncated), "{n} bytes were enough");
    }
}

#[test]
fn a_wrong_magic_version_or_count_is_named() {
    let changed = |at: usize, to: u32| {
        let mut bytes = start_info();
        bytes[at..at + 4].copy_from_slice(&to.to_le_bytes());
        StartInfo::parse(&bytes).unwrap_err().to_string()
    };
    assert_eq!(changed(0, 0x2bad_b002), "PVH start info: magic number 0x2badb002 instead of 0x336ec578");
    assert_eq!(changed(4, 0), "PVH start info: version 0 has no memory map");
    assert_eq!(changed(48, 0), "PVH start info: a memory map of 0 entries (1 to 256 are believed)");
    assert_eq!(changed(48, 257), "PVH start info: a memory map of 257 entries (1 to 256 are believed)");
    assert_eq!(changed(48, u32::MAX), "PVH start info: a memory map of 4294967295 entries (1 to 256 are believed)");
}

type Found = (Vec<(u64, u64, MemoryRegionKind)>, Vec<Flaw>);

fn memory_map(ram: &Ram, info: StartInfo) -> Result<Found, Error> {
    let (mut map, mut flaws) = (Vec::new(), Vec::new());
    info.memory_map(ram, &mut |flaw| flaws.push(flaw), &mut |start, end, kind| map.push((start, end, kind)))?;
    Ok((map, flaws))
}

#[test]
fn the_memory_map_is_read_in_its_own_order() {
    let mut ram = Ram::new();
    ram.put_memory_map(0x1000, &[(0x10_0000, 0x3f0_0000, 1), (0, 0x9_fc00, 1), (0x9_fc00, 0x400, 2), (9, 9, 3)]);
    let (map, flaws) = memory_map(&ram, StartInfo { memory_entries: 4, ..parsed() }).unwrap();
    let wanted = [
        (0x10_0000, 0x400_0000, Usable),
        (0, 0x9_fc00, Usable),
        (0x9_fc00, 0xa_0000, UnknownBios(2)),
        (9, 18, UnknownBios(3)),
    ];
    assert_eq!((map.as_slice(), flaws.as_slice()), (&wanted[..], &[][..]));
}

#[test]
fn empty_entries_are_nothing_and_type_0_is_not_memory() {
    let mut ram = Ram::new();
    ram.put_memory_map(0x1000, &[(5, 0, 1), (u64::MAX, 0, 2), (0, 0x1000, 0)]);
    let (map, flaws) = memory_map(&ram, StartInfo { memory_entries: 3, ..parsed() }).unwrap();
    assert_eq!((map.as_slice(), flaws.len()), (&[(0, 0x1000, UnknownBios(2))][..], 0));
}

#[test]
fn an_entry_that_wraps_around_is_named_and_never_memory() {
    let mut ram = Ram::new();
    ram.put_memory_map(0x1000, &[(u64::MAX, 2, 1), (0x8000, u64::MAX, 2), (0x1000, u64::MAX - 0x1000, 1)]);
    let (map, flaws) = memory_map(&ram, StartInfo { memory_entries: 3, ..parsed() }).unwrap();
    assert_eq!(map, [(0x8000, u64::MAX, UnknownBios(2)), (0x1000, u64::MAX, Usable)]);
    assert_eq!(flaws.len(), 2);
    assert!(flaws[0].to_string().contains("entry 0 wraps around (0xffffffffffffffff, 0x2 bytes)"));
}

#[test]
fn a_memory_map_out_of_reach_is_an_error() {
    let ram = Ram::new();
    for at in [0x4000 - 1, 0x4000, u64::MAX, u64::MAX - 23] {
        let error = memory_map(&ram, StartInfo { memory_map: at, memory_entries: 1, ..parsed() }).unwrap_err();
        assert_eq!(error, Error::MemoryMap(at));
        assert!(error.to_string().contains(&format!("{at:#x}")));
    }
    assert!(memory_map(&ram, StartInfo { memory_map: 0x4000 - 24, memory_entries: 2, ..parsed() }).is_err());
}

#[test]
fn the_first_module_is_taken_and_more_are_mentioned() {
    let mut ram = Ram::new();
    ram.put(0x1234, &0x30_0000u64.to_le_bytes());
    ram.put(0x123c, &0x1_0000u64.to_le_bytes());
    let mut flaws = Vec::new();
    let module = parsed().module(&ram, &mut |flaw| flaws.push(flaw)).unwrap();
    assert_eq!((module.start, module.len, module.end()), (0x30_0000, 0x1_0000, Some(0x31_0000)));
    assert_eq!(flaws, [Flaw::Modules(2)]);
    let none = StartInfo { modules: 0, ..parsed() };
    assert_eq!(none.module(&ram, &mut |flaw| panic!("{flaw}")), None);
}

#[test]
fn a_module_list_out_of_reach_or_a_module_that_wraps_is_seen() {
    let mut ram = Ram::new();
    let mut flaws = Vec::new();
    let info = StartInfo { modules: 1, module_list: 0x3ff0, ..parsed() };
    assert_eq!(info.module(&ram, &mut |flaw| flaws.push(flaw)), None);
    assert_eq!(flaws, [Flaw::ModuleList(0x3ff0)]);
    ram.put(0x100, &[0xff; 16]);
    let module = StartInfo { modules: 1, module_list: 0x100, ..parsed() }.module(&ram, &mut |flaw| panic!("{flaw}"));
    assert_eq!(module.unwrap().end(), None);
}

fn command_line<const ROOM: usize>(ram: &Ram, at: u64) -> (Vec<u8>, Vec<Flaw>) {
    let (mut room, mut flaws) = (heapless::Vec::<u8, ROOM>::new(), Vec::new());
    let info = StartInfo { command_line: at, ..parsed() };
    info.command_line(ram, &mut |flaw| flaws.push(flaw), &mut room);
    (room.to_vec(), flaws)
}

#[test]
fn the_command_line_ends_at_its_zero() {
    let mut ram = Ram::new();
    ram.put(0x2000, b"maxprocs=2 \xff\xfe\0not this");
    assert_eq!(command_line::<64>(&ram, 0x2000), (b"maxprocs=2 \xff\xfe".to_vec(), vec![]));
    assert_eq!(
        command_line::<13>(&ram, 0x2000),
        (b"maxprocs=2 \xff\xfe".to_vec(), vec![]),
        "exactly as long as the room"
    );
    assert_eq!(command_line::<64>(&ram, 0), (vec![], vec![]));
    assert_eq!(command_line::<64>(&ram, 0x3000), (vec![], vec![]));
}

#[test]
fn a_command_line_too_long_or_out_of_reach_is_cut_and_said() {
    let mut ram = Ram::new();
    ram.put(0x2000, &[b'x'; 100]);
    assert_eq!(command_line::<99>(&ram, 0x2000), (vec![b'x'; 99], vec![Flaw::CommandLine(99)]));
    ram.put(0x3ffe, b"ab");
    assert_eq!(command_line::<99>(&ram, 0x3ffe), (b"ab".to_vec(), vec![Flaw::CommandLine(2)]));
    for nowhere in [0x4000, u64::MAX] {
        assert_eq!(command_line::<99>(&ram, nowhere), (vec![], vec![Flaw::CommandLine(0)]));
    }
}

#[test]
fn random_bytes_never_fault() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut ram = Ram::new();
    for round in 0..3000 {
        for byte in &mut ram.0[..0x200] {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state as u8;
        }
        // Half of the rounds get past the first checks, and their pointers half of the time lead
        // into the noise.
        if round % 2 == 0 {
            ram.put(0, &MAGIC.to_le_bytes());
            ram.put(48, &u32::from(state as u8).to_le_bytes());
            for pointer in [16, 24, 40] {
                ram.put(pointer, &(state >> 8 & 0x3ff).to_le_bytes());
            }
        }
        let Ok(info) = StartInfo::parse(&ram.0[..START_INFO_BYTES]) else { continue };
        let _ = memory_map(&ram, info);
        let _ = info.module(&ram, &mut |flaw| drop(flaw.to_string())).and_then(|module| module.end());
        let _ = command_line::<77>(&ram, info.command_line);
    }
}
