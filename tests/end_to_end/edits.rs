//! Real edits of hello, one after the other: what is built step by step is, bit for bit, what is built from nothing, in another
//! directory, on one processor.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::chapter;
use crate::world::{World, copy_tree, digest_of, expect_success, is_night};

/// Every format but the VMDK, which is in the OVA.
pub const TARGETS: [&str; 7] = [
    "hello.ova",
    "hello.qcow2",
    "hello.vdi",
    "hello.raw",
    "hello.raw.zst",
    "hello.rootfs.tar.zst",
    "hello.oci",
];

/// How many of the edits are made if nobody has a night's time.
const FEW: usize = 3;

/// An edit of the project in this directory.
type Edit = fn(&Path);

const EDITS: [(&str, Edit); 10] = [
    ("a line of a script", |dir| replace(dir, "scripts/40-services", "hello, world", "hello, moon")),
    ("a file added", |dir| write(dir, "files/usr/local/share/hello/note", &"a note\n".repeat(500))),
    ("a package added", |dir| replace(dir, "ibuild.toml", "\"less\"]", "\"less\", \"nano\"]")),
    ("a file removed", |dir| fs::remove_dir_all(dir.join("files/etc/systemd")).unwrap()),
    ("a mode changed", |dir| {
        let note = dir.join("files/usr/local/share/hello/note");
        fs::set_permissions(note, fs::Permissions::from_mode(0o755)).unwrap();
    }),
    ("a file renamed", |dir| {
        let place = dir.join("files/usr/local/share/hello");
        fs::rename(place.join("note"), place.join("notes")).unwrap();
    }),
    ("a script added", |dir| script(dir, "50-large", "seq 700000 > /opt/large\nln /opt/large /opt/link")),
    ("a script moved", |dir| fs::rename(dir.join("scripts/50-large"), dir.join("scripts/35-large")).unwrap()),
    ("files removed by a script", |dir| {
        script(dir, "60-trim", "rm -r /usr/share/doc\nmv /opt/large /srv/large")
    }),
    ("another disk", |dir| {
        replace(dir, "ibuild.toml", "size = \"4 GiB\"", "size = \"5 GiB\", cmdline = \"quiet\"");
    }),
];

fn replace(dir: &Path, name: &str, old: &str, new: &str) {
    let text = fs::read_to_string(dir.join(name)).unwrap();
    assert_eq!(text.matches(old).count(), 1, "{old:?} in {name}");
    fs::write(dir.join(name), text.replace(old, new)).unwrap();
}

fn write(dir: &Path, name: &str, text: &str) {
    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    fs::write(dir.join(name), text).unwrap();
}

fn script(dir: &Path, name: &str, commands: &str) {
    write(dir, &format!("scripts/{name}"), &format!("#!/bin/sh -e\n{commands}\n"));
    fs::set_permissions(dir.join("scripts").join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

pub fn incremental_images_are_those_of_clean_builds(world: &World) {
    chapter("incremental images are those of clean builds");
    let dir = world.path("edited/hello");
    copy_tree(Path::new("examples/hello"), &dir);
    fs::copy(world.path("one/hello/ibuild.lock"), dir.join("ibuild.lock")).unwrap();
    let is_night = is_night();
    let count = if is_night { EDITS.len() } else { FEW };
    for (number, (name, edit)) in EDITS.into_iter().take(count).enumerate() {
        edit(&dir);
        let is_last = number + 1 == count;
        if is_last || is_night {
            let images = build(world.ibuild("edited/hello", "cache"), &dir, &TARGETS);
            assert_eq!(images, clean(world, &dir), "after {name}");
        } else {
            build(world.ibuild("edited/hello", "cache"), &dir, &TARGETS[..1]);
        }
        eprintln!("{name}");
    }
}

/// The digests of the images of the project in `dir`.
fn build(mut ibuild: Command, dir: &Path, targets: &[&'static str]) -> BTreeMap<&'static str, String> {
    expect_success(&ibuild.args(["build", "--target"]).args(targets).output().unwrap());
    targets.iter().map(|target| (*target, digest_of(&dir.join("out").join(target)))).collect()
}

/// The same from nothing but the mirror.
fn clean(world: &World, edited: &Path) -> BTreeMap<&'static str, String> {
    let root = world.path("another/path");
    let dir = root.join("to/it");
    copy_tree(edited, &dir);
    let ibuild = world.ibuild("another/path/to/it", "empty");
    // A process sees as many processors as it may use, so every pool of threads has one.
    let mut alone = Command::new("taskset");
    alone.args(["-c", "0"]).arg(ibuild.get_program()).args(ibuild.get_args()).arg("--color=never");
    alone.env_clear().envs(ibuild.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let images = build(alone, &dir, &TARGETS);
    fs::remove_dir_all(root).unwrap();
    fs::remove_dir_all(world.path("empty")).unwrap();
    images
}
