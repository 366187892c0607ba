//! Machines in one file: an OVA is a tar of a description (OVF), the disks and a manifest of digests.
//!
//! The container is plain ustar with the OVF first (VMware insists) and no PAX header (VirtualBox cannot read one). The
//! manifest comes last, as in what VirtualBox writes itself, so that it can tell digests of what has just been written.

mod ovf;
mod vbox;
mod xml;

use std::io::{self, BufWriter, Write};
use std::path::Path;

use ibuild_cache::EagerFile;

use super::digest::{DigestWriter, Digests};
use super::error::DiskError;
use super::grains::{Grains, NewGrains, Pack, WrittenDisk};
use super::map::DiskMap;
use super::pack::{PackedArtifact, create};
use super::spec::{DiskSpec, VmSpec};
use super::vmdk::{FoundVmdk, vmdk_size, write_vmdk};
use super::{Progress, raw, ustar};

pub use ovf::{OvfMachine, ovf_text};

/// Changes when the same disks and specs give another OVA. Belongs into its key, beside
/// [`VMDK_WRITER`](super::VMDK_WRITER).
pub const OVA_WRITER: &str = "ibuild-ova 3";

/// A machine and its disk.
#[derive(Debug, Clone, Copy)]
pub struct MachineDisk<'a> {
    /// The disk's description.
    pub disk: &'a DiskSpec,
    /// The machine around it.
    pub vm: &'a VmSpec,
    /// What is on the disk.
    pub content: DiskContent<'a>,
}

/// What is on a disk, in one of two forms.
#[derive(Debug, Clone, Copy)]
pub enum DiskContent<'a> {
    /// Its description.
    Map(&'a DiskMap),
    /// The whole disk as VMDK, made before and found again.
    Vmdk(&'a FoundVmdk),
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
    let disks = Disk::prepare(machines, packs, out, progress)?;
    let described = machines.iter().zip(&disks).map(|(machine, disk)| OvfMachine {
        disk: machine.disk,
        vm: machine.vm,
        vmdk_size: disk.size(machine.disk),
    });
    let described: Vec<OvfMachine<'_>> = described.collect();
    let mut archive = Archive::create(out, epoch)?;
    archive.text(format!("{name}.ovf"), &ovf_text(name, epoch, &described))?;
    for (machine, disk) in described.iter().zip(&disks) {
        archive.disk(machine, disk)?;
    }
    archive.text(format!("{name}.mf"), &archive.manifest.clone())?;
    archive.finish()
}

/// A disk whose size as VMDK is known.
enum Disk<'a> {
    Grains(Grains<'a>),
    Made(&'a FoundVmdk),
}

impl<'a> Disk<'a> {
    fn prepare(
        machines: &[MachineDisk<'a>],
        packs: &'a [Pack],
        out: &Path,
        progress: Progress<'_>,
    ) -> Result<Vec<Self>, DiskError> {
        let (count, mut new) = (machines.len() as u64, NewGrains::none(raw::parent(out))?);
        let mut prepare = |(before, machine): (u64, &MachineDisk<'a>)| match machine.content {
            DiskContent::Map(map) => {
                let part = |done, total| progress(before * total + done, count * total);
                Ok(Disk::Grains(Grains::collect(map, packs, &mut new, &part)?))
            }
            DiskContent::Vmdk(made) => Ok(Disk::Made(made)),
        };
        (0..).zip(machines).map(&mut prepare).collect()
    }

    fn size(&self, spec: &DiskSpec) -> u64 {
        match self {
            Disk::Grains(grains) => vmdk_size(spec, grains),
            Disk::Made(made) => made.size(),
        }
    }

    fn write(&self, spec: &DiskSpec, out: impl Write + Send) -> Result<WrittenDisk, DiskError> {
        match self {
            Disk::Grains(grains) => write_vmdk(spec, grains, out),
            Disk::Made(made) => made.copy(out),
        }
    }

    fn compressed(&self) -> u64 {
        match self {
            Disk::Grains(grains) => grains.compressed,
            Disk::Made(_) => 0,
        }
    }
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
    out: DigestWriter<BufWriter<EagerFile>>,
    manifest: String,
    packed: PackedArtifact,
}

impl<'a> Archive<'a> {
    fn create(path: &'a Path, epoch: u64) -> Result<Self, DiskError> {
        let out = DigestWriter::new(create(path)?);
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

    fn disk(&mut self, machine: &OvfMachine<'_>, disk: &Disk<'_>) -> Result<(), DiskError> {
        let name = ovf::vmdk_name(machine.disk);
        self.write(|archive| archive.head(&name, machine.vmdk_size))?;
        let start = self.out.position();
        let written = disk.write(machine.disk, &mut self.out)?;
        assert_eq!(written.digests.size, machine.vmdk_size, "the size of a VMDK follows from its grains");
        let digests = written.digests;
        self.packed.add_vmdk(start, written, disk.compressed());
        self.write(|archive| archive.end_member(&name, &digests))
    }

    /// One line a file, without a blank before the parenthesis: ESXi takes that for another algorithm's name.
    fn end_member(&mut self, name: &str, digests: &Digests) -> io::Result<()> {
        self.manifest.push_str(&format!("SHA256({name})= {}\n", digests.sha256_hex()));
        self.out.write_all(ustar::padding(digests.size))
    }

    fn head(&mut self, name: &str, size: u64) -> io::Result<()> {
        self.out.write_all(&ustar::header(name, size, self.epoch)?)
    }

    fn finish(mut self) -> Result<PackedArtifact, DiskError> {
        self.write(|archive| {
            archive.out.write_all(&ustar::END)?;
            archive.out.flush()
        })?;
        self.packed.digests = self.out.finish().1;
        Ok(self.packed)
    }
}

#[cfg(test)]
mod tests;
