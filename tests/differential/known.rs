//! Cases in which an incremental build once was not what a clean one makes, or in which a store lost something: each alone.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use crate::archive::Archives;
use crate::files::{File, Files, Kind};
use crate::lab::{Built, Lab, Place};
use crate::project::{Project, Target};

const TARGET: &str = "t.rootfs.tar.zst";

const SOURCE: &str = "mkdir -p /opt/v1 /opt/x/y /opt/priv && echo one > /opt/v1/file && echo s > /opt/x/y/f && \
    ln -s v1 /opt/current && chown bob:bob /opt/priv && chmod 0700 /opt/priv /opt/x/y";

/// A project of one step over a bootstrap, and what it reads.
struct Case {
    lab: Lab,
    files: Files,
    _archives: Archives,
}

impl Case {
    /// Built once.
    fn of(step: &str) -> Self {
        let (archives, mut files) = (Archives::new(), Files::default());
        let (a, b) = (archives.url("a"), archives.url("b"));
        let recipe = format!(
            r#"schema = 1
[project]
name = "known"
epoch = 1767225600
[archive.a]
url = "{a}"
suites = ["mini", "mini-updates"]
key = "vendor.asc"
[archive.b]
url = "{b}"
suites = ["mini"]
key = "vendor.asc"
[rootfs.base]
steps = [{{ name = "bootstrap", bootstrap = {{ archive = ["a", "b"] }} }}]
[rootfs.src]
from = "base"
steps = [{{ name = "make", run = "{SOURCE}" }}]
[rootfs.t]
from = "base"
steps = [{step}]
[image.t]
rootfs = "t"
formats = ["rootfs.tar.zst"]
"#
        );
        let private = Kind::Regular(b"d\n".into());
        let datum =
            File { kind: private, mode: 0o640, owner: 1000, time: Some(1_580_601_600), attribute: None };
        files.plain("ibuild.toml", recipe);
        files.plain("ibuild.lock", archives.lock());
        files.plain("vendor.asc", archives.armoured_key());
        files.plain("files/a.conf", "hello\n");
        files.plain("scripts/10-name", "#!/bin/sh\necho \"$0\" > /srv/name\n");
        files.put("data/d", datum);
        let case = Self { lab: Lab::new(), files, _archives: archives };
        case.after(|_| {})
    }

    /// With other files, and built again.
    #[track_caller]
    fn after(mut self, edit: impl FnOnce(&mut Files)) -> Self {
        edit(&mut self.files);
        self.lab.write(&self.files);
        self.succeeds(Place::Incremental);
        self
    }

    #[track_caller]
    fn succeeds(&self, place: Place) -> Built {
        let built = self.lab.build(&self.project(), place);
        assert_eq!(built.status, 0, "{}", built.stderr);
        built
    }

    fn project(&self) -> Project {
        let target = Target { name: TARGET.to_owned(), own: String::new(), roots: Vec::new() };
        Project {
            files: self.files.clone(),
            arguments: Vec::new(),
            stages: Vec::new(),
            targets: vec![target],
            slots: Default::default(),
        }
    }

    /// What was built is what a clean build makes.
    #[track_caller]
    fn equals_a_clean_build(&self) {
        self.succeeds(Place::Clean);
        let manifest = |place| self.lab.manifest(place, TARGET);
        assert_eq!(manifest(Place::Incremental), manifest(Place::Clean));
        assert_eq!(self.lab.digest(Place::Incremental, TARGET), self.lab.digest(Place::Clean, TARGET));
    }

    fn store(&self) -> std::path::PathBuf {
        self.lab.path("store")
    }
}

/// Replaces what stands once in the recipe.
fn recipe(files: &mut Files, old: &str, new: &str) {
    let Some(File { kind: Kind::Regular(bytes), .. }) = files.get("ibuild.toml") else { panic!("no recipe") };
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert_eq!(text.matches(old).count(), 1, "{old:?} in {text}");
    files.plain("ibuild.toml", text.replace(old, new));
}

fn rename(files: &mut Files, from: &str, to: &str) {
    let file = files.remove(from);
    files.put(to, file);
    recipe(files, from, to);
}

