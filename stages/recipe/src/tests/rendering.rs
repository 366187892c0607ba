//! Errors as they are drawn.

use super::{BASE, Project};
use crate::{Overrides, Recipe, RecipeErrors, Style};

/// `expected` starts on a line of its own, so that the drawing stands as it is printed.
#[track_caller]
fn draws(errors: &RecipeErrors, expected: &str) {
    assert_eq!(format!("\n{}\n", errors.render(Style::Plain)), expected);
}

#[test]
fn an_unknown_key() {
    draws(
        &Project::with_step("name = \"a\", packages = [\"sudo\"], recomends = false").errors(),
        r#"
error: unknown key `recomends` in a step
  --> ibuild.toml:11:45
   |
11 | steps = [{ name = "a", packages = ["sudo"], recomends = false }]
   |                                             ^^^^^^^^^
   |
   = hint: did you mean `recommends`?
"#,
    );
}

#[test]
fn a_stage_defined_twice() {
    draws(
        &Project::with_step("name = \"a\", run = \"true\" }, { name = \"a\", run = \"true\"").errors(),
        r#"
error: stage `ws/a` is defined twice
  --> ibuild.toml:11:49
   |
11 | steps = [{ name = "a", run = "true" }, { name = "a", run = "true" }]
   |                   --- first here                ^^^ again here
"#,
    );
}

#[test]
fn a_table_defined_in_two_files() {
    let project = Project::new(&BASE.replace("schema = 1", "schema = 1\ninclude = [\"ws.toml\"]"));
    project.file("ws.toml", "[rootfs.base]\nsteps = []\n");
    draws(
        &project.errors(),
        r#"
error: `rootfs.base` is defined twice
 --> ws.toml:1:9
  |
1 | [rootfs.base]
  |         ^^^^ again here
  |
 ::: ibuild.toml:8:9
  |
8 | [rootfs.base]
  |         ---- first here
"#,
    );
}

#[test]
fn a_missing_directory() {
    draws(
        &Project::with_step("scripts = \"scripts/wx\"").errors(),
        r#"
error: there is no `scripts/wx`
  --> ibuild.toml:11:22
   |
11 | steps = [{ scripts = "scripts/wx" }]
   |                      ^^^^^^^^^^^^
   |
   = hint: did you mean `scripts/ws`?
"#,
    );
}

#[test]
fn a_cycle() {
    let text = r#"[rootfs.a]
from = "b"
steps = [{ name = "s", run = "true" }]
[rootfs.b]
from = "a"
steps = [{ name = "s", run = "true" }]
"#;
    draws(
        &Project::with(text).errors(),
        r#"
error: rootfses are made from each other: `a -> b -> a`
  --> ibuild.toml:13:8
   |
13 | from = "a"
   |        ^^^ closes the circle
"#,
    );
}

#[test]
fn two_mistakes_in_one_table() {
    draws(
        &Project::with("[image.i]\nrootfs = \"base\"\nformats = [\"qcow\"]\n").errors(),
        r#"
error: `[image.i]` needs `disk`
 --> ibuild.toml:9:1
  |
9 | [image.i]
  | ^^^^^^^^^
  |
  = hint: write `disk = { size = "8 GiB" }`

error: `qcow` is not a format
  --> ibuild.toml:11:12
   |
11 | formats = ["qcow"]
   |            ^^^^^^
   |
   = hint: did you mean `qcow2`?
"#,
    );
}

#[test]
fn an_undefined_var_after_letters_of_two_bytes() {
    draws(
        &Project::with("[vars]\nname = \"é\"\nother = \"é{vars.nmae}\"").errors(),
        r#"
error: undefined variable `nmae`
  --> ibuild.toml:11:11
   |
11 | other = "é{vars.nmae}"
   |           ^^^^^^^^^^^
   |
   = hint: did you mean `name`?
"#,
    );
}

#[test]
fn an_undefined_var_in_a_text_of_several_lines() {
    draws(
        &Project::with_step("name = \"a\", run = \"\"\"\ntrue\necho {vars.x}\n\"\"\"").errors(),
        r#"
error: undefined variable `x`
  --> ibuild.toml:13:6
   |
13 | echo {vars.x}
   |      ^^^^^^^^
   |
   = hint: define `x` in `[vars]`
"#,
    );
}

#[test]
fn broken_toml() {
    draws(
        &Project::with("[rootfs.x").errors(),
        r#"
error: unclosed table, expected `]`
 --> ibuild.toml:9:10
  |
9 | [rootfs.x
  |          ^
"#,
    );
}

#[test]
fn a_recipe_without_schema() {
    draws(
        &Project::new(&BASE.replace("schema = 1\n", "")).errors(),
        r#"
error: the recipe does not start with `schema`
 --> ibuild.toml:1:1
  |
1 | [project]
  | ^
  |
  = hint: write `schema = 1` as its first line
"#,
    );
}

#[test]
fn no_recipe() {
    let errors = Recipe::load("no/such/directory".as_ref(), &Overrides::default());
    draws(
        &errors.expect_err("nothing is there"),
        r#"
error: there is no `ibuild.toml` in `no/such/directory`
hint: `ibuild init` starts a project, `-C DIR` looks in another directory
"#,
    );
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    let errors = Project::with_step("name = \"a\"").errors();
    let coloured = errors.render(Style::Colour);
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, escape)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = escape.split_once('m').expect("escapes end").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, errors.render(Style::Plain));
}
