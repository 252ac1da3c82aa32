"""The commands."""

import contextlib

import gdb

from . import layout
from .cores import M, P, Selected, cores, goroutine_of, running, select_frame, selected_g
from .goroutines import Goroutine, find, find_by_name, living, sched
from .layout import at, field, word
from .stacks import Place, Stack

# Goroutines whose place is looked up, one by one, by `info goroutines`.
PLACES = 200


def table(rows):
    """Prints rows of texts in columns. The last column may be long."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row[:-1], widths)]
        print("  ".join(cells + [row[-1]]).rstrip())


class Standing:
    """A goroutine with the core that runs it, if one does, or else with its stack. `looks`: the stack is looked at."""

    def __init__(self, g, on, looks=True):
        self.g = g
        self.core = on.get(g.address)
        self.stack, self.error = None, None
        if not looks or self.core:
            return
        if not g.has_saved_registers():
            self.error = f"on its way from one core to another ({g.state}): step the machine on, and ask again"
            return
        try:
            self.stack = Stack(g)
        except (gdb.error, gdb.GdbError) as error:
            self.error = str(error)

    def show(self):
        """Shows gdb this goroutine, until the result's end."""
        if self.core:
            self.core.thread.switch()
            return contextlib.nullcontext()
        if self.stack is None:
            raise gdb.GdbError(f"{self.g.title()}: {self.error}")
        return self.stack.view()

    def run(self, action):
        """Does something while gdb is shown this goroutine."""
        with Selected(), self.show():
            return action()

    def state(self, place=None):
        g = self.g
        if self.core:
            return f"running on core {self.core.index}"
        if g.is_parked():
            return f"waiting [{g.reason()}]" + (", packed" if self.stack and self.stack.is_packed else "")
        text = layout.words_of(g.state)
        return text + (", preempted" if place and place.was_preempted else "")

    def place(self):
        if self.core or self.stack:
            return self.run(Place)
        return None

    def title(self, place):
        return f"{self.g.title()}: {self.state(place)}"


class InfoGoroutines(gdb.Command):
    """Lists the goroutines: number, state, name, and where in the program each stands.
The selected goroutine, or else that of the selected core, has a star."""

    def __init__(self):
        super().__init__("info goroutines", gdb.COMMAND_STATUS)

    def invoke(self, _, from_tty):
        selected = selection.id()
        with selection.aside():
            on, mine = running(), selected_g()
            rows, gs = [["", "id", "state", "name", "stands in"]], living()
            for count, g in enumerate(gs):
                standing = Standing(g, on, looks=count < PLACES)
                place = standing.place() if count < PLACES else None
                star = g.id == selected if selected else g.address == mine
                rows.append(["*" if star else "", str(g.id), standing.state(place), g.name() or "-",
                             place.text if place else standing.error or "-"])
        table(rows)
        if len(gs) > PLACES:
            print(f"(places of the first {PLACES} only; `goroutine N bt` shows any)")


class GoroutineCommand(gdb.Command):
    """goroutine N COMMAND: does a command as seen from goroutine N.
goroutine all COMMAND: the same from each of them.
goroutine N: selects goroutine N, and its innermost frame of the program, until the machine goes on.
goroutine off: selects the core again.
A name stands for the first goroutine that has it.
    goroutine 3 bt
    goroutine 3
    info locals
Registers that a call may destroy are unavailable where a goroutine has called the scheduler."""

    def __init__(self):
        super().__init__("goroutine", gdb.COMMAND_STACK)

    def invoke(self, words, from_tty):
        which, _, command = words.strip().partition(" ")
        if which == "off":
            selection.leave()
        elif which == "all" and command:
            self.each(command)
        elif which and which != "all":
            g = find(int(which)) if which.isdigit() else find_by_name(which)
            try:
                self.one(g, command)
            except gdb.error as error:
                raise gdb.GdbError(str(error))
        else:
            raise gdb.GdbError("goroutine wants a number, a name or `all`, and a command: goroutine 3 bt")

    def one(self, g, command):
        if not command:
            return self.select(g)
        with selection.aside():
            temporarily(Standing(g, running()), command)

    @staticmethod
    def each(command):
        with selection.aside():
            on = running()
            for g in living():
                standing = Standing(g, on)
                print(standing.title(standing.place()))
                try:
                    temporarily(standing, command)
                except (gdb.error, gdb.GdbError) as error:
                    print(error)
                print()

    @staticmethod
    def select(g):
        selection.leave()
        standing = Standing(g, running())
        place = standing.place()
        selection.enter(standing)
        print(standing.title(place))
        if place:
            select_frame(place.level)
            gdb.execute("frame")


def temporarily(standing, command):
    """Does a command as seen from a goroutine."""
    def act():
        selection.is_temporary = standing.core is None
        try:
            gdb.execute(command, from_tty=False)
        finally:
            selection.is_temporary = False
    standing.run(act)


