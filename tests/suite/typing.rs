//! What may be left out, and what a short name means.

use std::fs;

use crate::harness::Sandbox;

/// Targets as arguments, as options, both, with commas, twice, or none.
#[test]
fn targets_are_named_in_any_way_and_once() {
    let sandbox = Sandbox::with_project();
    let plan = |arguments: &[&str]| sandbox.run(&[&["plan"], arguments].concat()).succeeds();
    let ova = plan(&["--target", "hello.ova"]);
    for same in
        [&[][..], &["hello"], &["hello.ova"], &["hello.ova", "hello"], &["hello.ova", "-t", "hello.ova"]]
    {
        assert_eq!(plan(same), ova, "{same:?}");
    }
    let both = plan(&["--target", "hello.ova", "hello.qcow2"]);
    assert!(both.contains("hello.qcow2 ") && both != ova, "{both}");
    for same in [
        &["hello.ova,hello.qcow2"][..],
        &["-t", "hello.ova,hello.qcow2"],
        &["hello.ova", "-t", "hello.qcow2"],
    ] {
        assert_eq!(plan(same), both, "{same:?}");
    }
    let json = |arguments: &[&str]| sandbox.run(arguments).json()["targets"].clone();
    assert_eq!(json(&["plan", "--json"]), serde_json::json!(["hello"]));
    assert_eq!(
        json(&["plan", "--json", "hello.ova", "-t", "hello.raw"]),
        serde_json::json!(["hello.ova", "hello.raw"])
    );
    let text = fs::read_to_string(sandbox.path("ibuild.toml")).unwrap();
    sandbox.write("ibuild.toml", text.split("[image.hello]").next().unwrap());
    sandbox.run(&["build"]).fails(
        2,
        "error: the recipe has no `[image.NAME]` that could be built\n\
         hint: `ibuild build --until STAGE` builds a stage without an image\n",
    );
}

