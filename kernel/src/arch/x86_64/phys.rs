//! Physical memory, all of it mapped at one offset.

/// Where all physical memory is mapped.
pub use trefoil_boot::PHYS_OFFSET;

/// Bytes of a page, and of a frame.
pub const PAGE: u64 = 4096;

/// Returns the address at which physical memory is read and written.
#[inline(always)]
pub fn phys_to_virt(physical: u64) -> *mut u8 {
    (PHYS_OFFSET + physical) as *mut u8
}
