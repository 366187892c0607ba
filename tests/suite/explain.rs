//! Why stages ran, as the real binary tells it after real builds over a root file system of one busybox. Needs root.

use crate::harness::Sandbox;

const STEPS: &str = r#"
  { name = "name", run = "echo a > /etc/name" },
  { name = "uses", run = "cat /etc/name > /srv/uses" },
  { name = "files", copy = [{ from = "files", to = "/srv" }] },
"#;

fn lab(steps: &str) -> Sandbox {
    let lab = unbuilt(steps);
    build(&lab, &[]);
    lab
}

fn unbuilt(steps: &str) -> Sandbox {
    let lab = Sandbox::empty();
    lab.write("files/etc/a", "a");
    lab.write("files/etc/b", "b");
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), steps);
    lab
}

/// What it said on standard error.
fn build(lab: &Sandbox, more: &[&str]) -> String {
    let built = lab.run(&[&["build", "--target", "ws.rootfs.tar.zst"], more].concat());
    let said = built.stderr.clone();
    built.succeeds();
    said
}

/// The lines of an explanation, without its times.
fn explain(lab: &Sandbox, name: &str) -> Vec<String> {
    let said = lab.run(&["explain", name]).succeeds();
    let timeless = |line: &str| line.split(" at 2").next().unwrap().to_owned();
    said.lines().map(timeless).collect()
}

/// A regression: which layers make a tree shows in how an overlay lists directories, and was in no key.
#[test]
fn the_same_files_in_other_layers_are_others_to_a_program() {
    let copied = |name: &str| format!("{{ from = \"files/etc/{name}\", to = \"/srv/d/{name}\" }}");
    let see = "{ name = \"see\", run = \"find /srv; ls -l /srv > /etc/see; find /srv >> /etc/see; sed -n 's/upperdir.*//p' /proc/mounts >> /etc/see\" },\n\
               { name = \"copied\", copy = [{ from = \"files/etc/a\", to = \"/etc/copied\" }] },\n";
    let one = format!("{{ name = \"one\", copy = [{}, {}] }},\n", copied("a"), copied("b"));
    let two = format!(
        "{{ name = \"one\", copy = [{}] }},\n{{ name = \"two\", copy = [{}] }},\n",
        copied("a"),
        copied("b")
    );
    let lab = lab(&format!("{one}{see}"));
    lab.edit("ibuild.toml", &one, &two);
    let said = build(&lab, &[]);
    let why = "run     ws/see  names in parent layers: ";
    assert!(said.contains(why), "{said}");
    let clean = self::lab(&format!("{two}{see}"));
    let seen = |lab: &Sandbox| lab.run(&["cat", "ws/copied", "/etc/see"]).succeeds();
    assert_eq!(seen(&lab), seen(&clean));
}

const AFTER_B: [&str; 11] = [
    "ws/files ran in the build of ws.rootfs.tar.zst",
    "cause  ws/name",
    "  command: `echo a > /etc/name` -> `echo b > /etc/name`",
    "consequence  ws/uses  `ws/name` made something else",
    "  parent tree:",
    "    ~ /etc/name",
    "consequence  ws/files  `ws/uses` made something else",
    "  parent tree:",
    "    ~ /etc/name",
    "    ~ /srv/uses",
    "1 cause, 2 consequences",
];

