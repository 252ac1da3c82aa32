"""Goroutines, P's and M's of a Trefoil machine, for gdb. `cargo trefoil debug` loads this package.

    info goroutines          every live goroutine: state, name, and where it stands
    goroutine N CMD          CMD as seen from goroutine N: bt, frame 3, print x, ...
    goroutine all CMD        the same from each of them
    goroutine N              selects goroutine N, until the machine goes on
    info ps, info ms         the scheduler's processors and machines (cores)
    $goroutine(N)            the record of a goroutine

    module      its idea
    layout      reads the kernel's records by the names of their fields
    goroutines  all records of goroutines, and what they say
    cores       which M and which goroutine each gdb thread (a core) runs
    stacks      the registers and memory of a goroutine that does not run
    packed      the bytes of a packed stack
    view        shows those to gdb in place of a core's own
    commands    the commands
    printers    channels, locks and goroutines in `print`

Nothing here writes to the machine.
"""

import sys

sys.dont_write_bytecode = True

from . import commands, printers

commands.register()
printers.register()
