//! A view: registers and memory that gdb is shown in place of the machine's own, while it looks at
//! a goroutine that does not run.
//!
//! ```text
//!   gdb ◀── packets ──▶ relay, with a view ◀── packets ──▶ QEMU
//!            g: registers of the core      with those of the G over them
//!            m: memory as the core sees it with the packed pages over it
//! ```
//!
//! gdb's own unwinder, its locals and its printers then work on any goroutine. Nothing of the
//! machine changes. gdb's Python part (`gdb/trefoil_gdb`) knows the kernel's records, and sets the
//! view by two packets of its own:
//!
//! * `qtrefoil.show:R=VALUE;…;@ADDRESS=BYTES;…`: shows these registers (number and value in
//!   hexadecimal), the other general and vector registers as unavailable, and these bytes of
//!   memory;
//! * `qtrefoil.hide`: shows the machine again.
//!
//! While a view is on, nothing is written and the machine does not go on: both would act on what is
//! only shown.

/// The registers that a view may have: the sixteen general ones and `rip`, as gdb numbers them.
const REGISTERS: usize = 17;
/// Digits of a register in a packet.
const DIGITS: usize = 16;
/// Digits of those, of the flags, and of the segment, base and control registers behind them. The
/// floating-point and vector registers follow.
const SYSTEM: usize = 2 * (8 * REGISTERS + 4 + 6 * 4 + 3 * 8 + 5 * 8 + 8);
/// In place of a digit: the register is unavailable.
const UNAVAILABLE: u8 = b'x';

/// gdb's packet for: refused.
pub const REFUSED: &[u8] = b"E01";

/// Bytes shown at an address, in digits.
#[derive(Debug)]
struct Bytes {
    at: u64,
    digits: Vec<u8>,
}

impl Bytes {
    fn end(&self) -> u64 {
        self.at + self.digits.len() as u64 / 2
    }
}

/// The registers and the memory of a view.
#[derive(Debug, Default)]
struct Shown {
    registers: [Option<u64>; REGISTERS],
    memory: Vec<Bytes>,
    /// The choice of a thread that held when the view was set: other threads are shown as they are.
    thread: Vec<u8>,
}

/// The relay's part that looks at packets.
#[derive(Debug, Default)]
pub struct View {
    shown: Option<Shown>,
    /// gdb's last choice of a thread.
    thread: Vec<u8>,
    /// The next answer has registers.
    registers_come: bool,
}

/// Where a packet of gdb's goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// To the machine.
    Pass(Vec<u8>),
    /// Nowhere: this is the answer.
    Answer(Vec<u8>),
}

impl View {
    /// Takes a packet of gdb's.
    pub fn ask(&mut self, packet: Vec<u8>) -> Step {
        self.registers_come = packet == b"g";
        if let Some(what) = packet.strip_prefix(b"qtrefoil.show:") {
            let shown = self.parse(what);
            let answer: &[u8] = if shown.is_some() { b"OK" } else { REFUSED };
            self.shown = shown;
            return Step::Answer(answer.into());
        }
        if packet == b"qtrefoil.hide" {
            self.shown = None;
            return Step::Answer(b"OK".into());
        }
        if let Some(thread) = packet.strip_prefix(b"Hg") {
            self.thread = thread.into();
        }
        match &self.shown {
            Some(shown) => shown.ask(packet, shown.thread == self.thread),
            None => Step::Pass(packet),
        }
    }

    /// Takes an answer of the machine's, and returns it as gdb shall see it.
    pub fn answer(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let comes = std::mem::take(&mut self.registers_come);
        if let Some(shown) = &self.shown
            && comes
            && shown.thread == self.thread
            && packet.len() >= REGISTERS * DIGITS
        {
            for (place, value) in packet.chunks_exact_mut(DIGITS).zip(shown.registers) {
                place.copy_from_slice(&value.map_or([UNAVAILABLE; DIGITS], digits));
            }
            if let Some(vectors) = packet.get_mut(SYSTEM..) {
                vectors.fill(UNAVAILABLE);
            }
        }
        packet
    }

    fn parse(&self, what: &[u8]) -> Option<Shown> {
        let mut shown = Shown { thread: self.thread.clone(), ..Shown::default() };
        for part in what.split(|&byte| byte == b';').filter(|part| !part.is_empty()) {
            let equals = part.iter().position(|&byte| byte == b'=')?;
            let (place, value) = (&part[..equals], &part[equals + 1..]);
            match place.strip_prefix(b"@") {
                Some(at) => {
                    let whole = value.len() % 2 == 0 && value.iter().all(u8::is_ascii_hexdigit);
                    shown.memory.push(Bytes { at: number(at)?, digits: whole.then(|| value.into())? });
                }
                None => *shown.registers.get_mut(number(place)? as usize)? = Some(number(value)?),
            }
        }
        Some(shown)
    }
}

