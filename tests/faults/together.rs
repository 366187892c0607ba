//! Several processes on one store: each stage is made once, whoever is killed harms nobody, and who only looks never
//! waits.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::chance;
use crate::kill::assert_nothing_runs;
use crate::lab::{Lab, TARGET, events, finished, kept};

/// Starts a build with an output directory of its own.
fn start(lab: &Lab, name: &str) -> Child {
    let out = lab.path(name);
    let mut build = lab.ibuild(&["build", "--target", TARGET, "--json", "--output", out.to_str().unwrap()]);
    build.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn two_builders_make_each_stage_once() {
    let clean = Lab::new().build();
    let lab = Lab::new();
    let builds = ["a", "b"].map(|name| start(&lab, name)).map(|build| build.wait_with_output().unwrap());
    let mut ran = Vec::new();
    for (build, name) in builds.iter().zip(["a", "b"]) {
        assert!(build.status.success());
        let said = events(&String::from_utf8_lossy(&build.stdout));
        let built = said.iter().find(|event| event["event"] == "built").unwrap();
        assert_eq!(built["blake3"], clean.digest.as_str(), "{name}");
        ran.extend(finished(&said, "ran"));
    }
    let mut expected = clean.ran.clone();
    ran.sort();
    expected.sort();
    assert_eq!(ran, expected);
    lab.assert_sound();
}

#[test]
fn a_killed_builder_does_the_other_no_harm() {
    let begin = Instant::now();
    let clean = Lab::new().build();
    let whole = begin.elapsed();
    let mut rng = chance::rng();
    for _ in 0..chance::rounds(4, 60) {
        let lab = Lab::new();
        let (mut killed, other) = (start(&lab, "killed"), start(&lab, "other"));
        std::thread::sleep(whole.mul_f64(rng.f64()));
        killed.kill().unwrap();
        let killed = killed.wait_with_output().unwrap();
        let done: BTreeSet<_> = kept(&events(&String::from_utf8_lossy(&killed.stdout))).into_iter().collect();
        let other = other.wait_with_output().unwrap();
        assert!(other.status.success());
        let said = events(&String::from_utf8_lossy(&other.stdout));
        let built = said.iter().find(|event| event["event"] == "built").unwrap();
        assert_eq!(built["blake3"], clean.digest.as_str());
        let again: Vec<_> = finished(&said, "ran").into_iter().filter(|stage| done.contains(stage)).collect();
        assert!(again.is_empty(), "{again:?} had been kept by the one that was killed");
        assert_nothing_runs(&lab);
        lab.assert_sound();
    }
}

#[test]
fn who_looks_does_not_wait_for_who_builds() {
    let lab = Lab::new();
    lab.build();
    lab.edit("scripts/20-change", "rm /etc/b", "rm /etc/b; sleep 300");
    let mut build = start(&lab, "slow");
    let mut said = BufReader::new(build.stdout.take().unwrap()).lines();
    let is_started = |line: &String| line.contains("\"started\"") && line.contains("20-change");
    assert!(said.any(|line| is_started(&line.unwrap())), "the slow stage did not start");
    for looks in [
        &["cache", "ls"][..],
        &["cache", "stats"],
        &["plan", "--target", TARGET],
        &["explain", "main/last"],
        &["log", "main/many"],
        &["cache", "gc", "--dry-run"],
    ] {
        lab.run(looks).succeeds();
        assert_eq!(build.try_wait().unwrap(), None, "{looks:?} waited for the build");
    }
    build.kill().unwrap();
    build.wait().unwrap();
    assert_nothing_runs(&lab);
}