class Selection:
    """The goroutine that `goroutine N` has selected. It ends when the machine goes on."""

    def __init__(self):
        self.standing = None
        self.open = None
        self.is_temporary = False

    def id(self):
        return self.standing.g.id if self.standing else None

    def enter(self, standing):
        stack = contextlib.ExitStack()
        if not standing.core:
            stack.enter_context(Selected())
        stack.enter_context(standing.show())
        self.standing, self.open = standing, stack

    def leave(self):
        if self.open:
            self.open.close()
        self.standing = self.open = None

    @contextlib.contextmanager
    def aside(self):
        """Puts the selection aside, and takes it up again in the end."""
        standing = self.standing
        if standing is None or standing.core:
            yield
            return
        level = gdb.selected_frame().level()
        self.leave()
        try:
            yield
        finally:
            self.enter(standing)
            select_frame(level)

    def goes_on(self):
        """Before the machine goes on, or another core is selected."""
        if self.is_temporary:
            raise gdb.GdbError("the machine goes on from where its cores are, not from a goroutine that does not run: "
                               "use the command alone")
        self.leave()


selection = Selection()

class GoesOn(gdb.Command):
    """Ends the selection of a goroutine. Runs by itself before each command after which the machine goes on."""

    NAME = "trefoil-goes-on"

    def __init__(self):
        super().__init__(self.NAME, gdb.COMMAND_OBSCURE)

    def invoke(self, _, from_tty):
        selection.goes_on()


# Commands before which the selection ends.
GO_ON = ("continue", "step", "next", "stepi", "nexti", "finish", "until", "advance", "jump", "kill", "detach", "thread")


class InfoPs(gdb.Command):
    """Lists the P's, the rights to run goroutines: holder, waiting goroutines, and the one that runs next."""

    def __init__(self):
        super().__init__("info ps", gdb.COMMAND_STATUS)

    def invoke(self, _, from_tty):
        holders = {word(at(M, core.m), "p"): core for core in cores() if core.m}
        rows = [["p", "held by", "queue", "slot"]]
        all_ps, count = field(sched(), "ps"), word(sched(), "rest.ps")
        start, length = word(all_ps, "data_ptr"), word(all_ps, "length")
        size = layout.lookup(P).sizeof
        for i in range(length):
            p = at(P, start + i * size)
            p.fetch_lazy()
            holder = holders.get(start + i * size)
            held = f"M {holder.index}" if holder else ("nobody" if i < count else "nobody: beyond max_procs")
            queued = (word(p, "runq.tail") - word(p, "runq.head")) & 0xffff_ffff
            next_ = word(p, "slot.next")
            rows.append([str(i), held, str(queued), Goroutine(next_).title() if next_ else "-"])
        table(rows)
        print(f"global queue: {word(sched(), 'globq.len')}")


class InfoMs(gdb.Command):
    """Lists the M's, one a core: gdb's thread, P, goroutine, and what the core does.
The M of the selected thread has a star."""

    def __init__(self):
        super().__init__("info ms", gdb.COMMAND_STATUS)

    def invoke(self, _, from_tty):
        ps = {}
        all_ps = field(sched(), "ps")
        start, length = word(all_ps, "data_ptr"), word(all_ps, "length")
        for i in range(length):
            ps[start + i * layout.lookup(P).sizeof] = str(i)
        rows, mine = [["", "m", "thread", "p", "goroutine", "does"]], gdb.selected_thread()
        for core in cores():
            mark = "*" if core.thread == mine else ""
            g = goroutine_of(core)
            p = word(at(M, core.m), "p") if core.m else 0
            rows.append([mark, str(core.index), str(core.thread.num), "-" if p == 0 else ps.get(p, "its own"),
                         g.title() if g else "-", self.does(core, g)])
        table(rows)

    @staticmethod
    def does(core, g):
        if not core.m:
            return "starts"
        if word(at(M, core.m), "resting_since") != (1 << 64) - 1:
            text = "rests"
        elif g is None:
            text = "looks for work"
        else:
            text = "runs it"
        depth = core.depth()
        text += f", preemption off ({depth})" if depth and g else ""
        return text + (", in a handler" if core.handlers() else "")


class GoroutineFunction(gdb.Function):
    """$goroutine(N): the record of goroutine N."""

    def __init__(self):
        super().__init__("goroutine")

    def invoke(self, number_):
        return find(int(number_)).record()


def run_to_main(crate):
    """Lets the machine run to the program's `main`: or, where all that leads there was inlined, to the kernel's call."""
    for function in ("__trefoil_main", f"{crate}::main", "trefoil::start::run_main"):
        breakpoints = len(gdb.breakpoints())
        try:
            gdb.execute(f"tbreak -qualified {function}", to_string=True)
        except gdb.error:
            continue
        if len(gdb.breakpoints()) > breakpoints:
            gdb.execute("continue")
            return
    raise gdb.GdbError(f"no `{crate}::main` in the image: has it debug information? The machine stands at its start")


def register():
    InfoGoroutines()
    GoroutineCommand()
    InfoPs()
    InfoMs()
    GoroutineFunction()
    GoesOn()
    for command in GO_ON:
        gdb.execute(f"define hook-{command}\n{GoesOn.NAME}\nend")