#[test]
fn a_defeated_cutoff_names_its_cause_and_the_files_that_differed() {
    let lab = lab(STEPS);
    lab.edit("ibuild.toml", "echo a >", "echo b >");
    let said = build(&lab, &[]);
    assert!(said.contains("run     ws/uses  parent tree /etc/name content: "), "{said}");
    let told = explain(&lab, "ws/files");
    assert_eq!(told[..2], ["ws/files is fresh: nothing would run", "  last ran"]);
    assert_eq!(told[2..], AFTER_B);
    // Another edit, and the build before it is still explained.
    lab.write("files/etc/a", "other");
    lab.write("files/etc/new", "");
    build(&lab, &[]);
    let expected = [
        "ws/files ran in the build of ws.rootfs.tar.zst",
        "cause  ws/files",
        "  copy 0 to /srv:",
        "    ~ etc/a",
        "    + etc/new",
    ];
    assert_eq!(explain(&lab, "ws/files")[2..7], expected);
    assert_eq!(explain(&lab, "ws/files@1"), AFTER_B);
    assert_eq!(explain(&lab, "ws/uses@0"), ["ws/uses did not run in the build of ws.rootfs.tar.zst"]);
    let json = lab.run(&["explain", "--json", "ws/files@1"]).json();
    let build = &json["stages"][0]["build"];
    assert_eq!(build["causes"][0]["stage"], "ws/name");
    assert_eq!(build["consequences"][1]["of"], serde_json::json!(["ws/uses"]));
    assert_eq!(build["consequences"][0]["changes"][0]["path"][1], "/etc/name");
    lab.run(&["explain", "ws/files@9"]).fails(
        2,
        "error: there is no build 9 builds back that needed it\n\
         hint: builds in which nothing ran are not counted; 0 is the last one\n",
    );
}

/// The stages between have been found, and stand upon another layer.
#[test]
fn an_image_of_other_layers_and_the_same_files_is_a_consequence() {
    let steps = |first: &str| {
        let names = ["zero", "one", "two", "three", "four", "five", "six"];
        let step = |name: &&str| format!("{{ name = \"{name}\", run = \"echo {name} > /srv/{name}\" }},\n");
        let more: String = names.iter().map(step).collect();
        format!(
            "{{ name = \"first\", run = \"echo {first} > /etc/name\" }},\n\
             {{ name = \"again\", run = \"echo c > /etc/name\" }},\n{more}"
        )
    };
    let lab = Sandbox::empty();
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), &steps("a"));
    lab.run(&["build", "--target", "ws.oci"]).succeeds();
    lab.edit("ibuild.toml", "echo a >", "echo b >");
    let built = lab.run(&["build", "--target", "ws.oci"]);
    assert!(
        built.stderr.contains("ran     ws.oci") && !built.stderr.contains("ran     ws/zero"),
        "{built:?}"
    );
    let told = explain(&lab, "ws.oci@0");
    assert_eq!(
        told[..3],
        [
            "ws.oci ran in the build of ws.oci",
            "cause  ws/first",
            "  command: `echo a > /etc/name` -> `echo b > /etc/name`"
        ]
    );
    let last = told.iter().position(|line| line == "consequence  ws.oci  `ws/again` made something else");
    let last = last.unwrap_or_else(|| panic!("{told:#?}"));
    assert_eq!(told[last + 1], "  layers:");
    assert!(told[last + 2..].iter().any(|line| line.starts_with("    - ")), "{told:#?}");
    assert_eq!(told.last().unwrap(), "1 cause, 2 consequences");
}

#[test]
fn a_plan_tells_causes_and_copied_files_before_any_work() {
    let lab = lab(STEPS);
    lab.write("files/etc/a", "other");
    lab.write("files/etc/b~", "left by an editor");
    let plan = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    let lines: Vec<_> = plan.lines().collect();
    assert!(
        lines[3].starts_with("run     ws/files           copy 0 to /srv files etc/a content: "),
        "{plan}"
    );
    assert!(lines[4].starts_with("maybe   ws.rootfs.tar.zst  unless `ws/files` makes the same"), "{plan}");
    assert!(lines[5].starts_with("1 cause, 1 consequence; by their last runs at least "), "{plan}");
    assert!(lines[6].starts_with("3 fresh stages save "), "{plan}");
    let told = explain(&lab, "ws/files");
    assert_eq!(
        told[2..],
        [
            "ignored  ws/files  `files/etc/b~`",
            "cause  ws/files",
            "  copy 0 to /srv:",
            "    ~ etc/a",
            "1 cause, 0 consequences"
        ]
    );
    let json = lab.run(&["explain", "--json", "ws/files"]).json();
    assert_eq!(json["ignored"][0]["files"], serde_json::json!(["files/etc/b~"]));
}

