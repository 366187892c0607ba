//! Files for people look like any that this process makes for them, whatever the file was that they are written over.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

use rustix::fs::{flistxattr, fremovexattr};
use rustix::io::Errno;

/// Everybody may read what is in `out/`.
const READABLE: u32 = 0o644;

/// Attributes that say who may do what with a file, or that somebody has put there. Others, as a label, belong to the machine.
const GIVEN: [&str; 4] = ["user.", "trusted.", "system.posix_acl_access", "security.capability"];

/// Gives a file the owner and the mode of a new one, and takes its attributes.
pub(crate) fn make_plain(file: &File) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let meta = file.metadata()?;
    if (meta.uid(), meta.gid()) != (uid, gid) {
        fchown(file, Some(uid), Some(gid))?;
    }
    for name in attributes(file)?.iter().filter(|name| GIVEN.iter().any(|given| name.starts_with(given))) {
        match fremovexattr(file, name.as_str()) {
            Err(error) if error != Errno::NODATA => return Err(error.into()),
            _ => {}
        }
    }
    // After the list of rights, which the mode would change.
    file.set_permissions(Permissions::from_mode(READABLE))
}

fn attributes(file: &File) -> io::Result<Vec<String>> {
    let mut names = vec![0; 1 << 16];
    let length = match flistxattr(file, &mut names[..]) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use rustix::fs::{XattrFlags, fsetxattr};

    use super::*;

    /// A POSIX ACL: user::rw-, user:1234:rwx, group::r--, mask::rwx, other::---.
    const ACL: [u8; 44] = [
        2, 0, 0, 0, //
        1, 0, 6, 0, 255, 255, 255, 255, //
        2, 0, 7, 0, 0xd2, 4, 0, 0, //
        4, 0, 4, 0, 255, 255, 255, 255, //
        16, 0, 7, 0, 255, 255, 255, 255, //
        32, 0, 0, 0, 255, 255, 255, 255,
    ];

    #[test]
    fn nothing_is_left_of_what_a_file_was() {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").unwrap();
        let file = file.as_file();
        let set = |name: &str, value: &[u8]| fsetxattr(file, name, value, XattrFlags::empty()).unwrap();
        fchown(file, Some(1234), Some(77)).unwrap();
        file.set_permissions(Permissions::from_mode(0o4775)).unwrap();
        set("user.note", b"mine");
        set("system.posix_acl_access", &ACL);
        make_plain(file).unwrap();
        let meta = file.metadata().unwrap();
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (own.0, own.1, 0o644));
        assert_eq!(attributes(file).unwrap(), [] as [&str; 0]);
    }
}
