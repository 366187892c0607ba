//! The secrets of a step, in memory that is never written to a disk.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use rustix::fs::{Timespec, Timestamps, futimens};
use zeroize::Zeroizing;

use super::{SetupResult, failed, make_dir};
use crate::secret::SECRETS_DIR;

/// A secret by its name.
pub(crate) type SecretBytes = (String, Zeroizing<Vec<u8>>);

/// Mounts a directory with a file for each secret in `dir`; none if there are none. Its files belong to root and can be read by
/// nobody else.
///
/// It is a ramfs, whose pages the kernel never swaps, which those of a tmpfs may be.
pub(super) fn mount_secrets(secrets: &[SecretBytes], dir: &Path, epoch: i64) -> SetupResult {
    if secrets.is_empty() {
        return Ok(());
    }
    let (none, target): (Option<&str>, _) = (None, dir.join(SECRETS_DIR));
    make_dir(&target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("ramfs"), &target, Some("ramfs"), flags, Some("mode=0755"))
        .map_err(failed("mount the directory of secrets"))?;
    for (name, bytes) in secrets {
        put(&target.join(name), bytes, epoch).map_err(failed(format!("show the secret `{name}`")))?;
    }
    let opened = File::open(&target).and_then(|dir| set_time(&dir, epoch));
    opened.map_err(failed("set the time of the directory of secrets"))?;
    mount(none, &target, none, flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)
        .map_err(failed("protect the directory of secrets"))
}

fn put(path: &Path, bytes: &[u8], epoch: i64) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o400).open(path)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(0o400))?;
    set_time(&file, epoch)
}

/// Nothing shows when the sandbox was made.
fn set_time(file: &File, epoch: i64) -> std::io::Result<()> {
    let time = Timespec { tv_sec: epoch, tv_nsec: 0 };
    Ok(futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}
