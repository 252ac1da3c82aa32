//! The kit for tests that need the machine.
//!
//! A test image is an ordinary program whose `main` runs the case that its word names. The list of
//! cases says how each case is booted, and what must come of it. The macro puts the list into the
//! image; the runner reads it there, and boots the image once for each boot and number of cores:
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
//! Fields: `smp 1,2,4` · `exit N` · `expect TEXT` · `refuse TEXT` · `shape LINE` (every line looks
//! like this, `#` for a number) · `lines N` (so many) · `in-order` (what is expected comes in this
//! order) · `machine pc` · `mem 64M` · `append OPTIONS` · `input FILE` · `stdin TEXT` · `stdin
//! later TEXT` · `stdin flood BYTES` · `stdin paced BYTES` · `cpu MODEL` · `timeout SECONDS` ·
//! `large` (runs alone, and only with `--ignored`) · `icount` · `free-cores N` (compares times:
//! runs alone, and only if the host has so many cores free). After each case the kit compares the
//! machine's account with that at the start of `main`: G's, timers, frames, stack pages, heap
//! bytes. A case that leaves anything behind fails, and says what. (A case that ended a G where it
//! stood is let off the heap's bytes and the timers: those of the dead are leaked by definition.)
//!
//! With `icount` the cores take turns by counted instructions, so that what compares times does not
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

        trefoil::main!(main);

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
