//! Power cuts: the store is on a file system of its own, of which only what has reached the disk survives.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Instant;

use crate::chance;
use crate::kill::{assert_nothing_runs, kill_a_build};
use crate::lab::{Lab, TARGET, copy_tree, events};
use crate::mounts::{FileDisk, keep_to_ourselves, run};

#[test]
fn what_was_said_to_be_kept_survives_a_power_cut() {
    keep_to_ourselves();
    let (reference, mut rng) = (Lab::new(), chance::rng());
    let start = Instant::now();
    let clean = reference.build();
    let whole = start.elapsed();
    for _ in 0..chance::rounds(6, 60) {
        let mut lab = Lab::new();
        let disk = disk_with_store(&mut lab);
        let mut done = BTreeSet::new();
        kill_a_build(&lab, whole.mul_f64(rng.f64() * 1.2), &mut done);
        assert_nothing_runs(&lab);
        let left = disk.cut(&lab.path("left"));
        start_again(&mut lab, &left);
        let built = lab.build();
        built.assert_same(&clean);
        let again: Vec<_> = built.ran.iter().filter(|stage| done.contains(*stage)).collect();
        assert!(again.is_empty(), "{again:?} had been kept before the power was cut");
        lab.assert_sound();
    }
}

#[test]
fn a_finished_build_survives_a_power_cut() {
    keep_to_ourselves();
    let mut lab = Lab::new();
    let disk = disk_with_store(&mut lab);
    let out = disk.dir.join("out");
    let mut build = lab.ibuild(&["build", "--target", TARGET, "--json", "--output", out.to_str().unwrap()]);
    let output = build.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    let built = events(&said).into_iter().find(|event| event["event"] == "built").unwrap();
    let left = disk.cut(&lab.path("left"));
    let image = fs::read(left.dir.join("out").join(TARGET)).unwrap();
    assert_eq!(blake3::hash(&image).to_hex().as_str(), built["blake3"]);
    start_again(&mut lab, &left);
    assert_eq!(lab.build().ran, [] as [&str; 0]);
    lab.assert_sound();
}

/// A disk with the seeded store on it, all of which has reached it.
fn disk_with_store(lab: &mut Lab) -> FileDisk {
    let disk = FileDisk::new(&lab.path("disk"));
    let store = disk.dir.join("store");
    copy_tree(lab.store_dir(), &store);
    run("sync", &["-f", store.to_str().unwrap()]);
    lab.use_store(&store);
    disk
}

/// As if the machine had been started again with what is left: the directory of unpacked layers is of an earlier start.
fn start_again(lab: &mut Lab, left: &FileDisk) {
    let store = left.dir.join("store");
    for layers in fs::read_dir(store.join("layers")).unwrap() {
        fs::rename(layers.unwrap().path(), store.join("layers/earlier")).unwrap();
    }
    lab.use_store(&store);
}
