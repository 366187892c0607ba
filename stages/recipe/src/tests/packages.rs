//! Packages from a list.

use super::Project;
use crate::{Recommends, StepKind};

fn with_list(text: &str) -> Project {
    let project = Project::with_step("name = \"a\", packages-from = \"lists/tools\", recommends = false");
    project.file("lists/tools", text);
    project
}

#[test]
fn a_list_is_what_it_has_without_remarks() {
    let recipe =
        with_list("# What everybody needs.\n\nsudo\n  nftables # the firewall\r\nlibc6:i386\n").recipe();
    let StepKind::Packages { names, recommends } = &recipe.rootfses["ws"].steps[0].kind else { panic!() };
    let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    assert_eq!((names.as_slice(), *recommends), (&["sudo", "nftables", "libc6:i386"][..], Recommends::Skip));
    let same = Project::with_step(
        "name = \"a\", packages = [\"sudo\", \"nftables\", \"libc6:i386\"], recommends = false",
    );
    assert_eq!(same.recipe().show().to_string(), recipe.show().to_string());
}

#[test]
fn what_is_no_list_is_told() {
    let said = with_list("sudo\nno such name\nNone\n").messages();
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].starts_with("`lists/tools:2`: ") && lines[1].starts_with("`lists/tools:3`: "), "{said}");
    assert!(lines.iter().all(|line| line.contains(" | one name a line: ")), "{said}");
    assert_eq!(
        with_list("# nothing\n").messages(),
        "there are no packages in `lists/tools` | write one name a line"
    );
    let list = |path: &str| Project::with_step(&format!("name = \"a\", packages-from = \"{path}\""));
    assert_eq!(list("scripts").messages(), "`scripts` is a directory | name a file with one package a line");
    assert_eq!(list("scripts/bar").messages(), "there is no `scripts/bar` | did you mean `scripts/bare`?");
    assert_eq!(
        Project::with_step("name = \"a\", packages-from = \"scripts/bare\", packages = [\"sudo\"]")
            .messages(),
        "the step does 2 things: `packages` and `packages-from` | make it several steps"
    );
}
