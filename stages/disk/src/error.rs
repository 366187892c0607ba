//! What can go wrong while a disk is made. Every error names the act and the file or tool.

use std::io;
use std::path::{Path, PathBuf};

use ibuild_cache::is_stop;
use ibuild_host::tool::ToolError;
use ibuild_snapshot::SnapshotError;
use ibuild_spec::bounds::Unfit;

/// An error of this module.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file system answered an operation with an error.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// What was tried, as a verb with its object: "create the disk".
        act: &'static str,
        /// The file it was tried on.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The output did not take what was written.
    #[error("cannot write {what}")]
    Write {
        /// What was being written.
        what: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Compressed grains of an earlier image are not what they were.
    #[error("compressed grains of an earlier image were damaged in the store, in {pack}")]
    DamagedPack {
        /// Their pack.
        pack: ibuild_cache::BlobId,
    },
    /// A specification that cannot become a disk or a machine.
    #[error("image `{image}`: {reason}")]
    Spec {
        /// The image's name in the recipe.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value that no image can have.
    #[error("image `{image}`: {unfit}")]
    Unfit {
        /// The image's name in the recipe.
        image: String,
        /// What is wrong with the value.
        unfit: Unfit,
    },
    /// A snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// A host tool is missing, too old, or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// GRUB's images do not look as they must, so they cannot be placed.
    #[error("cannot use GRUB's `{file}`: {reason}")]
    BootFile {
        /// Name of the file: `boot.img`, `core.img` or `BOOTX64.EFI`.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file's extended attribute cannot be carried over to the disk.
    #[error("cannot set the extended attribute `{attribute}` on `{file}`: {reason}")]
    Xattr {
        /// Path inside the root file system.
        file: String,
        /// Name of the attribute.
        attribute: String,
        /// Why not.
        reason: String,
    },
    /// The layers of a root file system do not make its tree.
    #[error("cannot place `{file}`: the layers of the root file system and its tree disagree about it")]
    Disagree {
        /// Path inside the root file system.
        file: String,
    },
    /// The root file system does not fit.
    #[error("image `{image}`: the root file system does not fit onto the disk, which has too few {what}")]
    Full {
        /// The image's name.
        image: String,
        /// What there is too little of.
        what: &'static str,
    },
    /// The flat tar of a root file system cannot be read.
    #[error("cannot read the root file system `{}`: {reason}", path.display())]
    Tar {
        /// The tar file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A format was asked for that cannot be made of what was given.
    #[error("cannot pack `{format}`: {reason}")]
    Pack {
        /// The format asked for.
        format: ibuild_spec::Format,
        /// Why it cannot be made.
        reason: &'static str,
    },
}

impl DiskError {
    /// What the user can do about it, where something is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            DiskError::Tool(error) => error.hint(),
            DiskError::Unfit { unfit, .. } => Some(unfit.advice().to_owned()),
            DiskError::Full { .. } => Some("give the image a larger `disk.size`".into()),
            DiskError::DamagedPack { .. } => Some("build again; `ibuild cache fsck` looks for damage".into()),
            DiskError::Disagree { .. } => Some(
                "the unpacked layers were changed by something else: after `ibuild cache fsck` they are unpacked anew"
                    .into(),
            ),
            _ => None,
        }
    }

    /// Whether the user gave up.
    pub fn is_interrupt(&self) -> bool {
        match self {
            DiskError::Snapshot(SnapshotError::Interrupted) => true,
            DiskError::Write { source, .. } => is_stop(source),
            _ => false,
        }
    }

    /// For `map_err`: turns an io error into one that tells the act and the path.
    pub(super) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        let path = path.to_owned();
        move |source| match source {
            stopped if is_stop(&stopped) => SnapshotError::Interrupted.into(),
            source => DiskError::Io { act, path, source },
        }
    }
}
