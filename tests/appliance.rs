//! examples/veil: both machines built, booted, looked at row by row, and attacked. In a night, all of its tests.
//!
//! Its store, its lock and its results stay in CI's cache: packages are downloaded once, and a machine that is the same as in
//! the last run, bit by bit, is not tried again with the same tests.

#![expect(clippy::print_stderr, reason = "tells what was measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "CI says by its environment where its cache is, and that it is night"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What is tried in every run. `leak` starts two machines and starts one of them twice.
const ALWAYS: [&str; 3] = ["gateway", "workstation", "leak"];

/// Megabytes that a machine may have.
const SIZES: [(&str, u64); 2] = [("gateway.ova", 350), ("workstation.ova", 450)];

/// A copy of the example, with a store of its own.
struct Appliance {
    project: PathBuf,
    store: PathBuf,
    /// Where they are, if nobody keeps them.
    _temporary: Option<tempfile::TempDir>,
}

impl Appliance {
    fn new() -> Self {
        let kept = std::env::var_os("IBUILD_CI_CACHE").map(|cache| Path::new(&cache).join("appliance"));
        let temporary = kept.is_none().then(|| tempfile::tempdir_in("/var/tmp").unwrap());
        let root = kept.unwrap_or_else(|| temporary.as_ref().expect("there is one then").path().to_owned());
        let appliance = Self { project: root.join("veil"), store: root.join("store"), _temporary: temporary };
        appliance.take_sources();
        appliance
    }

    /// The example as it is in this clone. The lock and the results of the last run stay.
    fn take_sources(&self) {
        fs::create_dir_all(&self.project).unwrap();
        for name in ["files", "scripts", "tests", "ibuild.toml"] {
            let (from, to) = (Path::new("examples/veil").join(name), self.project.join(name));
            let _ = fs::remove_dir_all(&to);
            let status = Command::new("cp").arg("-aT").args([&from, &to]).status().unwrap();
            assert!(status.success());
        }
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &self.project);
        command.env("IBUILD_CACHE_DIR", &self.store).arg("-C").arg(&self.project).args(arguments);
        let start = Instant::now();
        let status = command.stdin(Stdio::null()).status().unwrap();
        eprintln!("ibuild {}: {:.0} s", arguments.join(" "), start.elapsed().as_secs_f64());
        assert!(status.success(), "`ibuild {}` ended with {status}", arguments.join(" "));
    }
}

#[test]
fn both_machines_are_what_they_should_be_and_leak_nothing() {
    let appliance = Appliance::new();
    appliance.run(&["build", "--target", "gateway.ova", "workstation.ova"]);
    for (name, limit) in SIZES {
        let size = fs::metadata(appliance.project.join("out").join(name)).unwrap().len() / 1_000_000;
        eprintln!("{name}: {size} MB");
        assert!(size <= limit, "{name} has {size} MB, more than {limit}");
    }
    match std::env::var_os("IBUILD_NIGHTLY") {
        Some(_) => appliance.run(&["test", "--again"]),
        None => appliance.run(&[&["test"][..], &ALWAYS].concat()),
    }
    // What belonged to earlier states of the example goes, so that the cache does not grow.
    appliance.run(&["cache", "gc", "--keep", "1", "--wait"]);
}
