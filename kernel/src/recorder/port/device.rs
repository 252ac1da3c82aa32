//! A virtio console, of which the port uses the first transmit queue. Crate `virtio-drivers` does
//! the talk to the device. This file has what the crate asks of a kernel: memory that the device
//! can read, the way to the device's registers, and where to look for a device.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use bitflags::bitflags;
use trefoil_boot::KERNEL_BASE;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::pci::bus::{Command, ConfigurationAccess, DeviceFunction, PciRoot};
use virtio_drivers::transport::pci::{PciTransport, virtio_device_type};
use virtio_drivers::transport::{DeviceType, SomeTransport, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use x86_64::instructions::port::Port;

use crate::arch::phys::phys_to_virt;
use crate::mm::paging::{self, DATA};

/// The transmit queue of a console's first port.
const TRANSMIT: u16 = 1;
/// Descriptors of the queue: one transfer at a time.
const DESCRIPTORS: usize = 4;

bitflags! {
    /// The features that the driver asks for.
    #[derive(Debug, Clone, Copy)]
    struct Features: u64 {
        /// The device follows version 1 of the standard, and not an older draft.
        const VERSION_1 = 1 << 32;
    }
}

/// A console that takes bytes.
pub struct Device {
    transport: SomeTransport<'static>,
    queue: VirtQueue<Memory, DESCRIPTORS>,
}

impl Device {
    /// Looks for a console and sets it up.
    pub fn find() -> Option<Self> {
        let mut transport = if has_pci() { on_pci() } else { in_slots() }?;
        let queue = begin(&mut transport)?;
        Some(Self { transport, queue })
    }

    /// Resets the device, which another core may have left in the middle of a transfer. Returns
    /// false if that fails.
    pub fn restart(&mut self) -> bool {
        let Some(queue) = begin(&mut self.transport) else { return false };
        // The old queue's memory is the new one's.
        core::mem::forget(core::mem::replace(&mut self.queue, queue));
        true
    }

    /// Sends `bytes`, which lie in the image. Returns false if the device refuses them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.queue.add_notify_wait_pop(&[bytes], &mut [], &mut self.transport).is_ok()
    }
}

/// Resets a device and gives it an empty queue.
fn begin(transport: &mut SomeTransport<'static>) -> Option<VirtQueue<Memory, DESCRIPTORS>> {
    QUEUE.1.store(0, Ordering::Relaxed);
    let _ = transport.begin_init(Features::all());
    let mut queue = VirtQueue::new(transport, TRANSMIT, false, false).ok()?;
    queue.set_dev_notify(false); // no interrupts
    transport.finish_init();
    Some(queue)
}

/// Pages of the queue: descriptors and available ring, used ring.
const PAGES: usize = 2;

#[repr(C, align(4096))]
struct Pages(UnsafeCell<[[u8; PAGE_SIZE]; PAGES]>, AtomicUsize);

// SAFETY: a page goes to one `dma_alloc` between two calls of `begin`, and the owner of
// the port calls `begin` when nothing uses the older queue any more.
unsafe impl Sync for Pages {}

/// The queue's memory, and how many of its pages are taken.
static QUEUE: Pages = Pages(UnsafeCell::new([[0; PAGE_SIZE]; PAGES]), AtomicUsize::new(0));

/// Returns the physical address of a byte of the image.
fn physical(of: NonNull<u8>) -> PhysAddr {
    of.addr().get() as u64 - KERNEL_BASE
}

/// Where the registers of a device above the physical map are mapped.
const WINDOW: u64 = 0xffff_f000_0000_0000;
/// Physical memory up to here is always in the physical map, registers of devices included.
const REACH: u64 = 4 << 30;

/// The memory that the driver and the device share: the image's.
struct Memory;

