//! The registers of a PC's real-time clock (MC146818 and its successors), read as bytes that may
//! lie.
//!
//! The clock counts in BCD or in binary, and in 24 or in 12 hours; its register B says which. The
//! year has two digits. Some machines keep the century in one more register, whose index the FADT
//! tells. Which time zone the clock shows stands nowhere: it is taken for UTC.

/// The index of the first time register: the second.
pub const SECOND: u8 = 0x00;
/// The index of the minute.
pub const MINUTE: u8 = 0x02;
/// The index of the hour.
pub const HOUR: u8 = 0x04;
/// The index of the day of the month.
pub const DAY: u8 = 0x07;
/// The index of the month.
pub const MONTH: u8 = 0x08;
/// The index of the year's last two digits.
pub const YEAR: u8 = 0x09;
/// The index of register A.
pub const STATUS_A: u8 = 0x0a;
/// The index of register B.
pub const STATUS_B: u8 = 0x0b;
/// The index of register D.
pub const STATUS_D: u8 = 0x0d;

/// Bit of register A: the time registers change within 244 µs, or right now.
pub const UPDATES: u8 = 1 << 7;
/// Bit of register D: the clock had power since it was set.
pub const VALID: u8 = 1 << 7;

/// Bit of register B: the hours go from 0 to 23.
const HOURS_24: u8 = 1 << 1;
/// Bit of register B: numbers are binary, not BCD.
const BINARY: u8 = 1 << 2;
/// Bit of the hour, where hours go from 1 to 12.
const AFTERNOON: u8 = 1 << 7;

/// A clock that shows a later year is wrong. The nanoseconds from 1970 to its end fit 64 bits.
pub const LAST_YEAR: u32 = 2499;

const _: () = assert!((LAST_YEAR as u64 - 1969) * 366 * 86_400 < u64::MAX / 1_000_000_000);

/// The clock's registers, as they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registers {
    /// Register 0.
    pub second: u8,
    /// Register 2.
    pub minute: u8,
    /// Register 4.
    pub hour: u8,
    /// Register 7.
    pub day: u8,
    /// Register 8.
    pub month: u8,
    /// Register 9.
    pub year: u8,
    /// The register of the century, if the machine has one.
    pub century: Option<u8>,
    /// Register B.
    pub status_b: u8,
}

impl Registers {
    /// Returns the seconds since 1970 that the registers mean; `None` if they mean no moment.
    ///
    /// A year without a century, or with an impossible one, lies in this millennium's first.
    pub fn unix_seconds(&self) -> Option<u64> {
        let second = self.number(self.second)?;
        let minute = self.number(self.minute)?;
        let hour = self.hour()?;
        let day = self.number(self.day)?;
        let month = self.number(self.month)?;
        let year = self.number(self.year)?;
        let century = self.century.and_then(|c| self.number(c)).filter(|c| (19..=99).contains(c)).unwrap_or(20);
        let year = century * 100 + year;
        let is_moment = second < 60 && minute < 60 && (1..=12).contains(&month) && year % 100 == year - century * 100;
        if !is_moment || !(1970..=LAST_YEAR).contains(&year) || day == 0 || day > days_of(month, year) {
            return None;
        }
        let days = days_before(year) - days_before(1970)
            + (1..month).map(|m| u64::from(days_of(m, year))).sum::<u64>()
            + u64::from(day - 1);
        Some(((days * 24 + u64::from(hour)) * 60 + u64::from(minute)) * 60 + u64::from(second))
    }

    /// Reads a register in the clock's form.
    fn number(&self, register: u8) -> Option<u32> {
        let register = u32::from(register);
        if self.status_b & BINARY != 0 {
            return Some(register);
        }
        let (tens, ones) = (register >> 4, register & 0xf);
        (tens < 10 && ones < 10).then_some(tens * 10 + ones)
    }

