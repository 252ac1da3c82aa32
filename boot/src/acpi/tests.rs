//! Sound tables of both revisions are read; each way to break one ends in the error that names it.

extern crate std;
use super::*;
use std::string::ToString;
use std::vec::Vec;

const BASE: u64 = 0x7_0000;
const ROOT: u64 = BASE + 0x100;
const MADT: u64 = BASE + 0x200;
const FADT: u64 = BASE + 0x600;

/// Memory of 4 KiB at `BASE`.
struct Image(Vec<u8>);

impl Memory for Image {
    fn bytes(&self, physical: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(physical.checked_sub(BASE)?).ok()?;
        self.0.get(at..at.checked_add(len)?)
    }
}

impl Image {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = (at - BASE) as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn seal(&mut self, at: u64, len: usize, checksum: usize) {
        let at = (at - BASE) as usize;
        self.0[at + checksum] = 0;
        self.0[at + checksum] = sum(&self.0[at..at + len]).wrapping_neg();
    }

    fn table(&mut self, at: u64, signature: &[u8; 4], body: &[u8]) {
        self.put(at, &[0; 36]);
        self.put(at, signature);
        self.put(at + 4, &(36 + body.len() as u32).to_le_bytes());
        self.put(at + 36, body);
        self.seal(at, 36 + body.len(), 9);
    }

    fn new(revision: u8, madt_entries: &[u8]) -> Self {
        let mut it = Self(std::vec![0; 4096]);
        it.put(BASE, b"RSD PTR ");
        it.put(BASE + 15, &[revision]);
        match revision {
            0 => {
                it.put(BASE + 16, &(ROOT as u32).to_le_bytes());
                it.table(ROOT, b"RSDT", &[(FADT as u32).to_le_bytes(), (MADT as u32).to_le_bytes()].concat());
            }
            _ => {
                it.put(BASE + 20, &36u32.to_le_bytes());
                it.put(BASE + 24, &ROOT.to_le_bytes());
                it.table(ROOT, b"XSDT", &[FADT.to_le_bytes(), MADT.to_le_bytes()].concat());
            }
        }
        it.seal_rsdp();
        it.table(MADT, b"APIC", &[&[0; 8], madt_entries].concat());
        let mut fadt = [0; 80];
        fadt[40..44].copy_from_slice(&0x608u32.to_le_bytes());
        it.table(FADT, b"FACP", &fadt);
        it
    }

    fn seal_rsdp(&mut self) {
        self.seal(BASE, 20, 8);
        self.seal(BASE, 36, 32);
    }

    fn cores(&self) -> Result<Vec<u32>, Error> {
        Ok(Tables::new(BASE, self)?.cores()?.ids().to_vec())
    }
}

fn local(id: u8, flags: u32) -> Vec<u8> {
    [&[0, 8, id, id][..], &flags.to_le_bytes()].concat()
}

fn x2(id: u32, flags: u32) -> Vec<u8> {
    [&[9, 16, 0, 0][..], &id.to_le_bytes(), &flags.to_le_bytes(), &id.to_le_bytes()].concat()
}

fn io_apic(at: u32, first: u32) -> Vec<u8> {
    [&[1, 12, 0, 0][..], &at.to_le_bytes(), &first.to_le_bytes()].concat()
}

fn line(irq: u8, input: u32, flags: u16) -> Vec<u8> {
    [&[2, 10, 0, irq][..], &input.to_le_bytes(), &flags.to_le_bytes()].concat()
}

#[test]
fn a_line_goes_where_the_madt_sends_it() {
    let route = |entries: &[Vec<u8>]| Tables::new(BASE, &Image::new(2, &entries.concat())).unwrap().isa_route(4);
    let plain = Route { io_apic: 0xfec0_0000, pin: 4, active_low: false, level: false };
    assert_eq!(route(&[local(0, 1), io_apic(0xfec0_0000, 0)]), Ok(plain));
    // Other lines' overrides, and those of other buses, do not matter.
    let mut other_bus = line(4, 9, 0xf);
    other_bus[2] = 1;
    assert_eq!(route(&[io_apic(0xfec0_0000, 0), line(0, 2, 0), line(9, 9, 0xd), other_bus]), Ok(plain));
    // To the second I/O APIC, wherever it stands in the list.
    let second = Route { io_apic: 0xfec1_0000, pin: 6, active_low: true, level: true };
    assert_eq!(route(&[io_apic(0xfec1_0000, 24), line(4, 30, 0xf), io_apic(0xfec0_0000, 0)]), Ok(second));
    assert_eq!(route(&[local(0, 1)]), Err(Error::Missing("I/O APIC")));
    assert_eq!(route(&[io_apic(0xfec1_0000, 24)]), Err(Error::Missing("I/O APIC")));
    assert_eq!(route(&[std::vec![1, 4, 0, 0]]), Err(Error::Entry("MADT")));
    assert_eq!(route(&[std::vec![2, 4, 0, 0]]), Err(Error::Entry("MADT")));
}

#[test]
fn both_revisions_lead_to_the_enabled_cores() {
    let io_apic = [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0];
    let entries =
        [local(0, 1), local(2, 1), local(3, 0), io_apic.to_vec(), local(0xff, 1), x2(2, 1), x2(300, 1), x2(301, 2)];
    for revision in [0, 2] {
        let image = Image::new(revision, &entries.concat());
        assert_eq!(image.cores(), Ok(std::vec![0, 2, 300]), "revision {revision}");
        assert_eq!(Tables::new(BASE, &image).unwrap().pm_timer(), Ok(Some(0x608)));
    }
}

