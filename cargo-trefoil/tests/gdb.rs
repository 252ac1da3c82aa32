//! Tests of `cargo trefoil debug`, against a program whose goroutines stand in known places
//! (`gdb/stands.rs`).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cargo_trefoil::new::{self, Source};

/// How long a session may take on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cargo-trefoil lies in the checkout")
}

/// Builds the program. Returns `None` where there is no gdb.
fn image(profile: &str) -> Option<PathBuf> {
    static APP: OnceLock<PathBuf> = OnceLock::new();
    if Command::new("gdb").arg("--version").output().is_err() {
        println!("no gdb here: skipped (`make setup-debug` installs it)");
        return None;
    }
    let app = APP.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stands");
        let _ = std::fs::remove_dir_all(&dir);
        new::new(&dir, false, &Source::Path(checkout().to_path_buf())).unwrap();
        std::fs::write(dir.join("src/main.rs"), include_str!("gdb/stands.rs")).unwrap();
        dir
    });
    let target = checkout().join("target/app-test");
    let status = Command::new(env!("CARGO"))
        .current_dir(app)
        .args(["build", "--quiet", "--profile", profile, "--target-dir"])
        .arg(&target)
        .env_remove("RUSTC_BOOTSTRAP")
        .status()
        .unwrap();
    assert!(status.success(), "the program does not build");
    Some(target.join(if profile == "dev" { "debug" } else { profile }).join("stands"))
}

/// Makes the command, without the variables that set a machine.
fn command(image: &Path, cores: usize, word: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-trefoil"));
    for variable in ["SMP", "MEM", "MACHINE", "INPUT", "APPEND", "SEED", "TIMEOUT", "ICOUNT", "QEMU_ARGS"] {
        command.env_remove(variable);
    }
    command.args(["debug", "--smp", &cores.to_string()]).arg(image).args(["--", &cores.to_string(), word]);
    command
}