#[test]
fn two_edits_are_two_causes() {
    let lab = lab(STEPS);
    lab.edit("ibuild.toml", "echo a >", "echo b >");
    lab.write("files/etc/a", "other");
    let plan = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    let run: Vec<_> = plan.lines().filter(|line| line.starts_with("run")).collect();
    assert_eq!(run.len(), 2, "{plan}");
    assert!(
        run[0].contains("ws/name")
            && run[0].ends_with("command: `echo a > /etc/name` -> `echo b > /etc/name`")
    );
    assert!(
        run[1].contains("ws/files") && run[1].contains("  copy 0 to /srv files etc/a content: "),
        "{plan}"
    );
    assert!(plan.contains("\n2 causes, 2 consequences; "), "{plan}");
    let said = build(&lab, &[]);
    assert!(said.contains("run     ws/files  copy 0 to /srv files etc/a content: "), "{said}");
    // Both are causes of the image, although the second one stands upon what the first one changed.
    let told = explain(&lab, "ws.rootfs.tar.zst");
    let story = &told[told.iter().position(|line| line.starts_with("cause")).unwrap()..];
    let expected = [
        "cause  ws/name",
        "  command: `echo a > /etc/name` -> `echo b > /etc/name`",
        "cause  ws/files",
        "  copy 0 to /srv:",
        "    ~ etc/a",
        "  parent tree:",
        "    ~ /etc/name",
        "    ~ /srv/uses",
    ];
    assert_eq!(story[..8], expected);
    assert_eq!(story.last().unwrap(), "2 causes, 2 consequences");
}

/// Here nothing but the capture can fail.
#[test]
fn what_cannot_be_captured_can_be_looked_at() {
    let dig = "cd /srv; i=0; while test $i -lt 200; do mkdir d; cd d; i=$(( i + 1 )); done";
    let lab = unbuilt(&format!("{{ name = \"deep\", run = \"{dig}\" }},"));
    let failed = lab.run(&["build", "--target", "ws.rootfs.tar.zst"]);
    assert_eq!(failed.status, 1, "{failed:?}");
    assert!(failed.stderr.contains("it is nested deeper than 128 levels"), "{failed:?}");
    lab.run(&["shell", "--failed", "ws/deep", "--", "ls", "/srv/d/d"]).succeeds();
    let plan = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    assert!(plan.contains("failed the last time"), "{plan}");
}

