//! What the sections of an OVF describe.

use crate::spec::{DiskSpec, VmSpec};

/// A machine to be described.
#[derive(Debug, Clone, Copy)]
pub struct OvfMachine<'a> {
    /// Its disk.
    pub disk: &'a DiskSpec,
    /// Its hardware.
    pub vm: &'a VmSpec,
    /// Size of its VMDK in bytes.
    pub vmdk_size: u64,
}
