//! New projects.

use std::fs;

use crate::harness::Sandbox;

const MADE: &str =
    "made the project `demo` from the template `hello` in `[ROOT]/project/demo`; next:\n  cd demo\n";

#[test]
fn a_new_project_is_right_and_is_not_overwritten() {
    let sandbox = Sandbox::empty();
    let made = sandbox.run(&["init", "hello", "demo"]);
    assert!(made.stderr.starts_with(MADE));
    made.succeeds();
    let check = sandbox.run(&["-C", "demo", "recipe", "check"]).succeeds();
    assert_eq!(check, "ok: 1 rootfs, 10 stages, 1 image\n");
    assert!(sandbox.is_executable("demo/scripts/30-user") && !sandbox.is_executable("demo/files/etc/fstab"));
    sandbox.run(&["init", "hello", "demo"]).fails(
        2,
        "error: `[ROOT]/project/demo/ibuild.toml` is there already\n\
         hint: give another directory: `ibuild init TEMPLATE DIR`\n",
    );
}

/// Recipes of all templates are right as they are, and the larger one is small.
#[test]
fn every_template_is_a_project() {
    let sandbox = Sandbox::empty();
    let stages = [
        ("hello", "1 rootfs, 10 stages"),
        ("server", "1 rootfs, 12 stages"),
        ("pair", "3 rootfses, 16 stages"),
        ("from-shell", "1 rootfs, 8 stages"),
    ];
    for (template, expected) in stages {
        let dir = format!("my-{template}");
        let made = sandbox.run(&["init", template, &dir]);
        assert!(made.stderr.contains(&format!("from the template `{template}`")), "{}", made.stderr);
        let check = sandbox.run(&["-C", &dir, "recipe", "check"]);
        assert_eq!(check.stderr, "", "{template}");
        assert!(check.succeeds().starts_with(&format!("ok: {expected}, ")), "{template}");
        sandbox.run(&["-C", &dir, "plan"]).succeeds();
    }
    let recipe = fs::read_to_string(sandbox.path("my-pair/ibuild.toml")).unwrap();
    assert!(recipe.lines().count() <= 60);
    assert!(recipe.contains("[project]\nname = \"my-pair\"\n"), "{recipe}");
}

#[test]
fn two_projects_have_two_file_systems() {
    let sandbox = Sandbox::empty();
    let uuid = |name: &str| {
        sandbox.run(&["init", "hello", name]).succeeds();
        let shown = sandbox.run(&["-C", name, "recipe", "show"]).succeeds();
        shown.lines().find(|line| line.contains("fs-uuid")).expect("the template has one").to_owned()
    };
    assert_ne!(uuid("one"), uuid("other"));
}

#[test]
fn an_unknown_template_has_a_neighbour() {
    let sandbox = Sandbox::empty();
    let no = "error: there is no template `helo`\nhint: did you mean `hello`?";
    sandbox
        .run(&["init", "helo"])
        .fails(2, &format!("{no} for a directory of that name: `ibuild init hello helo`\n"));
    sandbox.run(&["init", "helo", "x"]).fails(2, &format!("{no}\n"));
    let other = sandbox.run(&["init", "desktop", "x"]);
    assert!(other.status == 2 && other.stderr.contains("\nhint: templates are `hello`"), "{}", other.stderr);
    assert!(!sandbox.exists("x") && !sandbox.exists("ibuild.toml"));
}

#[test]
fn a_word_that_is_no_template_is_the_directory() {
    let sandbox = Sandbox::empty();
    let made = sandbox.run(&["init", "myproj"]);
    assert!(made.stderr.starts_with(&MADE.replace("demo", "myproj")), "{}", made.stderr);
    made.succeeds();
    let shown = sandbox.run(&["-C", "myproj", "recipe", "show"]).succeeds();
    assert!(shown.contains("[project]\nname = \"myproj\"\n"), "{shown}");
    let (_, uuid) = shown.split_once("fs-uuid = \"").unwrap();
    let line = format!("UUID={} / ", &uuid[..36]);
    assert!(fs::read_to_string(sandbox.path("myproj/files/etc/fstab")).unwrap().contains(&line));
    fs::create_dir(sandbox.path("helo")).unwrap();
    sandbox.run(&["init", "helo"]).succeeds();
    assert!(sandbox.exists("helo/ibuild.toml"));
}
