//! Boots of `kernel/tests/recorded.rs`, for the tests of their traces.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cargo_trefoil::qemu::Settings;
use cargo_trefoil::run;
use cargo_trefoil::trace::{Trace, names};

#[path = "../images/mod.rs"]
pub mod images;

/// Builds the image.
pub fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| images::build("recorded"))
}

/// Boots `case`, and returns the bytes that came by the port.
pub fn boot(case: &str, smp: &str, append: &str, icount: bool) -> Vec<u8> {
    static BOOTS: AtomicU32 = AtomicU32::new(0);
    let number = BOOTS.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("trefoil-boots-{}-{number}", std::process::id()));
    let settings = Settings {
        memory: "256M".into(),
        smp: smp.into(),
        append: append.into(),
        timeout: Duration::from_secs(60),
        trace: Some(file.clone()),
        icount,
        ..Settings::default()
    };
    let mut out = Vec::new();
    let status = run::run(image(), &[case.into()], &settings, &mut out).unwrap();
    assert_eq!(status, 0, "{case} {smp} {append}: {}", String::from_utf8_lossy(&out));
    let bytes = std::fs::read(&file).expect("a stream");
    let _ = std::fs::remove_file(file);
    bytes
}

/// Boots `case` and returns its trace, with the names of the image.
pub fn named(case: &str, smp: &str, append: &str, icount: bool) -> Trace {
    let bytes = names::add(&boot(case, smp, append, icount), image()).unwrap();
    Trace::parse(&bytes).unwrap()
}