// SAFETY: `dma_alloc` gives out each page of `QUEUE` once, cleared; `begin` says when they are free
// again. The other functions translate addresses, and touch no memory.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = QUEUE.1.fetch_add(pages, Ordering::Relaxed);
        if first + pages > PAGES {
            // The crate takes this address for a failure.
            return (0, NonNull::dangling());
        }
        let Some(at) = NonNull::new(QUEUE.0.get().cast::<u8>()) else { return (0, NonNull::dangling()) };
        // SAFETY: the pages lie inside the array, and nobody else has them.
        let at = unsafe {
            let at = at.add(first * PAGE_SIZE);
            at.write_bytes(0, pages * PAGE_SIZE);
            at
        };
        (physical(at), at)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(at: PhysAddr, size: usize) -> NonNull<u8> {
        let end = at + size as u64;
        if end <= REACH {
            return NonNull::new(phys_to_virt(at)).unwrap_or(NonNull::dangling());
        }
        // Firmware puts a 64-bit register file where it likes. One device has one.
        let virt = |physical: u64| WINDOW + (physical & (REACH - 1));
        for page in (at & !0xfff..end).step_by(PAGE_SIZE) {
            // The page may be mapped already, for another part of the registers.
            let _ = paging::map_page(virt(page), page, DATA);
        }
        NonNull::new(virt(at) as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        physical(buffer.cast())
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// The ports of the PCI configuration: which register, and its value.
const ADDRESS: u16 = 0xcf8;
const DATA_PORT: u16 = 0xcfc;

/// The bit of the address port that makes the data port work.
const ENABLE: u32 = 1 << 31;

/// Returns true if this machine has the configuration's ports.
fn has_pci() -> bool {
    let mut port = Port::new(ADDRESS);
    // SAFETY: the port is the configuration's address, or nobody's.
    unsafe {
        port.write(ENABLE);
        port.read() == ENABLE
    }
}

/// The configuration of the devices, by ports.
struct Ports;

impl Ports {
    fn select(device: DeviceFunction, register: u8) {
        let at = u32::from(device.bus) << 16 | u32::from(device.device) << 11 | u32::from(device.function) << 8;
        // SAFETY: chooses a register; only this file uses these ports, and one core at a time.
        unsafe { Port::new(ADDRESS).write(ENABLE | at | u32::from(register & !3)) };
    }
}

impl ConfigurationAccess for Ports {
    fn read_word(&self, device: DeviceFunction, register: u8) -> u32 {
        Self::select(device, register);
        // SAFETY: reads of the configuration change nothing.
        unsafe { Port::new(DATA_PORT).read() }
    }

    fn write_word(&mut self, device: DeviceFunction, register: u8, data: u32) {
        Self::select(device, register);
        // SAFETY: the crate writes what a device's driver writes: to a console that is this file's
        // alone.
        unsafe { Port::new(DATA_PORT).write(data) }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Self
    }
}

/// Looks for a console on the first PCI bus.
fn on_pci() -> Option<SomeTransport<'static>> {
    let mut root = PciRoot::new(Ports);
    let (device, _) = root.enumerate_bus(0).find(|(_, info)| virtio_device_type(info) == Some(DeviceType::Console))?;
    let (_, command) = root.get_status_command(device);
    root.set_command(device, command | Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE);
    PciTransport::new::<Memory, _>(&mut root, device).ok().map(SomeTransport::from)
}

/// The slots of QEMU's microvm, where its virtio devices are: address, bytes and number.
const SLOTS: (u64, usize, u64) = (0xfeb0_0000, 512, 24);

/// Looks for a console among the microvm's slots.
fn in_slots() -> Option<SomeTransport<'static>> {
    let (first, bytes, number) = SLOTS;
    (0..number).find_map(|slot| {
        let header = NonNull::new(phys_to_virt(first + slot * bytes as u64).cast::<VirtIOHeader>())?;
        // SAFETY: the slots are in the physical map; a slot without a device, and memory that is
        // no slot, do not say that they are one.
        let transport = unsafe { MmioTransport::new(header, bytes) }.ok()?;
        (transport.device_type() == DeviceType::Console).then(|| transport.into())
    })
}
