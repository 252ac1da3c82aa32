"""Which M and which goroutine each gdb thread (a core) runs.

A core's `gs` register leads to its record, and the record to its M. So the order of cores does not
matter.
"""

import gdb

from . import layout
from .goroutines import Goroutine
from .layout import at, word

PER_CPU = "trefoil::arch::x86_64::percpu::PerCpu"
M = "trefoil_sched::core::m::M"
P = "trefoil_sched::core::p::P"


def select_frame(level):
    """Selects a frame of the selected thread, without a word."""
    frame = gdb.newest_frame()
    while frame is not None and frame.level() < level:
        frame = frame.older()
    if frame is not None:
        frame.select()


class Selected:
    """Comes back to the selected thread and frame."""

    def __enter__(self):
        self.thread = gdb.selected_thread()
        try:
            self.level = gdb.selected_frame().level()
        except gdb.error:
            self.level = 0
        return self

    def __exit__(self, *_):
        if self.thread is not None and self.thread.is_valid():
            self.thread.switch()
            select_frame(self.level)


class Core:
    """A gdb thread that is a running core of the machine."""

    def __init__(self, thread, record):
        self.thread = thread
        self.record = record
        self.index = word(record, "index")
        self.m = word(record, "m")
        self.g = word(at(M, self.m), "curg") if self.m else 0

    def handlers(self):
        return word(self.record, "handlers")

    def depth(self):
        return word(self.record, "depth") & layout.DEPTH


def cores():
    """All cores that have come as far as their record, by number."""
    found = []
    with Selected():
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            address = int(gdb.selected_frame().read_register("gs_base")) & (1 << 64) - 1
            if address == 0:
                continue
            try:
                record = at(PER_CPU, address)
                if word(record, "me") == address:
                    found.append(Core(thread, record))
            except gdb.MemoryError:
                pass
    return sorted(found, key=lambda core: core.index)


def running():
    """The cores by the address of the goroutine that they run."""
    return {core.g: core for core in cores() if core.g}


def selected_g():
    """The address of the goroutine that runs on the selected core, or 0."""
    thread = gdb.selected_thread()
    return next((core.g for core in cores() if core.thread == thread), 0)


def goroutine_of(core):
    return Goroutine(core.g) if core.g else None
