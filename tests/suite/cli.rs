//! The real binary in a sealed box: a cleared environment, its own home, cache and project. No test here needs the
//! network or root.

use std::fs;
use std::process::Stdio;

use crate::harness::Sandbox;

/// What the image of the template can be had as.
const FORMATS: &str =
    "formats of `hello` are `ova`, `vmdk`, `qcow2`, `vdi`, `raw`, `raw.zst`, `rootfs.tar.zst` and `oci`";

#[test]
fn help_names_every_command() {
    let help = Sandbox::empty().run(&["--help"]).succeeds();
    let commands = [
        "init",
        "build",
        "plan",
        "explain",
        "graph",
        "shell",
        "ls",
        "cat",
        "mount",
        "umount",
        "log",
        "boot",
        "test",
        "lock",
        "update",
        "proxy",
        "packages",
        "cache",
        "clean",
        "doctor",
        "recipe",
        "completions",
        "man",
    ];
    for command in commands {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(command)),
            "{command} is not in\n{help}"
        );
    }
}

/// Of a stage nothing is said: it is not its fault. Each command leaves the lock as it is.
#[test]
fn a_broken_lock_has_a_remedy_that_works() {
    let lab = Sandbox::with_project();
    let commands = [
        &["plan", "--target", "hello.qcow2"][..],
        &["explain", "hello"],
        &["build", "--target", "hello.qcow2"],
        &["lock"],
        &["lock", "--check"],
        &["update"],
    ];
    let check = |text: &[u8], expected: &str| {
        fs::write(lab.path("ibuild.lock"), text).unwrap();
        for command in commands {
            lab.run(command)
                .fails(3, &format!("error: the lock `[ROOT]/project/ibuild.lock` is broken\n{expected}"));
        }
        assert_eq!(fs::read(lab.path("ibuild.lock")).unwrap(), text);
    };
    let anew = "or remove it: `ibuild lock` makes a new one then, of the archives as they are by now";
    let restore = format!("hint: restore it from version control; {anew}\n");
    check(b"", &format!("  caused by: it is empty\n{restore}"));
    check(b"\xff\xfe", &format!("  caused by: line 1 is not text\n{restore}"));
    check(
        b"format 2\n",
        &format!("  caused by: it was cut short: its last line, `end` with a number, is missing\n{restore}"),
    );
    check(b"format 1\ndeb x\n", &format!("  caused by: line 2 cannot be read: `deb x`\n{restore}"));
    check(
        b"<<<<<<< HEAD\nformat 1\n",
        &format!(
            "  caused by: line 1 is a conflict marker of a merge: `<<<<<<< HEAD`\nhint: take one side of \
             the merge (`git checkout --ours ibuild.lock` or `git checkout --theirs ibuild.lock`); the next build adds what it lacks; {anew}\n"
        ),
    );
    fs::remove_file(lab.path("ibuild.lock")).unwrap();
    lab.run(&["plan", "--target", "hello.qcow2"]).succeeds();
}