#[test]
fn the_fadt_tells_where_the_century_is_and_whether_there_is_a_clock() {
    let told = |fadt: &[u8]| {
        let mut image = Image::new(2, &local(0, 1));
        image.table(FADT, b"FACP", fadt);
        Tables::new(BASE, &image).unwrap().real_time_clock().unwrap()
    };
    let with = |century: u8, flags: u16| {
        let mut fadt = [0; 80];
        fadt[72] = century;
        fadt[73..75].copy_from_slice(&flags.to_le_bytes());
        fadt
    };
    assert_eq!(told(&with(0x32, 0b11)), RealTimeClock { is_absent: false, century: Some(0x32) });
    assert_eq!(told(&with(0, 1 << 5)), RealTimeClock { is_absent: true, century: None });
    // Where the time and the state are, no century is; nor behind the last register.
    for century in [5, 0x0d, 0x80, 0xff] {
        assert_eq!(told(&with(century, 0)).century, None, "{century}");
    }
    assert_eq!(told(&[0; 40]), RealTimeClock::default(), "an old table ends before");
}

#[test]
fn more_cores_than_there_is_room_for_are_counted() {
    let image = Image::new(2, &(0..70).flat_map(|id| local(id, 1)).collect::<Vec<_>>());
    let mut cores = Tables::new(BASE, &image).unwrap().cores().unwrap();
    assert_eq!((cores.ids().len(), cores.beyond), (64, 6));
    cores.put_first(69);
    assert_eq!((cores.ids()[..3].to_vec(), cores.ids().len(), cores.beyond), (std::vec![69, 0, 1], 64, 7));
    cores.put_first(5);
    assert_eq!(cores.ids()[..7], [5, 69, 0, 1, 2, 3, 4]);
}

#[test]
fn each_broken_table_is_named() {
    let good = || Image::new(2, &local(0, 1));
    let broken = |f: &dyn Fn(&mut Image)| {
        let mut image = good();
        f(&mut image);
        image.cores().unwrap_err().to_string()
    };
    assert_eq!(broken(&|i| i.put(BASE, b"X")), "RSDP has a wrong signature");
    assert_eq!(broken(&|i| i.put(BASE + 9, b"X")), "RSDP has a bad checksum");
    assert_eq!(broken(&|i| i.put(BASE + 33, b"X")), "RSDP has a bad checksum");
    assert_eq!(broken(&|i| i.put(ROOT + 10, b"X")), "XSDT has a bad checksum");
    assert_eq!(broken(&|i| i.put(MADT + 10, b"X")), "MADT has a bad checksum");
    assert_eq!(broken(&|i| i.put(MADT, b"X")), "there is no MADT");
    assert_eq!(broken(&|i| i.put(ROOT + 4, &[35, 0, 0, 0])), "XSDT is truncated or has an impossible length");
    assert_eq!(broken(&|i| i.put(MADT + 4, &[0xff; 4])), "MADT is truncated or has an impossible length");
    assert_eq!(broken(&|i| i.put(MADT + 4, &[0, 0xff, 0, 0])), "MADT lies outside memory");
    let long = |i: &mut Image| {
        i.put(BASE + 20, &[0xff; 4]);
        i.seal_rsdp_v1();
    };
    assert_eq!(broken(&long), "RSDP is truncated or has an impossible length");
    let nowhere = |i: &mut Image| {
        i.put(BASE + 24, &[0xff; 8]);
        i.seal_rsdp();
    };
    assert_eq!(broken(&nowhere), "XSDT lies outside memory");
    assert_eq!(Tables::new(0, &good()).unwrap_err(), Error::Unreadable("RSDP"));
}

impl Image {
    fn seal_rsdp_v1(&mut self) {
        self.seal(BASE, 20, 8);
    }
}

#[test]
fn entries_of_impossible_length_end_the_walk() {
    for entry in [&[0, 0][..], &[9, 1], &[7, 0, 0, 0], &[0, 4, 0, 0], &[9, 8, 0, 0, 0, 0, 0, 0], &[0, 8, 0, 0], &[5]] {
        let image = Image::new(0, &[&local(0, 1), entry].concat());
        assert_eq!(image.cores(), Err(Error::Entry("MADT")), "{entry:?}");
    }
}

#[test]
fn no_changed_byte_and_no_cut_panics_or_hangs() {
    let good = Image::new(2, &[local(0, 1), x2(1, 1), io_apic(0xfec0_0000, 0), line(4, 4, 0)].concat());
    for at in 0..0x680 {
        for byte in [0, 1, 0x7f, 0xff] {
            for reseal in [false, true] {
                let mut image = Image(good.0.clone());
                image.0[at] = byte;
                if reseal {
                    image.seal_rsdp();
                    for table in [ROOT, MADT, FADT] {
                        let length = le32(&image.0, (table - BASE) as usize + 4) as usize;
                        if length <= 0x100 && length > 9 {
                            image.seal(table, length, 9);
                        }
                    }
                }
                if let Ok(tables) = Tables::new(BASE, &image) {
                    let _ = (tables.cores(), tables.pm_timer(), tables.isa_route(4), tables.real_time_clock());
                }
            }
        }
        let image = Image(good.0[..at].to_vec());
        if let Ok(tables) = Tables::new(BASE, &image) {
            let _ = (tables.cores(), tables.pm_timer(), tables.real_time_clock());
        }
    }
}