#[test]
fn a_failed_stage_is_told_as_such_until_it_is_mended() {
    let lab = lab(r#"{ name = "shaky", run = "echo made > /srv/made" },"#);
    lab.edit("ibuild.toml", "/srv/made\"", "/srv/made; false\"");
    let failed = lab.run(&["build", "--target", "ws.rootfs.tar.zst"]);
    assert!(failed.stderr.contains("exited with status 1"), "{failed:?}");
    let plan = || lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    assert!(plan().contains("/srv/made; false`; it failed the last time\n"), "{}", plan());
    let told = explain(&lab, "ws/shaky").join("\n");
    assert!(told.contains("\n  failed\n"), "{told}");
    let failed = |command: &[&str]| lab.run(&[&["shell", "--failed", "ws/shaky", "--"], command].concat());
    let opened = failed(&["cat", "/srv/made"]);
    assert!(
        opened.stderr.starts_with("note    this is what `ws/shaky` had made when it failed at 2"),
        "{opened:?}"
    );
    opened.succeeds();
    // Mended by taking the edit back: the stage is found, and did not fail.
    lab.edit("ibuild.toml", "; false", "");
    build(&lab, &[]);
    failed(&["true"]).fails(
        3,
        "error: no failure of `ws/shaky` is known\n\
         hint: `ibuild explain ws/shaky` tells what is known of its last run\n",
    );
    // A stage that never was anything but a failure.
    lab.edit("ibuild.toml", "name = \"shaky\"", "name = \"new\"");
    lab.edit("ibuild.toml", "/srv/made\"", "/srv/other; false\"");
    lab.run(&["build", "--target", "ws.rootfs.tar.zst"]);
    assert!(plan().contains("run     ws/new             it failed the last time\n"), "{}", plan());
    assert_eq!(lab.run(&["explain", "--json", "ws/new"]).json()["causes"][0]["kind"], "failed");
}

#[test]
fn a_stage_that_was_stopped_says_as_much_as_one_that_failed() {
    let steps = r#"{ name = "slow", run = "echo its last words; busybox sleep 99", timeout = "1 s" },"#;
    let lab = unbuilt(steps);
    let stopped = lab.run(&["build", "--target", "ws.rootfs.tar.zst"]);
    let said = stopped.stderr;
    assert!(said.contains("caused by: timed out after 1 s\n  | its last words\n"), "{said}");
    assert!(said.contains("hint: the full log is at [ROOT]/cache/logs/seeded/ws/slow.log\n"), "{said}");
    assert!(
        said.contains("hint: `ibuild shell --failed ws/slow` opens a shell in what it had made\n"),
        "{said}"
    );
}

#[test]
fn a_log_tells_a_terminal_nothing_unless_it_is_asked_to() {
    let lab = lab(r#"{ name = "loud", run = "busybox printf '\\033[31mred\\033]0;title\\a\\tend\\n'" },"#);
    assert_eq!(lab.run(&["log", "ws/loud"]).succeeds(), "red\tend\n");
    assert_eq!(lab.run(&["log", "--raw", "ws/loud"]).succeeds(), "\x1b[31mred\x1b]0;title\x07\tend\n");
}

#[test]
fn a_missing_interpreter_is_named() {
    let lab = Sandbox::empty();
    lab.write("scripts/odd", "#!/bin/nope -x\n");
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), "{ script = \"scripts/odd\" },\n");
    lab.run(&["-q", "build", "--target", "ws.rootfs.tar.zst"]).fails(
        1,
        "error: stage `ws/odd` failed\n  \
         caused by: the interpreter of `scripts/odd` cannot be started\n  \
         caused by: there is no `/bin/nope` in the root file system\n\
         hint: a script's first line names its interpreter: name another one, or let an earlier step install it\n",
    );
}

