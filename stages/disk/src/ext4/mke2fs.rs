//! The file system writer that drives `mke2fs -d TAR` (e2fsprogs >= 1.47.1).
//!
//! What would make two runs differ, and what is done about it:
//!
//! | source of noise | answer |
//! |---|---|
//! | UUID, directory hash seed | given, from the spec and its identity |
//! | clock | SOURCE_DATE_EPOCH: for the superblock, and the latest time of any file |
//! | `/etc/mke2fs.conf` | MKE2FS_CONFIG names a file of our own with every default that matters |
//! | locale | an environment with `LC_ALL=C.UTF-8` and nothing of the caller's |
//! | lazily cleared tables | cleared at once; the holes are given back afterwards |

use std::fs;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::error::DiskError;
use crate::sparse::release_holes;
use ibuild_host::tool::run_successfully;
use ibuild_spec::MIB;

use super::tool::MkfsTool;
use super::xattrs::Xattrs;
use super::{FilesystemJob, FilesystemWriter};

/// Features are spelled out, so that a new version's defaults do not change the disk. Left out on
/// purpose: `metadata_csum_seed` and `orphan_file`, which GRUB before 2.12 cannot read.
const CONFIG: &str = "\
[defaults]
base_features = none
default_mntopts = acl,user_xattr
enable_periodic_fsck = 0
blocksize = 4096
inode_size = 256
inode_ratio = 16384
hash_alg = half_md4
reserved_ratio = 5.0
no_discard = 1
lazy_itable_init = 0
lazy_journal_init = 0
auto_64-bit_support = 0

[fs_types]
ext4 = {
\tfeatures = none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,\
large_file,huge_file,dir_nlink,extra_isize,metadata_csum,64bit
}
";

/// Writes ext4 with the host's `mke2fs`.
#[derive(Debug, Clone)]
pub struct Mke2fs {
    tool: MkfsTool,
}

impl Mke2fs {
    /// A writer that uses this tool.
    pub fn new(tool: MkfsTool) -> Self {
        Mke2fs { tool }
    }
}

impl FilesystemWriter for Mke2fs {
    fn write(&self, job: &FilesystemJob<'_>) -> Result<(), DiskError> {
        let scratch = Scratch::new(job)?;
        self.fill(job, &scratch)?;
        self.add_xattrs(job, &scratch)?;
        let disk = fs::File::options().read(true).write(true).open(job.disk);
        let disk = disk.map_err(DiskError::io("open the disk", job.disk))?;
        release_holes(&disk).map_err(DiskError::io("release unused blocks of", job.disk))
    }
}

impl Mke2fs {
    fn fill(&self, job: &FilesystemJob<'_>, scratch: &Scratch<'_>) -> Result<(), DiskError> {
        let Range { start, end } = job.range;
        let extended = format!(
            "hash_seed={},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard,offset={start}",
            job.spec.identity().hash_seed(),
        );
        let mut command = self.tool.mke2fs.command();
        command
            .current_dir(scratch.dir)
            .env("MKE2FS_CONFIG", Scratch::CONFIG)
            .env("SOURCE_DATE_EPOCH", job.spec.epoch.to_string())
            .args(["-q", "-F", "-t", "ext4", "-U", &job.spec.fs_uuid.to_string(), "-E", &extended])
            .args(["-J", &format!("size={}", journal_mib(end - start)), "-d", Scratch::TAR])
            .args(["--", Scratch::DISK, &format!("{}k", (end - start) / 1024)]);
        run_successfully(&mut command)?;
        Ok(())
    }

    /// In tar mode `mke2fs` drops every attribute but `security.capability`; `debugfs` sets the others.
    fn add_xattrs(&self, job: &FilesystemJob<'_>, scratch: &Scratch<'_>) -> Result<(), DiskError> {
        let xattrs = Xattrs::read_tar(job.root_tar)?;
        if xattrs.is_empty() {
            return Ok(());
        }
        xattrs.write_script(scratch.dir, Scratch::XATTRS)?;
        let epoch = job.spec.epoch.to_string();
        let mut command = self.tool.debugfs.command();
        command
            .current_dir(scratch.dir)
            .env("SOURCE_DATE_EPOCH", &epoch)
            .env("E2FSPROGS_FAKE_TIME", &epoch)
            .args(["-w", "-f", Scratch::XATTRS])
            .arg(format!("{}?offset={}", Scratch::DISK, job.range.start));
        let output = run_successfully(&mut command)?;
        xattrs.check_answers(&String::from_utf8_lossy(&output.stderr))
    }
}

/// A journal of a known size, because the default follows the version: 4 MiB is the smallest there can be.
fn journal_mib(fs_size: u64) -> u64 {
    (fs_size / MIB / 64).clamp(4, 64)
}

/// The intermediate files of one run. Tools work in this directory and see short, plain names: a `?` or a
/// blank in the disk's own path would mean something to `debugfs`.
struct Scratch<'a> {
    dir: &'a Path,
}

impl<'a> Scratch<'a> {
    const CONFIG: &'static str = "mke2fs.conf";
    const DISK: &'static str = "disk";
    const TAR: &'static str = "root.tar";
    const XATTRS: &'static str = "xattrs";

    fn new(job: &FilesystemJob<'a>) -> Result<Self, DiskError> {
        let dir = job.scratch;
        let config = dir.join(Self::CONFIG);
        fs::write(&config, CONFIG).map_err(DiskError::io("write", &config))?;
        for (name, target) in [(Self::DISK, job.disk), (Self::TAR, job.root_tar)] {
            let target = fs::canonicalize(target).map_err(DiskError::io("find", target))?;
            let link = dir.join(name);
            symlink(&target, &link).map_err(DiskError::io("create the link", &link))?;
        }
        Ok(Scratch { dir })
    }
}

#[cfg(test)]
mod tests;