impl Shown {
    fn ask(&self, packet: Vec<u8>, of_this_thread: bool) -> Step {
        match packet.first() {
            Some(b'm') => self.memory(packet),
            Some(b'p') if of_this_thread => {
                let register = number(&packet[1..]).and_then(|n| self.registers.get(n as usize));
                let shown = register.map(|value| value.map_or([UNAVAILABLE; DIGITS], digits));
                shown.map_or(Step::Pass(packet), |digits| Step::Answer(digits.into()))
            }
            // Writes; and all that makes the machine go on.
            Some(b'M' | b'X' | b'G' | b'P' | b'c' | b'C' | b's' | b'S') => Step::Answer(REFUSED.into()),
            _ if packet.starts_with(b"vCont;") => Step::Answer(REFUSED.into()),
            _ => Step::Pass(packet),
        }
    }

    /// Answers a read that begins in bytes that are shown. A read that reaches such bytes ends
    /// before them: gdb asks again for the rest.
    fn memory(&self, packet: Vec<u8>) -> Step {
        let Some((at, length)) = range(&packet[1..]) else { return Step::Pass(packet) };
        let begins = self.memory.iter().find(|bytes| (bytes.at..bytes.end()).contains(&at));
        if let Some(bytes) = begins {
            let from = (at - bytes.at) as usize * 2;
            let to = bytes.digits.len().min(from + length as usize * 2);
            return Step::Answer(bytes.digits[from..to].into());
        }
        let next = self.memory.iter().map(|bytes| bytes.at).filter(|&next| next > at).min();
        match next {
            Some(next) if next - at < length => Step::Pass(format!("m{at:x},{:x}", next - at).into()),
            _ => Step::Pass(packet),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Reads `ADDRESS,LENGTH`.
fn range(text: &[u8]) -> Option<(u64, u64)> {
    let comma = text.iter().position(|&byte| byte == b',')?;
    Some((number(&text[..comma])?, number(&text[comma + 1..])?))
}

/// Returns a register's digits: its lowest byte first.
fn digits(value: u64) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    let text = format!("{:016x}", value.swap_bytes());
    digits.copy_from_slice(text.as_bytes());
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(packet: &[u8]) -> Step {
        Step::Pass(packet.into())
    }

    fn answer(packet: &[u8]) -> Step {
        Step::Answer(packet.into())
    }

    #[test]
    fn a_view_shows_registers_and_memory_of_one_thread_until_it_is_hidden() {
        let mut view = View::default();
        assert_eq!(view.ask(b"Hgp1.2".into()), pass(b"Hgp1.2"));
        assert_eq!(view.ask(b"qtrefoil.show:7=1122;10=ff;@1000=aabbccdd".into()), answer(b"OK"));
        let real = vec![b'5'; SYSTEM + 3 * DIGITS];
        assert_eq!(view.ask(b"g".into()), pass(b"g"));
        let seen = view.answer(real.clone());
        assert_eq!(&seen[7 * DIGITS..8 * DIGITS], b"2211000000000000");
        assert_eq!(&seen[16 * DIGITS..17 * DIGITS], b"ff00000000000000");
        // A register that a call may destroy is unavailable; a system register is the core's.
        assert_eq!((&seen[..7 * DIGITS], &seen[SYSTEM..]), (&[b'x'; 7 * DIGITS][..], &[b'x'; 3 * DIGITS][..]));
        assert_eq!(&seen[17 * DIGITS..SYSTEM], &real[17 * DIGITS..SYSTEM]);
        assert_eq!(view.ask(b"p7".into()), answer(b"2211000000000000"));
        assert_eq!(view.ask(b"p3".into()), answer(&[b'x'; DIGITS]));
        assert_eq!(view.ask(b"p12".into()), pass(b"p12"));
        // Another thread is shown as it is.
        view.ask(b"Hgp1.1".into());
        view.ask(b"g".into());
        assert_eq!(view.answer(real.clone()), real);
        view.ask(b"Hgp1.2".into());
        assert_eq!(view.ask(b"qtrefoil.hide".into()), answer(b"OK"));
        view.ask(b"g".into());
        assert_eq!(view.answer(real.clone()), real);
        assert_eq!(view.ask(b"m1000,4".into()), pass(b"m1000,4"));
    }

    #[test]
    fn a_read_is_cut_where_shown_bytes_begin_and_end() {
        let mut view = View::default();
        view.ask(b"qtrefoil.show:@1000=aabbccdd".into());
        assert_eq!(view.ask(b"m1000,4".into()), answer(b"aabbccdd"));
        assert_eq!(view.ask(b"m1002,40".into()), answer(b"ccdd"));
        assert_eq!(view.ask(b"mffe,8".into()), pass(b"mffe,2"));
        assert_eq!(view.ask(b"m1004,8".into()), pass(b"m1004,8"));
        assert_eq!(view.ask(b"mff0,8".into()), pass(b"mff0,8"));
    }

    #[test]
    fn nothing_is_written_and_nothing_goes_on_behind_a_view() {
        let mut view = View::default();
        let acts: [&[u8]; 6] = [b"M10,1:00", b"X10,1:a", b"P7=00", b"c", b"vCont;c", b"s"];
        for act in acts {
            assert_eq!(view.ask(act.into()), pass(act));
        }
        view.ask(b"qtrefoil.show:7=1".into());
        for act in acts {
            assert_eq!(view.ask(act.into()), answer(REFUSED));
        }
        assert_eq!(view.ask(b"qtrefoil.show:nonsense".into()), answer(REFUSED));
        assert_eq!(view.ask(b"vCont?".into()), pass(b"vCont?"));
    }
}