#[test]
fn how_a_stage_failed_is_known_until_it_succeeds() {
    let lab = unbuilt(r#"{ name = "shaky", run = "echo first > /srv/a; exit 7" },"#);
    assert_eq!(lab.run(&["build", "--until", "ws/shaky"]).status, 1);
    lab.edit("ibuild.toml", "exit 7", "true");
    let why = ": `echo first > /srv/a; exit 7` exited with status 7; `ibuild log ws/shaky` has what it said";
    let told = lab.run(&["explain", "ws/shaky"]).succeeds();
    assert!(told.contains("  failed at 2") && told.contains(why), "{told}");
    let told = lab.run(&["explain", "ws/shaky", "--json"]).json();
    let because = "`echo first > /srv/a; exit 7` exited with status 7";
    assert_eq!(told["stages"][0]["failed_because"], because);
    build(&lab, &[]);
    assert!(!lab.run(&["explain", "ws/shaky"]).succeeds().contains("failed at"));
}

/// A regression: such a stage was said to be one that was never built, and one that did not fail.
#[test]
fn what_a_full_disk_stopped_is_not_forgotten() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let mount = |source, place: &std::path::Path, kind, flags, data| {
        nix::mount::mount(source, place, kind, flags, data).unwrap();
    };
    let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    mount(None, "/".as_ref(), None, private, None);
    let lab = Sandbox::empty();
    let cache = lab.path("../cache");
    std::fs::create_dir(&cache).unwrap();
    mount(Some("none"), &cache, Some("tmpfs"), nix::mount::MsFlags::empty(), Some("size=100m"));
    let big = "busybox dd if=/dev/zero of=/big bs=1M count=400 || true";
    crate::seeded::project(&lab.path(""), &cache, &format!("{{ name = \"big\", run = \"{big}\" }},"));
    let failed = lab.run(&["build", "--until", "ws/big"]);
    assert_eq!(failed.status, 3, "{failed:?}");
    let told = explain(&lab, "ws/big").join("\n");
    assert!(told.contains("it failed the last time") && !told.contains("never built"), "{told}");
    let why = lab.run(&["explain", "ws/big", "--json"]).json()["stages"][0]["failed_because"].clone();
    assert!(why.as_str().is_some_and(|why| why.contains("full") || why.contains("is left")), "{why}");
    let shell = lab.run(&["shell", "--failed", "ws/big", "--", "/bin/true"]);
    assert!(shell.status == 0 || shell.stderr.contains("is not kept: the disk got full"), "{shell:?}");
    nix::mount::umount2(&cache, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// A regression: what is above 128 was taken for 128 and a signal's number.
#[test]
fn a_high_exit_status_is_no_signal() {
    let lab = unbuilt(r#"{ name = "high", run = "exit 255" },"#);
    let failed = lab.run(&["build", "--until", "ws/high"]);
    assert!(failed.stderr.contains("caused by: `exit 255` exited with status 255\n"), "{failed:?}");
    let told = lab.run(&["explain", "ws/high", "--json"]).json();
    assert_eq!(told["stages"][0]["failed_because"], "`exit 255` exited with status 255");
    lab.edit("ibuild.toml", "exit 255", "kill -9 $$");
    let failed = lab.run(&["build", "--until", "ws/high"]);
    assert!(failed.stderr.contains("caused by: `kill -9 $$` was killed by signal 9\n"), "{failed:?}");
    // A shell has one number for both.
    for (command, status) in [("exit 200", 200), ("kill -9 $$", 137)] {
        assert_eq!(lab.run(&["shell", "ws/bootstrap", "--", "/bin/sh", "-c", command]).status, status);
    }
}

#[test]
fn a_reason_has_no_raw_structure() {
    let lab = lab(STEPS);
    lab.edit("ibuild.toml", "echo a > /etc/name", "rm /etc/machine-id; echo a > /etc/name");
    let said = build(&lab, &[]);
    assert!(said.contains("run     ws/uses  parent tree /etc/machine-id") && !said.contains("{"), "{said}");
}

#[test]
fn a_quiet_build_that_succeeds_says_nothing() {
    let lab = unbuilt(STEPS);
    let built = lab.run(&["-q", "build", "--target", "ws.rootfs.tar.zst"]);
    assert_eq!((built.status, built.stdout.as_str(), built.stderr.as_str()), (0, "", ""));
    assert!(lab.exists("out/ws.rootfs.tar.zst"));
}

#[test]
fn a_quiet_build_has_no_notes_but_those_of_a_stage_that_fails() {
    let lab = unbuilt(STEPS);
    lab.write("files/etc/a~", "ignored");
    build(&lab, &[]);
    let edit = |old: &str, new: &str| lab.edit("ibuild.toml", old, new);
    edit("echo a >", "busybox sleep 1000 & echo b >");
    assert!(build(&lab, &["--from", "ws/files"]).contains("note    ws/files  ignored 1 file"));
    assert_eq!(build(&lab, &["-q", "--from", "ws/name"]), "");
    edit(
        "name = \"files\"",
        "name = \"fails\", run = \"rm /srv/none\", inputs = [\"files\"] }, { name = \"files\"",
    );
    let failed = lab.run(&["-q", "build", "--target", "ws.rootfs.tar.zst"]);
    assert!(
        failed.stderr.starts_with("note    ws/fails  ignored 1 file: `files/etc/a~`\nerror: "),
        "{}",
        failed.stderr
    );
    lab.write("scripts/10-a", "#!/bin/sh\n");
    lab.write("scripts/.10-a.swo", "");
    edit("name = \"fails\", run", "scripts = \"scripts\" }, { name = \"fails\", run");
    assert!(lab.run(&["recipe", "check"]).stderr.starts_with("note    `scripts/.10-a.swo`"));
    let checked = lab.run(&["-q", "recipe", "check"]);
    assert_eq!((checked.stdout.starts_with("ok: "), checked.stderr.as_str()), (true, ""));
}

#[test]
fn what_differs_for_no_reason_is_named() {
    let lab = lab(
        r#"{ name = "dice", run = "busybox head -c 9 /dev/urandom > /srv/dice; echo same > /srv/same" },"#,
    );
    let said = build(&lab, &["--from", "ws/dice"]);
    assert!(said.contains("note    ws/dice  nondeterministic: `/srv/dice`\n"), "{said}");
    assert_eq!(said.matches("nondeterministic").count(), 1, "{said}");
    let said = build(&lab, &["--json", "--from", "ws/dice"]);
    assert_eq!(said, "");
}

/// The rule that all of early cutoff rests on, for all kinds of steps that need no archive.
#[test]
fn a_stage_that_runs_again_makes_the_same() {
    let lab = lab(&format!(
        "{STEPS}{}",
        r#"
  { name = "touches", run = "mkdir -p /srv/new; touch /srv/new/a; ln -s a /srv/new/b; rm -r /srv/etc; chmod 600 /etc/name" },
  { name = "removes", run = "rm /srv/uses; date > /srv/gone; rm /srv/gone; cat /etc/name > /srv/x; cat /srv/x > /etc/name" },
  { name = "sane", check = "test -e /srv/new/a; date > /srv/thrown-away" },
"#
    ));
    let again = lab.run(&["build", "--json", "--target", "ws.rootfs.tar.zst", "--from", "ws/name"]);
    let events = again.succeeds();
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let finished: Vec<_> = events.filter(|event| event["event"] != "started").collect();
    let ran: Vec<_> = finished.iter().filter(|event| event["outcome"] == "ran").collect();
    assert_eq!(ran.len(), 7, "{finished:#?}");
    for event in ran {
        assert_eq!(event["same_output"], true, "{finished:#?}");
    }
    assert!(finished.iter().all(|event| event["event"] != "nondeterministic"), "{finished:#?}");
}

/// A regression: names went to the terminal as they are.
#[test]
fn names_of_files_do_nothing_to_a_terminal() {
    let lab = lab(STEPS);
    lab.write("files/etc/bad\x1b[31mname", "");
    let plan = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    let told = lab.run(&["explain", "ws/files"]).succeeds();
    let said = build(&lab, &[]);
    let past = lab.run(&["explain", "ws/files@0"]).succeeds();
    for shown in [&plan, &told, &said, &past] {
        assert!(!shown.contains('\x1b') && shown.contains("bad\\u{1b}[31mname"), "{shown}");
    }
}

#[test]
fn what_else_than_content_differs_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let lab = lab(STEPS);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(lab.path("files/etc/a"), mode).unwrap();
    let told = explain(&lab, "ws/files");
    assert!(told.contains(&"    ~ etc/a  type: `file` -> `executable`".to_owned()), "{told:#?}");
}

#[test]
fn copies_in_another_order_are_called_that() {
    let copies = |first: &str, second: &str| {
        let rule = |name: &str| format!("{{ from = \"files/etc/{name}\", to = \"/srv/{name}\" }}");
        format!("{{ name = \"files\", copy = [{}, {}] }},", rule(first), rule(second))
    };
    let lab = lab(&copies("a", "b"));
    lab.edit("ibuild.toml", &copies("a", "b"), &copies("b", "a"));
    let order = "order of copies: [`/srv/a`, `/srv/b`] -> [`/srv/b`, `/srv/a`]";
    let told = explain(&lab, "ws/files");
    assert!(told.contains(&format!("  {order}")), "{told:#?}");
    let plan = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    assert!(plan.contains(&format!("run     ws/files           {order}\n")), "{plan}");
}

/// A regression: an unfinished root file system was to be as before.
#[test]
fn what_was_never_built_is_planned_as_such() {
    let lab = unbuilt(STEPS);
    let plan = || lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]).succeeds();
    let lines = plan();
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines[1..4].iter().filter(|line| line.ends_with("  never built")).count(), 3, "{lines:#?}");
    assert!(lines[5].ends_with("none of them was ever built, so their times are not known"), "{lines:#?}");
    lab.edit("ibuild.toml", "echo a > /etc/name", "false");
    lab.run(&["build", "--target", "ws.rootfs.tar.zst"]);
    assert!(
        plan().contains(
            "run     ws/name            it failed the last time\nrun     ws/uses            never built\n"
        ),
        "{}",
        plan()
    );
}