#[test]
fn a_copied_file_is_renamed() {
    let case = Case::of(r#"{ name = "s", copy = [{ from = "files/a.conf", to = "/srv/" }] }"#);
    case.after(|files| rename(files, "files/a.conf", "files/b.conf")).equals_a_clean_build();
}

#[test]
fn a_script_is_renamed() {
    let case = Case::of(r#"{ name = "s", script = "scripts/10-name" }"#);
    case.after(|files| rename(files, "scripts/10-name", "scripts/20-name")).equals_a_clean_build();
}

#[test]
fn what_a_copied_link_leads_to_changes() {
    let case = Case::of(r#"{ name = "s", copy-from = { rootfs = "src", paths = ["/opt/current"] } }"#);
    case.after(|files| recipe(files, "echo one", "echo two")).equals_a_clean_build();
}

#[test]
fn paths_are_copied_in_another_order() {
    let case = Case::of(r#"{ name = "s", copy-from = { rootfs = "src", paths = ["/opt/x/y", "/opt/x"] } }"#);
    let (old, new) = (r#""/opt/x/y", "/opt/x""#, r#""/opt/x", "/opt/x/y""#);
    case.after(|files| recipe(files, old, new)).equals_a_clean_build();
}

const COPIES_ITS_INPUT: &str =
    r#"{ name = "s", run = "cp -a /run/ibuild/in/data /srv/data", inputs = ["data"] }"#;

#[test]
fn an_input_has_another_owner_mode_and_time() {
    Case::of(COPIES_ITS_INPUT).after(|files| files.plain("data/d", "d\n")).equals_a_clean_build();
}

#[test]
fn an_editor_leaves_a_file_beside_an_input() {
    Case::of(COPIES_ITS_INPUT).after(|files| files.plain("data/d~", "")).equals_a_clean_build();
}

#[test]
fn archives_are_listed_in_another_order() {
    let case = Case::of(r#"{ name = "s", run = "true" }"#);
    case.after(|files| recipe(files, r#"["a", "b"]"#, r#"["b", "a"]"#)).equals_a_clean_build();
}

#[test]
fn suites_are_listed_in_another_order() {
    let case = Case::of(r#"{ name = "s", run = "true" }"#);
    let (old, new) = (r#""mini", "mini-updates""#, r#""mini-updates", "mini""#);
    case.after(|files| recipe(files, old, new)).equals_a_clean_build();
}

#[test]
fn an_input_changes_and_changes_back_while_a_stage_runs() {
    let run = "sleep 0.2; cat /run/ibuild/in/data/d > /srv/x; sleep 0.4";
    let mut case = Case::of(&format!(r#"{{ name = "s", run = "{run}", inputs = ["data"] }}"#));
    case.files.plain("data/d", "e\n");
    case.lab.write(&case.files);
    case.lab.build_and(&case.project(), Place::Incremental, |stage| {
        if stage == "t/s" {
            sleep(Duration::from_millis(100));
            case.lab.scribble("data/d", b"B\n");
            sleep(Duration::from_millis(300));
            case.lab.scribble("data/d", b"e\n");
        }
    });
    // It may have failed: what counts is what is made of what it has left behind.
    case.after(|_| {}).equals_a_clean_build();
}

const COPIES_A_PRIVATE_DIRECTORY: &str =
    r#"{ name = "s", copy-from = { rootfs = "src", paths = ["/opt/priv"] } }"#;

#[test]
fn a_copied_directory_is_the_same_each_time() {
    Case::of(COPIES_A_PRIVATE_DIRECTORY).equals_a_clean_build();
}

#[test]
fn a_copied_directory_keeps_its_owner_and_its_mode() {
    let case = Case::of(COPIES_A_PRIVATE_DIRECTORY);
    let listed = case.lab.ibuild(&case.store()).args(["ls", "t", "/opt"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed.lines().find(|line| line.ends_with("priv")).expect(&listed);
    assert!(line.starts_with("drwx------  1234  1234 "), "{line}");
}

#[test]
fn nothing_is_wrong_with_a_store_that_was_only_built_in() {
    let case = Case::of(r#"{ name = "s", run = "true" }"#);
    let checked = case.lab.ibuild(&case.store()).args(["cache", "fsck"]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

#[test]
fn a_lost_index_loses_no_stage() {
    let case = Case::of(r#"{ name = "s", run = "true" }"#);
    let index: &Path = &case.store().join("index");
    fs::remove_dir_all(index).unwrap();
    let ran = case.succeeds(Place::Incremental).ran;
    assert!(ran.is_empty(), "{ran:?}");
}
