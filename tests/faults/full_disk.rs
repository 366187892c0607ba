//! A disk that gets full, at any write of a build.

use std::fs;
use std::path::Path;

use crate::chance;
use crate::lab::{Built, Lab, TARGET, copy_tree};
use crate::mounts::{MemoryDisk, fill, keep_to_ourselves, usage};

/// What a build needs for a while beside what it leaves in the store, more or less.
const WORK: u64 = 20 << 20;

#[test]
fn a_build_on_a_full_disk_says_so_and_goes_on_when_there_is_room() {
    keep_to_ourselves();
    let lab = Lab::new();
    let (seeded, inodes) = usage(lab.store_dir());
    let whole = Lab::new();
    let clean = whole.build();
    let most = usage(whole.store_dir()).0 - seeded + WORK;
    let rounds = chance::rounds(20, 200) as u64;
    let mut full = 0;
    for round in 0..rounds {
        let size = seeded + (256 << 10) + most * round / (rounds - 1);
        full += usize::from(build_within(&lab, &format!("size={size}"), &clean));
    }
    assert!((5..rounds as usize).contains(&full), "{full} of {rounds} disks were too small");
    for more in [30, 150, 300] {
        assert!(build_within(&lab, &format!("size=1G,nr_inodes={}", inodes + more), &clean));
    }
}

/// Builds on a disk of this size, and once more on a large one if it was too small. Says whether it was.
fn build_within(seeded: &Lab, options: &str, clean: &Built) -> bool {
    let mut lab = Lab::without_store();
    let disk = MemoryDisk::new(lab.path("disk"), options);
    let store = disk.dir.join("store");
    copy_tree(seeded.store_dir(), &store);
    lab.use_store(&store);
    let first = lab.try_build();
    let was_full = first.status != 0;
    if was_full {
        first.fails_outside(&["hint: ", "ibuild cache gc"]);
        assert!(!lab.artifact().exists(), "half of an output");
        disk.enlarge();
    }
    lab.build().assert_same(clean);
    lab.assert_sound();
    was_full
}

/// It fills the disk, says that all went well, and leaves the disk as it found it.
#[test]
fn a_stage_that_takes_no_notice_of_a_full_disk_is_not_believed() {
    keep_to_ourselves();
    let mut lab = Lab::new();
    let disk = MemoryDisk::new(lab.path("disk"), "size=64M");
    let store = disk.dir.join("store");
    copy_tree(lab.store_dir(), &store);
    lab.use_store(&store);
    let fill = "#!/bin/sh\nyes | head -c 100000000 > /filler 2> /dev/null\nrm /filler\necho well > /etc/c\n";
    lab.write("scripts/30-fill", fill);
    lab.try_build().fails_outside(&["the disk got full while `scripts/30-fill` ran", "ibuild cache gc"]);
    disk.enlarge();
    assert!(lab.build().ran.contains(&"main/30-fill".to_owned()));
}

/// It may be the only remedy, so it has to work where nothing can be written any more.
#[test]
fn garbage_collection_makes_room_on_a_full_disk() {
    keep_to_ourselves();
    let mut lab = Lab::new();
    let disk = MemoryDisk::new(lab.path("disk"), "size=64M");
    let store = disk.dir.join("store");
    copy_tree(lab.store_dir(), &store);
    lab.use_store(&store);
    lab.build();
    lab.edit("scripts/10-big", "srand(7)", "srand(8)");
    let second = lab.build();
    fill(&disk.dir.join("ballast"));
    lab.edit("scripts/10-big", "srand(8)", "srand(9)");
    lab.try_build().fails_outside(&["ibuild cache gc"]);
    lab.run(&["cache", "gc", "--keep", "1"]).succeeds();
    lab.assert_sound();
    lab.edit("scripts/10-big", "srand(9)", "srand(8)");
    let again = lab.build();
    again.assert_same(&second);
    assert_eq!(again.ran, [] as [&str; 0]);
}

#[test]
fn outputs_on_a_full_disk_stay_as_they_are() {
    keep_to_ourselves();
    let lab = Lab::new();
    let disk = MemoryDisk::new(lab.path("outputs"), "size=16M");
    let dir = disk.dir.to_str().unwrap().to_owned();
    let build = || lab.run(&["build", "--target", TARGET, "--json", "--output", &dir]);
    build().built(&disk.dir.join(TARGET));
    let before = contents(&disk.dir);
    assert_eq!(before.len(), 2);
    let ballast = lab.path("outputs/ballast");
    fill(&ballast);
    lab.edit("scripts/10-big", "srand(7)", "srand(8)");
    build().fails_outside(&["hint: make room", &dir]);
    fs::remove_file(&ballast).unwrap();
    assert!(contents(&disk.dir) == before, "the outputs of the first build have changed");
    let third = build().built(&disk.dir.join(TARGET));
    assert_eq!(third.ran, [] as [&str; 0]);
    assert!(contents(&disk.dir) != before);
}

fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read =
        |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    let mut files: Vec<_> = files.map(read).collect();
    files.sort();
    files
}
