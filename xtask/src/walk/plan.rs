//! The exceptions: commands that run as something shorter, and those that every test run takes.

/// The words of the pages that stand for others, and a case of them.
pub const PLACEHOLDERS: [(&str, &str); 6] = [
    ("--path trefoil/cargo-trefoil", "--path cargo-trefoil"),
    ("--test NAME", "--test quiet"),
    ("APP=NAME", "APP=hello"),
    ("< FILE", "< README.md"),
    ("0xffffffff80…", "0xffffffff80201000"),
    ("-e image", "-e target/debug/examples/hello 0xffffffff80201000"),
];

/// Commands that `cargo test` runs as well: quick ones, of each sort.
pub const QUICK: [&str; 4] =
    ["make help", "make run", "printf 'hello\\nnobody holds a core\\n' | make run APP=fair", "make run APP=overflow"];

/// A command that runs as another one: as it stands, it takes too long, wants a person, or changes
/// more than its folder.
#[derive(Debug)]
pub struct Exception {
    /// The command on the page, with its placeholders filled in.
    pub text: &'static str,
    /// The command that runs.
    pub runs: &'static str,
    /// The reason.
    pub why: &'static str,
}

const fn runs(text: &'static str, runs: &'static str, why: &'static str) -> Exception {
    Exception { text, runs, why }
}

/// Every exception.
pub const EXCEPTIONS: [Exception; 23] = [
    runs(
        "make test-large",
        "cargo test --release --package trefoil --test corners",
        "minutes and gigabytes: its first part is enough",
    ),
    runs(
        "cargo trefoil new ../my-app && cd ../my-app",
        "rm -r ../my-app && cargo trefoil new ../my-app && cd ../my-app",
        "README's app lies there",
    ),
    runs(
        "cargo trefoil run target/debug/my-app",
        "cargo build --package trefoil --example hello && cargo trefoil run target/debug/examples/hello",
        "the app stands for any program",
    ),
    runs("make test", "make -n test", "a quarter of an hour; its parts stand on the pages, too"),
    runs("cargo test", "cargo test -p trefoil-runs", "the same"),
    runs("cargo test -p trefoil", "cargo test -p trefoil --test sched -- storm", "the same"),
    runs("cargo test -p xtask", "cargo test -p xtask --lib", "its tests run this walk"),
    runs(
        "cargo test -p trefoil-sched -p trefoil-boot -p cargo-trefoil -p xtask",
        "cargo test -p trefoil-sched -p trefoil-boot -p cargo-trefoil -p xtask --lib",
        "the same",
    ),
    runs("make compare-programs", "make compare-programs ONLY=pmutex ROUNDS=1", "ten minutes"),
    runs("make compare-programs SIDE=trefoil", "make compare-programs SIDE=trefoil ONLY=pmutex ROUNDS=1", "minutes"),
    runs("cargo xtask figures", "make figures", "the target does nothing else"),
    runs(
        "make run APP=million MEM=1536M ARGS=\"packed\"",
        "make run APP=million MEM=1536M ARGS=\"n=10000 packed\"",
        "half a minute and 1.5 GB",
    ),
    runs(
        "cargo run --example skynet -- 1000000",
        "cargo run --example skynet -- 10000",
        "minutes, without optimisation",
    ),
    runs("make debug APP=hello", "printf 'info threads\\n' | make debug APP=hello", "a person types to gdb"),
    runs("make debug", "printf 'info threads\\n' | make debug", "the same"),
    runs(
        "APPEND=schedtrace=100 make run APP=fair",
        "(sleep 3; echo hello) | APPEND=schedtrace=100 make run APP=fair",
        "a person types; the first line comes after a tenth of a second",
    ),
    runs(
        "cargo install --path cargo-trefoil",
        "cargo install --path cargo-trefoil --root target/installed",
        "it would change the reader's own tools",
    ),
    runs("cargo run", "cargo trefoil new ../run-app && cd ../run-app && cargo run", "it is said of an app"),
    runs("cargo test --doc", "cargo test --doc -p trefoil-sched", "the others stand on the pages, too"),
    runs("make sample", "make sample APP=programs ARGS=pmatmul", "the program that it takes ends at once"),
    runs("make test-walk", "make test-walk ONLY='make help'", "it is this walk"),
    runs("cargo test -p xtask --test walk", "cargo test -p xtask --test walk every", "the same"),
    runs("make test-loom", "make test-loom MODELS=loom_park", "three minutes"),
];
