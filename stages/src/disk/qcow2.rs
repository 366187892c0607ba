//! Disks as qcow2, by way of `qemu-img convert`.

use std::path::{Path, PathBuf};

use super::error::DiskError;
use super::raw;
use super::tool::{FoundTool, Tool, ToolDirs, ToolError, Version, run_successfully};

static QEMU_IMG: Tool = Tool {
    name: "qemu-img",
    oldest: Version::new(5, 1, 0),
    package: "qemu-utils",
    because: "qcow2 images are written with it, compressed with zstd",
};

/// Compression and cluster size are spelled out because they are defaults of a version.
const OPTIONS: &str = "compression_type=zstd,cluster_size=65536,lazy_refcounts=off";

/// `qemu-img`, found and new enough.
#[derive(Debug, Clone)]
pub struct QemuImg {
    tool: FoundTool,
}

impl QemuImg {
    /// Finds the tool where a Debian system keeps it.
    pub fn find() -> Result<QemuImg, ToolError> {
        QemuImg::find_in(&ToolDirs::default())
    }

    /// Finds the tool in these directories.
    pub fn find_in(dirs: &ToolDirs) -> Result<QemuImg, ToolError> {
        Ok(QemuImg { tool: FoundTool::find(dirs, &QEMU_IMG, "--version")? })
    }

    /// Its version as it tells it itself. It belongs into the key of every qcow2, whose bytes it decides.
    pub fn version(&self) -> &str {
        self.tool.version()
    }

    /// Writes the raw disk to `out` as a compressed qcow2. The same disk and version give the same bytes:
    /// `-W`, which lets clusters be written in any order, is not used.
    pub fn convert(&self, raw_disk: &Path, out: &Path) -> Result<(), DiskError> {
        let mut command = self.tool.command();
        command
            .args(["convert", "-q", "-f", "raw", "-O", "qcow2", "-c", "-o", OPTIONS])
            .arg(absolute(raw_disk)?)
            .arg(absolute(out)?);
        run_successfully(&mut command)?;
        Ok(())
    }
}

/// An absolute path cannot be mistaken for an option, nor for a protocol (`nbd:`...).
fn absolute(path: &Path) -> Result<PathBuf, DiskError> {
    let dir = raw::parent(path);
    let dir = dir.canonicalize().map_err(DiskError::io("find", dir))?;
    Ok(dir.join(path.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn two_runs_agree_and_hold_the_disk() {
        let tool = QemuImg::find().expect("these tests need `qemu-img` (package qemu-utils)");
        assert!(tool.version().starts_with("qemu-img version"));
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("nbd:disk raw");
        let file = File::create(&raw).unwrap();
        file.set_len(64 << 20).unwrap();
        for n in 0..40u64 {
            let text: Vec<u8> = (0..100_000u64).map(|i| ((i * i + n) % 253) as u8).collect();
            file.write_all_at(&text, n * 1_500_000).unwrap();
        }
        let (a, b) = (dir.path().join("a,b.qcow2"), dir.path().join("-b.qcow2"));
        tool.convert(&raw, &a).unwrap();
        tool.convert(&raw, &b).unwrap();
        assert!(std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap());
        let compare = Command::new("qemu-img").arg("compare").arg(&raw).arg(&a).output().unwrap();
        assert!(compare.status.success(), "{compare:?}");
    }

    #[test]
    fn a_missing_disk_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = QemuImg::find().unwrap().convert(&dir.path().join("no"), &dir.path().join("out"));
        assert!(error.unwrap_err().to_string().contains("No such file"));
    }
}