/// A regression: a pipe was waited for, and a device was read until no memory was left.
#[test]
fn a_lock_and_settings_without_an_end_are_not_read() {
    for name in ["ibuild.lock", "ibuild.local.toml"] {
        let lab = Sandbox::with_project();
        let expected =
            format!("error: cannot read `[ROOT]/project/{name}`\n  caused by: it is not a regular file\n");
        nix::unistd::mkfifo(&lab.path(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
        lab.run(&["plan", "--target", "hello.qcow2"]).fails(3, &expected);
        fs::remove_file(lab.path(name)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", lab.path(name)).unwrap();
        lab.run(&["plan", "--target", "hello.qcow2"]).fails(3, &expected);
    }
}

#[test]
fn relative_paths_are_meant_from_the_directory_of_the_command() {
    let sandbox = Sandbox::empty();
    sandbox.run(&["init", "hello", "demo"]).succeeds();
    sandbox.run(&["-C", "demo", "--cache-dir", "store", "cache", "stats"]).succeeds();
    assert!(sandbox.exists("demo/store/format") && !sandbox.exists("store"));
    sandbox.run(&["-C", "dmo", "graph"]).fails(2, "error: there is no directory `dmo`\n");
}

#[test]
fn a_format_that_is_not_listed_is_suggested_too() {
    let sandbox = Sandbox::with_project();
    sandbox.run(&["plan", "--target", "hello.qcow"]).fails(
        2,
        &format!("error: there is no target `hello.qcow`\nhint: did you mean `hello.qcow2`? {FORMATS}\n"),
    );
    sandbox
        .run(&["plan", "--target", "x"])
        .fails(2, "error: there is no target `x`\nhint: the targets are hello.ova\n");
}

#[test]
fn hints_have_the_options_of_the_command() {
    let sandbox = Sandbox::empty();
    let made = sandbox.run(&["init", "hello", "my lab"]);
    assert!(made.stderr.contains("\n  cd 'my lab'\n"), "{}", made.stderr);
    sandbox.run(&["-C", "my lab", "--cache-dir", "store", "shell", "hello/sane"]).fails(
        2,
        "error: `hello/sane` was never built\n\
         hint: `ibuild -C 'my lab' --cache-dir store build --until hello/sane` builds it\n",
    );
}

#[test]
fn a_recipe_is_shown_as_a_recipe() {
    let sandbox = Sandbox::with_project();
    let shown = sandbox.run(&["recipe", "show"]).succeeds();
    assert!(shown.contains("[project]\nname = \"project\"\n"), "{shown}");
    sandbox.write("ibuild.toml", &shown);
    assert_eq!(sandbox.run(&["recipe", "show"]).succeeds(), shown);
    let json = sandbox.run(&["recipe", "show", "--json"]).json();
    assert_eq!((&json["v"], &json["project"]["name"]), (&1.into(), &"project".into()));
}

#[test]
fn a_wrong_recipe_says_where_and_what_was_meant() {
    let sandbox = Sandbox::with_project();
    sandbox.edit("ibuild.toml", "rootfs = \"hello\"", "rootfs = \"helo\"");
    let failed = sandbox.run(&["recipe", "check"]);
    for needle in ["ibuild.toml:30:10", "hint: did you mean `hello`?"] {
        assert!(failed.stderr.contains(needle), "{needle} is not in\n{}", failed.stderr);
    }
    assert_eq!((failed.status, failed.stdout.as_str()), (2, ""));
}

#[test]
fn no_recipe_is_a_clear_error() {
    Sandbox::empty().run(&["plan", "-t", "hello.ova"]).fails(
        2,
        "error: there is no `ibuild.toml` in `[ROOT]/project`, nor above it\n\
         hint: `ibuild init` starts a project; `-C DIR` looks in another directory\n",
    );
}

#[test]
fn unknown_names_have_hints() {
    let sandbox = Sandbox::with_project();
    let hint = format!("hint: did you mean `hello.ova`? {FORMATS}\n");
    let target = format!("error: there is no target `hello.ovo`\n{hint}");
    sandbox.run(&["build", "--target", "hello.ovo"]).fails(2, &target);
    sandbox.run(&["plan", "--target", "hello.ovo"]).fails(2, &target);
    let name = format!("error: there is no stage or target `hello.ovo`\n{hint}");
    sandbox.run(&["explain", "hello.ovo"]).fails(2, &name);
    let stage = "error: there is no stage `hello/kernal`\nhint: did you mean `hello/kernel`?\n";
    for command in ["explain", "log", "shell"] {
        sandbox.run(&[command, "hello/kernal"]).fails(2, stage);
    }
    sandbox
        .run(&["update", "debain"])
        .fails(2, "error: there is no archive or locked package `debain`\nhint: did you mean `debian`?\n");
}

/// A regression: only the other commands looked at the settings of the machine.
#[test]
fn a_check_sees_what_a_plan_refuses() {
    let sandbox = Sandbox::with_project();
    sandbox.run(&["recipe", "check"]).succeeds();
    sandbox.write("ibuild.local.toml", "jobs = 0\n");
    let commands = [&["recipe", "check"][..], &["plan", "--target", "hello.ova"], &["cache", "gc"]];
    for command in commands {
        sandbox.run(command).fails(
            2,
            "error: `ibuild.local.toml:1:8`: `0` is no number of stages at a time\n\
             hint: name 1 or more, or leave `jobs` out: then it is the number of processors\n",
        );
    }
    sandbox.write("ibuild.local.toml", "jobs = 1\n");
    sandbox.run(&["recipe", "check"]).succeeds();
    nix::unistd::mkfifo(&sandbox.path("files/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let hint = "hint: only these can be copied: move it away, or name it in an `.ibuildignore`\n";
    let what = "is neither a file, nor a directory, nor a link\n";
    sandbox.run(&["recipe", "check"]).fails(2, &format!("error: `files/pipe` {what}{hint}"));
    let planned = sandbox.run(&["explain", "hello/files"]);
    assert!(planned.status == 0 || planned.stderr.ends_with(hint), "{planned:?}");
    sandbox.write("files/.ibuildignore", "pipe\n");
    sandbox.run(&["recipe", "check"]).succeeds();
    sandbox.write("files/.ibuildignore", "pipe\n[ab\n");
    sandbox.run(&["recipe", "check"]).fails(
        2,
        "error: cannot look at what is copied\n  \
         caused by: line 2 of `[ROOT]/project/files/.ibuildignore` is not a pattern\n  \
         caused by: a `[` has no `]`\nhint: close it, or write `\\[` for the character itself\n",
    );
}

#[test]
fn a_stage_that_a_target_does_not_need_is_refused() {
    let sandbox = Sandbox::empty();
    let step = |name: &str| format!("steps = [{{ name = \"{name}\", run = \"true\" }}]\n");
    let base = "steps = [{ name = \"b\", bootstrap = { archive = \"debian\", variant = \"minbase\" } }]\n";
    let image = "disk = { size = \"1 GiB\" }\nformats = [\"rootfs.tar.zst\"]\n";
    sandbox.write(
        "ibuild.toml",
        &format!(
            "schema = 1\n[project]\nname = \"two\"\nepoch = 1767225600\n[archive.debian]\nsuites = [\"trixie\"]\n\
             [rootfs.base]\n{base}[rootfs.x]\nfrom = \"base\"\n{}[rootfs.s]\nfrom = \"base\"\n{}\
             [image.x]\nrootfs = \"x\"\n{image}[image.s]\nrootfs = \"s\"\n{image}",
            step("h"),
            step("a"),
        ),
    );
    for option in ["--from", "--until"] {
        sandbox.run(&["build", "--target", "x", option, "s/a"]).fails(
            2,
            &format!(
                "error: `{option}` names `s/a`, which is not needed for `x.rootfs.tar.zst`\n\
                 hint: `x.rootfs.tar.zst` needs `base/b`, `x/h`, `x.rootfs.tar.zst`\n"
            ),
        );
    }
}

#[test]
fn a_store_with_a_damaged_marker_says_so() {
    let sandbox = Sandbox::empty();
    sandbox.run(&["cache", "ls"]).succeeds();
    sandbox.write("../cache/format", "\n");
    for command in ["ls", "fsck"] {
        sandbox.run(&["cache", command]).fails(
            3,
            "error: the store at `[ROOT]/cache` is damaged: its file `format` is empty\n\
             hint: `echo 1 > [ROOT]/cache/format` says again what it is, `ibuild cache fsck` then what else is damaged; \
             or remove the store, and it is made anew\n",
        );
    }
    sandbox.write("../cache/format", "9\n");
    sandbox.run(&["cache", "ls"]).fails(
        3,
        "error: the store at `[ROOT]/cache` has format 9, this ibuild writes format 1\n\
         hint: `--cache-dir DIR` names another store; one that is removed is made anew\n",
    );
}

#[test]
fn a_plan_needs_no_lock() {
    let sandbox = Sandbox::with_project();
    let plan = sandbox.run(&["plan", "--target", "hello.ova"]).succeeds();
    assert!(plan.starts_with("run     hello/bootstrap    never built\nrun     hello/boot "), "{plan}");
    assert!(
        plan.ends_with(
            "1 cause, 10 consequences; none of them was ever built, so their times are not known\n"
        ),
        "{plan}"
    );
    assert!(!sandbox.exists("ibuild.lock"));
}

#[test]
fn a_graph_in_every_format() {
    let sandbox = Sandbox::with_project();
    let draw = |format: &str| sandbox.run(&["graph", "--format", format]).succeeds();
    let dot = draw("dot");
    assert!(dot.starts_with("digraph \"project\" {\n") && dot.ends_with("}\n"), "{dot}");
    assert!(dot.contains("  \"hello/sane\" -> \"hello.ova\"\n"), "{dot}");
    assert!(!dot.contains("hello.qcow2"), "a format that the recipe does not list was drawn");
    let mermaid = draw("mermaid");
    assert!(mermaid.starts_with("flowchart LR\n  s0(\"● hello/bootstrap\"):::dirty\n"), "{mermaid}");
    assert!(mermaid.contains("[[\"? hello.ova\"]]:::pending"), "{mermaid}");
    for format in ["svg", "html"] {
        let page = draw(format);
        crate::harness::assert_balanced(page.trim_start_matches("<!DOCTYPE html>"));
        assert_eq!(page.matches("<rect ").count(), 11);
        assert_eq!(page.matches("<path ").count(), 10);
    }
    let json = sandbox.run(&["graph", "--format", "json"]).json();
    assert_eq!(json["stages"].as_array().unwrap().len(), 11);
    assert_eq!(json["stages"][10]["inputs"], serde_json::json!(["hello/sane"]));
}

#[test]
fn explaining_what_was_never_built() {
    let sandbox = Sandbox::with_project();
    assert_eq!(
        sandbox.run(&["explain", "hello/bootstrap"]).succeeds(),
        "hello/bootstrap is dirty: it would run\n\
         cause  hello/bootstrap\n  never built\n\
         1 cause, 0 consequences\n"
    );
    let target = sandbox.run(&["explain", "hello.ova"]).succeeds();
    assert!(target.contains("consequence  hello/boot  waits for `hello/bootstrap`\n"), "{target}");
    assert!(target.ends_with("1 cause, 10 consequences\n"), "{target}");
    let json = sandbox.run(&["explain", "--json", "hello/boot"]).json();
    assert_eq!(json["stages"][0]["verdict"], "pending");
    assert_eq!(json["causes"][0]["kind"], "never-built");
    assert_eq!(json["consequences"][0]["waits_for"][0], "hello/bootstrap");
}

#[test]
fn an_empty_store() {
    let sandbox = Sandbox::empty();
    assert_eq!(sandbox.run(&["cache", "ls"]).succeeds(), "");
    assert_eq!(sandbox.run(&["cache", "ls", "--json"]).json()["stages"], serde_json::json!([]));
    let verified = sandbox.run(&["cache", "verify"]).succeeds();
    assert_eq!(verified, "blobs: 0 read, 0 B, 0 damaged\npackages: 0 read, 0 B, 0 damaged\n");
    let stats = sandbox.run(&["cache", "stats", "--json"]).json();
    assert_eq!(stats["layers"], serde_json::json!({ "count": 0, "bytes": 0 }));
    let removed = sandbox.run(&["cache", "rm", "--stages"]).succeeds();
    assert_eq!(removed, "forgot 0 stages, removed 0 layers and 0 artifacts, freed 0 B\n");
    sandbox.run(&["cache", "show", "0123abcd"]).fails(
        2,
        "error: no action key starts with `0123abcd`\n\
         hint: `ibuild cache ls` shows the keys that there are\n",
    );
    assert_eq!(sandbox.run(&["cache", "show", "hello/sane"]).status, 2);
}

#[test]
fn garbage_is_planned_then_removed() {
    let sandbox = Sandbox::empty();
    sandbox.run(&["cache", "ls"]).succeeds();
    let blob = format!("../cache/blobs/00/{}", "0".repeat(62));
    sandbox.write(&blob, &"nobody knows it ".repeat(1000));
    sandbox.write("../cache/layers/before/layer/file", "from before the machine was started");
    let planned = sandbox.run(&["cache", "gc", "--dry-run"]).succeeds();
    assert!(planned.contains("unknown blobs      1  16 KiB        no root needs it\n"), "{planned}");
    assert!(planned.contains("would free ") && sandbox.exists(&blob));
    let json = sandbox.run(&["cache", "gc", "--dry-run", "--json"]).json();
    assert_eq!((&json["applied"], &json["after"]), (&false.into(), &serde_json::Value::Null));
    let removed = sandbox.run(&["cache", "gc"]).succeeds();
    assert!(removed.contains("\nfreed ") && !sandbox.exists(&blob), "{removed}");
    assert!(sandbox.run(&["cache", "gc"]).succeeds().starts_with("freed 0 B of "));
    let missed = sandbox.run(&["cache", "gc", "--budget", "1 kB", "--json"]);
    assert!(missed.stderr.starts_with("note    the budget is missed by "), "{}", missed.stderr);
    assert!(missed.json()["over_budget"].as_u64().unwrap() > 0);
    assert_eq!(sandbox.run(&["cache", "gc", "--budget", "much"]).status, 2);
}

#[test]
fn nothing_is_removed_beside_a_running_build() {
    let sandbox = Sandbox::empty();
    sandbox.run(&["cache", "ls"]).succeeds();
    let build = sandbox.file("../cache/gc.lock");
    build.lock_shared().unwrap();
    for command in [&["gc"][..], &["fsck"], &["rm", "--stages"]] {
        let pid = std::process::id();
        sandbox.run(&[&["cache"], command].concat()).fails(
            3,
            &format!(
                "error: process {pid} is building in this store, or looking into it\n\
                 hint: try again when it is done; `ibuild cache gc --wait` waits for that\n"
            ),
        );
    }
    sandbox.run(&["cache", "gc", "--dry-run"]).succeeds();
    drop(build);
    sandbox.run(&["cache", "gc"]).succeeds();
}

#[test]
fn a_broken_index_is_put_aside() {
    let sandbox = Sandbox::empty();
    assert_eq!(sandbox.run(&["cache", "fsck"]).succeeds(), "0 results and 0 layers are whole; read 0 B\n");
    sandbox.write("../cache/index/CURRENT", "MANIFEST-000005\n");
    let failed = sandbox.run(&["cache", "ls"]);
    assert_eq!(failed.status, 3);
    assert!(
        failed.stderr.contains("hint: `ibuild cache fsck` puts a broken index aside"),
        "{}",
        failed.stderr
    );
    let checked = sandbox.run(&["cache", "fsck"]);
    assert!(checked.stdout.starts_with("broken   index, now at `[ROOT]/cache/index.broken-"), "{checked:?}");
    assert_eq!((checked.status, checked.stderr.as_str()), (1, "error: 1 fault was found and put right\n"));
    sandbox.run(&["cache", "fsck"]).succeeds();
    assert_eq!(sandbox.run(&["cache", "ls"]).succeeds(), "");
}

#[test]
fn what_was_never_built_cannot_be_pinned() {
    let sandbox = Sandbox::with_project();
    let pin = sandbox.run(&["cache", "pin", "hello/sane"]);
    pin.fails(2, "error: `hello/sane` was never built\nhint: `ibuild build --until hello/sane` builds it\n");
    let unpin = sandbox.run(&["cache", "unpin", "hello/sane"]);
    unpin.fails(2, "error: nothing is pinned of `hello/sane`\nhint: `ibuild cache ls` shows pins\n");
}

#[test]
fn a_stage_that_was_never_built_is_not_in_the_cache() {
    let sandbox = Sandbox::with_project();
    let show = sandbox.run(&["cache", "show", "hello/sane"]);
    show.fails(2, "error: `hello/sane` was never built\nhint: `ibuild build --until hello/sane` builds it\n");
    let rm = sandbox.run(&["cache", "rm", "hello/sane"]);
    rm.fails(2, "error: nothing is remembered of `hello/sane`\nhint: see `ibuild cache ls`\n");
}

#[test]
fn a_damaged_package_is_found_and_removed() {
    let sandbox = Sandbox::empty();
    sandbox.run(&["cache", "ls"]).succeeds();
    let name = "00".to_owned() + "/" + &"0".repeat(62);
    sandbox.write(&format!("../cache/packages/{name}"), "not what it says");
    let verified = sandbox.run(&["cache", "verify"]);
    assert!(verified.stdout.contains("\ndamaged  packages  sha256:0000"), "{}", verified.stdout);
    assert_eq!(
        (verified.status, verified.stderr.as_str()),
        (1, "error: a damaged file was found and removed\n")
    );
    sandbox.run(&["cache", "verify"]).succeeds();
}

#[test]
fn the_doctor_speaks_json() {
    let sandbox = Sandbox::empty();
    let found = sandbox.run(&["doctor", "--json"]);
    assert!([0, 3].contains(&found.status), "{}", found.stderr);
    let json = found.json();
    let checks = json["checks"].as_array().unwrap();
    let lacks = |check: &serde_json::Value| {
        check["needed"] == true && ["missing", "too old"].contains(&check["state"].as_str().unwrap())
    };
    assert_eq!(found.status == 3, checks.iter().any(lacks));
    assert!(checks.iter().all(|check| (check["state"] == "ok") == check["remedy"].is_null()), "{json}");
    assert!(!sandbox.exists("../cache"), "the doctor changed something");
}

#[test]
fn nothing_has_run_yet() {
    let sandbox = Sandbox::with_project();
    sandbox
        .run(&["log"])
        .fails(2, "error: no stage of this project has run yet\nhint: `ibuild build` runs them\n");
    sandbox.run(&["log", "hello.ova"]).fails(
        2,
        "error: `hello.ova` has no log: it never ran here\nhint: `ibuild build --target hello.ova` makes it\n",
    );
}

#[test]
fn the_log_of_what_ran_last() {
    let sandbox = Sandbox::with_project();
    sandbox.write("../cache/logs/project/hello/kernel.log", "Unpacking linux\n");
    let shown = sandbox.run(&["log"]);
    assert_eq!(
        (shown.stdout.as_str(), shown.stderr.as_str()),
        ("Unpacking linux\n", "log of `hello/kernel`\n")
    );
    assert_eq!(sandbox.run(&["log", "hello/kernel"]).succeeds(), "Unpacking linux\n");
}

#[test]
fn cleaning_removes_only_what_ibuild_made() {
    let sandbox = Sandbox::with_project();
    assert_eq!(sandbox.run(&["clean"]).stderr, "nothing to remove\n");
    let manifest = |target: &str| format!("{{ \"v\": 1, \"target\": \"{target}\", \"blake3\": \"00\" }}");
    for target in ["hello.ova", "hello.raw", "other.ova"] {
        sandbox.write(&format!("out/{target}"), "image");
        sandbox.write(&format!("out/{target}.manifest.json"), &manifest(target));
    }
    sandbox.write("out/mine.ova", "mine");
    sandbox.write("out/mine.ova.manifest.json", "not ibuild's");
    assert_eq!(
        sandbox.run(&["clean", "hello"]).succeeds(),
        "removed hello.ova  5 B\nremoved hello.raw  5 B\n"
    );
    assert!(sandbox.exists("out/other.ova"));
    assert_eq!(sandbox.run(&["clean", "hello"]).stderr, "nothing to remove\n");
    let failed = "error: there is no target `helo`\nhint: did you mean `hello`?\n";
    assert!(sandbox.run(&["clean", "helo"]).stderr.contains(failed));
    assert_eq!(sandbox.run(&["clean"]).succeeds(), "removed other.ova  5 B\n");
    assert!(sandbox.exists("out/mine.ova") && sandbox.exists("out/mine.ova.manifest.json"));
}

#[test]
fn what_is_not_built_cannot_be_booted() {
    let sandbox = Sandbox::with_project();
    sandbox.run(&["boot", "hello.ova"]).fails(
        2,
        "error: `hello.ova` is not in `[ROOT]/project/out`\n\
         hint: `ibuild build --target hello.ova` puts it there\n",
    );
    let bad = sandbox.run(&["boot", "hello.ova", "--until", "("]);
    assert_eq!(bad.status, 2);
    assert!(bad.stderr.starts_with("error: `--until (` is no regular expression"), "{}", bad.stderr);
}

#[test]
fn what_is_no_test_cannot_be_done() {
    let sandbox = Sandbox::with_project();
    sandbox.run(&["test", "boot"]).fails(2, "error: there is no test `boot`\nhint: did you mean `boots`?\n");
    let recipe = std::fs::read_to_string(sandbox.path("ibuild.toml")).unwrap();
    let (without, _) = recipe.split_once("[test.boots]").unwrap();
    sandbox.write("ibuild.toml", without);
    sandbox.run(&["test"]).fails(
        2,
        "error: the recipe has no tests\nhint: write `[test.boots]` with `machines` and `expect`\n",
    );
}

/// Runs a command whose standard output is `stdout`.
fn run_into(sandbox: &Sandbox, arguments: &[&str], stdout: impl Into<Stdio>) -> crate::harness::Outcome {
    let child = sandbox.command(arguments).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
    sandbox.finish(child.wait_with_output().unwrap())
}

const WRITERS: [&[&str]; 9] = [
    &["plan", "-t", "hello.ova"],
    &["plan", "-t", "hello.ova", "--json"],
    &["graph"],
    &["explain", "hello.ova"],
    &["recipe", "show"],
    &["recipe", "check"],
    &["cache", "stats"],
    &["cache", "ls", "--json"],
    &["completions", "bash"],
];

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let sandbox = Sandbox::with_project();
    for arguments in WRITERS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        run_into(&sandbox, arguments, writer).fails(0, "");
    }
}

#[test]
fn a_full_disk_is_told_where_output_goes_there() {
    let sandbox = Sandbox::with_project();
    let full = "error: cannot write to standard output\n  caused by: No space left on device\n\
                hint: make room where standard output leads, or send it to another place\n";
    for arguments in WRITERS {
        let output = fs::File::options().write(true).open("/dev/full").unwrap();
        run_into(&sandbox, arguments, output).fails(3, full);
    }
}

#[test]
fn a_full_disk_behind_standard_error_changes_nothing() {
    let sandbox = Sandbox::with_project();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let status = |arguments: &[&str]| sandbox.command(arguments).stderr(full()).status().unwrap().code();
    assert_eq!(status(&["init", "hello", "other"]), Some(0));
    assert_eq!(status(&["build", "--target", "hello.ovo"]), Some(2));
    assert_eq!(status(&["-vv", "recipe", "check"]), Some(0));
}

#[test]
fn what_no_image_can_have_is_refused_before_anything_runs() {
    let wrong = [
        ("size = \"50 MiB\"", "a disk of 50 MiB is too small"),
        ("size = \"90 MiB\"", "a disk of 90 MiB is too small"),
        ("size = \"64 TiB\"", "a disk of 64 TiB is too large"),
        ("size = \"1 GB\"", "1 GB is no number of mebibytes"),
        ("size = \"100000 KiB\"", "100000 KiB is no number of mebibytes"),
        ("size = \"8 GiB\", cmdline = \"a='b'\"", "the kernel's command line cannot have '\\''"),
        ("size = \"8 GiB\" }\nvm = { cpus = 100", "a machine cannot have 100 processors"),
        ("size = \"8 GiB\" }\nvm = { memory = \"16 MiB\"", "a machine cannot have 16 MiB of memory"),
        ("size = \"8 GiB\" }\nvm = { vram = \"1 GiB\"", "a machine cannot have 1 GiB of video memory"),
        (
            "size = \"8 GiB\" }\nvm = { nics = [\"nat\", \"nat\", \"nat\", \"nat\", \"nat\", \"nat\", \"nat\", \"nat\", \"nat\"]",
            "a machine cannot have 9 network cards",
        ),
    ];
    let sandbox = Sandbox::with_project();
    let recipe = std::fs::read_to_string(sandbox.path("ibuild.toml")).unwrap();
    let before = recipe.split("[image.").next().unwrap();
    for (disk, message) in wrong {
        let image = format!("[image.hello]\nrootfs = \"hello\"\nformats = [\"ova\"]\ndisk = {{ {disk} }}\n");
        sandbox.write("ibuild.toml", &format!("{before}{image}"));
        for command in [&["recipe", "check"][..], &["plan", "-t", "hello.ova"], &["build", "-t", "hello.ova"]]
        {
            let refused = sandbox.run(command);
            assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{}", refused.stderr);
            assert!(refused.stderr.contains(message), "{message}: {}", refused.stderr);
        }
    }
    assert!(!sandbox.exists("../cache/layers"));
}

#[test]
fn usage_errors_have_status_2() {
    let sandbox = Sandbox::with_project();
    for arguments in
        [&["frobnicate"][..], &["build", "--jobs", "0"], &["plan", "--until", "x"], &["cache", "rm"]]
    {
        assert_eq!(sandbox.run(arguments).status, 2, "{arguments:?}");
    }
}

#[test]
fn mistakes_with_a_proxy_are_told_before_anybody_connects() {
    let sandbox = Sandbox::empty();
    sandbox.run(&["proxy", "--listen", "0.0.0.0:0"]).fails(
        2,
        "error: `--listen 0.0.0.0:0` is for other machines, but none is allowed to ask\n\
         hint: name them: `--allow 192.0.2.0/24`\n",
    );
    sandbox.run(&["proxy", "--keyring", "/nonexistent/ring.gpg"]).fails(
        3,
        "error: cannot read the keyring `/nonexistent/ring.gpg`\nhint: apt-get install debian-archive-keyring\n",
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let failed = sandbox.run(&["proxy", "--listen", &address]);
    assert_eq!(failed.status, 3, "{}", failed.stderr);
    assert!(failed.stderr.contains("another program listens there"), "{}", failed.stderr);
    let refused = sandbox.run(&["proxy", "--mirror", "ftp://deb.debian.org/debian"]);
    assert_eq!(refused.status, 3, "{}", refused.stderr);
    assert!(refused.stderr.contains("is not an http or https address"), "{}", refused.stderr);
    assert_eq!(sandbox.run(&["proxy", "--allow", "lan"]).status, 2);
}

const LOCK: &str = "format 1
release debian main trixie sha256:1111111111111111111111111111111111111111111111111111111111111111 10 2026-01-01T00:00:00Z
deb debian hello 2.10-5 amd64 53184 sha256:2222222222222222222222222222222222222222222222222222222222222222 main pool/hello.deb ws/a,ws/b
";

#[test]
fn packages_that_are_not_here_are_listed_as_such() {
    let sandbox = Sandbox::with_project();
    sandbox
        .run(&["packages", "ls"])
        .fails(2, "error: there is no `ibuild.lock` here\nhint: `ibuild build` writes it\n");
    sandbox.write("ibuild.lock", LOCK);
    let listed = sandbox.run(&["packages", "ls"]).succeeds();
    assert_eq!(listed, "hello  2.10-5  amd64  52 KiB  ws/a,ws/b  not in the store\n");
    let json = sandbox.run(&["packages", "ls", "--json"]).json();
    assert_eq!(
        (&json["packages"][0]["stored"], &json["packages"][0]["size"]),
        (&false.into(), &53184.into())
    );
    let why = sandbox.run(&["packages", "why", "hello"]).succeeds();
    assert!(why.starts_with("hello 2.10-5 amd64\n  debian pool/hello.deb, not in the store\n"), "{why}");
    sandbox
        .run(&["packages", "why", "helo"])
        .fails(2, "error: no stage uses a package `helo`\nhint: did you mean `hello`?\n");
    let stats = sandbox.run(&["packages", "stats"]).succeeds();
    assert_eq!(stats, "stored: 0 files of archives, 0 B\nlocked: 1 packages, 52 KiB, 1 not in the store\n");
    assert_eq!(sandbox.run(&["packages", "verify"]).succeeds(), "packages: 0 read, 0 B, 0 damaged\n");
    sandbox.write("old/page.deb", "<html>");
    let imported = sandbox.run(&["packages", "import", "old"]).succeeds();
    assert_eq!(imported, "0 packages imported, 0 B; 0 were here, 1 are not whole\n");
    assert_eq!(sandbox.run(&["packages", "import", "none"]).status, 3);
}