/// A word that no other session has, by which its processes are found.
fn word() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("session-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Checks that no process is left that has the session's word.
fn assert_all_ended(word: &str) {
    for process in std::fs::read_dir("/proc").unwrap() {
        let words = std::fs::read(process.unwrap().path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        assert!(!words.contains(word), "left behind: {words}");
    }
}

/// Does commands at `all_stand`, and returns the session's text from there on.
fn session(image: &Path, cores: usize, commands: &[&str]) -> String {
    let commands = [&["break stands::all_stand", "continue", "echo begin:\\n"], commands].concat();
    let seen = batch(image, cores, &commands);
    seen.split_once("begin:\n").unwrap_or_else(|| panic!("{seen}")).1.to_string()
}

/// Does commands, the first one at the program's `main`.
fn batch(image: &Path, cores: usize, commands: &[&str]) -> String {
    let word = word();
    let mut child = command(image, cores, &word)
        .env("GDB_COMMANDS", commands.join(";"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    let mut out = child.stdout.take().unwrap();
    let out = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = out.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let end = Instant::now() + LIMIT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            // QEMU and gdb end with their starter.
            let _ = child.kill();
            let _ = child.wait();
            panic!("no end after {LIMIT:?}: {}{}", out.join().unwrap(), errors.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let seen = out.join().unwrap() + &errors.join().unwrap();
    assert_all_ended(&word);
    seen
}

/// A line with single spaces.
fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The part of `goroutine all …` that belongs to the first goroutine whose title has `title`.
fn part<'a>(seen: &'a str, title: &str) -> &'a str {
    let parts = seen.split("\n\n");
    parts
        .into_iter()
        .find(|part| part.lines().any(|line| line.starts_with("G ") && line.contains(title)))
        .unwrap_or_else(|| panic!("no goroutine `{title}`:\n{seen}"))
}

/// Checks that a backtrace has these functions, in this order, and is whole.
fn assert_stack(trace: &str, functions: &[&str]) {
    let mut lines = trace.lines();
    for function in functions.iter().chain(&["::switch::switch_enter ()"]) {
        assert!(lines.any(|line| line.starts_with('#') && line.contains(function)), "{function} is not in\n{trace}");
    }
    assert!(!trace.contains("Backtrace stopped"), "{trace}");
}

const PROFILES: [(&str, usize); 4] = [("dev", 1), ("dev", 2), ("dev", 4), ("release", 2)];

#[test]
fn all_goroutines_are_listed_with_state_name_and_place() {
    for (profile, cores) in PROFILES {
        let Some(image) = image(profile) else { return };
        let seen = session(&image, cores, &["info goroutines"]);
        let lines: Vec<String> = seen.lines().map(plain).collect();
        for (state, place) in [
            ("waiting [join]", "main stands::joins at src/main.rs:"),
            ("waiting [chan receive], packed", "cold stands::inner at src/main.rs:"),
            ("waiting [chan receive]", "receiver stands::receive at src/main.rs:"),
            ("waiting [mutex lock]", "locker stands::lock at src/main.rs:"),
            ("waiting [sleep]", "sleeper stands::rest at src/main.rs:"),
            ("runnable, preempted", "spinner stands::spin at src/main.rs:"),
        ] {
            let has = |line: &String| line.contains(state) && line.contains(place);
            assert!(lines.iter().any(has), "{state} {place} on {cores}:\n{seen}");
        }
        let looker = lines.iter().find(|line| line.starts_with("* ")).unwrap();
        assert!(looker.contains(" running on core ") && looker.contains("looker stands::all_stand"), "{looker}");
        assert!(lines[1].starts_with("1 waiting"), "main is the first: {}", lines[1]);
        assert_eq!(lines.iter().filter(|line| line.contains("spinner")).count(), cores, "{seen}");
    }
}

#[test]
fn parked_packed_preempted_and_running_goroutines_have_their_whole_stacks() {
    for (profile, cores) in PROFILES {
        let Some(image) = image(profile) else { return };
        let seen = session(&image, cores, &["goroutine all bt"]);
        assert_stack(part(&seen, "\"main\""), &["JoinHandle<()>::join", "stands::joins", "stands::main"]);
        let cold = part(&seen, "\"cold\"");
        assert!(cold.contains(", packed"), "{cold}");
        assert_stack(cold, &["recv", "stands::inner", "stands::outer"]);
        assert_stack(part(&seen, "\"receiver\""), &["recv", "stands::receive"]);
        assert_stack(part(&seen, "\"locker\""), &["Mutex<u64>::lock", "stands::lock"]);
        assert_stack(part(&seen, "\"sleeper\""), &["sleep", "stands::rest"]);
        assert_stack(part(&seen, "\"looker\": running on core"), &["stands::all_stand", "stands::look"]);
        let preempted = part(&seen, "\"spinner\": runnable");
        assert_stack(preempted, &["preempted ()", "<signal handler called>", "stands::spin"]);
        if cores > 1 {
            let other = part(&seen, "\"spinner\": running on core");
            assert_stack(other, &["stands::spin"]);
        }
    }
}

#[test]
fn a_packed_stack_has_its_variables_and_a_clobbered_register_none() {
    let Some(image) = image("dev") else { return };
    let seen =
        session(&image, 2, &["goroutine cold frame apply all -q -s p kept", "goroutine cold info registers rdi"]);
    // Seven times six: `outer` keeps it on its stack.
    assert!(seen.lines().any(|line| line == "$1 = 42"), "{seen}");
    assert!(plain(&seen).contains("rdi <unavailable>"), "{seen}");
}

#[test]
fn looking_at_goroutines_changes_nothing_in_the_machine() {
    let Some(image) = image("dev") else { return };
    let looks = ["thread apply all info registers", "p/x *(&$goroutine(1) as *const u64)", "info threads"];
    let between = [
        "echo middle:\\n",
        "goroutine all bt",
        "goroutine cold bt",
        "goroutine main",
        "frame 3",
        "goroutine off",
        "echo middle:\\n",
    ];
    let seen = session(&image, 2, &[&looks[..], &between, &looks, &["info goroutines", "delete", "continue"]].concat());
    let parts: Vec<&str> = seen.split("middle:\n").collect();
    let numbers = |text: &str| text.replace("$2 =", "$1 =");
    let after = numbers(parts[2]);
    assert!(after.starts_with(&numbers(parts[0])), "before:\n{}\nafter:\n{after}", parts[0]);
    // It is still packed, and the program goes on to its end.
    let cold = after.lines().find(|line| line.contains("cold")).unwrap();
    assert!(cold.contains(", packed"), "{after}");
    assert!(after.contains("the end\n") && after.contains("exited normally"), "{after}");
}

#[test]
fn a_selected_goroutine_stays_selected_until_the_machine_goes_on() {
    let Some(image) = image("dev") else { return };
    let seen = session(
        &image,
        2,
        &[
            "goroutine receiver",
            "info goroutines",
            "goroutine cold bt 1",
            "frame",
            "goroutine main continue",
            "break stands::arrives",
            "stepi",
            "frame",
            "goroutine nobody",
        ],
    );
    let lines: Vec<String> = seen.lines().map(plain).collect();
    assert!(lines[0].ends_with("\"receiver\": waiting [chan receive]"), "{seen}");
    assert!(lines[1].starts_with('#') && lines[1].contains("in stands::receive"), "{seen}");
    let star = lines.iter().find(|line| line.starts_with("* ")).unwrap();
    assert!(star.contains("receiver"), "{seen}");
    let frames: Vec<_> = lines.iter().filter(|line| line.starts_with('#') && line.contains("stands::")).collect();
    assert!(frames[1].contains("stands::receive"), "the frame stays selected: {seen}");
    assert!(seen.contains("the machine goes on from where its cores are, not from a goroutine"), "{seen}");
    assert!(frames[2].starts_with("#0") && frames[2].contains("stands::all_stand"), "{seen}");
    assert!(seen.contains("there is no goroutine of the name nobody"), "{seen}");
}

#[test]
fn processors_and_machines_are_listed() {
    for cores in [1, 2, 4] {
        let Some(image) = image("dev") else { return };
        let seen = session(&image, cores, &["info ps", "info ms"]);
        let lines: Vec<String> = seen.lines().map(plain).collect();
        for core in 0..cores {
            assert!(lines.iter().any(|line| line.starts_with(&format!("{core} M "))), "{seen}");
        }
        assert!(lines.iter().any(|line| line.starts_with("global queue: ")), "{seen}");
        let runs = lines.iter().filter(|line| line.contains(" runs it"));
        assert_eq!(runs.count(), cores, "all cores have something to run:\n{seen}");
        let star = lines.iter().find(|line| line.starts_with("* ")).unwrap();
        assert!(star.contains("\"looker\" runs it"), "{seen}");
        // One spinner more than there is room for waits somewhere.
        let queue = |line: &String| line.split(' ').nth(3).and_then(|n| n.parse::<u32>().ok());
        let rings: u32 = lines.iter().filter(|line| line.contains(" M ")).filter_map(queue).sum();
        let global = lines.iter().find_map(|line| line.strip_prefix("global queue: ")?.parse::<u32>().ok());
        let slots = lines.iter().filter(|line| line.contains(" M ") && line.contains(" G ")).count() as u32;
        assert!(rings + global.unwrap() + slots >= 1, "{seen}");
    }
}

#[test]
fn channels_locks_and_goroutines_print_as_what_they_mean() {
    for profile in ["dev", "release"] {
        let Some(image) = image(profile) else { return };
        let seen =
            session(&image, 2, &["p *shown", "p $goroutine(1)", "p $goroutine(1).state", "p $goroutine(1).name"]);
        for text in [
            "tx: sender(len=0, cap=3, 1 receiver waits)",
            "mutex(locked by G 1, 1 waits) = {value = 41}",
            "rwlock(read by G 1) = {value = [1, 2, 3]}",
            "full: receiver(len=2, cap=3) = {10, 11}",
            "closed: receiver(len=1, unbounded, closed) = {\"left over\"}",
            "large: receiver(len=1, cap=1) = {",
            "group: waitgroup(2 to do)",
            ", running)",
            "= G 1 \"main\": waiting [join] for 0x",
            "= Cell = {value = \"main\"}",
        ] {
            assert!(seen.contains(text), "{text} is not in\n{seen}");
        }
        // The scavenger may have looked at it.
        assert!(seen.contains("= Waiting\n") || seen.contains("= Cold\n"), "{seen}");
    }
}

#[test]
fn a_breakpoint_is_hit_on_each_core() {
    for cores in [1, 2, 4] {
        let Some(image) = image("dev") else { return };
        let mut commands = vec!["break stands::arrives"];
        (0..cores).for_each(|_| commands.extend(["continue", "thread"]));
        commands.push("info threads");
        let seen = batch(&image, cores, &commands);
        let current = |line: &str| line.strip_prefix("[Current thread is ")?.split(' ').next().map(String::from);
        let threads: BTreeSet<String> = seen.lines().filter_map(current).collect();
        assert_eq!(threads.len(), cores, "{seen}");
        assert_eq!(
            seen.lines().filter(|line| line.contains("(CPU#")).filter(|line| !line.starts_with('[')).count(),
            cores
        );
    }
}

#[test]
fn a_field_that_the_kernel_has_not_is_named() {
    let Some(image) = image("dev") else { return };
    let import = "python import trefoil_gdb.layout as l, trefoil_gdb.goroutines as g";
    let seen = session(&image, 1, &[import, "python l.field(g.sched(), 'registry.crown')"]);
    // One stack that can't be read leaves the others.
    let seen_too =
        session(&image, 1, &["python import trefoil_gdb.layout as l", "python l.MOST = 8", "info goroutines"]);
    let line = |name: &str| seen_too.lines().find(|line| line.contains(name)).unwrap();
    assert!(line(" cold ").contains("a packed entry 0x") && line(" main ").contains("stands::joins"), "{seen_too}");
    assert!(
        seen.contains("Registry` has no field `crown`: this cargo-trefoil does not fit the image's kernel"),
        "{seen}"
    );
}

#[test]
fn a_programs_main_is_reached_and_its_exit_is_told() {
    for profile in ["dev", "release"] {
        let Some(image) = image(profile) else { return };
        let seen = batch(&image, 1, &["bt", "continue"]);
        assert!(seen.contains("hit Temporary breakpoint 1") || seen.contains("Temporary breakpoint 1,"), "{seen}");
        assert!(seen.contains("stands::main () at src/main.rs:"), "{seen}");
        assert!(seen.contains("the end\n") && seen.contains("[Inferior 1 (process 1) exited normally]"), "{seen}");
    }
}

/// The words of a parked goroutine are the kernel's.
#[test]
fn the_reasons_of_waits_are_the_kernels() {
    let kernel = std::fs::read_to_string(checkout().join("sched/src/g/reason.rs")).unwrap();
    let script = include_str!("../gdb/trefoil_gdb/layout.py");
    let arms = kernel.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => \""));
    let mut count = 0;
    for (variant, text) in arms.filter(|(variant, _)| *variant != "None") {
        let text = text.trim_end_matches("\",");
        assert!(script.contains(&format!("\"{variant}\": \"{text}\"")), "{variant}: {text}");
        count += 1;
    }
    assert!(count > 10);
}

/// Opens a terminal: the person's end, and the command's.
fn terminal() -> (File, File) {
    let (mut person, mut command) = (0, 0);
    // SAFETY: `openpty` fills both; no name and no settings are passed.
    let opened =
        unsafe { libc::openpty(&mut person, &mut command, std::ptr::null_mut(), std::ptr::null(), std::ptr::null()) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are open, and nobody else has them.
    unsafe { (File::from_raw_fd(person), File::from_raw_fd(command)) }
}

/// Reads until `text` has come.
fn read_until(person: &mut File, text: &str) -> String {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&seen).contains(text) {
        person.read_exact(&mut byte).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&seen)));
        seen.push(byte[0]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn on_a_terminal_ctrl_c_stops_the_machine_and_quit_ends_it() {
    let Some(image) = image("dev") else { return };
    let (mut person, slave) = terminal();
    let word = word();
    let mut command = command(&image, 2, &word);
    command.arg("stay");
    command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave.try_clone().unwrap());
    command.env("TERM", "dumb");
    // SAFETY: `setsid` and `ioctl` are async-signal-safe and touch only the child.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            libc::ioctl(0, libc::TIOCSCTTY, 0);
            Ok(())
        })
    };
    let mut session = command.spawn().unwrap();
    drop((command, slave));
    let id = session.id() as libc::pid_t;
    std::thread::spawn(move || {
        std::thread::sleep(LIMIT);
        // SAFETY: sends a signal; the process is this test's child, or gone with it.
        unsafe { libc::kill(id, libc::SIGKILL) };
    });
    read_until(&mut person, "stands::main () at src/main.rs");
    read_until(&mut person, "(gdb) ");
    // The program's lines come to this terminal. Then one goroutine spins for ever.
    person.write_all(b"continue\n").unwrap();
    read_until(&mut person, "all stand, and stay\r\n");
    person.write_all(b"\x03").unwrap();
    read_until(&mut person, "received signal SIGINT");
    read_until(&mut person, "(gdb) ");
    person.write_all(b"info goroutines\n").unwrap();
    read_until(&mut person, "stands::stays at src/main.rs");
    read_until(&mut person, "(gdb) ");
    person.write_all(b"quit\n").unwrap();
    assert!(session.wait().unwrap().success());
    assert_all_ended(&word);
}
