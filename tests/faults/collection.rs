//! Garbage collection of a real store: what it says it takes, and beside builds.

use std::process::Stdio;
use std::time::Duration;

use ibuild::cache::Batch;
use ibuild::graph::{Description, DirtyReason, FinishedRun, RunMemory, StageName};
use ibuild::stages::{Artifact, StageOutput};

use crate::chance;
use crate::lab::{Lab, TARGET};
use crate::mounts::usage;

#[test]
fn the_accounts_are_those_of_du() {
    let lab = Lab::new();
    lab.build();
    lab.edit("scripts/10-big", "srand(7)", "srand(8)");
    lab.build();
    let on_disk = || usage(lab.store_dir()).0;
    let total = json(&lab, &["cache", "stats", "--json"])["total"]["bytes"].as_u64().unwrap();
    assert_eq!(total, on_disk());
    let before = json(&lab, &["cache", "gc", "--keep", "1", "--dry-run", "--json"]);
    assert_eq!(before["before"].as_u64().unwrap(), on_disk());
    let collected = json(&lab, &["cache", "gc", "--keep", "1", "--json"]);
    assert_eq!(collected["after"].as_u64().unwrap(), on_disk());
    let freed = total - on_disk();
    let planned = before["before"].as_u64().unwrap() - before["planned"].as_u64().unwrap();
    // The plan cannot tell what facts take of the index's files.
    assert!(freed > 1 << 20 && freed.abs_diff(planned) < 256 << 10, "{planned} were planned, {freed} freed");
}

fn json(lab: &Lab, command: &[&str]) -> serde_json::Value {
    serde_json::from_str(&lab.run(command).succeeds()).unwrap()
}

/// Whatever a build finds in the store when it begins is there when it ends.
#[test]
fn what_a_running_build_uses_stays() {
    let (lab, mut rng) = (Lab::new(), chance::rng());
    add_results(&lab, chance::rounds(100, 5000));
    lab.build();
    lab.run(&["cache", "pin", "base"]).succeeds();
    let (mut refused, mut seed) = (0, 7);
    for _ in 0..chance::rounds(5, 100) {
        if rng.bool() {
            lab.edit("scripts/10-big", &format!("srand({seed})"), &format!("srand({})", seed + 1));
            seed += 1;
        }
        let mut build = lab.ibuild(&["build", "--target", TARGET, "--json"]);
        let child = build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.u64(..600)));
        let budget = format!("{} MiB", rng.u8(3..12));
        let mut collect = vec!["cache", "gc", "--keep", "1", "--budget", &budget];
        collect.extend(rng.bool().then_some("--wait"));
        let collected = lab.run(&collect);
        refused += usize::from(collected.status != 0);
        if collected.status != 0 {
            collected.fails_outside(&["is building in this store", "hint: "]);
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        lab.assert_sound();
        lab.build();
    }
    eprintln!("{refused} collections were refused");
}

/// Results of a project that nobody builds any more.
fn add_results(lab: &Lab, count: usize) {
    let store = lab.open_store();
    let memory = RunMemory::new(&store, "another");
    for number in 0..count {
        let stored = store.blobs().put(&number.to_le_bytes()).unwrap();
        let output = StageOutput::Artifact(Artifact { blob: stored.digest, size: stored.size });
        let mut description = Description::new("image", 1);
        description.set("number", number as i64);
        let stage = StageName::new(format!("image{number}.raw"));
        memory
            .remember_run(
                &stage,
                FinishedRun {
                    description: &description,
                    facts: Batch::default(),
                    reason: DirtyReason::NeverBuilt.into(),
                    millis: 1,
                },
                &output,
            )
            .unwrap();
    }
}
