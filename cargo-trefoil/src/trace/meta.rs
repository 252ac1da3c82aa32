//! The lines of META.

use std::collections::BTreeMap;

use trefoil_trace::Why;

use super::file::{At, Error};

/// The machine of a trace, its clock and its counters. A number that the file does not tell is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// `full`: the first records were kept; `flight`: the last.
    pub mode: String,
    /// The cause of the dump: exit, panic, deadlock, snapshot, latency.
    pub cause: String,
    /// Cores of the machine.
    pub cores: u64,
    /// P's at the dump.
    pub procs: u64,
    /// The seed of the run.
    pub seed: u64,
    /// The clocks, by number.
    pub clocks: Vec<Clock>,
    /// From this tick on the second clock holds.
    pub clock_switch: Option<u64>,
    /// The tick of the recorder's begin.
    pub begin: u64,
    /// The tick of the dump.
    pub now: u64,
    /// The lowest address of the image.
    pub image: u64,
    /// The texts of reasons to leave a core.
    pub reasons: BTreeMap<u8, String>,
    /// The counters of each M, in the file's order.
    pub ms: BTreeMap<u32, Vec<(String, u64)>>,
    /// The kernel's ready-to-run times: bucket `i` has the waits of 2^(i−1) to 2^i − 1 ns.
    pub ready: BTreeMap<u32, u64>,
    /// The words of the command line.
    pub options: Vec<String>,
    /// Lines that this version does not know.
    pub unknown: Vec<String>,
}

/// A clock: nanoseconds are `base_ns + ((ticks − base_ticks) × scale >> 32)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock {
    /// The tick at which it begins.
    pub base_ticks: u64,
    /// The nanoseconds at that tick.
    pub base_ns: u64,
    /// Nanoseconds of 2^32 ticks.
    pub scale: u64,
}

impl Clock {
    /// A tick is a nanosecond.
    const PLAIN: Self = Self { base_ticks: 0, base_ns: 0, scale: 1 << 32 };

    fn ns(&self, ticks: u64) -> u64 {
        let passed = i128::from(ticks) - i128::from(self.base_ticks);
        let ns = i128::from(self.base_ns) + (passed.saturating_mul(i128::from(self.scale)) >> 32);
        // A time beyond 292 years is a mistake of the file, and must not wrap.
        ns.clamp(0, i128::from(i64::MAX)) as u64
    }
}

impl Meta {
    /// Reads the lines.
    pub(super) fn parse(payload: &[u8], at: &At) -> Result<Self, Error> {
        let mut meta = Self::default();
        let text =
            std::str::from_utf8(payload).map_err(|error| at.error(error.valid_up_to(), "text that is no UTF-8"))?;
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let words = line.trim_end_matches(['\n', '\0']);
            if let Err(what) = meta.line(words) {
                let shown: String = words.chars().take(80).collect();
                return Err(at.error(offset, format!("{what} in the line {shown:?}")));
            }
            offset += line.len();
        }
        Ok(meta)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ').filter(|word| !word.is_empty());
        match key {
            "" => {}
            "mode" => self.mode = rest.into(),
            "cause" => self.cause = rest.into(),
            "cores" => self.cores = number(words.next())?,
            "procs" => self.procs = number(words.next())?,
            "seed" => self.seed = number(words.next())?,
            "clock" => self.clock(&mut words)?,
            "clock-switch" => self.clock_switch = Some(number(words.next())?),
            "begin" => self.begin = number(words.next())?,
            "now" => self.now = number(words.next())?,
            "image" => self.image = address(words.next())?,
            "reason" => {
                let (n, text) = rest.split_once(' ').ok_or("a text is missing")?;
                let n = u8::try_from(number(Some(n))?).map_err(|_| "a reason's number is above 255")?;
                self.reasons.insert(n, text.into());
            }
            "m" => {
                let m = small(words.next())?;
                let counters = self.ms.entry(m).or_default();
                while let Some(name) = words.next() {
                    counters.push((name.into(), number(words.next())?));
                }
            }
            "ready" => {
                let bucket = small(words.next())?;
                self.ready.insert(bucket, number(words.next())?);
            }
            "option" => self.options.push(rest.into()),
            _ => self.unknown.push(line.into()),
        }
        Ok(())
    }

    fn clock<'a>(&mut self, words: &mut impl Iterator<Item = &'a str>) -> Result<(), String> {
        let n = small(words.next())? as usize;
        if n > self.clocks.len() || n > 1 {
            return Err("a clock's number is not the next one".into());
        }
        let [base_ticks, base_ns, scale] = [number(words.next())?, number(words.next())?, number(words.next())?];
        self.clocks.truncate(n);
        self.clocks.push(Clock { base_ticks, base_ns, scale });
        Ok(())
    }

    /// Converts a time stamp to nanoseconds of the machine's clock.
    ///
    /// ```
    /// use cargo_trefoil::trace::{meta::Clock, Meta};
    ///
    /// let clock = Clock { base_ticks: 100, base_ns: 7, scale: 1 << 31 };
    /// assert_eq!(Meta { clocks: vec![clock], ..Meta::default() }.ns(120), 17);
    /// ```
    pub fn ns(&self, ticks: u64) -> u64 {
        let second = self.clock_switch.is_some_and(|at| ticks >= at);
        let clock = self.clocks.get(usize::from(second)).or(self.clocks.first());
        clock.unwrap_or(&Clock::PLAIN).ns(ticks)
    }

    /// Returns the time of the recorder's begin, in nanoseconds.
    pub fn begin(&self) -> u64 {
        self.ns(self.begin)
    }

    /// Returns the whole address of code or data of the image, of which a record has the lower
    /// half.
    pub fn address(&self, low: u32) -> u64 {
        self.image & !u64::from(u32::MAX) | u64::from(low)
    }

    /// Returns the words for a reason to leave a core.
    pub fn why(&self, why: Why) -> String {
        let own = match why {
            Why::NONE => "g0",
            Why::YIELD => "yield",
            Why::PREEMPT => "preempted",
            Why::END => "end",
            Why::DEATH => "death",
            _ => "",
        };
        match self.reasons.get(&why.0) {
            Some(text) => text.clone(),
            None if own.is_empty() => format!("reason {}", why.0),
            None => own.into(),
        }
    }

    /// Returns the counter `name` of M number `m`.
    pub fn counter(&self, m: u32, name: &str) -> Option<u64> {
        self.ms.get(&m)?.iter().find(|(known, _)| known == name).map(|&(_, n)| n)
    }
}

