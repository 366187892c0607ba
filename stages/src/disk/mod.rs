//! Disks and their formats: partition table, boot loader, file system, VMDK, OVF, OVA.
