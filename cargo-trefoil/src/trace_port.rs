//! The port that traces come by: a virtio console of the machine, whose bytes QEMU writes to a
//! file.

use std::path::Path;

/// Returns QEMU's arguments for the port.
pub fn console(is_microvm: bool, file: &Path) -> Vec<String> {
    // The device works inside the write that notifies it, so that the machine neither waits nor
    // counts how long it waits.
    let bus: &[&str] = match is_microvm {
        true => &["-global", "virtio-mmio.ioeventfd=off", "-device", "virtio-serial-device"],
        false => &["-device", "virtio-serial-pci,ioeventfd=off,vectors=0"],
    };
    let path = file.display().to_string().replace(',', ",,");
    let file = format!("file,id=trefoil-trace,path={path}");
    let port = ["-device", "virtconsole,chardev=trefoil-trace", "-chardev", &file];
    bus.iter().chain(&port).map(|word| word.to_string()).collect()
}
