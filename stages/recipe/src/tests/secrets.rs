//! Secrets that steps ask for by name.

use super::Project;
use crate::{SecretEffect, Step};

fn secrets(step: &Step) -> Vec<(&str, SecretEffect)> {
    step.secrets.iter().map(|secret| (secret.name.as_str(), secret.effect)).collect()
}

#[test]
fn names_are_read_and_shown() {
    const STEP: &str = "name = \"a\", run = \"true\", network = \"none\", \
                        secrets = [\"TOKEN\", { name = \"HASH\", affects-output = true }, { name = \"key-2\" }]";
    let recipe = Project::with_step(STEP).recipe();
    let step = &recipe.rootfses["ws"].steps[0];
    let (access, output) = (SecretEffect::AccessOnly, SecretEffect::Output);
    assert_eq!(secrets(step), [("TOKEN", access), ("HASH", output), ("key-2", access)]);
    let shown = recipe.show().to_string();
    let expected = "secrets = [\"TOKEN\", { name = \"HASH\", affects-output = true }, \"key-2\"]";
    assert!(shown.contains(expected), "{shown}");
    let json = serde_json::to_value(&recipe).expect("a recipe can be shown");
    let expected = serde_json::json!(["TOKEN", { "name": "HASH", "affects-output": true }, "key-2"]);
    assert_eq!(json["rootfs"]["ws"]["steps"][0]["secrets"], expected);
    let without = Project::with_step("name = \"a\", run = \"true\"").recipe();
    assert!(!without.show().to_string().contains("secrets"));
}

#[test]
fn scripts_have_secrets_of_their_own() {
    let project = Project::with_step(
        "scripts = [\"scripts/ws\"], secrets = [\"A\", \"B\"], \
         settings.10-tools = { secrets = [{ name = \"B\", affects-output = true }, \"C\"] }",
    );
    let recipe = project.recipe();
    let [tools, user] = recipe.rootfses["ws"].steps.as_slice() else { panic!("there are two") };
    let (access, output) = (SecretEffect::AccessOnly, SecretEffect::Output);
    assert_eq!(secrets(tools), [("A", access), ("B", output), ("C", access)]);
    assert_eq!(secrets(user), [("A", access), ("B", access)]);
}

#[test]
fn wrong_secrets_are_mistakes() {
    let check = |secrets: &str, expected: &str| {
        let step = format!("name = \"a\", run = \"true\", secrets = {secrets}");
        assert_eq!(Project::with_step(&step).messages(), expected, "{secrets}");
    };
    let rule = "names of secrets consist of letters, digits, `_` and `-`, do not start with `-`, and have at most 64 characters";
    let long = "x".repeat(65);
    for name in ["", ".", "..", "a/b", "-a", "a b", "a=b", "ä", "a.b", long.as_str()] {
        check(&format!("[\"{name}\"]"), &format!("`{name}` is not a valid secret name | {rule}"));
    }
    check("[\"A\", { name = \"A\" }]", "secret `A` is listed twice");
    check(
        "[{ nam = \"A\" }]",
        "a secret needs `name` | write `{ name = \"TOKEN\", affects-output = true }`\n\
         unknown key `nam` in a secret | did you mean `name`?",
    );
    check("\"A\"", "expected an array, found a string | write `[\"A\"]`, in brackets");
}

/// Secrets are for programs that the recipe chooses.
#[test]
fn only_programs_of_the_recipe_have_secrets() {
    for (kind, value) in [("packages", "[\"sudo\"]"), ("copy", "[{ from = \"files\", to = \"/\" }]")] {
        let project = Project::with_step(&format!("name = \"a\", {kind} = {value}, secrets = [\"A\"]"));
        assert_eq!(
            project.messages(),
            format!(
                "`secrets` means nothing to a `{kind}` step | it belongs to `script`, `scripts`, `run` and `check`"
            )
        );
    }
    let in_rootfs = Project::with(
        "[rootfs.ws]\nfrom = \"base\"\nsecrets = [\"A\"]\nsteps = [{ name = \"a\", run = \"true\" }]\n",
    );
    assert!(
        in_rootfs.messages().starts_with("unknown key `secrets` in `[rootfs.ws]`"),
        "{}",
        in_rootfs.messages()
    );
}

#[test]
fn a_script_cannot_take_the_place_of_its_secrets() {
    let project = Project::with_step("script = \"scripts/with/secrets\", secrets = [\"A\"]");
    project.file("scripts/with/secrets", "#!/bin/sh\n");
    let expected = "`scripts/with/secrets` cannot be called `secrets` in a step with `secrets` | it would lie at `/run/ibuild/secrets`, which is where it finds them: give the script another name";
    assert_eq!(project.messages(), expected);
    let without = Project::with_step("script = \"scripts/with/secrets\"");
    without.file("scripts/with/secrets", "#!/bin/sh\n");
    without.recipe();
}
