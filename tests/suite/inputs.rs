//! What of a project's files gets into an image, by the real binary over a root file system of one busybox. Needs root.

use std::fs;

use crate::harness::{Outcome, Sandbox};

const STEPS: &str = r#"
  { name = "files", copy = [{ from = "files", to = "/srv" }] },
  { name = "there", check = "test -e /srv/a -a -e /srv/deep/kept.log -a -d /srv/empty" },
  { name = "not-there", check = "for f in a~ .git x.log deep/.ibuildignore empty/.a.swp; do test ! -e /srv/$f; done" },
  { name = "reads", run = "cd /run/ibuild/in/data; test -x b -a -L c; test ! -e b~; cat c > /srv/b", inputs = ["data"] },
"#;

fn lab() -> Sandbox {
    let lab = Sandbox::empty();
    for (name, text) in [
        (".ibuildignore", "*.log\n"),
        ("files/.ibuildignore", "!kept.log\n"),
        ("files/a", "a"),
        ("files/deep/kept.log", "log"),
        ("data/b", "b"),
    ] {
        lab.write(name, text);
    }
    std::os::unix::fs::symlink("b", lab.path("data/c")).unwrap();
    fs::create_dir(lab.path("files/empty")).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(lab.path("data/b"), executable).unwrap();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    lab
}

fn leave_behind(lab: &Sandbox) {
    for name in [
        "files/a~",
        "files/.git/HEAD",
        "files/x.log",
        "files/empty/.a.swp",
        "files/deep/.ibuildignore",
        "data/b~",
    ] {
        lab.write(name, "nobody wants it");
    }
}

fn build(lab: &Sandbox) -> Outcome {
    lab.run(&["build", "--target", "ws.rootfs.tar.zst"])
}

#[track_caller]
fn assert_ends(outcome: Outcome, counts: &str) {
    let said = outcome.succeeds();
    assert!(said.contains(counts), "{said}");
}

const TOLD: &str = "note    ws/files  ignored 4 files and 1 directory: `files/.git/`, `files/a~`, `files/deep/.ibuildignore`, ...\n";

#[test]
fn what_is_ignored_is_in_no_image_and_in_no_key_but_told() {
    let lab = lab();
    assert_ends(build(&lab), "5 run, 1 cached");
    leave_behind(&lab);
    let again = build(&lab);
    assert!(again.stderr.contains(TOLD), "{}", again.stderr);
    assert!(again.stderr.contains("note    ws/reads  ignored 1 file: `data/b~`\n"), "{}", again.stderr);
    assert_ends(again, "0 run, 6 cached");
    lab.write("files/new", "counts");
    lab.write("data/new", "counts");
    assert_ends(build(&lab), "5 run, 1 cached");
}

#[test]
fn what_is_ignored_from_the_first_build_on_is_not_copied() {
    let lab = lab();
    leave_behind(&lab);
    let built = lab.run(&["build", "--json", "--target", "ws.rootfs.tar.zst"]);
    let events = built.succeeds();
    let told = "{\"event\":\"ignored\",\"files\":[\"data/b~\"],\"stage\":\"ws/reads\",\"v\":1}";
    assert_eq!(events.lines().filter(|line| *line == told).count(), 1, "{events}");
}

/// A script can see that it is traced.
#[test]
fn a_traced_build_is_found_by_no_other() {
    let lab = Sandbox::empty();
    let run = "( ls /none || true ) 2> /srv/err; echo \\\"$-\\\" > /srv/flags";
    crate::seeded::project(
        &lab.path(""),
        &lab.path("../cache"),
        &format!("{{ name = \"s\", run = \"{run}\" }},\n"),
    );
    lab.run(&["build", "--debug", "--target", "ws.rootfs.tar.zst"]).succeeds();
    assert!(lab.run(&["cat", "ws/s", "/srv/flags"]).succeeds().contains('x'));
    build(&lab).succeeds();
    assert!(!lab.run(&["cat", "ws/s", "/srv/flags"]).succeeds().contains('x'));
}

/// A regression: a pipe in the place of a manifest was waited for.
#[test]
fn what_lies_in_the_place_of_a_manifest_is_replaced() {
    let lab = lab();
    build(&lab).succeeds();
    let manifest = lab.path("out/ws.rootfs.tar.zst.manifest.json");
    let good = std::fs::read(&manifest).unwrap();
    std::fs::remove_file(&manifest).unwrap();
    nix::unistd::mkfifo(&manifest, nix::sys::stat::Mode::S_IRWXU).unwrap();
    build(&lab).succeeds();
    assert_eq!(std::fs::read(&manifest).unwrap(), good);
    std::fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &manifest).unwrap();
    build(&lab).succeeds();
    assert!(!manifest.is_symlink() && std::fs::read(&manifest).unwrap() == good);
}

#[test]
fn a_script_that_an_editor_left_is_no_stage() {
    let lab = Sandbox::empty();
    lab.write("scripts/10-a", "#!/bin/sh\ntouch /srv/a\n");
    lab.write("scripts/.10-a.swo", "not a script");
    lab.write("scripts/4913", "not a script");
    crate::seeded::project(
        &lab.path(""),
        &lab.path("../cache"),
        "{ name = \"all\", scripts = \"scripts\" },\n",
    );
    let built = build(&lab);
    for name in [".10-a.swo", "4913"] {
        let note = format!("`scripts/{name}` is not a step: it is an editor's backup");
        assert!(built.stderr.contains(&note), "{}", built.stderr);
    }
    assert_ends(built, "2 run, 1 cached");
}

/// The files are not in the image, not among the inputs, and not in the keys.
#[test]
fn what_the_recipe_excludes_is_nowhere() {
    const STEPS: &str = r#"
      { name = "files", copy = [{ from = "files", to = "/srv", exclude = ["*.md", "/drafts/"] }] },
      { name = "there", check = "test -e /srv/a -a ! -e /srv/README.md -a ! -e /srv/drafts" },
      { name = "reads", run = "cd /run/ibuild/in/files; test -e a -a -e drafts/b -a ! -e README.md", inputs = [{ path = "files", exclude = ["*.md"] }] },
    "#;
    let lab = Sandbox::empty();
    for name in ["files/a", "files/README.md", "files/drafts/b"] {
        lab.write(name, "text\n");
    }
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), STEPS);
    assert_ends(build(&lab), "4 run, 1 cached");
    lab.write("files/README.md", "other text\n");
    assert_ends(build(&lab), "0 run, 5 cached");
    lab.write("files/drafts/b", "other text\n");
    assert_ends(build(&lab), "1 run, 4 cached");
}
