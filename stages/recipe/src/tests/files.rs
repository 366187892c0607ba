//! Recipes in several files, and directories of scripts.

use std::fs;
use std::os::unix::fs::symlink;

use super::{BASE, Project};
use crate::{Network, NoticeReason, Overrides, Recipe, RootfsName, StepKind};

fn with_include(include: &str) -> Project {
    Project::new(&BASE.replace("schema = 1", &format!("schema = 1\ninclude = [\"{include}\"]")))
}

fn steps_of(recipe: &Recipe, rootfs: &str) -> Vec<String> {
    let rootfs: RootfsName = rootfs.parse().expect("a name");
    recipe.chain(&rootfs).iter().map(|stage| stage.name.to_string()).collect()
}

const STEPS: &str = "from = \"base\"\nsteps = [{ name = \"a\", run = \"true\" }]\n";

#[test]
fn included_tables_are_part_of_the_recipe() {
    let project = with_include("more/ws.toml");
    project.file("more/ws.toml", &format!("[rootfs.ws]\n{STEPS}"));
    let recipe = project.recipe();
    assert_eq!(steps_of(&recipe, "ws"), ["base/bootstrap", "ws/a"]);
    let step = recipe.step(&recipe.find_stage("ws").expect("it is there")).expect("it has a step");
    assert_eq!(step.position.to_string(), "more/ws.toml:3:10");
}

#[test]
fn a_file_included_from_two_places_is_read_once() {
    let project = with_include("a.toml\", \"b.toml");
    project.file("a.toml", "include = [\"c.toml\"]");
    project.file("b.toml", "include = [\"./c.toml\"]");
    project.file("c.toml", &format!("[rootfs.ws]\n{STEPS}"));
    assert_eq!(steps_of(&project.recipe(), "ws").len(), 2);
}

#[test]
fn includes_that_cannot_be() {
    let project = with_include("a.toml");
    assert_eq!(project.messages(), "cannot include `a.toml`: there is no such file");
    project.file("a.toml", "include = [\"b.toml\"]");
    project.file("b.toml", "include = [\"a.toml\"]");
    assert_eq!(project.messages(), "files include each other: `a.toml -> b.toml -> a.toml`");
    project.file("b.toml", "include = [\"ibuild.toml\", \"../x\", 3]");
    let expected = "files include each other: `ibuild.toml -> a.toml -> b.toml -> ibuild.toml`\n\
                    `../x` contains `..` | paths may not leave the recipe's directory\n\
                    expected a string, found an integer | write `\"3\"`, in quotes";
    assert_eq!(project.messages(), expected);
    fs::write(project.path().join("b.toml"), b"# \xc3\xa4\n\n# \xff\n").expect("it can be written");
    assert_eq!(project.messages(), "cannot include `b.toml`: it is not UTF-8 text: line 3 has other bytes");
}

#[test]
fn a_fifo_is_no_recipe() {
    let project = with_include("a.toml");
    let make = |name: &str| {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&project.path().join(name), mode).expect("it can be made");
    };
    make("a.toml");
    assert_eq!(project.messages(), "cannot include `a.toml`: it is not a regular file");
    fs::remove_file(project.path().join("a.toml")).expect("it is there");
    symlink("/dev/zero", project.path().join("a.toml")).expect("it can be made");
    let messages = project.messages();
    assert!(messages.starts_with("cannot include `a.toml`"), "{messages}");
    fs::remove_file(project.path().join("ibuild.toml")).expect("it is there");
    make("ibuild.toml");
    let expected =
        format!("cannot read `ibuild.toml` in `{}`: it is not a regular file", project.path().display());
    assert_eq!(project.messages(), expected);
}

#[test]
fn a_missing_recipe() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let errors = Recipe::load(dir.path(), &Overrides::default()).expect_err("nothing is there");
    let [diagnostic] = errors.diagnostics() else { panic!("one mistake is one diagnostic") };
    assert_eq!(diagnostic.message(), format!("there is no `ibuild.toml` in `{}`", dir.path().display()));
    assert_eq!(
        diagnostic.hint(),
        Some("`ibuild init` starts a project, `-C DIR` looks in another directory")
    );
    assert_eq!(diagnostic.position(), None);
}

