//! What the sections of an OVF describe.

use ibuild_spec::Mac;
use uuid::Uuid;

use crate::spec::{Adapter, DiskSpec, VmSpec};

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

impl<'a> OvfMachine<'a> {
    /// What hypervisors show it by.
    pub fn shown_name(&self) -> &'a str {
        self.vm.name.as_deref().unwrap_or(&self.disk.name)
    }

    /// UUID by which VirtualBox knows it.
    pub fn uuid(&self) -> Uuid {
        self.vm.uuid.unwrap_or_else(|| self.disk.identity().machine())
    }

    /// Its network adapters by slot, with their addresses.
    pub fn adapters(&self) -> impl Iterator<Item = (usize, &'a Adapter, Mac)> {
        let identity = self.disk.identity();
        let adapters = self.vm.nics.iter().enumerate();
        adapters.map(move |(slot, it)| (slot, it, it.mac.unwrap_or_else(|| identity.mac(slot))))
    }
}
