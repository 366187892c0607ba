//! QEMU and its firmware on this host.

use std::fs;
use std::path::{Path, PathBuf};

use ibuild_cache::{BlobId, Digest};

use ibuild_host::tool::{FoundTool, Tool, ToolDirs, ToolError, Version, run_successfully};

use super::error::MachineError;

/// Before 8.1 the translator for x86 corrupts 6.x kernels: half of all boots die with random faults.
static QEMU: Tool = Tool {
    name: "qemu-system-x86_64",
    oldest: Version::new(8, 1, 0),
    package: "qemu-system-x86",
    because: "older ones cannot run Debian's kernels reliably without KVM",
};

/// The file that QEMU loads into its PCs if nothing else is said.
const BIOS: &str = "bios-256k.bin";

/// Where distributions put UEFI firmware: the code, and the variables that go with it.
const OVMF: [(&str, &str); 3] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
];

/// QEMU for x86, found and new enough.
#[derive(Debug, Clone)]
pub struct Qemu {
    pub(super) tool: FoundTool,
}

impl Qemu {
    /// Finds QEMU where a Debian system keeps it.
    pub fn find() -> Result<Qemu, ToolError> {
        Qemu::find_in(&ToolDirs::default())
    }

    /// Finds QEMU in these directories.
    pub fn find_in(dirs: &ToolDirs) -> Result<Qemu, ToolError> {
        Ok(Qemu { tool: FoundTool::find(dirs, &QEMU, "--version")? })
    }

    /// Its version as it tells it itself.
    pub fn version(&self) -> &str {
        self.tool.version()
    }

    /// The digest of the BIOS that its machines start with: it comes in a package of its own, with a version of its own.
    pub fn bios_digest(&self) -> Result<BlobId, MachineError> {
        let output = run_successfully(self.tool.command().args(["-L", "help"]))?;
        let dirs = String::from_utf8_lossy(&output.stdout).into_owned();
        let path = dirs.lines().map(|dir| Path::new(dir.trim()).join(BIOS)).find(|path| path.is_file());
        let path = path.ok_or(MachineError::NoBios)?;
        let bytes = fs::read(&path).map_err(MachineError::io("read", &path))?;
        let mut hasher = <BlobId as Digest>::Hasher::default();
        BlobId::update(&mut hasher, &bytes);
        Ok(BlobId::finish(hasher))
    }
}

/// UEFI firmware for QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ovmf {
    /// The firmware.
    pub code: PathBuf,
    /// Its variables as they are before the first start; a machine gets a copy.
    pub vars: PathBuf,
}

impl Ovmf {
    /// Finds firmware without Secure Boot.
    pub fn find() -> Result<Ovmf, MachineError> {
        let pairs = OVMF.iter().map(|(code, vars)| Ovmf { code: code.into(), vars: vars.into() });
        pairs.into_iter().find(Ovmf::is_there).ok_or(MachineError::NoOvmf)
    }

    fn is_there(&self) -> bool {
        [&self.code, &self.vars].into_iter().all(|path| Path::is_file(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_qemu_is_new_enough() {
        let qemu = Qemu::find().expect("these tests need QEMU >= 8.1 (package qemu-system-x86)");
        assert!(qemu.version().starts_with("QEMU emulator version"));
    }

    #[test]
    fn the_bios_is_found_where_qemu_looks_for_it() {
        let qemu = Qemu::find().expect("these tests need QEMU >= 8.1 (package qemu-system-x86)");
        let installed = fs::read("/usr/share/seabios/bios-256k.bin").expect("the package seabios is needed");
        let mut hasher = <BlobId as Digest>::Hasher::default();
        BlobId::update(&mut hasher, &installed);
        assert_eq!(qemu.bios_digest().unwrap(), BlobId::finish(hasher));
    }

    #[test]
    fn a_missing_qemu_comes_with_a_hint() {
        let error = Qemu::find_in(&ToolDirs::new([])).unwrap_err();
        let hint = MachineError::from(error).hint().unwrap();
        assert!(hint.contains("qemu-system-x86") && hint.contains("8.1"), "{hint}");
    }
}
