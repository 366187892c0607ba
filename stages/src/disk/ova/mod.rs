//! Machines in one file: an OVA is a tar of a description (OVF), a manifest of digests and the disks.
//!
//! The container is plain ustar with the OVF first (VMware insists), no PAX header (VirtualBox cannot read
//! one), and the manifest before the disks, so that a reader can check them as they stream by.

mod ovf;
mod vbox;
mod xml;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::digest::{DigestWriter, Digests};
use super::error::DiskError;
use super::spec::{DiskSpec, VmSpec};
use super::vmdk::{bytes_to_read, write_vmdk};
use super::{Progress, raw};

pub use ovf::{OvfMachine, ovf_text};

/// Changes when the same disks and specs give another OVA. Belongs into its key, beside
/// [`VMDK_WRITER`](super::VMDK_WRITER).
pub const OVA_WRITER: &str = "ibuild-ova 1";

/// A machine and its finished raw disk.
#[derive(Debug, Clone, Copy)]
pub struct MachineDisk<'a> {
    /// The disk's description.
    pub disk: &'a DiskSpec,
    /// The machine around it.
    pub vm: &'a VmSpec,
    /// The raw disk.
    pub raw: &'a Path,
}

/// Writes an OVA with these machines, in this order, to the new file `out`.
///
/// `name` names the OVF inside; `epoch` is the time of the members. The disks are compressed into
/// temporary files beside `out` first, because the manifest before them tells their digests.
pub fn write_ova(
    name: &str,
    epoch: u64,
    machines: &[MachineDisk<'_>],
    out: &Path,
    progress: Progress<'_>,
) -> Result<Digests, DiskError> {
    check(name, machines)?;
    let disks = compress(machines, raw::parent(out), progress)?;
    let described: Vec<OvfMachine<'_>> = machines
        .iter()
        .zip(&disks)
        .map(|(machine, disk)| OvfMachine {
            disk: machine.disk,
            vm: machine.vm,
            vmdk_size: disk.digests.size,
        })
        .collect();
    let ovf = Member::text(format!("{name}.ovf"), ovf_text(name, epoch, &described));
    let manifest = Member::text(format!("{name}.mf"), manifest(&ovf, &disks));
    let file = File::create(out).map_err(DiskError::io("create the OVA", out))?;
    let mut tar = tar::Builder::new(DigestWriter::new(BufWriter::new(file)));
    let members = [ovf, manifest].into_iter().chain(disks);
    for member in members {
        member.append(&mut tar, epoch).map_err(DiskError::io("write the OVA", out))?;
    }
    let (mut file, digests) = tar.into_inner().map_err(DiskError::io("write the OVA", out))?.finish();
    file.flush().map_err(DiskError::io("write the OVA", out))?;
    Ok(digests)
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

fn compress(
    machines: &[MachineDisk<'_>],
    scratch: &Path,
    progress: Progress<'_>,
) -> Result<Vec<Member>, DiskError> {
    let work: Vec<u64> =
        machines.iter().map(|machine| bytes_to_read(machine.raw)).collect::<Result<_, _>>()?;
    let total = work.iter().sum();
    let mut before = 0;
    let mut members = Vec::new();
    for (machine, bytes) in machines.iter().zip(work) {
        let scratch_file = || tempfile::Builder::new().prefix(".vmdk-").tempfile_in(scratch);
        let file = scratch_file().map_err(DiskError::io("make a scratch file in", scratch))?;
        let out = BufWriter::new(file.as_file());
        let digests = write_vmdk(machine.disk, machine.raw, out, &|done, _| progress(before + done, total))?;
        members.push(Member { name: ovf::vmdk_name(machine.disk), content: Content::File(file), digests });
        before += bytes;
    }
    Ok(members)
}

/// One line a file, without a blank before the parenthesis: ESXi takes that for another algorithm's name.
fn manifest(ovf: &Member, disks: &[Member]) -> String {
    let members = [ovf].into_iter().chain(disks);
    members.map(|member| format!("SHA256({})= {}\n", member.name, member.digests.sha256_hex())).collect()
}

/// A file of the OVA.
struct Member {
    name: String,
    content: Content,
    digests: Digests,
}

enum Content {
    Text(String),
    File(NamedTempFile),
}

impl Member {
    fn text(name: String, text: String) -> Member {
        let mut writer = DigestWriter::new(std::io::sink());
        writer.write_all(text.as_bytes()).expect("a sink takes everything");
        Member { name, digests: writer.finish().1, content: Content::Text(text) }
    }

    fn append<W: Write>(&self, tar: &mut tar::Builder<W>, epoch: u64) -> std::io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(&self.name)?;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(epoch);
        header.set_size(self.digests.size);
        header.set_cksum();
        let content: Box<dyn Read + '_> = match &self.content {
            Content::Text(text) => Box::new(text.as_bytes()),
            Content::File(file) => Box::new(file.reopen()?),
        };
        tar.append(&header, content)
    }
}

#[cfg(test)]
mod tests;
