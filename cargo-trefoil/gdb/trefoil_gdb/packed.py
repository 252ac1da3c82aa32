"""The bytes of a page of a stack that is packed, or that waits to be given back.

The page's entry in the page tables says where they are (kernel/src/mm/stack/packed.rs,
sched/src/stack/page.rs). The walk reads physical memory: the entries are not present, so no
ordinary read gets there.
"""

import gdb

from . import layout
from .view import physical

PAGE = 4096
FRAME = 0x000f_ffff_ffff_f000


def is_present(address):
    """True if an ordinary read gets the page."""
    try:
        gdb.selected_inferior().read_memory(address, 8)
        return True
    except gdb.MemoryError:
        return False


def block(entry):
    """The bytes that a PACKED entry leads to."""
    where = (entry >> layout.AT_SHIFT & (1 << layout.LEN_SHIFT - layout.AT_SHIFT) - 1) * layout.ALIGN + layout.UPPER
    length = (entry >> layout.LEN_SHIFT) * layout.ALIGN
    try:
        if 0 < length <= layout.MOST:
            return bytes(gdb.selected_inferior().read_memory(where, length))
    except gdb.MemoryError:
        pass
    raise gdb.GdbError(f"a packed entry 0x{entry:x} leads nowhere (0x{where:x}, {length} bytes): this cargo-trefoil "
                       "does not fit the image's kernel (kernel/src/mm/stack/packed.rs)")


def entry_of(address):
    """The last entry of the page tables on the way to an address, and its level (0: the page's)."""
    table = int(gdb.selected_frame().read_register("cr3")) & FRAME
    for level in (3, 2, 1, 0):
        index = address >> 12 + 9 * level & 511
        entry = int.from_bytes(physical(table + 8 * index, 8), "little")
        if not entry & (layout.PRESENT | layout.LIMBO):
            break
        table = entry & FRAME
    return entry, level


def page(address):
    """The bytes of an absent page as they will be after the next touch, and whether they are packed. None: the page
    has none."""
    entry, level = entry_of(address)
    if level == 1 and entry & layout.PACKED:
        # The whole table is packed: its block has the entries of its pages.
        entries = block(entry)
        index = address >> 12 & 511
        if index not in layout.TOPS:
            return None
        at = 8 * layout.TOPS.index(index)
        entry, level = int.from_bytes(entries[at:at + 8], "little"), 0
    if level == 0 and entry & layout.LIMBO:
        return physical(entry & FRAME, PAGE), False
    if level == 0 and entry & layout.PACKED:
        # A page is used from the stack pointer up; nothing is kept of the rest.
        return block(entry).rjust(PAGE, b"\0"), True
    return None
