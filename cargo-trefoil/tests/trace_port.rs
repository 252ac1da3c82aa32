//! Traces on their way from a machine to files. The image is `kernel/tests/trace_port.rs`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use cargo_trefoil::qemu::Settings;
use cargo_trefoil::run;
use cargo_trefoil::trace_port::{Collected, Collector};
use images::checkout;
use trefoil_trace::{MAGIC, tag};

mod images;
#[path = "trace_port/verb.rs"]
mod verb;

/// Builds the test image of the port, with the recorder.
fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| images::build("trace_port"))
}

/// A link to the image in a folder of its own, so that runs at the same time have files of their
/// own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, image: &Path) -> Self {
        let dir = std::env::temp_dir().join(format!("trefoil-port-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("target")).unwrap();
        std::fs::write(dir.join("target/CACHEDIR.TAG"), "").unwrap();
        std::os::unix::fs::symlink(image, dir.join("target/sender")).unwrap();
        Self(dir)
    }

    fn image(&self) -> PathBuf {
        self.0.join("target/sender")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("target/trace").join(name)
    }

    /// Boots `case`. Returns the status, the text that a person sees, and the traces.
    fn run(&self, case: &str, settings: Settings) -> (u8, String, Collected) {
        let image = self.image();
        let mut settings = Settings { memory: "256M".into(), ..settings };
        let collector = Collector::of(&image, &mut settings).unwrap().expect("the recorder is on");
        let mut out = Vec::new();
        let status = run::run(&image, &[case.into()], &settings, &mut out).unwrap();
        let mut collected = collector.collect().unwrap();
        // The image is no recorder: its traces have no META section.
        let mistakes = std::mem::take(&mut collected.mistakes);
        assert_eq!(mistakes.len(), collected.whole.len(), "{mistakes:?}");
        (status, String::from_utf8_lossy(&out).into_owned(), collected)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn machine(machine: &str, smp: &str, append: &str) -> Settings {
    Settings { machine: machine.into(), smp: smp.into(), append: append.into(), ..Settings::default() }
}

/// The trace that the image sends with `n` bytes.
fn sent(n: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(trefoil_trace::head(tag::RING, 0, n as u64));
    bytes.extend((0..n).map(|i| (i % 251) as u8));
    let len = bytes.len() as u64;
    bytes.extend(trefoil_trace::head(tag::TEND, 0, 8));
    bytes.extend(len.to_le_bytes());
    bytes
}

/// The machines, and whether the recorded run goes over their serial lines.
const WAYS: [(&str, &str); 4] = [("q35", FASTEST), ("pc", FASTEST), ("microvm", FASTEST), ("q35", SERIAL)];
const FASTEST: &str = "trace_port=fastest";
const SERIAL: &str = "trace_port=serial";

#[test]
fn each_trace_becomes_a_file_on_every_machine() {
    for (name, append) in WAYS {
        for smp in ["1", "4"] {
            let place = Place::new("each", image());
            let (status, text, collected) = place.run("traces_follow_each_other", machine(name, smp, append));
            assert_eq!(status, 0, "{name} {smp} {append}: {text}");
            let files = ["sender.1.trefoil", "sender.2.trefoil", "sender.trefoil"].map(|name| place.file(name));
            assert_eq!((collected.whole, collected.broken), (files.to_vec(), vec![]), "{name} {smp} {append}: {text}");
            for (file, n) in files.iter().zip([10, 300_000, 70_000]) {
                assert!(std::fs::read(file).unwrap() == sent(n), "{name} {smp} {append}: {n} bytes");
            }
            let seen = "before\n10 bytes have left\n300000 bytes have left\n70000 bytes have left\n";
            assert_eq!(text, seen, "a person sees nothing of it");
        }
    }
}

#[test]
fn a_trace_that_breaks_off_is_kept_and_the_report_behind_it_is_whole() {
    for (name, append) in WAYS {
        let place = Place::new("breaks", image());
        let (status, text, collected) = place.run("a_trace_breaks_off_and_another_follows", machine(name, "1", append));
        assert_eq!((status, &text[..]), (1, "it breaks off\n"), "{name} {append}");
        let (broken, whole) = (place.file("sender.1.trefoil"), place.file("sender.trefoil"));
        assert_eq!(collected.whole.as_slice(), std::slice::from_ref(&whole), "{name} {append}");
        let (file, bytes) = &collected.broken[0];
        assert_eq!(*file, broken);
        // The buffer's last bytes were with the owner that stopped.
        assert!((100_000..=200_000).contains(bytes), "{bytes}");
        assert!(sent(300_000).starts_with(&std::fs::read(broken).unwrap()));
        assert!(std::fs::read(whole).unwrap() == sent(80_000));
    }
}

#[test]
fn a_machine_that_is_killed_leaves_what_it_has_sent() {
    for append in [FASTEST, SERIAL] {
        let place = Place::new("killed", image());
        let settings = Settings { timeout: Duration::from_secs(5), ..machine("q35", "1", append) };
        let (status, text, collected) = place.run("a_trace_breaks_off_and_the_machine_goes_on", settings);
        assert_eq!(status, run::EXIT_TIMEOUT, "{text}");
        assert_eq!((collected.whole, collected.broken), (vec![], vec![(place.file("sender.trefoil"), 200_000)]));
        // Nothing of the run before is left.
        let (status, text, collected) = place.run("nothing_leaves", machine("q35", "1", append));
        assert_eq!((status, collected), (0, Collected::default()), "{text}");
        assert_eq!(std::fs::read_dir(place.file("")).unwrap().count(), 0);
    }
}

#[test]
fn an_image_without_a_recorder_is_named() {
    let me = std::env::current_exe().unwrap();
    let mut settings = machine("q35", "1", FASTEST);
    assert!(Collector::of(&me, &mut settings).unwrap().is_none() && settings.trace.is_none());
}
