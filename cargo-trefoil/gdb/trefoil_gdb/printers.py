"""Channels, locks and goroutines in `print`.

    (gdb) print shown.full
    $1 = receiver(len=2, cap=3) = {10, 11}
    (gdb) print *mutex
    $2 = mutex(locked by G 1, 1 waits) = {value = 41}
"""

import re

import gdb

from . import layout
from .goroutines import Goroutine, title_of_life
from .layout import bare, field, number, word

# Waiters of one list that are counted, and values of one channel that are shown.
MOST = 100_000
SHOWN = 200


def waiters(queue):
    """The number of goroutines in a `WaitQueue`."""
    count, node = 0, word(queue, "head")
    while node != 0 and count < MOST:
        count += 1
        node = word(layout.at("trefoil_sched::g::waiter::Waiter", node), "next")
    return count


def wait(count, who=""):
    """`1 waits`, `2 receivers wait`."""
    who = f" {who}{'s' if count != 1 else ''}" if who else ""
    return [f"{count}{who} {'waits' if count == 1 else 'wait'}"] if count else []


def text(kind, facts):
    return f"{kind}({', '.join(facts)})"


class Printer:
    """Fails by an error in the text: one value that can't be read does not end a long `print`."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        try:
            return self.describe()
        except (gdb.error, gdb.GdbError) as error:
            return f"<{error}>"


class Channel(Printer):
    """A sender or a receiver: the channel behind it, with its values."""

    def exchange(self):
        value_type = self.value.type.strip_typedefs().template_argument(0)
        # `Arc` leads to its block, and that to `Shared`.
        shared = field(field(self.value, "__0.ptr").dereference(), "data")
        side = "large" if value_type.sizeof > layout.LARGE else "small"
        return field(shared, f"channel.__0.{side}")

    def describe(self):
        kind = "sender" if "::sender::" in self.value.type.strip_typedefs().name else "receiver"
        exchange = self.exchange()
        state = field(exchange, "state.value")
        if word(state, "start") == 0:
            capacity = ["unbounded"]
        else:
            capacity = [f"cap={word(exchange, 'slots.length')}"]
        closed = ["closed"] if word(state, "closed") else []
        return text(kind, [f"len={word(state, 'len')}"] + capacity + closed
                    + wait(waiters(field(state, "recvq")), "receiver") + wait(waiters(field(state, "sendq")), "sender"))

    def children(self):
        """The values, the oldest first: all of a ring, or the rest of the first block of an unbounded channel."""
        exchange = self.exchange()
        state, slot = field(exchange, "state.value"), field(exchange, "slots.data_ptr").type
        at, end, start = word(state, "read"), word(state, "read_end"), word(state, "start")
        for i in range(min(word(state, "len"), SHOWN)):
            if at == end:
                if start == 0:
                    return
                at = start
            value = bare(gdb.Value(at).cast(slot).dereference())
            yield str(i), bare(value["value"]) if value.type.code == gdb.TYPE_CODE_UNION else value
            at += slot.target().sizeof

    def display_hint(self):
        return "array"


class Lock(Printer):
    """A lock with a value."""

    def children(self):
        yield "value", field(self.value, "value")


class Mutex(Lock):
    """A mutex: its owner, and its waiters."""

    def describe(self):
        owner = word(self.value, "raw.word") >> layout.LIFE_SHIFT << layout.LIFE_SHIFT
        state = f"locked by {title_of_life(owner)}" if owner else "free"
        return text("mutex", [state] + wait(waiters(field(self.value, "raw.waiters.value.list")))
                    + poisoned(self.value))


class RwLock(Lock):
    """A lock for readers and writers."""

    def describe(self):
        bits, lists = word(self.value, "raw.word"), field(self.value, "raw.lists.value")
        readers = (bits & layout.READERS) // layout.READER
        if bits & layout.WRITER:
            state = f"written by {title_of_life(bits >> layout.LIFE_SHIFT << layout.LIFE_SHIFT)}"
        elif readers == 1:
            state = f"read by G {bits >> layout.SUM_SHIFT}"
        else:
            state = f"read by {readers}" if readers else "free"
        return text("rwlock", [state] + wait(waiters(field(lists, "readers")), "reader")
                    + wait(waiters(field(lists, "writers")), "writer") + poisoned(self.value))


def poisoned(lock):
    return ["poisoned"] if word(lock, "raw.poison.__0") else []


class WaitGroup(Printer):
    """A wait group: what is left to do."""

    def describe(self):
        left = word(self.value, "word") // layout.WAITGROUP_ONE
        return text("waitgroup", [f"{left} to do"] + wait(waiters(field(self.value, "waiters.value"))))


class JoinHandle(Printer):
    """A handle: its goroutine, and whether that has ended."""

    def describe(self):
        cell = number(field(self.value, "cell.__0").dereference())
        state = layout.JOIN.get(cell) or "joined by " + Goroutine(cell & ~layout.JOIN_BY_TOKEN).title()
        return text("handle", [f"G {word(self.value, 'g')}", state])


class State(Printer):
    """The state of a goroutine."""

    def describe(self):
        return layout.variant("trefoil_sched::g::state::State", number(self.value["__0"]) & layout.STATE)


class Name(Printer):
    """The name of a goroutine."""

    def describe(self):
        return bytes(int(self.value["bytes"][i]) for i in range(int(self.value["len"]))).decode("utf-8", "replace")

    def display_hint(self):
        return "string"


class Record(Printer):
    """A goroutine's record, in a line. `print/r` shows its fields."""

    def describe(self):
        g = Goroutine(int(self.value.address))
        state = f"waiting [{g.reason()}] for 0x{g.waits_for():x}" if g.is_parked() else layout.words_of(g.state)
        return f"{g.title()}: {state}"


PRINTERS = {
    r"trefoil_sched::api::chan::(sender::Sender|receiver::Receiver)<.*>": Channel,
    r"trefoil_sched::api::locks::mutex::Mutex<.*>": Mutex,
    r"trefoil_sched::api::locks::rwlock::RwLock<.*>": RwLock,
    r"trefoil_sched::api::locks::waitgroup::WaitGroup": WaitGroup,
    r"trefoil_sched::api::join::JoinHandle<.*>": JoinHandle,
    r"trefoil_sched::g::record::G": Record,
    r"trefoil_sched::g::state::GState": State,
    r"trefoil_sched::g::name::Name": Name,
}


def printer(value):
    type_ = value.type.strip_typedefs()
    if type_.code in layout.STRUCTS:
        for pattern, class_ in PRINTERS.items():
            if re.fullmatch(pattern, type_.name or ""):
                return class_(value)
    return None


def register():
    printer.name = "trefoil"
    printer.enabled = True
    gdb.pretty_printers.insert(0, printer)
