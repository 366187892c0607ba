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
