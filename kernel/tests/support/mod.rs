//! The kit for tests that need the machine.
//!
//! A test image is an ordinary program whose `main` runs the case that its word names. The list of
//! cases says how each case is booted, and what must come of it. The macro puts the list into the
//! image. The runner reads it there, and boots the image once for each boot and number of cores:
//!
//! ```text
//!   image! {
//!       join_gives_the_value;                             smp 1, 2 and 4, exit 0: the defaults
//!       divide_error: "smp 1 | exit 1 | expect #DE";      one core, a failing exit, this text
//!       storm: "", "append slice=50";                     two boots: the defaults, and an option
//!       ? nobody: "exit 1";                               a boot whose case does not exist
//!   }
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `smp 1,2,4` | one boot for each of these numbers of cores |
//! | `machine pc`, `cpu MODEL`, `mem 64M` | QEMU's machine, processor and memory (256M unless told) |
//! | `qemu ARGS` | more arguments for QEMU |
//! | `append OPTIONS` | words for the kernel's command line |
//! | `input FILE` | the initial RAM disk |
//! | `stdin TEXT`, `stdin later TEXT` | typed input, at once or after half a second |
//! | `stdin flood BYTES`, `stdin paced BYTES` | so many bytes, at once or at 115,200 baud |
//! | `exit N` | the exit code of the machine |
//! | `expect TEXT`, `refuse TEXT` | text that must, or must not, be in the output |
//! | `in-order` | the expected texts come in this order |
//! | `shape LINE` | every line looks like this, `#` for a number |
//! | `lines N` | the number of lines |
//! | `reports N` | so many goroutines report their panic or overflow, each in one piece |
//! | `timeout SECONDS` | the time limit (60 unless told) |
//! | `icount` | QEMU counts instructions |
//! | `trace` | the machine has the port for traces; the bytes go nowhere |
//! | `large` | runs alone, and only with `--ignored` |
//! | `free-cores N` | compares times: runs alone, and only if the host has so many cores free |
//!
//! After each case the kit compares the machine's account with that at the start of `main`: G's,
//! timers, frames, stack pages, heap bytes. A case that leaves anything behind fails, and lists it.
//! (A case that ended a G where it stood may leave heap bytes and timers: those of the dead are
//! leaked by definition.)
//!
//! With `icount` the cores take turns by counted instructions, so comparisons of times do not
//! depend on the host. `cargo test -p trefoil --test sched -- steal` runs the boots whose name
//! contains `steal`.

/// Declares a test image: its cases, each with its boots. A case is a function of that name.
#[macro_export]
macro_rules! image {
    (
        $($case:ident $(: $boot:literal $(, $more:literal)*)?;)*
        $(? $nobody:ident: $nobodys:literal;)*
    ) => {
        const TEXT: &[u8] = concat!(
            $(
                stringify!($case), $(" | ", $boot, $("\n", stringify!($case), " | ", $more,)*)? "\n",
            )*
            $(stringify!($nobody), " | ", $nobodys, "\n",)*
        )
        .as_bytes();
        #[used]
        #[unsafe(link_section = ".trefoil.tests")]
        static BOOTS: [u8; TEXT.len()] = {
            let mut bytes = [0; TEXT.len()];
            let mut i = 0;
            while i < bytes.len() {
                bytes[i] = TEXT[i];
                i += 1;
            }
            bytes
        };

        #[trefoil::main]
        fn main() {
            let case = trefoil::runtime::args().last().unwrap_or("");
            let account = trefoil::testing::account::Account::open();
            match case {
                $(stringify!($case) => $case(),)*
                _ => panic!("no such case: {case:?}"),
            }
            if let Err(left) = account.close() {
                panic!("left behind:\n{left}");
            }
        }
    };
}
