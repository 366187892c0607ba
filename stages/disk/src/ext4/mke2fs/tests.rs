//! The file system is what the tar says, is in order, and is the same every time.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use tar::{Builder, EntryType, Header};

use super::*;
use crate::spec::DiskSpec;

const EPOCH: u64 = 1_767_225_600;
const SIZE: u64 = 48 * MIB;
const OFFSET: u64 = MIB;

/// A POSIX ACL as the system call gives it: version 2, user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
const ACL: [u8; 44] = [
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 4, 0, 0xe8, 3, 0, 0, //
    4, 0, 4, 0, 255, 255, 255, 255, //
    16, 0, 4, 0, 255, 255, 255, 255, //
    32, 0, 0, 0, 255, 255, 255, 255,
];

/// `cap_net_raw=ep`, version 2.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        Lab { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn tar(&self, fill: impl Fn(&mut Builder<File>)) -> PathBuf {
        let path = self.path("flat.tar");
        let mut tar = Builder::new(File::create(&path).unwrap());
        fill(&mut tar);
        tar.into_inner().unwrap();
        path
    }

    fn make(&self, tar: &Path, disk: &str) -> Result<PathBuf, DiskError> {
        let disk = self.path(disk);
        File::create(&disk).unwrap().set_len(OFFSET + SIZE).unwrap();
        let scratch = tempfile::tempdir_in(self.dir.path()).unwrap();
        let writer = Mke2fs::new(MkfsTool::find().unwrap());
        writer.write(&FilesystemJob {
            root_tar: tar,
            disk: &disk,
            range: OFFSET..OFFSET + SIZE,
            spec: &DiskSpec::new("lab", 128 * MIB, EPOCH),
            scratch: scratch.path(),
        })?;
        Ok(disk)
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(EPOCH - 100);
    header
}

fn dir(tar: &mut Builder<File>, path: &str) {
    let mut header = header(EntryType::Directory, 0o755, 0);
    tar.append_data(&mut header, path, std::io::empty()).unwrap();
}

fn file(tar: &mut Builder<File>, path: &str, content: &[u8]) {
    let mut header = header(EntryType::Regular, 0o644, content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

fn sample(tar: &mut Builder<File>) {
    dir(tar, "./");
    dir(tar, "etc/");
    file(tar, "etc/hosts", b"127.0.0.1 localhost\n");
    tar.append_pax_extensions([("SCHILY.xattr.user.note", b"kept".as_slice())]).unwrap();
    file(tar, "etc/we \"quote\" it", b"x");
    tar.append_pax_extensions([("SCHILY.xattr.system.posix_acl_access", ACL.as_slice())]).unwrap();
    file(tar, "etc/shared", b"y");
    tar.append_pax_extensions([("SCHILY.xattr.security.capability", CAPABILITY.as_slice())]).unwrap();
    file(tar, "etc/ping", b"z");
    let mut long = vec![0; 300_000];
    long.iter_mut().enumerate().for_each(|(n, byte)| *byte = (n % 255) as u8 + 1);
    file(tar, "etc/long", &long);
}

fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn fsck(disk: &Path) {
    let target = format!("{}?offset={OFFSET}", disk.display());
    let output = Command::new("/usr/sbin/e2fsck").args(["-fn", &target]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn debugfs(disk: &Path, request: &str) -> String {
    let target = format!("{}?offset={OFFSET}", disk.display());
    let output = Command::new("/usr/sbin/debugfs").args(["-R", request, &target]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn two_runs_give_one_file_system_that_is_in_order_and_sparse() {
    let lab = Lab::new();
    let tar = lab.tar(sample);
    let (a, b) = (lab.make(&tar, "a").unwrap(), lab.make(&tar, "b").unwrap());
    assert!(read(&a) == read(&b));
    fsck(&a);
    assert!(a.metadata().unwrap().blocks() * 512 < 4 * MIB);
    assert_eq!(debugfs(&a, "cat /etc/hosts"), "127.0.0.1 localhost\n");
    assert!(debugfs(&a, "stats").contains(&DiskSpec::new("lab", 0, 0).fs_uuid.to_string()));
}

#[test]
fn attributes_capabilities_and_acls_arrive() {
    let lab = Lab::new();
    let disk = lab.make(&lab.tar(sample), "disk").unwrap();
    assert_eq!(debugfs(&disk, "ea_get -V \"/etc/we \"\"quote\"\" it\" user.note"), "kept\n");
    let value = lab.path("acl");
    debugfs(&disk, &format!("ea_get -f {} /etc/shared system.posix_acl_access", value.display()));
    // debugfs gives an id of zero to entries that have none.
    assert_eq!(read(&value), ACL.map(|byte| if byte == 255 { 0 } else { byte }));
    let value = lab.path("capability");
    debugfs(&disk, &format!("ea_get -f {} /etc/ping security.capability", value.display()));
    assert_eq!(read(&value), CAPABILITY);
}

#[test]
fn the_kernel_mounts_it_for_writing() {
    let lab = Lab::new();
    let disk = lab.make(&lab.tar(sample), "disk").unwrap();
    let script = "mount -o loop,offset=$2 \"$1\" /mnt && touch /mnt/new && umount /mnt";
    let unshare = ["-m", "/bin/sh", "-ec", script, "sh"];
    let output = Command::new("unshare").args(unshare).arg(&disk).arg(OFFSET.to_string()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("loop device") || complaint.contains("permitted") || complaint.contains("denied") {
        eprintln!("skipped: this machine gives us no loop device");
        return;
    }
    assert!(output.status.success(), "{complaint}");
    fsck(&disk);
}

#[test]
fn a_name_that_debugfs_cannot_take_is_an_error() {
    let lab = Lab::new();
    let tar = lab.tar(|tar| {
        dir(tar, "./");
        tar.append_pax_extensions([("SCHILY.xattr.user.note", b"x".as_slice())]).unwrap();
        file(tar, "two\nlines", b"");
    });
    let error = lab.make(&tar, "disk").unwrap_err().to_string();
    assert!(error.contains("user.note") && error.contains("two"), "{error}");
}

#[test]
fn a_tree_that_does_not_fit_is_an_error_of_the_tool() {
    let lab = Lab::new();
    let tar = lab.tar(|tar| {
        dir(tar, "./");
        file(tar, "huge", &vec![1; 60 << 20]);
    });
    let error = lab.make(&tar, "disk").unwrap_err().to_string();
    assert!(error.contains("mke2fs") && error.contains("failed"), "{error}");
}
