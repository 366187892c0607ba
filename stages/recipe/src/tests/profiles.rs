//! `[profile.NAME]`, and steps that belong to profiles.

use super::Project;
use crate::{ImageFormat, Overrides, Recipe};

const TEXT: &str = r#"
[vars]
level = "warn"
name = "it is {vars.level}"
[profile.debug]
vars = { level = "debug" }
formats = { ws = ["raw", "qcow2"] }
[profile.small]
formats = ["qcow2"]
[rootfs.ws]
from = "base"
steps = [
  { name = "level", run = "echo {vars.name}" },
  { scripts = "scripts/ws", profiles = ["debug"] },
  { name = "end", run = "true" },
  { name = "all", run = "true", profiles = ["small", "debug"] },
]
[image.ws]
rootfs = "ws"
formats = ["ova"]
disk = { size = "8 GiB" }
[image.pair]
machines = ["ws"]
formats = ["ova"]
"#;

fn with(project: &Project, profile: Option<&str>, var: Option<&str>) -> Result<Recipe, String> {
    let mut overrides = Overrides::default();
    profile.into_iter().for_each(|name| overrides.choose(name.parse().unwrap()));
    var.into_iter().for_each(|value| overrides.set("level".parse().unwrap(), value));
    Recipe::load(project.path(), &overrides).map_err(|errors| errors.to_string())
}

fn steps(recipe: &Recipe) -> Vec<String> {
    recipe.rootfses["ws"].steps.iter().map(|step| step.name.to_string()).collect()
}

#[test]
fn a_profile_replaces_variables_and_formats_and_has_steps_of_its_own() {
    let project = Project::with(TEXT);
    let formats = |recipe: &Recipe| recipe.images["ws"].formats.clone();
    let plain = with(&project, None, None).unwrap();
    assert_eq!((steps(&plain), &plain.profile), (vec!["level".to_owned(), "end".to_owned()], &None));
    assert_eq!((plain.vars["name"].as_str(), formats(&plain)), ("it is warn", vec![ImageFormat::Ova]));
    let omitted: Vec<_> = plain.omitted.iter().map(ToString::to_string).collect();
    assert_eq!(omitted, ["ws/10-tools", "ws/30-user", "ws/all"]);

    let debug = with(&project, Some("debug"), None).unwrap();
    assert_eq!(steps(&debug), ["level", "10-tools", "30-user", "end", "all"]);
    assert_eq!(debug.vars["name"], "it is debug");
    assert_eq!(formats(&debug), [ImageFormat::Raw, ImageFormat::Qcow2]);
    assert!(debug.omitted.is_empty() && debug.profile.unwrap().as_str() == "debug");
    // What the command line says wins.
    assert_eq!(with(&project, Some("debug"), Some("info")).unwrap().vars["name"], "it is info");

    let small = with(&project, Some("small"), None).unwrap();
    assert_eq!(
        (steps(&small), formats(&small)),
        (["level", "end", "all"].map(str::to_owned).into(), vec![ImageFormat::Qcow2])
    );
    assert_eq!(small.appliances["pair"].formats, [ImageFormat::Ova]);
    // Steps that all builds have are the same in each.
    assert_eq!(plain.rootfses["ws"].steps[1], small.rootfses["ws"].steps[1]);
}

#[test]
fn mistakes_in_profiles_are_found_whichever_is_chosen() {
    const BASE: &str = "[vars]\nlevel = \"x\"\n[image.tree]\nrootfs = \"base\"\nformats = [\"oci\"]\n[image.ws]\n\
        rootfs = \"base\"\nformats = [\"ova\"]\ndisk = { size = \"8 GiB\" }\n[image.pair]\nmachines = [\"ws\"]\nformats = [\"ova\"]\n";
    let check = |keys: &str, message: &str| {
        let project = Project::with(&format!("{BASE}[profile.debug]\n{keys}\n[profile.other]\n"));
        assert_eq!(project.messages(), message);
        for profile in ["debug", "other"] {
            let errors = with(&project, Some(profile), None).unwrap_err();
            assert!(errors.contains(message.split(" | ").next().unwrap()), "{profile}: {errors}");
        }
    };
    check("vars = { lvel = \"y\" }", "there is no variable `lvel` to replace | did you mean `level`?");
    check("vars = { level = true }", "expected a string or an integer, found a boolean");
    check("formats = [\"ovb\"]", "`ovb` is not a format | did you mean `ova`?");
    check("steps = []", "unknown key `steps` in `[profile.debug]` | there are `formats` and `vars`");
    check("formats = { wz = [\"raw\"] }", "unknown image `wz` | there are `pair`, `tree` and `ws`");
    let hint = "a table has formats by image: `formats = { IMAGE = [\"raw\"] }`";
    check("formats = [\"raw\"]", &format!("image `tree` has no disk, and cannot be had as `raw` | {hint}"));
    check(
        "formats = { pair = [\"raw\"] }",
        &format!("image `pair` is several machines, and cannot be had as `raw` | {hint}"),
    );
    let step = |step: &str| {
        Project::with(&format!("[profile.debug]\n[rootfs.ws]\nfrom = \"base\"\nsteps = [{step}]"))
    };
    let unknown =
        step("{ name = \"a\", run = \"true\" }, { name = \"b\", run = \"true\", profiles = [\"debgu\"] }");
    assert_eq!(unknown.messages(), "unknown profile `debgu` | did you mean `debug`?");
    let alone = step("{ name = \"b\", run = \"true\", profiles = [\"debug\"] }");
    assert_eq!(
        alone.messages(),
        "all steps of rootfs `ws` belong to profiles that are not chosen | keep a step without `profiles`"
    );
    let chosen = with(&alone, Some("debgu"), None).unwrap_err();
    assert!(chosen.contains("there is no profile `debgu`"), "{chosen}");
    // A step that is left out is looked at all the same.
    let missing = step("{ name = \"a\", run = \"true\" }, { script = \"no\", profiles = [\"debug\"] }");
    assert!(missing.messages().starts_with("there is no `no`"), "{}", missing.messages());
}
