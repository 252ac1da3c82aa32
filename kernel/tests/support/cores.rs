//! For images that compare what the machine has, or does, with all of its cores there.

use trefoil::prelude::*;

/// Waits until all cores have come. (`main` does not wait for them, but some cases do.)
pub fn wait_for_cores() {
    while runtime::cpus_started() < runtime::max_procs() {
        time::sleep(Duration::from_millis(1));
    }
}
