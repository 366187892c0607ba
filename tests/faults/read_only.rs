//! A store that cannot be written.

use crate::lab::{Lab, TARGET};
use crate::mounts::{keep_to_ourselves, run};

#[test]
fn a_store_that_cannot_be_written_can_be_asked_and_used() {
    keep_to_ourselves();
    let lab = Lab::new();
    let built = lab.build();
    let store = lab.store_dir().to_str().unwrap();
    // As after the machine was started again: there is no place for unpacked layers of this start.
    for name in std::fs::read_dir(lab.store_dir().join("layers")).unwrap() {
        let name = name.unwrap().path();
        std::fs::rename(&name, name.with_file_name("earlier")).unwrap();
    }
    run("mount", &["--bind", store, store]);
    run("mount", &["-o", "remount,bind,ro", store]);
    let asked: [&[&str]; 8] = [
        &["plan", "--target", TARGET],
        &["explain", "main/last"],
        &["log", "main/10-big"],
        &["cache", "ls"],
        &["cache", "show", "main/last"],
        &["cache", "stats"],
        &["cache", "verify"],
        &["cache", "gc", "--dry-run"],
    ];
    for command in asked {
        lab.run(command).succeeds();
    }
    // There is nothing to do but to copy the image out.
    lab.clean();
    let again = lab.build();
    again.assert_same(&built);
    assert_eq!(again.ran, [] as [&str; 0]);
    lab.edit("scripts/10-big", "srand(7)", "srand(8)");
    lab.run(&["plan", "--target", TARGET]).succeeds();
    lab.try_build().fails_outside(&["read-only", "hint: ", "--cache-dir"]);
    lab.run(&["cache", "gc"]).fails_outside(&["read-only", "hint: "]);
    lab.run(&["cache", "fsck"]).fails_outside(&["read-only", "hint: "]);
    run("umount", &[store]);
    assert_ne!(lab.build().digest, built.digest);
    lab.assert_sound();
}
