"""Reads the kernel's records by the names of their fields, wherever these lie.

Names of types and fields come from the image's debug information. If the kernel has changed, an
error names the field that is missing. What debug information does not have, the meaning of bits in
a word, stands at the end of this file with the place where the kernel defines it.
"""

import re

import gdb

# Types that only wrap a value: cells, atomics and the like.
WRAPPER = re.compile(r"^(?:core::|crossbeam_utils::|trefoil_sched::machine::sync::)\S*?"
                     r"\b(?:UnsafeCell|Cell|Atomic\w*|CachePadded|NonNull|ManuallyDrop|MaybeDangling|MaybeUninit)(?:<|$)")
STRUCTS = (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)


def no_debug_info(what):
    return gdb.GdbError(f"the image has no debug information on `{what}`: build it with `debug = \"full\"` in the "
                        "profile. (If it has, this cargo-trefoil does not fit the image's kernel.)")


def lookup(name):
    """The type `name`."""
    try:
        return gdb.lookup_type(name)
    except gdb.error:
        raise no_debug_info(name)


def static(name):
    """The value of the static `name`."""
    symbol = gdb.lookup_static_symbol(name) or gdb.lookup_global_symbol(name)
    if symbol is None:
        raise no_debug_info(name)
    return symbol.value()


def at(type_name, address):
    """The record of a type that lies at an address."""
    pointer = lookup(type_name).pointer()
    return gdb.Value(int(address) & (1 << 64) - 1).cast(pointer).dereference()


def step(value, name):
    """The field `name` of a record, without wrappers around the record or the field."""
    value = bare(value)
    member(value.type.strip_typedefs(), name)
    return bare(value[name])


def member(type_, name):
    """The field `name` of a type."""
    found = [field for field in type_.fields() if field.name == name] if type_.code in STRUCTS else []
    if not found:
        raise gdb.GdbError(f"`{type_}` has no field `{name}`: this cargo-trefoil does not fit the image's kernel. "
                           "Use the cargo-trefoil of the same version")
    return found[0]


def unwrapped(type_, at=0):
    """A type without wrappers, and where it lies in them."""
    type_ = type_.strip_typedefs()
    while type_.code in STRUCTS and WRAPPER.match(type_.name or ""):
        inside = [field for field in type_.fields() if field.type.sizeof > 0]
        if len(inside) != 1:
            break
        type_, at = inside[0].type.strip_typedefs(), at + inside[0].bitpos // 8
    return type_, at


def place(type_, path):
    """Where the bytes of the field at a path lie in a record of this type: a slice."""
    type_, at_ = unwrapped(type_)
    for name in path.split("."):
        found = member(type_, name)
        type_, at_ = unwrapped(found.type, at_ + found.bitpos // 8)
    return slice(at_, at_ + type_.sizeof)


def field(value, path):
    """The field at a path of names: `field(p, "slot.next")`."""
    for name in path.split("."):
        value = step(value, name)
    return value


def bare(value):
    """The value inside of cells, atomics and other wrappers."""
    while True:
        type_ = value.type.strip_typedefs()
        if type_.code not in STRUCTS or not WRAPPER.match(type_.name or ""):
            return value
        inside = [field for field in type_.fields() if field.type.sizeof > 0]
        if len(inside) != 1:
            return value
        value = value[inside[0]]


def number(value):
    """A word: a number, a pointer, or an enum of that size, such as `Option<&G>`."""
    value = bare(value)
    type_ = value.type.strip_typedefs()
    if type_.code in STRUCTS:
        fields = [field for field in type_.fields() if field.type.sizeof > 0]
        if len(fields) == 1 and fields[0].type.sizeof == type_.sizeof and "Option<" not in (type_.name or ""):
            # A newtype.
            return number(value[fields[0]])
        if value.address is None or type_.sizeof > 8:
            raise gdb.GdbError(f"`{type_}` is not one word")
        memory = gdb.selected_inferior().read_memory(int(value.address), type_.sizeof)
        return int.from_bytes(bytes(memory), "little")
    return int(value) & (1 << 8 * type_.sizeof) - 1


def word(value, path):
    """The word at a path of names."""
    return number(field(value, path))


def variant(type_name, value):
    """The name of a number in an enum without fields."""
    for field in lookup(type_name).fields():
        if field.enumval == value:
            return field.name.rsplit("::", 1)[-1]
    return str(value)


def words_of(name):
    """`RwLockRead` as `rw lock read`: for names that have no words of their own below."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


# --- The meaning of bits. Names and values as in the kernel.

# sched/src/g/state.rs: the bits above the state are the recorder's.
STATE = 15

# sched/src/g/record.rs: the number of a G in a life; code that runs on no G.
LIFE_SHIFT = 3
OUTSIDE = 1 << 63

# sched/src/g/reason.rs, `as_str`.
REASONS = {
    "ChanSend": "chan send", "ChanRecv": "chan receive", "Mutex": "mutex lock", "WaitGroup": "waitgroup wait",
    "Join": "join", "Sleep": "sleep", "Select": "select", "SelectNoCases": "select (no cases)",
    "RwLockRead": "rwlock read", "RwLockWrite": "rwlock write", "Condvar": "condvar wait", "Once": "once",
    "Semaphore": "semaphore acquire", "Barrier": "barrier wait", "Scope": "scope end", "Input": "input",
    "Output": "console output", "Task": "future",
}

# sched/src/stack/page.rs: page-table entries.
PRESENT, LIMBO, PACKED = 1, 1 << 9, 1 << 10

# kernel/src/mm/stack/packed.rs: where the bytes of a packed page lie, in its entry.
AT_SHIFT, LEN_SHIFT, ALIGN, UPPER = 12, 55, 16, 0xffff_8000_0000_0000
# The most bytes of a packed page; and the pages of a packed table that have an entry.
MOST, TOPS = 2048, (63, 127, 191, 255, 319, 383, 447, 511)

# kernel/src/arch/x86_64/percpu.rs: `depth` without the mark that nothing is pending.
DEPTH = (1 << 31) - 1

# sched/src/api/locks/rwlock/raw/word.rs.
WRITER, READER, READERS, SUM_SHIFT = 2, 8, (1 << 28) - 8, 28

# sched/src/api/locks/waitgroup.rs.
WAITGROUP_ONE = 2

# sched/src/api/chan/parcel.rs: larger values lie in boxes of their own.
LARGE = 128

# sched/src/api/join/word.rs.
JOIN = {0: "running", 1: "ended", 2: "abandoned"}
JOIN_BY_TOKEN = 4