#[test]
fn a_copy_that_cannot_be_made_says_what_is_in_the_way() {
    let lab = unbuilt("{ name = \"odd\", copy = [{ from = \"files\", to = \"/etc/machine-id\" }] },");
    lab.run(&["-q", "build", "--until", "ws/odd"]).fails(
        1,
        "error: stage `ws/odd` failed\n  caused by: the copy cannot be made\n  \
         caused by: `/etc/machine-id` is a file in the image, and a directory is copied there\n\
         hint: what is in a directory goes into the directory that `to` names: name one, or remove the file in an \
         earlier step\n",
    );
    lab.edit(
        "ibuild.toml",
        "from = \"files\", to = \"/etc/machine-id\"",
        "from = \"files/etc/a\", to = \"/bin\"",
    );
    lab.run(&["-q", "build", "--until", "ws/odd"]).fails(
        1,
        "error: stage `ws/odd` failed\n  caused by: the copy cannot be made\n  \
         caused by: `/bin` is a directory in the image, and a file is copied there\n\
         hint: end `to` with `/` to put the file into it, or remove the directory in an earlier step\n",
    );
}

#[test]
fn what_cannot_be_copied_is_a_mistake_of_the_project() {
    let lab = unbuilt(STEPS);
    nix::unistd::mkfifo(&lab.path("files/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for command in [&["plan"][..], &["-q", "build"]] {
        let ended = lab.run(&[command, &["--target", "ws.rootfs.tar.zst"]].concat());
        let what = "files/pipe` is neither a file, nor a directory, nor a link\n";
        assert!(ended.stderr.contains(what) && ended.stderr.contains("\nhint: only these"), "{ended:?}");
        assert_eq!(ended.status, 2, "{ended:?}");
    }
}

#[test]
fn a_failure_is_told_to_programs_with_its_reason_and_its_log() {
    let lab = unbuilt("{ name = \"bad\", run = \"exit 3\" }, { name = \"next\", run = \"true\" },");
    let failed = lab.run(&["build", "--until", "ws/next", "--json"]);
    let events = failed.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ended: Vec<_> = events.filter(|event| event["outcome"] == "failed").collect();
    assert_eq!(ended.len(), 1, "{failed:?}");
    assert_eq!(ended[0]["reason"], "`exit 3` exited with status 3");
    assert_eq!(ended[0]["log"], "[ROOT]/cache/logs/seeded/ws/bad.log");
    // The last step has no log; the one that has is named.
    let said = lab.run(&["log", "ws"]);
    assert!(said.stderr.contains("hint: `ibuild log ws/bad` shows that of `ws/bad`"), "{said:?}");
}

/// A regression: `cat` had this hint, and `shell` had not.
#[test]
fn a_shell_over_a_damaged_layer_has_a_remedy() {
    let lab = lab(STEPS);
    for layers in std::fs::read_dir(lab.path("../cache/layers")).unwrap() {
        std::fs::remove_dir_all(layers.unwrap().path()).unwrap();
    }
    let mut open = vec![lab.path("../cache/blobs")];
    while let Some(path) = open.pop() {
        match path.is_dir() {
            true => open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false => std::fs::remove_file(path).unwrap(),
        }
    }
    let shell = lab.run(&["shell", "ws/uses", "--", "/bin/true"]);
    assert_eq!(shell.status, 3, "{shell:?}");
    assert!(shell.stderr.contains("\nhint: `ibuild cache fsck` forgets what is damaged"), "{shell:?}");
}

/// A regression: a plan without a lock said that all would run, and the build found everything.
#[test]
fn a_plan_without_a_lock_says_so() {
    let lab = unbuilt("{ name = \"one\", run = \"touch /srv/one\" },");
    let planned = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]);
    assert!(planned.status == 0 && !planned.stderr.contains("does not cover"), "{}", planned.stderr);
    std::fs::remove_file(lab.path("ibuild.lock")).unwrap();
    let planned = lab.run(&["plan", "--target", "ws.rootfs.tar.zst"]);
    let said = "note    lock  `ibuild.lock` does not cover `debian`: a build records its state first";
    assert!(planned.status == 0 && planned.stderr.contains(said), "{}", planned.stderr);
}
