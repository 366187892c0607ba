//! Directories that pass on nothing of where they are made.
//!
//! A new file takes much from the directory that it is made in: a default ACL, the group if that is set so, and flags
//! that `chattr` sets. What a stage changes becomes part of images, so it is made where there is nothing to take.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{IFlags, fremovexattr, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

/// What a file inherits, as far as it is more than a matter of where its bytes are on the disk. Compression,
/// copy on write and the project of a quota are such matters, and the owner of the disk may have reasons.
const INHERITED: IFlags = IFlags::SYNC
    .union(IFlags::DIRSYNC)
    .union(IFlags::NOATIME)
    .union(IFlags::NODUMP)
    .union(IFlags::SECURE_REMOVAL)
    .union(IFlags::UNRM)
    .union(IFlags::NOTAIL)
    .union(IFlags::TOPDIR);

/// Makes of a new directory one that nobody else can enter, and in which a new file has nothing but what its maker gives it.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    let dir = File::open(path)?;
    // Not all file systems have groups that are passed on, and some let nobody change them.
    match fchown(&dir, None, Some(rustix::process::getegid().as_raw())) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        changed => changed?,
    }
    for acl in ["system.posix_acl_default", "system.posix_acl_access"] {
        match fremovexattr(&dir, acl) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(e) => return Err(e.into()),
        }
    }
    // This takes away the bit that passes the group on, too.
    dir.set_permissions(Permissions::from_mode(0o700))?;
    match ioctl_getflags(&dir) {
        Ok(flags) if flags.intersects(INHERITED) => Ok(ioctl_setflags(&dir, flags.difference(INHERITED))?),
        // Where there are no flags, none are inherited.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, chown};

    use rustix::fs::{XattrFlags, listxattr, setxattr};

    use super::*;

    /// Entries of version 2: owner, a user by number, group, mask, others.
    const ACL: [u8; 44] = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 210, 4, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
        16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255,
    ];

    #[test]
    fn nothing_is_inherited() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let above = root.path().join("above");
        fs::create_dir(&above).unwrap();
        chown(&above, None, Some(1234)).unwrap();
        fs::set_permissions(&above, Permissions::from_mode(0o2777)).unwrap();
        setxattr(&above, "system.posix_acl_default", &ACL, XattrFlags::empty()).unwrap();
        let dir = File::open(&above).unwrap();
        let flags = ioctl_getflags(&dir).unwrap();
        ioctl_setflags(&dir, flags.union(IFlags::NOATIME).union(IFlags::NODUMP)).unwrap();
        let (naive, neutral) = (above.join("naive"), above.join("neutral"));
        fs::create_dir(&naive).unwrap();
        fs::create_dir(&neutral).unwrap();
        make(&neutral).unwrap();
        let look = |dir: &Path| {
            let (sub, file) = (dir.join("sub"), dir.join("file"));
            fs::create_dir(&sub).unwrap();
            fs::write(&file, "").unwrap();
            [dir.to_owned(), sub, file].map(|path| {
                let meta = fs::metadata(&path).unwrap();
                let attributes = listxattr(&path, &mut [0_u8; 1024][..]).unwrap();
                let flags = ioctl_getflags(File::open(&path).unwrap()).unwrap();
                let inherited = flags.intersection(INHERITED).bits();
                (meta.gid(), meta.mode() & 0o2000, attributes, inherited)
            })
        };
        let own = (rustix::process::getegid().as_raw(), 0, 0, 0);
        assert_eq!(look(&neutral), [own; 3]);
        // The host of this test does pass things on.
        assert!(look(&naive).iter().all(|one| one.0 == 1234 && one.2 > 0 && one.3 != 0));
    }
}
