//! What copies and inputs leave out.

use super::Project;
use crate::{Input, StepKind};

#[test]
fn patterns_are_read_and_shown() {
    let step = "name = \"a\", run = \"true\", inputs = [\"scripts\", { path = \"files\", exclude = [\"*.md\", \"!a.md\"] }] }, \
                { name = \"b\", copy = [{ from = \"files\", to = \"/\", exclude = [\"/shared/\"] }]";
    let recipe = Project::with_step(step).recipe();
    let [run, copy] = recipe.rootfses["ws"].steps.as_slice() else { panic!("there are two") };
    let input = |path: &str, exclude: &[&str]| Input {
        path: path.into(),
        exclude: exclude.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(run.inputs, [input("scripts", &[]), input("files", &["*.md", "!a.md"])]);
    let StepKind::Copy(rules) = &copy.kind else { panic!("it copies") };
    assert_eq!(rules[0].exclude, ["/shared/"]);
    let shown = recipe.show().to_string();
    assert!(
        shown.contains("inputs = [\"scripts\", { path = \"files\", exclude = [\"*.md\", \"!a.md\"] }]"),
        "{shown}"
    );
    assert!(shown.contains("exclude = [\"/shared/\"]"), "{shown}");
    let json = serde_json::to_value(&recipe).expect("a recipe can be shown");
    let inputs = &json["rootfs"]["ws"]["steps"][0]["inputs"];
    assert_eq!(inputs, &serde_json::json!(["scripts", { "path": "files", "exclude": ["*.md", "!a.md"] }]));
}

#[test]
fn what_would_leave_nothing_out_is_a_mistake() {
    let check = |exclude: &str, expected: &str| {
        let copy = format!("name = \"a\", copy = [{{ from = \"files\", to = \"/\", exclude = {exclude} }}]");
        assert_eq!(Project::with_step(&copy).messages(), expected, "{exclude}");
    };
    let nothing = "it matches nothing | write a name or a pattern; `\\#` is a `#` at the beginning";
    check("[\"\"]", &format!("`` is not a pattern: {nothing}"));
    check("[\"# x\"]", &format!("`# x` is not a pattern: {nothing}"));
    check(
        "[\"a\\nb\"]",
        "`a\\nb` is not a pattern: it has several lines | write each pattern as a text of its own",
    );
    check(
        "[\"[ab\"]",
        "`[ab` is not a pattern: a `[` has no `]` | close it, or write `\\[` for the character itself",
    );
    let file = "is a file | it leaves files of a directory out";
    assert_eq!(
        Project::with_step(
            "name = \"a\", copy = [{ from = \"scripts/bare\", to = \"/\", exclude = [\"x\"] }]"
        )
        .messages(),
        format!("`exclude` means nothing to `scripts/bare`, which {file}")
    );
    assert_eq!(
        Project::with_step(
            "name = \"a\", run = \"true\", inputs = [{ path = \"scripts/bare\", exclude = [\"x\"] }]"
        )
        .messages(),
        format!("`exclude` means nothing to `scripts/bare`, which {file}")
    );
}
