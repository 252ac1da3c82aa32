"""All records of goroutines, and what they say."""

import functools

import gdb

from . import layout
from .layout import at, number, static, variant, word

G = "trefoil_sched::g::record::G"
CHUNK = "trefoil_sched::queue::registry::Chunk"
SCHED = "trefoil_sched::core::shared::Sched"


def sched():
    """The scheduler; an error before there is one."""
    if gdb.selected_thread() is None:
        raise gdb.GdbError("the machine has ended")
    address = number(static("trefoil::scheduler::SCHED"))
    if address == 0:
        raise gdb.GdbError("the scheduler has not started yet: there are no goroutines")
    return at(SCHED, address)


@functools.lru_cache(maxsize=None)
def place(path):
    """Where a field lies in a record."""
    return layout.place(layout.lookup(G), path)


class Goroutine:
    """A goroutine, as its record says. The record is read once, as bytes: a read for each field would be slow where
    there are thousands of goroutines."""

    def __init__(self, address, memory=None):
        self.address = address
        if memory is None:
            memory = bytes(gdb.selected_inferior().read_memory(address, layout.lookup(G).sizeof))
        self.memory = memory
        self.life = self.word("life")
        self.id = self.life >> layout.LIFE_SHIFT
        self.state = variant("trefoil_sched::g::state::State", self.word("state") & layout.STATE)

    def word(self, path):
        return int.from_bytes(self.memory[place(path)], "little")

    def record(self):
        """The record as a value of gdb's."""
        return at(G, self.address)

    def is_alive(self):
        return self.state not in ("Idle", "Dead") and self.life & layout.OUTSIDE == 0

    def is_parked(self):
        return self.state in ("Waiting", "Cold", "Scan")

    def has_saved_registers(self):
        """It does not run, and is not on its way off a core."""
        return self.is_parked() or self.state in ("Runnable", "ScanReady")

    def name(self):
        return self.memory[place("name.bytes")][:self.word("name.len")].decode("utf-8", "replace")

    def reason(self):
        """Why it waits, in Go's words."""
        name = variant("trefoil_sched::g::reason::WaitReason", self.word("reason"))
        return layout.REASONS.get(name) or layout.words_of(name)

    def waits_for(self):
        return self.word("waits_for")

    def saved_sp(self):
        return self.word("sp")

    def window(self):
        """The lowest address of its stack's window, and the end."""
        return self.word("stack.lo"), self.word("stack.hi")

    def title(self):
        name = self.name()
        return f'G {self.id} "{name}"' if name else f"G {self.id}"


def every():
    """All goroutines whose records were ever made, free ones included."""
    chunk_type, size = layout.lookup(CHUNK), layout.lookup(G).sizeof
    records, next_ = layout.place(chunk_type, "gs"), layout.place(chunk_type, "next")
    chunk = word(sched(), "registry.head")
    while chunk != 0:
        memory = bytes(gdb.selected_inferior().read_memory(chunk, chunk_type.sizeof))
        for begin in range(records.start, records.stop, size):
            yield Goroutine(chunk + begin, memory[begin:begin + size])
        chunk = int.from_bytes(memory[next_], "little")


def living():
    """All goroutines that live, by number."""
    return sorted((g for g in every() if g.is_alive()), key=lambda g: g.id)


def find(number_):
    """The goroutine with this number."""
    for g in every():
        if g.id == number_ and g.is_alive():
            return g
    raise gdb.GdbError(f"there is no goroutine {number_}: `info goroutines` lists them")


def find_by_name(name):
    """The first goroutine with this name."""
    for g in living():
        if g.name() == name:
            return g
    raise gdb.GdbError(f"there is no goroutine of the name {name}: `info goroutines` lists them")


def title_of_life(life):
    """The name of the goroutine that a lock's word names."""
    if life & layout.OUTSIDE:
        return "code on no goroutine"
    return f"G {life >> layout.LIFE_SHIFT}"
