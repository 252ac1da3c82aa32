//! The sizes of the blocks that slabs serve.

use core::alloc::Layout;

/// Block sizes of the classes.
pub(super) const SIZES: [u16; 26] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 1024, 1280,
    1536, 2048,
];

pub(super) const LARGEST: usize = 2048;

/// The class of each size, by 16-byte steps.
const CLASS: [u8; LARGEST / 16 + 1] = {
    let mut table = [0; LARGEST / 16 + 1];
    let (mut step, mut class) = (0, 0);
    while step < table.len() {
        if step * 16 > SIZES[class] as usize {
            class += 1;
        }
        table[step] = class as u8;
        step += 1;
    }
    table
};

// `class` rounds a size up to a multiple of its alignment: the class of that is a multiple too.
const _: () = {
    let mut align = 16;
    while align <= LARGEST {
        let mut size = align;
        while size <= LARGEST {
            assert!((SIZES[CLASS[size / 16] as usize] as usize).is_multiple_of(align));
            size += align;
        }
        align *= 2;
    }
};

/// Returns the class that serves `layout`, if there is one. Blocks are aligned to the largest power
/// of two that divides their size.
#[inline(always)]
pub(super) fn class(layout: Layout) -> Option<usize> {
    // No overflow: a layout's size, rounded up to its alignment, is at most `isize::MAX`.
    let size = (layout.size() + (layout.align() - 1)) & !(layout.align() - 1);
    (size <= LARGEST).then(|| CLASS[size.div_ceil(16)] as usize)
}
