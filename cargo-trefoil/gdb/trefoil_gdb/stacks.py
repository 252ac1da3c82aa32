"""The registers and memory of a goroutine that does not run.

`switch` has pushed six registers and called no one since (context/src/switch.rs):

    saved sp ->  control words, r15, r14, r13, r12, rbx, rbp, return address

A goroutine is shown as it was at its call of `switch`, at that function's first instruction. Then
the return address is on top of the stack, and each register has its caller's value. A preempted
goroutine has called `switch` too, and gdb unwinds on through the frame that the interrupt has laid
(kernel/src/arch/x86_64/preempt.rs): its call frame information says where everything is.
"""

import functools
import re
import struct

import gdb

from . import packed
from .view import View

PUSHED = ("r15", "r14", "r13", "r12", "rbx", "rbp")


@functools.lru_cache(maxsize=1)
def switch():
    """The address of `switch`, which is assembly and has a symbol only."""
    said = gdb.execute(r"info functions ^trefoil_context.*::switch::switch$", to_string=True)
    found = re.search(r"^(0x[0-9a-f]+) ", said, re.MULTILINE)
    if found is None:
        raise gdb.GdbError("the image has no symbol `trefoil_context::switch::switch`: is it stripped?")
    return int(found.group(1), 16)


class Stack:
    """The stack of a goroutine that does not run."""

    def __init__(self, g):
        self.sp = g.saved_sp()
        low, high = g.window()
        if not low <= self.sp < high:
            raise gdb.GdbError(f"no stack to look at: sp 0x{self.sp:x}, window 0x{low:x} to 0x{high:x}")
        self.absent = {}
        self.is_packed = False
        for page in {self.sp & -packed.PAGE, high - packed.PAGE}:
            if not packed.is_present(page):
                found = packed.page(page)
                if found is None:
                    raise gdb.GdbError(f"a page of the stack is not there: 0x{page:x}")
                self.absent[page] = found[0]
                self.is_packed |= found[1]

    def read(self, address, length):
        page = address & -packed.PAGE
        if page in self.absent:
            return self.absent[page][address - page:address - page + length]
        return bytes(gdb.selected_inferior().read_memory(address, length))

    def registers(self):
        words = struct.unpack("<8Q", self.read(self.sp, 64))
        registers = dict(zip(PUSHED, words[1:7]))
        registers["rsp"] = self.sp + 56
        registers["rip"] = switch()
        return registers

    def view(self):
        """Shows gdb this stack."""
        return View(self.registers(), self.absent.items())


# Crates of the runtime and of the language: a place of the program lies outside of them.
RUNTIME = {"trefoil", "trefoil_sched", "trefoil_context", "trefoil_boot", "trefoil_runs", "core", "alloc", "std",
           "unwinding", "gimli", "hashbrown", "compiler_builtins", "crossbeam_utils", "heapless"}
# The most frames that are looked at for a place.
MOST = 60


def crate_of(function):
    """The crate of a function: `trefoil_sched::core::park::park` belongs to trefoil_sched."""
    path = function.lstrip("<&*").split("[", 1)[0]
    return path.split("::", 1)[0].split("<", 1)[0].split(" ", 1)[0]


class Place:
    """Where the goroutine stands that the newest frame belongs to: its innermost frame that is of the program."""

    def __init__(self):
        self.text = "?"
        self.level = 0
        self.was_preempted = False
        frame = gdb.newest_frame()
        for _ in range(MOST):
            if frame is None or not frame.is_valid():
                break
            name = frame.name() or ""
            self.was_preempted |= name.endswith("::preempt_entry")
            if name and crate_of(name) not in RUNTIME and "::" in name:
                self.text, self.level = name + self.line(frame), frame.level()
                break
            frame = frame.older()

    @staticmethod
    def line(frame):
        at = frame.find_sal()
        return f" at {at.symtab.filename}:{at.line}" if at.symtab else ""