fn number(word: Option<&str>) -> Result<u64, String> {
    let word = word.ok_or("a number is missing")?;
    word.parse().map_err(|_| format!("{:?} is no number", word.chars().take(40).collect::<String>()))
}

fn small(word: Option<&str>) -> Result<u32, String> {
    u32::try_from(number(word)?).map_err(|_| "a number is too large".into())
}

/// An address may be decimal or, with `0x`, hexadecimal.
fn address(word: Option<&str>) -> Result<u64, String> {
    match word.and_then(|word| word.strip_prefix("0x")) {
        Some(digits) => u64::from_str_radix(digits, 16).map_err(|_| format!("{digits:?} is no address")),
        None => number(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Meta, String> {
        Meta::parse(text.as_bytes(), &At::new("META", 32)).map_err(|error| error.to_string())
    }

    #[test]
    fn every_line_is_read_and_unknown_ones_are_kept() {
        let meta = parse(
            "mode flight\ncause panic\ncores 4\nprocs 3\nseed 7\nclock 0 10 0 4294967296\nclock 1 100 90 8589934592\n\
             clock-switch 100\nbegin 12\nnow 200\nimage 0xffffffff80200000\nreason 2 chan receive\n\
             m 1 counted 9 capacity 4 runs 3\nready 5 8\noption seed=7\nweather fine today\n",
        )
        .unwrap();
        assert_eq!((&meta.mode[..], &meta.cause[..], meta.cores, meta.procs, meta.seed), ("flight", "panic", 4, 3, 7));
        assert_eq!((meta.ns(10), meta.ns(99), meta.ns(100), meta.ns(101), meta.ns(0)), (0, 89, 90, 92, 0));
        assert_eq!((meta.address(0x8021_0000), meta.begin, meta.now), (0xffff_ffff_8021_0000, 12, 200));
        assert_eq!(
            (meta.why(Why(2)), meta.why(Why(3)), meta.why(Why::YIELD)),
            ("chan receive".into(), "reason 3".into(), "yield".into())
        );
        assert_eq!((meta.counter(1, "runs"), meta.counter(2, "runs"), meta.ready[&5]), (Some(3), None, 8));
        assert_eq!((meta.options, meta.unknown), (vec!["seed=7".to_string()], vec!["weather fine today".to_string()]));
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let error = parse("cores 4\nprocs many\n").unwrap_err();
        assert_eq!(error, "no valid trace: META at byte 40: \"many\" is no number in the line \"procs many\"");
        for text in
            ["clock 2 0 0 0", "clock 0 1 2", "reason 300 a", "reason 3", "m", "m 1 runs", "ready 1", "image 0xg"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_outside_the_clock_does_not_wrap() {
        let clock = Clock { base_ticks: u64::MAX, base_ns: u64::MAX, scale: u64::MAX };
        let meta = Meta { clocks: vec![clock], ..Meta::default() };
        assert_eq!((meta.ns(0), meta.ns(u64::MAX)), (0, i64::MAX as u64));
    }
}
