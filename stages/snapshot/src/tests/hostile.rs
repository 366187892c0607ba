//! Tarballs that somebody made to reach the host. Packages are signed and layers are root's own; neither is trusted.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;

use rustix::fs::{lgetxattr, llistxattr};

use super::*;

/// A member, as an attacker would write it.
struct Attack<'a> {
    path: &'a str,
    kind: tar::EntryType,
    target: &'a str,
    device: (u32, u32),
}

impl<'a> Attack<'a> {
    fn new(kind: tar::EntryType, path: &'a str) -> Self {
        Self { path, kind, target: "", device: (1, 3) }
    }

    fn link(path: &'a str, target: &'a str) -> Self {
        Self { target, ..Self::new(tar::EntryType::Symlink, path) }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        let Self { path, target, .. } = self;
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(self.kind);
        header.set_size(0);
        header.set_mode(0o6777);
        header.set_uid(4321);
        header.set_gid(4321);
        header.set_mtime(12_345);
        header.set_device_major(self.device.0).unwrap();
        header.set_device_minor(self.device.1).unwrap();
        header.set_cksum();
        header.as_bytes().to_vec()
    }
}

/// Attributes for the member that follows: those that do most harm, and of kinds that any file can have.
fn attributes() -> Vec<u8> {
    let capability = [1, 0, 0, 2, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let acl = [
        2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 5, 0, 0, 0, 4, 0, 7, 0, 255, 255, 255, 255,
        16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 7, 0, 255, 255, 255, 255,
    ];
    let record = |key: &str, value: &[u8]| {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 2..).find(|length| rest + length.to_string().len() == *length).unwrap();
        [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
    };
    let mut payload = record("SCHILY.xattr.security.capability", &capability);
    payload.extend(record("SCHILY.xattr.system.posix_acl_access", &acl));
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(payload.len() as u64);
    header.set_mode(0);
    header.set_cksum();
    payload.resize(payload.len().next_multiple_of(512), 0);
    [header.as_bytes().to_vec(), payload].concat()
}

fn tarball(members: &[Attack<'_>]) -> Vec<u8> {
    members.iter().flat_map(|member| [attributes(), member.bytes()].concat()).collect()
}

/// All that can be seen of a directory of the host, by asking the kernel.
fn canary(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let mut names = vec![0; 4096];
        let length = llistxattr(&path, &mut names[..]).unwrap();
        let xattrs = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(|name| {
            let mut value = vec![0; 4096];
            let length = lgetxattr(&path, name, &mut value[..]).unwrap();
            (name.to_vec(), value[..length].to_vec())
        });
        let said = format!(
            "{:o} {} {} {} {:?} {} {:x} {:?} {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()),
            meta.len(),
            meta.rdev(),
            meta.is_file().then(|| fs::read(&path).unwrap()),
            xattrs.collect::<Vec<_>>(),
        );
        seen.insert(path, said);
    }
    seen
}

/// A directory of the host with what an attacker may want, next to the root.
fn outside(lab: &Lab) -> PathBuf {
    let dir = lab.upper("outside");
    for name in ["f", "tool"] {
        fs::write(dir.join(name), name).unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o640)).unwrap();
    }
    fs::create_dir(dir.join("d")).unwrap();
    mknodat(CWD, dir.join("pipe"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    mknodat(CWD, dir.join("null"), FileType::CharacterDevice, Mode::from(0o600), makedev(1, 3)).unwrap();
    dir
}

/// A root in which every path that leads to something outside leads to the like of it inside, so that no attack ends
/// before it has begun.
fn root_with_decoys(lab: &Lab, name: &str, outside: &Path) -> PathBuf {
    let root = lab.upper(name);
    for decoy in
        [root.join(outside.strip_prefix("/").unwrap()), root.join("outside"), root.join("proc/self/cwd")]
    {
        fs::create_dir_all(decoy.join("d")).unwrap();
    }
    root
}

#[test]
fn nothing_of_the_host_is_touched_through_a_link() {
    use tar::EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let lab = Lab::new();
    let outside = outside(&lab);
    let absolute = outside.to_str().unwrap();
    let before = canary(&outside);
    let mut tried = 0;
    for way in [absolute, "../outside", "/proc/self/cwd", "."] {
        for kind in [Regular, Directory, Symlink, Link, Fifo, Char, Block] {
            for name in ["f", "d", "pipe", "null", "new", "d/"] {
                let (below, deeper) = (format!("x/{name}"), format!("y/x/{name}"));
                let full = format!("{absolute}/{name}");
                let over = Attack { target: &full, ..Attack::new(kind, name) };
                let through = Attack { target: &below, ..Attack::new(kind, &below) };
                let deep = Attack { target: &full, ..Attack::new(kind, &deeper) };
                let attacks = [
                    vec![Attack::link("x", way), through],
                    vec![Attack::link(name.trim_end_matches('/'), &full), over],
                    vec![Attack::new(Directory, "y"), Attack::link("y/x", way), deep],
                ];
                for (number, members) in attacks.iter().enumerate() {
                    for dialect in [Dialect::Layer, Dialect::Package] {
                        tried += 1;
                        let root = root_with_decoys(&lab, &format!("root{tried}"), &outside);
                        let _ = unpack(&tarball(members)[..], &root, dialect);
                        let case = format!("{way} {kind:?} {name} {number} {dialect:?}");
                        assert_eq!(canary(&outside), before, "{case}");
                    }
                }
            }
        }
    }
}

/// A link that a package replaces between two members of one directory, and a directory that is dressed at the end.
#[test]
fn a_link_that_moves_leads_nowhere_else() {
    use tar::EntryType::{Directory, Regular};
    let lab = Lab::new();
    let outside = outside(&lab);
    let before = canary(&outside);
    let root = root_with_decoys(&lab, "root", &outside);
    let members = [
        Attack::new(Directory, "a"),
        Attack::new(Directory, "a/d"),
        Attack::link("x", "a"),
        Attack::new(Directory, "x/d"),
        Attack::new(Regular, "x/f"),
        Attack::link("x", outside.to_str().unwrap()),
        Attack::new(Regular, "x/f"),
        Attack::new(Directory, "x/d"),
    ];
    unpack(&tarball(&members)[..], &root, Dialect::Package).unwrap();
    assert_eq!(canary(&outside), before);
    let inside = root.join(outside.strip_prefix("/").unwrap());
    assert!(inside.join("f").is_file() && root.join("a/f").is_file());
}

/// What a member is given reaches the member.
#[test]
fn a_member_below_a_link_gets_what_is_its_own() {
    let lab = Lab::new();
    let root = lab.upper("root");
    let members = [
        Attack::new(tar::EntryType::Directory, "usr"),
        Attack::link("x", "/usr"),
        Attack::new(tar::EntryType::Regular, "x/f"),
        Attack::new(tar::EntryType::Fifo, "x/pipe"),
        Attack::new(tar::EntryType::Char, "x/null"),
    ];
    unpack(&tarball(&members)[..], &root, Dialect::Package).unwrap();
    for name in ["f", "pipe", "null"] {
        let path = root.join("usr").join(name);
        let meta = fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o6777, 4321, 12_345), "{name}");
        assert!(xattr::value(&path, b"system.posix_acl_access").is_ok(), "{name}");
    }
    assert!(xattr::value(&root.join("usr/f"), b"security.capability").is_ok());
    assert!(fs::symlink_metadata(root.join("usr/null")).unwrap().file_type().is_char_device());
}

/// An overlay takes such a device for a removal, and the kernel takes a part of a number that is too large.
#[test]
fn a_device_that_would_be_a_removal_is_refused() {
    let lab = Lab::new();
    for (number, device) in [(0, 0), (4096, 0), (0, 1 << 20)].into_iter().enumerate() {
        for dialect in [Dialect::Layer, Dialect::Package] {
            let root = lab.upper(&format!("root{number}{dialect:?}"));
            let member = Attack { device, ..Attack::new(tar::EntryType::Char, "x") };
            let refused = unpack(&tarball(&[member])[..], &root, dialect).unwrap_err();
            assert_eq!(refused.to_string(), format!("cannot extract `{}`", root.join("x").display()));
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        }
    }
}