const TWO: &str = "schema = 1
[project]
name = \"two\"
epoch = 1767225600
[archive.debian]
suites = [\"trixie\"]
[rootfs.base]
steps = [{ name = \"b\", bootstrap = { archive = \"debian\", variant = \"minbase\" } }]
[rootfs.x]
from = \"base\"
steps = [{ name = \"tools\", run = \"true\" }, { name = \"only\", run = \"true\" }]
[rootfs.y]
from = \"base\"
steps = [{ name = \"tools\", run = \"true\" }]
[image.lone]
rootfs = \"x\"
formats = [\"rootfs.tar.zst\"]
[image.both]
rootfs = \"y\"
formats = [\"rootfs.tar.zst\", \"oci\"]
";

#[test]
fn a_step_needs_no_rootfs_where_it_is_unique() {
    let sandbox = Sandbox::empty();
    sandbox.write("ibuild.toml", TWO);
    let named = |text: &str, full: &str| {
        let never = format!("error: `{full}` was never built\n");
        for command in [&["shell"][..], &["cache", "show"], &["cache", "pin"]] {
            let failed = sandbox.run(&[command, &[text]].concat());
            assert!(
                failed.status == 2 && failed.stderr.starts_with(&never),
                "{command:?}: {}",
                failed.stderr
            );
        }
    };
    named("only", "x/only");
    named("b", "base/b");
    named("y", "y/tools");
    sandbox.run(&["ls", "lone"]).fails(
        2,
        "error: `lone.rootfs.tar.zst` was never built\n\
         hint: `ibuild build --target lone.rootfs.tar.zst` builds it\n",
    );
}

#[test]
fn a_name_of_several_stages_lists_them() {
    let sandbox = Sandbox::empty();
    sandbox.write("ibuild.toml", TWO);
    let tools = "error: `tools` may mean 2 different stages\nhint: name one of them: `x/tools`, `y/tools`\n";
    let commands = [
        &["shell", "tools"][..],
        &["shell", "--failed", "tools"],
        &["log", "tools"],
        &["explain", "tools"],
        &["cat", "tools", "/etc/motd"],
        &["ls", "tools"],
        &["cache", "show", "tools"],
        &["cache", "rm", "tools"],
        &["cache", "pin", "tools"],
        &["build", "--until", "tools"],
        &["build", "--from", "tools"],
    ];
    for command in commands {
        sandbox.run(command).fails(2, tools);
    }
    sandbox.run(&["ls", "both"]).fails(
        2,
        "error: `both` may mean 2 different stages\nhint: name one of them: `both.oci`, `both.rootfs.tar.zst`\n",
    );
    sandbox
        .run(&["log", "onyl"])
        .fails(2, "error: there is no stage or target `onyl`\nhint: did you mean `only`?\n");
    sandbox
        .run(&["explain", "lone.raw"])
        .fails(2, "error: there is no stage or target `lone.raw`\nhint: formats of `lone` are `rootfs.tar.zst` and `oci`\n");
}

/// Needs root.
#[test]
fn a_stage_is_found_by_what_it_is_and_by_what_it_made() {
    let lab = Sandbox::empty();
    let steps = r#"
      { name = "write", run = "echo first > /etc/word" },
      { name = "same", check = "true" },
      { name = "edit", run = "echo second > /etc/word" },
    "#;
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), steps);
    lab.run(&["build", "--until", "edit"]).succeeds();
    let shown = |name: &str| lab.run(&["cache", "show", name, "--json"]).json();
    let write = shown("write");
    let (key, tree) = (write["key"].as_str().unwrap(), write["tree"].as_str().unwrap());
    let digits = |digest: &str| digest.trim_start_matches("b3:")[..12].to_owned();
    for name in [digits(key), digits(tree), format!("b3:{}", digits(tree)), tree.to_owned()] {
        assert_eq!(lab.run(&["cat", &name, "/etc/word"]).succeeds(), "first\n", "{name}");
        assert!(lab.run(&["explain", &name]).succeeds().starts_with("ws/write is fresh"), "{name}");
        assert_eq!(shown(&name)["key"], key, "{name}");
    }
    lab.run(&["build", "--until", &digits(key), "--from", "write"]).succeeds();
    lab.run(&["log", "ffffffffffff"])
        .fails(2, "error: there is no stage or target `ffffffffffff`\nhint: there are `ws`, `ws.rootfs.tar.zst`, `ws/bootstrap`, `ws/edit`, `ws/same` and `ws/write`\n");
}

/// Needs root.
#[test]
fn a_project_is_found_from_inside() {
    let lab = Sandbox::empty();
    let step = "{ name = \"write\", run = \"echo first > /etc/word\" },";
    crate::seeded::project(&lab.path(""), &lab.path("../cache"), step);
    lab.write("files/etc/motd", "hello\n");
    lab.run(&["-C", "files/etc", "build"]).succeeds();
    assert!(lab.exists("out/ws.rootfs.tar.zst") && !lab.exists("files/etc/out"));
    assert_eq!(lab.run(&["-C", "files/etc", "cat", "ws", "/etc/word"]).succeeds(), "first\n");
    lab.run(&["-C", "files/etc", "build", "--output", "made"]).succeeds();
    assert!(lab.exists("files/etc/made/ws.rootfs.tar.zst"));
    lab.run(&["-C", "files/etc", "clean"]).succeeds();
    assert!(!lab.exists("out/ws.rootfs.tar.zst") && lab.exists("files/etc/made/ws.rootfs.tar.zst"));
    lab.write("ibuild.local.toml", "jobs = 0\n");
    assert_eq!(lab.run(&["-C", "files", "cache", "gc"]).status, 2, "the settings beside the recipe count");
}

#[test]
fn a_new_project_may_be_inside_another() {
    let sandbox = Sandbox::with_project();
    fs::create_dir(sandbox.path("inner")).unwrap();
    sandbox.run(&["-C", "inner", "init"]).succeeds();
    let name =
        |dir: &str| sandbox.run(&["-C", dir, "recipe", "show", "--json"]).json()["project"]["name"].clone();
    assert_eq!(
        (name("."), name("inner"), name("inner/scripts")),
        ("project".into(), "inner".into(), "inner".into())
    );
    sandbox.write("ibuild.lock", "<<<<<<< HEAD\n");
    let broken = sandbox.run(&["-C", "files/etc", "plan"]);
    let hint = "`git -C files/etc/../.. checkout --ours ibuild.lock`";
    assert!(broken.stderr.contains(hint), "{}", broken.stderr);
}
