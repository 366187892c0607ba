//! Looking inside what was built, and handing it to others: `ls`, `cat`, `mount`, and OCI images that buildah takes. Over a
//! root file system of one busybox. Needs root.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::harness::Sandbox;

const STEPS: &str = r#"
  { name = "write", run = "echo first > /etc/word; echo gone > /etc/gone; mkdir /srv/dir; echo hidden > /srv/dir/old; ln -s /etc/word /srv/link" },
  { name = "edit", run = "echo second > /etc/word; rm /etc/gone; rm -r /srv/dir; mkdir /srv/dir; echo new > /srv/dir/new" },
"#;

const TARGET: &str = "ws.rootfs.tar.zst";

fn lab(target: &str) -> Sandbox {
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    lab.run(&["build", "--target", target]).succeeds();
    lab
}

#[test]
fn files_of_stages_and_of_targets_are_shown() {
    let lab = lab(TARGET);
    assert_eq!(lab.run(&["cat", TARGET, "/etc/word"]).succeeds(), "second\n");
    assert_eq!(lab.run(&["cat", "ws/write", "/etc/word"]).succeeds(), "first\n");
    assert_eq!(lab.run(&["cat", "ws", "srv/link"]).succeeds(), "second\n");
    let listed = lab.run(&["ls", TARGET, "/srv"]).succeeds();
    assert!(listed.contains("drwxr-xr-x  0  0  -  2026-01-01T00:00:00Z  dir\n"), "{listed}");
    assert!(listed.contains("link -> /etc/word\n") && listed.starts_with("drwx"), "{listed}");
    let json = lab.run(&["ls", TARGET, "/srv/dir", "--json"]).json();
    assert_eq!((&json["files"][0]["name"], &json["files"][0]["size"]), (&"new".into(), &4.into()));
    lab.run(&["cat", TARGET, "/etc/gone"]).fails(
        1,
        "error: there is no `/etc/gone`\nhint: `ibuild ls NAME DIR` lists what is in a directory\n",
    );
    lab.run(&["cat", "ws.raw", "/etc/word"])
        .fails(2, "error: `ws.raw` was never built\nhint: `ibuild build --target ws.raw` builds it\n");
}

#[test]
fn an_output_that_is_full_is_told_apart_from_the_store() {
    let lab = lab(TARGET);
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for arguments in [["cat", "ws", "/etc/word"], ["cat", "ws", "/bin/busybox"], ["ls", "ws", "/srv"]] {
        let failed = lab.command(&arguments).stdout(full()).output().unwrap();
        lab.finish(failed).fails(
            3,
            "error: cannot write to standard output\n  caused by: No space left on device\n\
             hint: make room where standard output leads, or send it to another place\n",
        );
    }
}

#[test]
fn names_may_be_any_bytes_and_take_a_line_each() {
    let lab = Sandbox::empty();
    let steps = r#"{ name = "odd", run = "busybox printf 'in it' > /srv/$(busybox printf 'a\\377'); echo > \"/srv/$(echo one; echo two)\"" },"#;
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), steps);
    lab.run(&["build", "--until", "ws/odd"]).succeeds();
    let listed = lab.run(&["ls", "ws/odd", "/srv"]).succeeds();
    let names: Vec<_> = listed.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(names, ["a\u{fffd}", "one\u{fffd}two"], "{listed}");
    let path = OsStr::from_bytes(b"/srv/a\xff");
    assert_eq!(lab.run_os(&["cat".as_ref(), "ws/odd".as_ref(), path]).succeeds(), "in it");
    assert!(lab.run_os(&["ls".as_ref(), "ws/odd".as_ref(), path]).succeeds().ends_with("a\u{fffd}\n"));
}

#[test]
fn a_store_whose_name_is_no_text_is_refused_in_words() {
    let lab = Sandbox::with_project();
    let dir = OsStr::from_bytes(b"store\xff");
    lab.run_os(&["--cache-dir".as_ref(), dir, "cache".as_ref(), "stats".as_ref()]).fails(
        2,
        "error: the name of the store's directory `[ROOT]/project/store\u{fffd}` is not text\n\
         hint: choose one of which the whole path is UTF-8: `--cache-dir DIR`\n",
    );
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// The processes that keep mounts in the store of this lab.
fn keepers(lab: &Sandbox) -> usize {
    let store = lab.path("../cache").canonicalize().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains("__mount-keeper") && line.contains(store.to_str().unwrap())).count()
}

