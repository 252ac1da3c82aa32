//! Tests of the command at a terminal: echo, editing, signals, and the terminal's modes afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::{command, example, scratch, text};

/// How long something that comes at once may take on a busy host.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the flags of a terminal.
fn flags(terminal: &File) -> [libc::tcflag_t; 4] {
    let mut it = std::mem::MaybeUninit::<libc::termios>::uninit();
    // SAFETY: `tcgetattr` fills `it` if it returns 0.
    let it = unsafe {
        assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), it.as_mut_ptr()), 0);
        it.assume_init()
    };
    [it.c_iflag, it.c_oflag, it.c_cflag, it.c_lflag]
}

/// A person before a terminal, on which the command runs.
struct Seat {
    person: File,
    terminal: File,
    before: [libc::tcflag_t; 4],
    runner: Child,
    /// Output that no call of `sees` has passed over.
    seen: String,
}

impl Seat {
    /// Starts the command with these words.
    fn new(args: &[&str], image: &str) -> Self {
        let mut runner = command();
        runner.args(args).arg(example(image));
        Self::typed_ahead(runner, "")
    }

    /// Starts `runner` on a terminal on which `text` was typed already.
    fn typed_ahead(mut runner: Command, text: &str) -> Self {
        let (mut person, mut terminal) = (0, 0);
        let none = std::ptr::null_mut::<u8>();
        // SAFETY: `openpty` fills both; no name and no settings are passed.
        let opened = unsafe { libc::openpty(&mut person, &mut terminal, none.cast(), none.cast(), none.cast()) };
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: both are open, and nobody else has them.
        let (mut person, terminal) = unsafe { (File::from_raw_fd(person), File::from_raw_fd(terminal)) };
        person.write_all(text.as_bytes()).unwrap();
        let stdio = || terminal.try_clone().unwrap();
        runner.stdin(stdio()).stdout(stdio()).stderr(stdio());
        // SAFETY: `setsid`, `ioctl` and `close` are async-signal-safe and touch only the child.
        unsafe {
            let other_end = person.as_raw_fd();
            runner.pre_exec(move || {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                libc::close(other_end);
                Ok(())
            })
        };
        let before = flags(&terminal);
        Self { person, before, runner: runner.spawn().unwrap(), terminal, seen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        self.person.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is on the screen, behind what was seen before.
    fn sees(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(self.has_more(end - Instant::now()), "no {text:?} in {:?}", self.seen);
        }
    }

    /// Waits for more output. Returns false if none comes.
    fn has_more(&mut self, patience: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.person.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one descriptor, which is open.
        let ready = unsafe { libc::poll(&mut poll, 1, patience.as_millis() as i32) };
        let mut bytes = [0; 4096];
        let n = if ready == 1 { self.person.read(&mut bytes).unwrap_or(0) } else { 0 };
        self.seen += &String::from_utf8_lossy(&bytes[..n]);
        n > 0
    }

    /// Waits until the machine reads the terminal.
    fn is_read(&mut self) {
        self.becomes("raw", |seat| flags(&seat.terminal) != seat.before);
    }

    fn becomes(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "the terminal is not {what}: {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the process is a child that has not been waited for.
        unsafe { libc::kill(self.runner.id() as libc::pid_t, signal) };
    }

    /// Waits for the end, with the terminal as it was. Returns the status and the last output.
    fn ends(mut self) -> (ExitStatus, String) {
        let status = self.runner.wait().unwrap();
        assert_eq!(flags(&self.terminal), self.before);
        while self.has_more(Duration::ZERO) {}
        (status, std::mem::take(&mut self.seen))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = (self.runner.kill(), self.runner.wait());
    }
}

#[test]
fn what_is_typed_is_echoed_edited_and_kept_apart_from_printed_lines() {
    let mut seat = Seat::new(&["run", "--smp", "2", "--append", "schedtrace=50"], "fair");
    seat.sees("Ctrl-D ends it\r\n");
    seat.is_read();
    seat.types("helo");
    seat.sees("helo");
    // The scheduler's line comes above the half-typed one.
    seat.sees("\r\x1b[KSCHED ");
    seat.sees("\r\nhelo\r\x1b[KSCHED ");
    seat.sees("\r\nhelo");
    seat.types("\x7f");
    seat.sees("\x08 \x08");
    seat.types("lo\r");
    seat.sees("\r\n> hello\r\n");
    seat.types("never mind\x15\x1b[Agrü");
    seat.sees("grü");
    seat.types("ß\x7f\x7fün\r");
    seat.sees("> grün\r\n");
    seat.types("\x04");
    seat.sees("2 lines;");
    assert_eq!(seat.ends().0.code(), Some(0));
}

#[test]
fn ctrl_c_on_a_terminal_ends_quietly_with_130_and_leaves_the_terminal_as_it_was() {
    let mut seat = Seat::new(&["run", "--smp", "1"], "fair");
    seat.sees("\n");
    seat.is_read();
    seat.types("\x03");
    let (status, said) = seat.ends();
    assert_eq!((status.code(), said.as_str()), (Some(130), ""));
}

#[test]
fn every_other_way_out_leaves_the_terminal_as_it_was() {
    type Way = (&'static str, fn(&mut Seat), i32, &'static str);
    let ways: [Way; 4] = [
        ("100", |seat| seat.types("\x1c"), 131, "\r\n"),
        ("100", |seat| seat.signal(libc::SIGTERM), 143, "\r\n"),
        ("100", |seat| seat.signal(libc::SIGHUP), 129, "\r\n"),
        ("5", |_| (), 124, "\r\n\r\ncargo-trefoil: no end after 5 s: machine killed"),
    ];
    for (timeout, leave, code, says) in ways {
        let mut seat = Seat::new(&["run", "--smp", "1", "--timeout", timeout], "fair");
        seat.sees("\n");
        seat.is_read();
        seat.types("half a line");
        seat.sees("half a line");
        leave(&mut seat);
        let (status, said) = seat.ends();
        assert_eq!(status.code(), Some(code));
        assert!(said.starts_with(says) && (code == 124 || said == says), "{said:?}");
    }
}

#[test]
fn ctrl_z_stops_the_run_with_the_terminal_as_it_was_and_fg_goes_on() {
    let mut seat = Seat::new(&["run", "--smp", "1"], "fair");
    seat.sees("\n");
    seat.is_read();
    seat.types("one");
    seat.sees("one");
    seat.types("\x1a");
    let mut status = 0;
    // SAFETY: the process is a child that has not been waited for, which stops or ends.
    let stopped = unsafe { libc::waitpid(seat.runner.id() as libc::pid_t, &mut status, libc::WUNTRACED) };
    assert_eq!(stopped, seat.runner.id() as libc::pid_t);
    assert_eq!(ExitStatus::from_raw(status).stopped_signal(), Some(libc::SIGSTOP));
    assert_eq!(flags(&seat.terminal), seat.before);
    seat.signal(libc::SIGCONT);
    seat.is_read();
    seat.types(" two\r");
    seat.sees("> one two\r\n");
    seat.types("\x04");
    assert_eq!(seat.ends().0.code(), Some(0));
}

#[test]
fn a_program_that_does_not_read_leaves_the_terminal_and_its_input_alone() {
    let mut runner = command();
    runner.args(["run", "--smp", "1"]).arg(example("hello"));
    let mut seat = Seat::typed_ahead(runner, "ls\n");
    assert_eq!(seat.runner.wait().unwrap().code(), Some(0));
    assert_eq!(flags(&seat.terminal), seat.before);
    // The terminal is read while its other end is open: a hang-up would lose the text.
    let mut poll = libc::pollfd { fd: seat.terminal.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one descriptor, which is open.
    assert_eq!(unsafe { libc::poll(&mut poll, 1, 1000) }, 1, "the text is gone");
    let mut left = [0; 8];
    let n = seat.terminal.read(&mut left).unwrap();
    assert_eq!(&left[..n], b"ls\n", "the shell reads it next");
}

#[test]
fn a_typed_run_is_replayed_without_a_terminal() {
    let file = scratch("typed");
    let name = file.to_str().unwrap();
    let mut seat = Seat::new(&["run", "--record", name], "fair");
    seat.sees("\n");
    seat.is_read();
    seat.types("helo\x7flo\r");
    seat.sees("> hello\r\n");
    seat.types("\x04");
    assert_eq!(seat.ends().0.code(), Some(0));
    let again = command().args(["run", "--replay", name]).arg(example("fair")).output().unwrap();
    assert!(again.status.success(), "{}", text(&again.stderr));
    let said = text(&again.stdout);
    assert!(said.contains("\n> hello\n") && said.contains("\n1 lines;"), "{said}");
    let _ = (std::fs::remove_file(file.with_extension("machine")), std::fs::remove_file(file));
}

#[test]
fn what_was_typed_ahead_is_read_and_an_option_turns_the_editor_off() {
    let mut runner = command();
    runner.args(["run", "--smp", "1", "--append", "stdin=bytes"]).arg(example("fair"));
    let mut seat = Seat::typed_ahead(runner, "one\nt\x17");
    seat.sees("> one\r\n");
    seat.types("wo\x7f\r\x04");
    seat.sees("> wo\x7f\r\n2 lines;");
    assert_eq!(seat.ends().0.code(), Some(0));
}
