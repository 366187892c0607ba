//! Programs that know nothing of ibuild read what it wrote, and find the same in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chapter;
use crate::edits::TARGETS;
use crate::world::{World, digest_of, expect_success, is_night};

/// Where the partitions are that have a file system.
const ESP_START_MIB: &str = "2";
const ESP_MIB: &str = "62";
const ROOT_START: u64 = 64 << 20;

pub fn independent_readers_agree(world: &World) {
    chapter("independent readers agree");
    world.succeed(&[&["build", "--target", "hello.vmdk"], TARGETS.as_slice()].concat());
    let bench = Bench { out: world.path("one/hello/out"), scratch: world.path("readers") };
    fs::create_dir(&bench.scratch).unwrap();
    bench.partition_table();
    bench.system_partition();
    bench.root_file_system();
    bench.virtual_disk();
    bench.appliance();
    bench.container();
    fs::remove_dir_all(&bench.scratch).unwrap();
}

/// The files, and a place for what is taken out of them.
struct Bench {
    out: PathBuf,
    scratch: PathBuf,
}

impl Bench {
    /// What a program says that has to succeed.
    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output =
            Command::new(program).args(arguments).current_dir(&self.out).env("LC_ALL", "C.UTF-8").output();
        let output = output.unwrap_or_else(|error| panic!("`{program}`, see tests/setup: {error}"));
        expect_success(&output)
    }

    /// The same of a program that only nights have.
    fn run_if_there(&self, program: &str, arguments: &[&str]) -> Option<String> {
        if Command::new(program).arg("--version").output().is_err() {
            eprintln!("SKIPPED: there is no `{program}`");
            return None;
        }
        Some(self.run(program, arguments))
    }

    fn place(&self, name: &str) -> String {
        self.scratch.join(name).display().to_string()
    }

    fn partition_table(&self) {
        let said = self.run("sgdisk", &["--verify", "hello.raw"]);
        assert!(said.contains("No problems found"), "{said}");
    }

    fn system_partition(&self) {
        let esp = self.place("esp");
        let cut = ["if=hello.raw", "bs=1M", "status=none"];
        let part = [format!("of={esp}"), format!("skip={ESP_START_MIB}"), format!("count={ESP_MIB}")];
        self.run("dd", &[&cut[..], &part.each_ref().map(String::as_str)].concat());
        self.run("fsck.fat", &["-n", &esp]);
        let listed = self.run("mdir", &["-b", "-i", &esp, "::/EFI/BOOT"]);
        assert_eq!(listed.trim(), "::/EFI/BOOT/BOOTX64.EFI");
    }

    /// Two readers of two formats find the same files with the same bytes.
    fn root_file_system(&self) {
        let device = format!("hello.raw?offset={ROOT_START}");
        self.run("e2fsck", &["-fn", &device]);
        let (dumped, unpacked) = (self.scratch.join("dumped"), self.scratch.join("unpacked"));
        [&dumped, &unpacked].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
        self.run("debugfs", &["-R", &format!("rdump / {}", dumped.display()), &device]);
        self.run(
            "bsdtar",
            &["-xpf", "hello.rootfs.tar.zst", "--numeric-owner", "-C", &self.place("unpacked")],
        );
        let (dumped, unpacked) = (files(&dumped), files(&unpacked));
        assert!(unpacked.len() > 10_000, "{}", unpacked.len());
        let differing = unpacked.iter().filter(|(path, file)| dumped.get(*path) != Some(file));
        assert_eq!(differing.collect::<Vec<_>>(), []);
        // What a file system has besides.
        let more: Vec<_> = dumped.keys().filter(|path| !unpacked.contains_key(*path)).collect();
        assert_eq!(more, [Path::new("lost+found")]);
    }

    fn virtual_disk(&self) {
        let said = self.run("vmdkinfo", &["hello.vmdk"]);
        assert!(said.contains("(4294967296 bytes)") && said.contains("Stream optimized"), "{said}");
        if is_night() {
            let mounted = self.scratch.join("vmdk");
            fs::create_dir(&mounted).unwrap();
            // It looks for the disk under the name that the descriptor in it has.
            std::os::unix::fs::symlink(self.out.join("hello.vmdk"), self.place("disk.vmdk")).unwrap();
            self.run("vmdkmount", &[&self.place("disk.vmdk"), &self.place("vmdk")]);
            let raw = self.run("cmp", &["hello.raw", &self.place("vmdk/vmdk1")]);
            self.run("umount", &[&self.place("vmdk")]);
            assert_eq!(raw, "");
        }
    }

    fn appliance(&self) {
        let listed = self.run("bsdtar", &["-tf", "hello.ova"]);
        assert_eq!(listed, "hello.ovf\nhello-disk001.vmdk\nhello.mf\n");
        self.run("bsdtar", &["-xf", "hello.ova", "-C", &self.place("")]);
        assert_eq!(
            digest_of(&self.scratch.join("hello-disk001.vmdk")),
            digest_of(&self.out.join("hello.vmdk"))
        );
        let check = r"sed -E 's/^SHA256\((.*)\)= (.*)$/\2  \1/' hello.mf | sha256sum --check --strict";
        let check = format!("cd '{}' && {check}", self.place(""));
        self.run("sh", &["-c", &check]);
        if let Some(said) = self.run_if_there("virt-v2v", &["-i", "ova", "hello.ova", "--print-source"]) {
            assert!(said.contains("hello"), "{said}");
        }
    }

    fn container(&self) {
        let said = self.run("skopeo", &["inspect", "oci-archive:hello.oci"]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        let manifest = fs::read_to_string(self.out.join("hello.oci.manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let layers = manifest["layers"].as_array().unwrap().len();
        assert_eq!(
            (said["Architecture"].as_str(), said["Layers"].as_array().unwrap().len()),
            (Some("amd64"), layers)
        );
        // It looks at the digest of everything that it copies.
        let copy = format!("dir:{}", self.place("container"));
        self.run("skopeo", &["--insecure-policy", "copy", "oci-archive:hello.oci", &copy]);
        let store = [
            "--root",
            &self.place("podman"),
            "--runroot",
            &self.place("podman-run"),
            "--storage-driver",
            "vfs",
        ];
        if self.run_if_there("podman", &[&store[..], &["load", "-i", "hello.oci"]].concat()).is_some() {
            self.run("podman", &[&store[..], &["rmi", "--all", "--force"]].concat());
        }
    }
}

/// A file without its name: everything that both readers keep.
type File = (u32, u32, u32, Option<i64>, String);

/// All files below `dir`, from there on.
fn files(dir: &Path) -> BTreeMap<PathBuf, File> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let kind = meta.file_type();
            let content = match () {
                () if kind.is_file() => digest_of(&path),
                () if kind.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                () => String::new(),
            };
            // debugfs takes the special bits away from what it writes, and cannot set the times of links.
            let mode = if kind.is_symlink() { 0 } else { meta.mode() & !0o7000 };
            let time = kind.is_file().then(|| meta.mtime());
            found.insert(
                path.strip_prefix(dir).unwrap().to_owned(),
                (mode, meta.uid(), meta.gid(), time, content),
            );
            if kind.is_dir() {
                open.push(path);
            }
        }
    }
    found
}
