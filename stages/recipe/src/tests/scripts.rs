//! Several directories of scripts, merged as run-parts would run them, and what is said of single scripts.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use super::Project;
use crate::{Network, Recipe, StepKind};

/// Where the steps of `ws` come from, by name.
fn scripts_of(recipe: &Recipe) -> Vec<(String, String)> {
    let steps = recipe.rootfses["ws"].steps.iter();
    let script = |kind: &StepKind| match kind {
        StepKind::Script { path } => path.display().to_string(),
        other => panic!("{other:?} is no script"),
    };
    steps.map(|step| (step.name.to_string(), script(&step.kind))).collect()
}

fn notices(recipe: &Recipe) -> Vec<String> {
    recipe.notices.iter().map(ToString::to_string).collect()
}

fn set_mode(project: &Project, path: &str, mode: u32) {
    fs::set_permissions(project.path().join(path), Permissions::from_mode(mode)).expect("modes can be set");
}

fn merged() -> Project {
    let project = Project::with_step("scripts = [\"scripts/ws\", \"scripts/more\"], env = { A = \"1\" }");
    for name in ["05_first", "30-user", "90-last"] {
        project.file(&format!("scripts/more/{name}"), "#!/bin/sh\n");
    }
    project
}

#[test]
fn the_later_directory_wins() {
    let expected = [
        ("05_first", "scripts/more/05_first"),
        ("10-tools", "scripts/ws/10-tools"),
        ("30-user", "scripts/more/30-user"),
        ("90-last", "scripts/more/90-last"),
    ];
    let recipe = merged().recipe();
    assert_eq!(scripts_of(&recipe), expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    assert_eq!(notices(&recipe), Vec::<String>::new());
}

#[test]
fn what_run_parts_would_not_run_is_no_step_and_said() {
    let project = merged();
    project.file("scripts/ws/40-x.sh", "#!/bin/sh\n");
    project.file("scripts/ws/README", "to be read\n");
    project.file("scripts/ws/lib/x", "");
    project.file("scripts/more/.hidden", "");
    set_mode(&project, "scripts/more/30-user", 0o644);
    let recipe = project.recipe();
    let names: Vec<_> = scripts_of(&recipe).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["05_first", "10-tools", "90-last"], "the one that is not executable hides the other");
    let expected = [
        "`scripts/more/.hidden` is not a step: it is a hidden file",
        "`scripts/more/30-user` is not a step: it is not executable",
        "`scripts/ws/40-x.sh` is not a step: its name has other characters than letters, digits, `_` and `-`",
        "`scripts/ws/README` is not a step: it is not executable",
        "`scripts/ws/lib` is not a step: it is a directory",
    ];
    assert_eq!(notices(&recipe), expected);
}

/// What was built before is built again: the executable bit has never counted there.
#[test]
fn of_a_directory_alone_every_file_runs() {
    let project = Project::with_step("scripts = \"scripts/ws\"");
    set_mode(&project, "scripts/ws/30-user", 0o644);
    let recipe = project.recipe();
    assert_eq!(scripts_of(&recipe).len(), 2);
    assert_eq!(
        notices(&recipe),
        [
            "`scripts/ws/30-user` is not executable, and runs all the same: `scripts = [\"DIR\"]` would leave it out"
        ]
    );
    let listed = Project::with_step("scripts = [\"scripts/ws\"]");
    set_mode(&listed, "scripts/ws/30-user", 0o644);
    assert_eq!(scripts_of(&listed.recipe()).len(), 1);
    set_mode(&listed, "scripts/ws/10-tools", 0o644);
    assert_eq!(
        listed.messages(),
        "no script of `scripts/ws` is executable | of a list of directories only executable files run: `chmod +x` them"
    );
}

#[test]
fn a_script_has_settings_of_its_own() {
    let project = Project::with_step(
        "scripts = [\"scripts/ws\"], env = { A = \"1\", B = \"1\" }, timeout = \"1 h\", inputs = [\"files\"], \
         volatile = [\"/a\"], limits = { memory = \"1 GiB\", processes = 9 }, settings.10-tools = { \
         env = { B = \"2\" }, network = \"none\", timeout = \"2 h\", inputs = [\"scripts/bare\", \"files\"], \
         volatile = [\"/b\"], limits = { processes = 7 } }",
    );
    let recipe = project.recipe();
    let [tools, user] = recipe.rootfses["ws"].steps.as_slice() else { panic!("there are two") };
    assert_eq!(tools.network, Network::None, "the text would say otherwise");
    let env = |step: &crate::Step| step.env.values().cloned().collect::<Vec<_>>();
    assert_eq!((env(tools), env(user)), (vec!["1".into(), "2".into()], vec!["1".into(), "1".into()]));
    let hours = |step: &crate::Step| step.timeout.expect("it has one").as_secs() / 3600;
    assert_eq!((hours(tools), hours(user)), (2, 1));
    assert_eq!((tools.inputs.len(), user.inputs.len()), (2, 1));
    assert_eq!((tools.volatile.len(), user.volatile.len()), (2, 1));
    assert_eq!((tools.limits.processes, user.limits.processes), (Some(7), Some(9)));
    assert_eq!(tools.limits.memory, user.limits.memory);
}

#[test]
fn settings_of_nobody_are_mistakes_but_not_of_what_is_left_out() {
    let step = |more: &str| Project::with_step(&format!("scripts = [\"scripts/ws\"], {more}"));
    assert_eq!(
        step("settings.30-usr = { timeout = \"1 h\" }").messages(),
        "there is no script `30-usr` to set anything for | did you mean `30-user`?"
    );
    assert_eq!(
        step("settings.30-user = { run = \"true\" }").messages(),
        "unknown key `run` in the settings of a script | its keys are `env`, `network`, `machine`, `timeout`, `limits`, `inputs`, `secrets`, `volatile` and `reproducible`"
    );
    assert_eq!(
        step("settings.30-user = { inputs = [\"fils\"] }").messages(),
        "there is no `fils` | did you mean `files`?"
    );
    let project = step("settings.30-user = { timeout = \"1 h\" }");
    set_mode(&project, "scripts/ws/30-user", 0o644);
    assert_eq!(scripts_of(&project.recipe()).len(), 1);
    let skipped = step("settings.30-user = { timeout = \"1 h\" }, skip = [\"30-user\"]");
    assert_eq!(scripts_of(&skipped.recipe()).len(), 1);
    let empty = Project::with_step("scripts = []");
    assert_eq!(
        empty.messages(),
        "the list of directories is empty | write `scripts = [\"scripts/shared\", \"scripts/gateway\"]`"
    );
}