#[test]
fn a_mount_is_for_reading_keeps_its_layers_and_leaves_nothing() {
    let lab = lab(TARGET);
    let place = lab.path("..").canonicalize().unwrap().join("place");
    fs::create_dir(&place).unwrap();
    let dir = place.to_str().unwrap();
    lab.run(&["mount", TARGET, dir]).succeeds();
    assert_eq!(fs::read_to_string(place.join("etc/word")).unwrap(), "second\n");
    assert!(!place.join("etc/gone").exists() && !place.join("srv/dir/old").exists());
    assert!(fs::write(place.join("etc/word"), "x").is_err(), "it is not for writing");
    lab.run(&["mount", TARGET, dir]).fails(
        2,
        "error: `[ROOT]/place` is not an empty directory\nhint: make a directory for it: `mkdir DIR`\n",
    );
    // What is mounted must not be collected.
    lab.run(&["cache", "gc"]).fails(
        3,
        "error: `[ROOT]/place` is mounted from this store\nhint: `ibuild umount [ROOT]/place` first\n",
    );
    assert_eq!(fs::read_to_string(place.join("srv/dir/new")).unwrap(), "new\n");
    assert_eq!(keepers(&lab), 1);
    lab.run(&["umount", dir]).succeeds();
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    assert!(!mounts().contains(dir), "{}", mounts());
    let patience = Instant::now() + Duration::from_secs(20);
    while keepers(&lab) > 0 {
        assert!(Instant::now() < patience, "the keeper is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
    lab.run(&["cache", "gc"]).succeeds();
    lab.run(&["umount", dir]).fails(2, "error: ibuild has mounted nothing on `[ROOT]/place`\n");
}

#[test]
fn a_snapshot_of_one_layer_is_mounted_too() {
    let lab = lab(TARGET);
    let place = lab.path("..").canonicalize().unwrap().join("place");
    fs::create_dir(&place).unwrap();
    let dir = place.to_str().unwrap();
    lab.run(&["mount", "ws/bootstrap", dir]).succeeds();
    assert!(place.join("bin/busybox").exists() && fs::write(place.join("x"), "").is_err());
    lab.run(&["umount", dir]).succeeds();
    assert!(!mounts().contains(dir));
}

struct Buildah<'l> {
    store: &'l Path,
}

impl Buildah<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        let place = |name: &str| self.store.join(name).display().to_string();
        let mut command = Command::new("buildah");
        command.args(["--root", &place("root"), "--runroot", &place("run"), "--storage-driver", "vfs"]);
        command.args(arguments).output().unwrap()
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[test]
fn real_buildah_takes_an_oci_image() {
    if Command::new("buildah").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no `buildah`");
        return;
    }
    let lab = lab("ws.oci");
    let (image, store) = (lab.path("out/ws.oci"), lab.path("../containers"));
    let first = fs::read(&image).unwrap();
    let buildah = Buildah { store: &store };
    let container = buildah.succeeds(&["from", &format!("oci-archive:{}", image.display())]);
    let root = Path::new(&buildah.succeeds(&["mount", &container])).to_owned();
    assert_eq!(fs::read_to_string(root.join("etc/word")).unwrap(), "second\n");
    assert!(!root.join("etc/gone").exists() && !root.join("srv/dir/old").exists());
    assert_eq!(fs::read_link(root.join("srv/link")).unwrap(), Path::new("/etc/word"));
    let inspected: serde_json::Value =
        serde_json::from_str(&buildah.succeeds(&["inspect", &container])).unwrap();
    let layers = inspected["OCIv1"]["rootfs"]["diff_ids"].as_array().unwrap().len();
    assert_eq!(layers, 3, "each stage is a layer");
    buildah.succeeds(&["umount", &container]);
    buildah.succeeds(&["rm", &container]);
    buildah.succeeds(&["rmi", "--all"]);
    lab.run(&["build", "--target", "ws.oci", "--from", "ws.oci"]).succeeds();
    assert!(fs::read(&image).unwrap() == first, "the same image has the same bytes");
}

/// The program of the facade's documentation, which `cargo test` builds beside the tests.
#[test]
fn a_program_builds_through_the_facade() {
    let source = include_str!("../../examples/embed.rs");
    assert!(source.lines().count() <= 30, "an example is short");
    let program = Path::new(env!("CARGO_BIN_EXE_ibuild")).with_file_name("examples").join("embed");
    assert!(program.exists(), "`cargo build --release --example embed` builds {}", program.display());
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    lab.write("ibuild.local.toml", "cache-dir = \"../cache\"\n");
    let build = || Command::new(&program).args([".", TARGET]).current_dir(lab.path("")).output().unwrap();
    let first = lab.finish(build()).succeeds();
    assert!(first.starts_with("3 stages ran, 1 were in the store\n"), "{first}");
    let file = lab.path("out").join(TARGET);
    assert!(first.ends_with(&format!("{TARGET}\n")) && file.exists(), "{first}");
    let made = fs::read(&file).unwrap();
    assert!(lab.finish(build()).succeeds().starts_with("0 stages ran, 4 were in the store\n"));
    fs::remove_file(&file).unwrap();
    lab.run(&["build", "--target", TARGET]).succeeds();
    assert!(fs::read(&file).unwrap() == made, "the program makes the same");
    let unknown = Command::new(&program).args([".", "none.ova"]).current_dir(lab.path("")).output().unwrap();
    assert!(!unknown.status.success());
}
