//! Machines in one file: an OVA is a tar of a description (OVF), the disks and a manifest of digests.
//!
//! The container is plain ustar with the OVF first (VMware insists) and no PAX header (VirtualBox cannot read one). The
//! manifest comes last, as in what VirtualBox writes itself, so that it can tell digests of what has just been written.

mod ovf;
mod vbox;
mod xml;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::digest::{DigestWriter, Digests};
use super::error::DiskError;
use super::grains::{Grains, Pack};
use super::map::DiskMap;
use super::pack::PackedArtifact;
use super::spec::{DiskSpec, VmSpec};
use super::vmdk::{vmdk_size, write_vmdk};
use super::{Progress, raw};

pub use ovf::{OvfMachine, ovf_text};

/// Changes when the same disks and specs give another OVA. Belongs into its key, beside
/// [`VMDK_WRITER`](super::VMDK_WRITER).
pub const OVA_WRITER: &str = "ibuild-ova 2";

/// A machine and its disk.
#[derive(Debug, Clone, Copy)]
pub struct MachineDisk<'a> {
    /// The disk's description.
    pub disk: &'a DiskSpec,
    /// The machine around it.
    pub vm: &'a VmSpec,
    /// What is on the disk.
    pub map: &'a DiskMap,
}

/// Writes an OVA with these machines, in this order, to the new file `out`.
///
/// `name` names the OVF inside; `epoch` is the time of the members. Grains that `packs` have are copied from there. The
/// others are compressed into a nameless file beside `out` first, because the OVF tells the sizes of the disks behind it.
pub fn write_ova(
    name: &str,
    epoch: u64,
    machines: &[MachineDisk<'_>],
    packs: &[Pack],
    out: &Path,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    check(name, machines)?;
    let (count, mut grains) = (machines.len() as u64, Vec::new());
    for (before, machine) in (0..).zip(machines) {
        let part = |done, total| progress(before * total + done, count * total);
        grains.push(Grains::collect(machine.map, packs, raw::parent(out), &part)?);
    }
    let described = machines.iter().zip(&grains).map(|(machine, grains)| OvfMachine {
        disk: machine.disk,
        vm: machine.vm,
        vmdk_size: vmdk_size(machine.disk, grains),
    });
    let described: Vec<OvfMachine<'_>> = described.collect();
    let mut archive = Archive::create(out, epoch)?;
    archive.text(format!("{name}.ovf"), &ovf_text(name, epoch, &described))?;
    for (machine, grains) in described.iter().zip(&grains) {
        archive.disk(machine, grains)?;
    }
    archive.text(format!("{name}.mf"), &archive.manifest.clone())?;
    archive.finish()
}

fn check(name: &str, machines: &[MachineDisk<'_>]) -> Result<(), DiskError> {
    let wrong = |reason: &str| Err(DiskError::Spec { image: name.into(), reason: reason.into() });
    for (index, machine) in machines.iter().enumerate() {
        machine.disk.check()?;
        machine.vm.check(&machine.disk.name)?;
        if machines[..index].iter().any(|other| other.disk.name == machine.disk.name) {
            return wrong("two machines have the same name");
        }
    }
    match machines {
        [] => wrong("an OVA needs a machine"),
        _ => Ok(()),
    }
}

/// The tar on its way to its file.
struct Archive<'a> {
    path: &'a Path,
    epoch: u64,
    out: DigestWriter<BufWriter<File>>,
    manifest: String,
    packed: PackedArtifact,
}

impl<'a> Archive<'a> {
    fn create(path: &'a Path, epoch: u64) -> Result<Self, DiskError> {
        let file = File::create(path).map_err(DiskError::io("create the OVA", path))?;
        let out = DigestWriter::new(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { path, epoch, out, manifest: String::new(), packed: PackedArtifact::default() })
    }

    fn write(&mut self, act: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), DiskError> {
        let path = self.path;
        act(self).map_err(DiskError::io("write the OVA", path))
    }

    fn text(&mut self, name: String, text: &str) -> Result<(), DiskError> {
        self.write(|archive| {
            archive.head(&name, text.len() as u64)?;
            let mut member = DigestWriter::new(&mut archive.out);
            member.write_all(text.as_bytes())?;
            let digests = member.finish().1;
            archive.end_member(&name, &digests)
        })
    }

    fn disk(&mut self, machine: &OvfMachine<'_>, grains: &Grains<'_>) -> Result<(), DiskError> {
        let name = ovf::vmdk_name(machine.disk);
        self.write(|archive| archive.head(&name, machine.vmdk_size))?;
        let start = self.out.position();
        let written = write_vmdk(machine.disk, grains, &mut self.out)?;
        assert_eq!(written.digests.size, machine.vmdk_size, "the size of a VMDK follows from its grains");
        self.packed.add(start, written.grains, grains.compressed);
        self.write(|archive| archive.end_member(&name, &written.digests))
    }

    /// One line a file, without a blank before the parenthesis: ESXi takes that for another algorithm's name.
    fn end_member(&mut self, name: &str, digests: &Digests) -> io::Result<()> {
        self.manifest.push_str(&format!("SHA256({name})= {}\n", digests.sha256_hex()));
        let missing = self.out.position().next_multiple_of(512) - self.out.position();
        self.out.write_all(&[0; 512][..missing as usize])
    }

    fn head(&mut self, name: &str, size: u64) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(self.epoch);
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn finish(mut self) -> Result<PackedArtifact, DiskError> {
        self.write(|archive| {
            archive.out.write_all(&[0; 1024])?;
            archive.out.flush()
        })?;
        self.packed.digests = self.out.finish().1;
        Ok(self.packed)
    }
}

#[cfg(test)]
mod tests;