    /// Returns the hour from 0 to 23.
    fn hour(&self) -> Option<u32> {
        if self.status_b & HOURS_24 != 0 {
            return self.number(self.hour).filter(|hour| *hour < 24);
        }
        let hour = self.number(self.hour & !AFTERNOON).filter(|hour| (1..=12).contains(hour))?;
        Some(hour % 12 + if self.hour & AFTERNOON != 0 { 12 } else { 0 })
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of(month: u32, year: u32) -> u32 {
    match month {
        2 => 28 + u32::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days from the year 1 to `year`.
fn days_before(year: u32) -> u64 {
    let past = u64::from(year - 1);
    past * 365 + past / 4 - past / 100 + past / 400
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02 03:04:05, as QEMU has it: BCD, 24 hours, a century.
    const QEMU: Registers = Registers {
        second: 0x05,
        minute: 0x04,
        hour: 0x03,
        day: 0x02,
        month: 0x01,
        year: 0x26,
        century: Some(0x20),
        status_b: HOURS_24,
    };

    fn binary(year: u8, month: u8, day: u8) -> Registers {
        let status_b = HOURS_24 | BINARY;
        Registers { year, month, day, status_b, century: None, second: 0, minute: 0, hour: 0 }
    }

    #[test]
    fn bcd_and_binary_mean_the_same() {
        assert_eq!(QEMU.unix_seconds(), Some(1_767_323_045));
        let same = Registers { second: 5, minute: 4, hour: 3, century: Some(20), ..binary(26, 1, 2) };
        assert_eq!(same.unix_seconds(), QEMU.unix_seconds());
    }

    #[test]
    fn twelve_hours_have_two_twelves() {
        for (hour, bcd, means) in [
            (12, 0x12, 0),
            (1, 0x01, 1),
            (11, 0x11, 11),
            (12 | AFTERNOON, 0x12 | AFTERNOON, 12),
            (1 | AFTERNOON, 0x01 | AFTERNOON, 13),
            (11 | AFTERNOON, 0x11 | AFTERNOON, 23),
        ] {
            let binary = Registers { hour, status_b: BINARY, ..binary(26, 1, 2) };
            let midnight = Registers { hour: 0, ..QEMU }.unix_seconds().unwrap() - 245;
            assert_eq!(binary.unix_seconds(), Some(midnight + means * 3600), "{hour}");
            let bcd = Registers { hour: bcd, status_b: 0, ..QEMU };
            assert_eq!(bcd.unix_seconds(), Some(midnight + means * 3600 + 245), "{bcd:?}");
        }
        for hour in [0, 13, AFTERNOON, 13 | AFTERNOON] {
            assert_eq!(Registers { hour, status_b: BINARY, ..binary(26, 1, 2) }.unix_seconds(), None, "{hour}");
        }
    }

    #[test]
    fn a_missing_or_mad_century_is_the_first_of_this_millennium() {
        for century in [None, Some(0), Some(0xff), Some(0x18)] {
            assert_eq!(Registers { century, ..QEMU }.unix_seconds(), Some(1_767_323_045), "{century:?}");
        }
        let last = Registers { century: Some(0x19), year: 0x99, month: 0x12, day: 0x31, hour: 0x23, ..QEMU };
        let last = Registers { minute: 0x59, second: 0x59, ..last };
        assert_eq!(last.unix_seconds(), Some(946_684_799));
        assert_eq!(
            Registers { century: Some(0x21), year: 0, month: 3, day: 1, ..QEMU }.unix_seconds(),
            Some(4_107_553_445)
        );
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let mut days = 0;
        for (century, year) in [19, 20, 21, 22, 23].into_iter().flat_map(|c| (0..100).map(move |y| (c, y))) {
            if century == 19 && year < 70 {
                continue;
            }
            for month in 1..=12 {
                for day in 1..=31 {
                    let registers = Registers { century: Some(century), ..binary(year, month, day) };
                    let Some(seconds) = registers.unix_seconds() else {
                        assert!(day > 28, "{registers:?}");
                        continue;
                    };
                    assert_eq!(seconds, days * 86_400, "{registers:?}");
                    days += 1;
                }
            }
        }
        // 1970 to 2399: 430 years, of which 104 had a 29th of February.
        assert_eq!(days, 430 * 365 + 104);
    }

    #[test]
    fn nonsense_is_no_moment_and_never_panics() {
        let ones = Registers {
            second: 0xff,
            minute: 0xff,
            hour: 0xff,
            day: 0xff,
            month: 0xff,
            year: 0xff,
            century: Some(0xff),
            status_b: 0xff,
        };
        assert_eq!(ones.unix_seconds(), None);
        assert_eq!(Registers::default().unix_seconds(), None);
        type Register = fn(&mut Registers) -> &mut u8;
        let registers: [Register; 6] =
            [|r| &mut r.second, |r| &mut r.minute, |r| &mut r.hour, |r| &mut r.day, |r| &mut r.month, |r| &mut r.year];
        for register in registers {
            for byte in 0..=0xff {
                for status_b in [0, BINARY, HOURS_24, HOURS_24 | BINARY] {
                    let mut changed = Registers { status_b, ..QEMU };
                    *register(&mut changed) = byte;
                    let _ = changed.unix_seconds();
                    changed.century = Some(byte);
                    let _ = changed.unix_seconds();
                }
            }
        }
        assert_eq!(Registers { day: 0x29, month: 0x02, ..QEMU }.unix_seconds(), None, "2026 is no leap year");
        assert_eq!(Registers { day: 0x3a, ..QEMU }.unix_seconds(), None, "no BCD");
        assert_eq!(Registers { century: Some(0x25), ..QEMU }.unix_seconds(), None, "2526");
        let last = Registers { century: Some(24), ..binary(99, 12, 31) };
        assert!(last.unix_seconds().and_then(|seconds| seconds.checked_mul(1_000_000_000)).is_some());
    }
}