#[test]
fn a_recipe_can_be_named_by_its_file() {
    let project = Project::with("");
    project.file("other.toml", &BASE.replace("demo", "other"));
    let recipe =
        Recipe::load(&project.path().join("other.toml"), &Overrides::default()).expect("it is right");
    assert_eq!(recipe.project.name.as_str(), "other");
    assert_eq!(recipe.dir, project.path());
}

#[test]
fn scripts_become_steps_in_the_order_of_their_bytes() {
    let project = Project::with_step("scripts = \"scripts/ws\", skip = [\"30-user\"], timeout = \"1 h\"");
    for name in ["9-late", "100-early", "20-x.sh"] {
        project.file(&format!("scripts/ws/{name}"), "#!/bin/sh\n");
    }
    let recipe = project.recipe();
    let expected = ["base/bootstrap", "ws/10-tools", "ws/100-early", "ws/20-x.sh", "ws/9-late"];
    assert_eq!(steps_of(&recipe, "ws"), expected);
    let first = &recipe.rootfses["ws"].steps[0];
    assert_eq!(first.kind, StepKind::Script { path: "scripts/ws/10-tools".into() });
    assert_eq!(first.network, Network::Packages);
    assert!(recipe.rootfses["ws"].steps.iter().all(|step| step.timeout.is_some()));
    assert_eq!(recipe.rootfses["ws"].steps[1].network, Network::None);
}

#[test]
fn what_is_left_out_of_a_directory_is_said() {
    let project = Project::with_step("scripts = \"scripts/ws\"");
    for name in [".hidden", "10-tools~", ".#10-tools", "#10-tools#", ".30-user.swp"] {
        project.file(&format!("scripts/ws/{name}"), "");
    }
    fs::create_dir(project.path().join("scripts/ws/.git")).expect("it can be made");
    let recipe = project.recipe();
    assert_eq!(steps_of(&recipe, "ws").len(), 3);
    let hidden = recipe.notices.iter().filter(|notice| notice.reason == NoticeReason::Hidden);
    let hidden: Vec<_> = hidden.map(ToString::to_string).collect();
    let expected = [
        "`scripts/ws/.git` is not a step: it is a hidden file",
        "`scripts/ws/.hidden` is not a step: it is a hidden file",
    ];
    assert_eq!(hidden, expected);
    assert_eq!(recipe.notices.len(), 6);
}

#[test]
fn a_directory_of_scripts_holds_scripts_only() {
    let project = Project::with_step("scripts = \"scripts/ws\"");
    project.file("scripts/ws/lib/x", "");
    project.file("scripts/ws/40 space", "#!/bin/sh\n");
    project.file("scripts/ws/50-bare", "echo\n");
    let expected = "`scripts/ws/lib` is a directory among scripts | scripts are not looked for any deeper\n\
                    `scripts/ws/40 space` cannot name a step | names consist of `a-z`, `0-9`, `.`, `_`, `+` and `-`, and start with a letter or digit\n\
                    `scripts/ws/50-bare` has no interpreter line | start it with `#!/bin/sh -e` or `#!/bin/bash`";
    assert_eq!(project.messages(), expected);
}

#[test]
fn links_may_lead_anywhere_in_the_project_but_not_out_of_it() {
    let project = Project::with_step("scripts = \"scripts/ws\"");
    project.file("scripts/common/50-more", "#!/bin/sh\n");
    let link = |target: &str, name: &str| {
        symlink(target, project.path().join("scripts/ws").join(name)).expect("links can be made");
    };
    link("../common/50-more", "50-more");
    assert_eq!(steps_of(&project.recipe(), "ws").len(), 4);
    link("/etc/passwd", "60-out");
    link("nowhere", "70-broken");
    let expected = "`scripts/ws/60-out` leads out of the recipe's directory | links may only lead to what is in it\n\
                    `scripts/ws/70-broken` leads nowhere";
    assert_eq!(project.messages(), expected);
}

#[test]
fn two_directories_with_one_name_in_both() {
    let project = Project::with_step("scripts = \"scripts/ws\" }, { scripts = \"scripts/more\"");
    project.file("scripts/more/30-user", "#!/bin/sh\n");
    let errors = project.errors();
    assert_eq!(errors.to_string(), "ibuild.toml:11:50: stage `ws/30-user` is defined twice");
}
