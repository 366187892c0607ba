//! Machines in one file: an OVA is a tar of a description (OVF), the disks and a manifest of digests.
//!
//! The container is plain ustar with the OVF first (VMware insists) and no PAX header (VirtualBox cannot read one). The
//! manifest comes last, as in what VirtualBox writes itself, so that it can tell digests of what has just been written.

mod machine;
mod ovf;
mod vbox;
mod xml;

use std::path::Path;

use ibuild_cache::Sha256;

use super::artifact::PackedArtifact;
use super::compose::{Destination, Made, Output};
use super::digest::Digested;
use super::error::DiskError;
use super::grains::{Packs, collect};
use super::map::DiskMap;
use super::rope::Rope;
use super::spec::{DiskSpec, VmSpec};
use super::vmdk::{FoundVmdk, KeptVmdk, vmdk};
use super::{Progress, ustar};

pub use machine::OvfMachine;
pub use ovf::ovf_text;

/// Changes when the same disks and specs give another OVA. Belongs into its key, beside
/// [`VMDK_WRITER`](super::VMDK_WRITER).
pub const OVA_WRITER: &str = "ibuild-ova 4";

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

/// Writes an OVA with these machines, in this order, to a file.
///
/// `name` names the OVF inside; `epoch` is the time of the members. Grains that no pack has are compressed into the new one
/// first, because the OVF tells the sizes of the disks behind it.
pub fn write_ova<'d>(
    name: &str,
    epoch: u64,
    machines: &[MachineDisk<'_>],
    packs: &mut Packs,
    destination: impl Into<Destination<'d>>,
    progress: Progress<'_>,
) -> Result<PackedArtifact, DiskError> {
    check(name, machines)?;
    let (disks, compressed) = disks(machines, packs, progress)?;
    let new_pack = packs.finish_new();
    let described = machines.iter().zip(&disks).map(|(machine, disk)| OvfMachine {
        disk: machine.disk,
        vm: machine.vm,
        vmdk_size: disk.rope.size(),
    });
    let described: Vec<OvfMachine<'_>> = described.collect();
    let mut archive = Archive::open(destination.into(), epoch, packs)?;
    archive.text(&format!("{name}.ovf"), &in_steps(ovf_text(name, epoch, &described)))?;
    for (machine, disk) in described.iter().zip(&disks) {
        archive.disk(machine, disk)?;
    }
    archive.text(&format!("{name}.mf"), &archive.manifest.clone())?;
    Ok(PackedArtifact { compressed, new_pack, ..archive.finish()? })
}

/// Bytes by which an OVF gets longer.
const OVF_STEP: usize = 4096;

/// The text with blanks behind it, which mean nothing in XML. If a machine that is told in more words had its disk elsewhere in
/// the file, all of the file would be written again.
fn in_steps(mut text: String) -> String {
    let room = text.len().next_multiple_of(OVF_STEP) - text.len();
    if room > 0 {
        text.extend(std::iter::repeat_n(' ', room - 1));
        text.push('\n');
    }
    text
}

/// A disk as VMDK.
struct Disk {
    rope: Rope,
    /// Of one that was taken over it is known.
    sha256: Option<Sha256>,
}

/// The machines' disks, and how many grains had to be compressed for them.
fn disks(
    machines: &[MachineDisk<'_>],
    packs: &mut Packs,
    progress: Progress<'_>,
) -> Result<(Vec<Disk>, u64), DiskError> {
    let maps = machines.iter().filter_map(|machine| match machine.content {
        DiskContent::Map(map) => Some(map),
        DiskContent::Vmdk(_) => None,
    });
    let grains = collect(&maps.collect::<Vec<_>>(), packs, progress)?;
    let compressed = grains.iter().map(|grains| grains.compressed).sum();
    let mut grains = grains.iter();
    let disks = machines.iter().map(|machine| match machine.content {
        DiskContent::Map(_) => {
            let rope = vmdk(machine.disk, grains.next().expect("one for each map"))?;
            Ok(Disk { rope, sha256: None })
        }
        DiskContent::Vmdk(found) => Ok(Disk { rope: found.rope.clone(), sha256: found.sha256 }),
    });
    Ok((disks.collect::<Result<_, DiskError>>()?, compressed))
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

/// The tar on its way to its file, and what it is made of.
struct Archive<'a> {
    path: &'a Path,
    epoch: u64,
    packs: &'a Packs,
    out: Output<'a>,
    rope: Rope,
    manifest: String,
    disks: Vec<KeptVmdk>,
}

impl<'a> Archive<'a> {
    fn open(destination: Destination<'a>, epoch: u64, packs: &'a Packs) -> Result<Self, DiskError> {
        let out = Output::open(destination)?;
        Ok(Self {
            path: destination.file,
            epoch,
            packs,
            out,
            rope: Rope::default(),
            manifest: String::new(),
            disks: Vec::new(),
        })
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.rope.bytes(bytes);
        self.out.bytes(bytes)
    }

    fn text(&mut self, name: &str, text: &str) -> Result<(), DiskError> {
        let Digested { size, digest } = Digested::of_bytes(text.as_bytes());
        self.head(name, size)?;
        self.bytes(text.as_bytes())?;
        self.end_member(name, size, &digest)
    }

    fn disk(&mut self, machine: &OvfMachine<'_>, disk: &Disk) -> Result<(), DiskError> {
        let (name, size) = (ovf::vmdk_name(machine.disk), disk.rope.size());
        self.head(&name, size)?;
        let offset = self.rope.size();
        if disk.sha256.is_none() {
            self.out.begin_member();
        }
        self.out.rope(&disk.rope, self.packs)?;
        let sha256 = disk.sha256.unwrap_or_else(|| self.out.end_member());
        disk.rope.parts().for_each(|part| self.rope.push(part));
        self.disks.push(KeptVmdk { offset, size, sha256: Some(sha256) });
        self.end_member(&name, size, &sha256)
    }

    /// One line a file, without a blank before the parenthesis: ESXi takes that for another algorithm's name.
    fn end_member(&mut self, name: &str, size: u64, sha256: &Sha256) -> Result<(), DiskError> {
        self.manifest.push_str(&format!("SHA256({name})= {}\n", sha256.hex()));
        self.bytes(ustar::padding(size))
    }

    fn head(&mut self, name: &str, size: u64) -> Result<(), DiskError> {
        let header =
            ustar::header(name, size, self.epoch).map_err(DiskError::io("write the OVA", self.path))?;
        self.bytes(&header)
    }

    fn finish(mut self) -> Result<PackedArtifact, DiskError> {
        self.bytes(&ustar::END)?;
        let (file, subtrees) = self.out.finish()?;
        let made = Made { rope: self.rope, subtrees };
        Ok(PackedArtifact { made: Some(made), disks: self.disks, ..file.into() })
    }
}

#[cfg(test)]
mod tests;
