//! The root file system of an XFCE desktop, in 31 steps: every stage run a second time makes the same tree, and what its
//! layers take is little more than the last of them would take as one tarball. Minutes of work: only in a night.

#![expect(clippy::disallowed_methods, reason = "the environment says that it is night")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ibuild::cache::{RocksIndex, Store};
use ibuild::stages::snapshot::LayerStore;
use serde_json::Value;

const TARGET: &str = "desktop.rootfs.tar.zst";
const STAGES: usize = 31;
/// As often as the flat tarball of the last stage, all layers together.
const MOST_SPACE: f64 = 1.15;

struct Desktop {
    root: tempfile::TempDir,
}

impl Desktop {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::copy("tests/desktop/ibuild.toml", root.path().join("ibuild.toml")).unwrap();
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Builds, and tells what happened.
    fn build(&self, options: &[&str]) -> Vec<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.root.path());
        command.env("IBUILD_CACHE_DIR", self.path("cache")).arg("-C").arg(self.root.path());
        command.args(["build", "--json", "--target", TARGET]).args(options);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        let said = String::from_utf8(output.stdout).unwrap();
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The bytes of all layers' tarballs.
    fn layers(&self) -> u64 {
        let store = Store::open(&self.path("cache"), RocksIndex::new).unwrap();
        LayerStore::new(&store).all().unwrap().iter().map(|layer| layer.blob_size).sum()
    }
}

fn stages(events: &[Value], is_wanted: impl Fn(&Value) -> bool) -> Vec<&str> {
    let of_steps = events.iter().filter(|event| event["event"] == "finished" && event["stage"] != TARGET);
    of_steps.filter(|event| is_wanted(event)).map(|event| event["stage"].as_str().unwrap()).collect()
}

#[test]
fn real_desktop_is_the_same_twice() {
    if std::env::var_os("IBUILD_NIGHTLY").is_none() {
        eprintln!("SKIPPED: a desktop is built in a night only (IBUILD_NIGHTLY=1)");
        return;
    }
    let desktop = Desktop::new();
    desktop.build(&[]);
    let flat = fs::metadata(desktop.path("out").join(Path::new(TARGET))).unwrap().len();
    let (layers, ratio) = (desktop.layers(), desktop.layers() as f64 / flat as f64);
    eprintln!("all layers: {} MB, one tarball: {} MB, {ratio:.3}", layers / 1_000_000, flat / 1_000_000);
    assert!(ratio <= MOST_SPACE, "the layers take {ratio:.3} times the room of one tarball");
    let again = desktop.build(&["--from", "desktop/bootstrap"]);
    let differing: Vec<_> = again.iter().filter(|event| event["event"] == "nondeterministic").collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(stages(&again, |event| event["outcome"] == "ran").len(), STAGES);
    assert_eq!(stages(&again, |event| event["same_output"] == true).len(), STAGES);
}
