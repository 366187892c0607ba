//! kill -9 of the builder at any moment.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::chance;
use crate::lab::{Lab, TARGET, events, finished, kept};

/// Builds that are killed before one may come to its end, at most.
const IN_A_ROW: usize = 4;

#[test]
fn a_killed_builder_loses_nothing_but_the_unfinished_stage() {
    let start = Instant::now();
    let clean = Lab::new().build();
    let whole = start.elapsed();
    let mut rng = chance::rng();
    let mut left = chance::rounds(12, 200);
    while left > 0 {
        let (lab, mut done) = (Lab::new(), BTreeSet::new());
        for _ in 0..left.min(rng.usize(1..=IN_A_ROW)) {
            kill_a_build(&lab, whole.mul_f64(rng.f64()), &mut done);
            assert_nothing_runs(&lab);
            left -= 1;
        }
        let built = lab.build();
        built.assert_same(&clean);
        let again: Vec<_> = built.ran.iter().filter(|stage| done.contains(*stage)).collect();
        assert!(again.is_empty(), "{again:?} had been kept before");
        assert_nothing_left(&lab);
        lab.assert_sound();
    }
}

#[test]
fn a_killed_collection_takes_nothing_that_is_needed() {
    let (lab, mut rng) = (Lab::new(), chance::rng());
    for round in 0..chance::rounds(4, 100) {
        lab.build();
        lab.edit("scripts/10-big", &format!("srand({})", 7 + round), &format!("srand({})", 8 + round));
        let last = lab.build();
        let mut collect = lab.ibuild(&["cache", "gc", "--keep", "1"]);
        let mut child = collect.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(rng.u64(..60)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was on its way out may be found, and be whole; nothing else is.
        lab.run(&["cache", "fsck"]);
        lab.assert_sound();
        let again = lab.build();
        again.assert_same(&last);
        assert_eq!(again.ran, [] as [&str; 0]);
    }
}

/// Adds to `done` the stages that had been kept. None that had been before may run again.
pub fn kill_a_build(lab: &Lab, after: Duration, done: &mut BTreeSet<String>) {
    let mut build = lab.ibuild(&["build", "--target", TARGET, "--json"]);
    let mut child = build.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut said = String::new();
        stdout.read_to_string(&mut said).map(|_| said)
    });
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
    let events = events(&reader.join().unwrap().unwrap());
    let ran = finished(&events, "ran");
    assert!(!ran.iter().any(|stage| done.contains(stage)), "{ran:?} ran, although {done:?} had been kept");
    done.extend(kept(&events));
}

/// Waits for the end of what was killed: the kernel takes the sandbox down in its own time.
pub fn assert_nothing_runs(lab: &Lab) {
    let start = Instant::now();
    loop {
        let left = processes_in(&lab.path(""));
        if left.is_empty() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "still there: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    assert!(!mounts.contains(lab.store_dir().join("runs").to_str().unwrap()), "{mounts}");
}

/// Command lines of other processes that have a file or a mount below `dir`.
fn processes_in(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().unwrap();
    let is_in = |process: &Path| {
        let mounts = fs::read_to_string(process.join("mountinfo")).unwrap_or_default();
        let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
        mounts.contains(dir) || targets.any(|target| target.starts_with(dir))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let numbered = processes.filter(|path| path.join("mountinfo").exists() && !path.ends_with("self"));
    let others = numbered.filter(|path| !path.ends_with(std::process::id().to_string()));
    let others = others.filter(|path| !path.ends_with("thread-self") && is_in(path));
    others
        .map(|path| fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " "))
        .collect()
}

/// What was killed is cleaned up by the next build.
fn assert_nothing_left(lab: &Lab) {
    for place in ["runs", "tmp", "trash"] {
        let left: Vec<_> = fs::read_dir(lab.store_dir().join(place)).unwrap().flatten().collect();
        assert!(left.is_empty(), "{place} has {left:?}");
    }
}
