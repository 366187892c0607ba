//! `mke2fs` and its companion `debugfs`: found, new enough, and able to read a tar.

use std::path::PathBuf;

use ibuild_host::tool::{FoundTool, Tool, ToolDirs, ToolError, Version, run};

/// Before 1.47.1 there is neither `-d TAR` nor any heed of SOURCE_DATE_EPOCH.
static MKE2FS: Tool = Tool {
    name: "mke2fs",
    oldest: Version::new(1, 47, 1),
    package: "e2fsprogs",
    because: "older ones cannot fill a file system from a tar, nor reproducibly",
};

static DEBUGFS: Tool = Tool {
    name: "debugfs",
    oldest: Version::new(1, 47, 1),
    package: "e2fsprogs",
    because: "extended attributes are added with it",
};

/// The tools that make an ext4.
#[derive(Debug, Clone)]
pub struct MkfsTool {
    pub(super) mke2fs: FoundTool,
    pub(super) debugfs: FoundTool,
}

impl MkfsTool {
    /// Finds the tools where a Debian system keeps them.
    pub fn find() -> Result<MkfsTool, ToolError> {
        MkfsTool::find_in(&ToolDirs::default())
    }

    /// Finds the tools in these directories, and tries whether `mke2fs` has its tar reader.
    pub fn find_in(dirs: &ToolDirs) -> Result<MkfsTool, ToolError> {
        let tool = MkfsTool {
            mke2fs: FoundTool::find(dirs, &MKE2FS, "-V")?,
            debugfs: FoundTool::find(dirs, &DEBUGFS, "-V")?,
        };
        tool.check_tar_reader()?;
        Ok(tool)
    }

    /// Version of `mke2fs` as it tells it itself, for keys.
    pub fn version(&self) -> &str {
        self.mke2fs.version()
    }

    /// `mke2fs` loads libarchive only when it needs it, so its absence shows in a trial: a tiny file system
    /// from an archive without entries.
    fn check_tar_reader(&self) -> Result<(), ToolError> {
        let failed = |source| ToolError::Run { path: self.mke2fs.path().into(), source };
        let dir = tempfile::tempdir_in(scratch_root()).map_err(failed)?;
        let tar = dir.path().join("empty.tar");
        std::fs::write(&tar, [0; 1024]).map_err(failed)?;
        let mut command = self.mke2fs.command();
        command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"]);
        let output = run(command.arg(&tar).arg(dir.path().join("disk")).arg("256k"))?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() && complaint.contains("libarchive") {
            return Err(ToolError::NoLibrary {
                tool: &MKE2FS,
                library: "libarchive.so.13",
                package: "libarchive13 (libarchive13t64 since Debian 13)",
            });
        }
        Ok(())
    }
}

fn scratch_root() -> PathBuf {
    PathBuf::from("/tmp")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fake(dir: &std::path::Path, name: &str, script: &str) {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn bookworms_own_mke2fs_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "mke2fs", "echo 'mke2fs 1.47.0 (5-Feb-2023)' >&2");
        let error = MkfsTool::find_in(&ToolDirs::new([dir.path().into()])).unwrap_err();
        assert!(error.to_string().contains("too old: found 1.47.0"), "{error}");
        assert!(error.hint().unwrap().contains("bookworm-backports"));
    }

    #[test]
    fn a_missing_tar_reader_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let libless = "[ \"$1\" = -V ] && { echo 'x 1.47.2'; exit; }\n\
                       echo 'you need libarchive to be able to process tarballs' >&2; exit 1";
        fake(dir.path(), "mke2fs", libless);
        fake(dir.path(), "debugfs", "echo 'debugfs 1.47.2'");
        let error = MkfsTool::find_in(&ToolDirs::new([dir.path().into()])).unwrap_err();
        assert!(error.hint().unwrap().contains("libarchive13"), "{error}");
    }

    #[test]
    fn the_hosts_tools_tell_their_version() {
        let tool = MkfsTool::find().expect("these tests need e2fsprogs >= 1.47.1 and libarchive13");
        assert!(tool.version().starts_with("mke2fs 1."), "{}", tool.version());
    }
}
