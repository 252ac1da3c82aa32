//! Physical frames, page tables, kernel stacks, the heap and the G's stack windows.
pub mod frames;
pub mod heap;
pub mod kstack;
pub mod paging;
pub mod window;
