//! VirtualBox imports an appliance of two machines, and has their settings and, bit for bit, their disks. It needs no kernel module
//! for that, and runs in a stage of a root file system of its own: Debian's unstable, which alone has it. Only in a night.

#![expect(clippy::disallowed_methods, reason = "the environment says that it is night")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const MACHINES: [&str; 2] = ["gateway", "workstation"];

/// What VirtualBox has to say of them. What is not in the recipe is what docs/images.md says.
const SETTINGS: [(&str, &str); 18] = [
    ("gateway cpus", "2"),
    ("gateway memory", "768"),
    ("gateway vram", "32"),
    ("gateway firmware", "BIOS"),
    ("gateway nic1", "nat"),
    ("gateway nic2", "intnet"),
    ("gateway intnet2", "Veil"),
    ("gateway audio", "none"),
    ("gateway clipboard", "disabled"),
    ("gateway rtcuseutc", "on"),
    ("workstation cpus", "1"),
    ("workstation memory", "512"),
    ("workstation nic1", "intnet"),
    ("workstation intnet1", "Veil"),
    ("workstation nic2", "null"),
    ("workstation audio_in", "off"),
    ("workstation clipboard", "hosttoguest"),
    ("workstation rtcuseutc", "off"),
];

struct Lab {
    root: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-r").args(["tests/virtualbox/machines", "tests/virtualbox/importer"]).arg(root.path());
        assert!(copy.status().unwrap().success());
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn ibuild(&self, project: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ibuild"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.root.path());
        command.env("IBUILD_CACHE_DIR", self.path("cache")).arg("-C").arg(self.path(project)).args(arguments);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// `machine key="value"`, a line each; keys may be quoted, too.
fn settings(log: &str) -> BTreeMap<String, String> {
    let pairs = log.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.replace('"', ""), value.trim_matches('"').to_owned())).collect()
}

fn program(name: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(name).args(arguments).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn real_virtualbox_has_the_machines_as_they_were_built() {
    if std::env::var_os("IBUILD_NIGHTLY").is_none() {
        eprintln!("SKIPPED: VirtualBox is installed in a night only (IBUILD_NIGHTLY=1)");
        return;
    }
    let lab = Lab::new();
    lab.ibuild("machines", &["build", "--target", "pair.ova", "gateway.raw", "workstation.raw"]);
    fs::copy(lab.path("machines/out/pair.ova"), lab.path("importer/pair.ova")).unwrap();
    // Nobody promises that a mirror's unstable is of today.
    lab.ibuild("importer", &["update", "--allow-expired"]);
    lab.ibuild("importer", &["build", "--until", "importer"]);
    let log = lab.ibuild("importer", &["log", "importer/10-pair"]);
    let found = settings(&log);
    for (key, value) in SETTINGS {
        assert_eq!(found.get(key).map(String::as_str), Some(value), "{key} in\n{log}");
    }
    assert!(!log.contains("=\"bridged\""), "{log}");
    let ovf = program("tar", &["-xO", "pair.ovf", "-f"], &lab.path("importer/pair.ova"));
    for machine in MACHINES {
        let mac = &found[&format!("{machine} macaddress1")];
        assert!(ovf.contains(&format!("MACAddress=\"{mac}\"")), "{mac}");
        let raw = program("sha256sum", &[], &lab.path(&format!("machines/out/{machine}.raw")));
        let digest = raw.split(' ').next().unwrap();
        assert!(log.contains(&format!("{machine} sha256 {digest}")), "{machine}'s disk differs:\n{log}");
    }
}
