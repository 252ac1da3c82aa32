"""Shows gdb the registers and memory of a goroutine, in place of those of the selected core.

The relay of `cargo trefoil debug` between gdb and QEMU does that (cargo-trefoil/src/debug/view.rs).
The machine itself does not change. gdb's own packets read physical memory, which a packed stack
needs.
"""

import re

import gdb

# gdb's numbers of the registers.
NUMBERS = {"rbx": 1, "rbp": 6, "rsp": 7, "r12": 12, "r13": 13, "r14": 14, "r15": 15, "rip": 16}


def packet(text):
    """Sends a packet. Returns the answer."""
    said = gdb.execute(f"maintenance packet {text}", to_string=True)
    answer = re.search(r'^received: "(.*)"', said, re.MULTILINE)
    return answer.group(1) if answer else ""


def forget():
    """Has gdb read registers and memory anew."""
    for command in ("maintenance flush register-cache", "maintenance flush dcache"):
        gdb.execute(command, to_string=True)


def physical(address, length):
    """Physical memory."""
    if packet("Qqemu.PhyMemMode:1") != "OK":
        raise gdb.GdbError("this QEMU does not let gdb read physical memory: version 4.2 or newer does")
    try:
        answer = packet(f"m{address:x},{length:x}")
    finally:
        packet("Qqemu.PhyMemMode:0")
    if len(answer) != 2 * length:
        raise gdb.GdbError(f"physical memory at 0x{address:x} can't be read: {answer}")
    return bytes.fromhex(answer)


class View:
    """While this is open, the selected core has the registers and the memory that are given."""

    def __init__(self, registers, memory):
        self.parts = [f"{NUMBERS[name]:x}={value:x}" for name, value in registers.items()]
        self.parts += [f"@{address:x}={data.hex()}" for address, data in memory]

    def __enter__(self):
        # The relay shows the view to the thread that gdb has asked for last: this one.
        forget()
        gdb.selected_thread().switch()
        gdb.newest_frame().read_register("rsp")
        if packet("qtrefoil.show:" + ";".join(self.parts)) != "OK":
            raise gdb.GdbError("goroutines that do not run can only be seen through `cargo trefoil debug`")
        forget()
        gdb.selected_thread().switch()
        return self

    def __exit__(self, *_):
        packet("qtrefoil.hide")
        forget()
        gdb.selected_thread().switch()
