"""All records of goroutines, and what they say."""

import gdb

from . import layout
from .layout import at, field, number, static, variant, word

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


class Goroutine:
    """A goroutine, as its record says. The record is read once, at the creation of this object."""

    def __init__(self, record):
        self.record = record
        self.address = int(record.address)
        self.life = word(record, "life")
        self.id = self.life >> layout.LIFE_SHIFT
        self.state = variant("trefoil_sched::g::state::State", word(record, "state"))

    def is_alive(self):
        return self.state not in ("Idle", "Dead") and self.life & layout.OUTSIDE == 0

    def is_parked(self):
        return self.state in ("Waiting", "Cold", "Scan")

    def has_saved_registers(self):
        """It does not run, and is not on its way off a core."""
        return self.is_parked() or self.state in ("Runnable", "ScanReady")

    def name(self):
        name = field(self.record, "name")
        length, text = word(name, "len"), field(name, "bytes")
        return bytes(int(text[i]) for i in range(min(length, text.type.sizeof))).decode("utf-8", "replace")

    def reason(self):
        """Why it waits, in Go's words."""
        name = variant("trefoil_sched::g::reason::WaitReason", word(self.record, "reason"))
        return layout.REASONS.get(name) or layout.words_of(name)

    def waits_for(self):
        return word(self.record, "waits_for")

    def saved_sp(self):
        return word(self.record, "sp")

    def window(self):
        """The lowest address of its stack's window, and the end."""
        return word(self.record, "stack.lo"), word(self.record, "stack.hi")

    def title(self):
        name = self.name()
        return f'G {self.id} "{name}"' if name else f"G {self.id}"


def every_record():
    """All goroutines' records ever made, free ones included."""
    chunk = word(sched(), "registry.head")
    while chunk != 0:
        value = at(CHUNK, chunk)
        value.fetch_lazy()
        records = field(value, "gs")
        first, last = records.type.range()
        for i in range(first, last + 1):
            yield records[i]
        chunk = word(value, "next")


def living():
    """All goroutines that live, by number."""
    return sorted((g for g in map(Goroutine, every_record()) if g.is_alive()), key=lambda g: g.id)


def find(number_):
    """The goroutine with this number."""
    for record in every_record():
        g = Goroutine(record)
        if g.id == number_ and g.is_alive():
            return g
    raise gdb.GdbError(f"there is no goroutine {number_}: `info goroutines` lists them")


def find_by_name(name):
    """The first goroutine with this name."""
    for g in living():
        if g.name() == name:
            return g
    raise gdb.GdbError(f"there is no goroutine of the name {name}: `info goroutines` lists them")


def of_address(address):
    """The goroutine whose record lies at an address."""
    return Goroutine(at(G, address))


def title_of_life(life):
    """The name of the goroutine that a lock's word names."""
    if life & layout.OUTSIDE:
        return "code on no goroutine"
    return f"G {life >> layout.LIFE_SHIFT}"
