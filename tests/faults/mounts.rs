//! File systems of a test's own, which nobody else sees and which go with the test's thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Lets the calling thread, and the programs that it starts, mount things that vanish with them.
pub fn keep_to_ourselves() {
    let none: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

/// Runs a program that has to succeed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The bytes and the inodes that a directory takes.
pub fn usage(dir: &Path) -> (u64, u64) {
    let of = |option| {
        let said = run("du", &["-s", "--block-size=1", option, dir.to_str().unwrap()]);
        said.split('\t').next().unwrap().parse::<u64>().unwrap()
    };
    (of("--one-file-system"), of("--inodes"))
}

/// Writes into a file until the file system has no room any more.
pub fn fill(file: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(file).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
}

/// A file system in memory, of a certain size.
pub struct MemoryDisk {
    pub dir: PathBuf,
}

impl MemoryDisk {
    /// `options` are those of `mount`.
    pub fn new(dir: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&dir).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", dir.to_str().unwrap()]);
        Self { dir }
    }

    /// Makes room.
    pub fn enlarge(&self) {
        let options = "remount,size=1G,nr_inodes=1000000";
        run("mount", &["-o", options, self.dir.to_str().unwrap()]);
    }
}

impl Drop for MemoryDisk {
    fn drop(&mut self) {
        run("umount", &["-l", self.dir.to_str().unwrap()]);
    }
}

/// An ext4 file system in a file. What is in the file has reached the disk, and nothing else has.
pub struct FileDisk {
    image: PathBuf,
    pub dir: PathBuf,
}

impl FileDisk {
    /// An empty one, with its file and its place under this name.
    pub fn new(name: &Path) -> Self {
        let image = name.with_extension("img");
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-J", "size=4", image.to_str().unwrap()]);
        Self { image, dir: name.to_owned() }.mounted()
    }

    /// What is left after the power is cut now: nobody may be writing any more.
    pub fn cut(&self, name: &Path) -> Self {
        let image = name.with_extension("img");
        run("cp", &["--sparse=always", self.image.to_str().unwrap(), image.to_str().unwrap()]);
        Self { image, dir: name.to_owned() }.mounted()
    }

    /// The kernel is to write as late as it can.
    fn mounted(self) -> Self {
        fs::create_dir(&self.dir).unwrap();
        let (image, dir) = (self.image.to_str().unwrap(), self.dir.to_str().unwrap());
        run("mount", &["-t", "ext4", "-o", "loop,commit=300", image, dir]);
        self
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        run("umount", &[self.dir.to_str().unwrap()]);
        fs::remove_file(&self.image).unwrap();
    }
}
