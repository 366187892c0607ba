//! Identities of machines and disks that the recipe gives.

use super::Project;
use crate::{NetworkCard, Nic};

/// Two images, each with these keys of `disk` and `vm`, and an appliance of them.
fn pair(of_a: [&str; 2], of_b: [&str; 2]) -> Project {
    let image = |name: &str, [disk, vm]: [&str; 2]| {
        format!(
            "[image.{name}]\nrootfs = \"base\"\nformats = [\"ova\"]\ndisk = {{ size = \"8 GiB\"{disk} }}\nvm = {{ {vm} }}\n"
        )
    };
    let both = image("a", of_a) + &image("b", of_b);
    Project::with(&format!("{both}[image.pair]\nmachines = [\"a\", \"b\"]\nformats = [\"ova\"]\n"))
}

#[track_caller]
fn check_vm(keys: &str, message: &str) {
    assert_eq!(pair(["", keys], ["", ""]).messages(), message);
}

const UUID: &str = "uuid = \"0a1b2c3d-0000-4000-8000-00000000000a\"";

#[test]
fn they_are_read() {
    let nics =
        r#"nics = ["nat", { network = "internal:lab", mac = "52:54:00:AB:cd:01" }, { network = "none" }]"#;
    let vm = format!("name = \"My Gateway\", {UUID}, {nics}");
    let project = pair([&format!(", {UUID}"), &vm], ["", ""]);
    let recipe = project.recipe();
    let image = &recipe.images["a"];
    let uuid = "0a1b2c3d-0000-4000-8000-00000000000a".parse().ok();
    assert_eq!((image.vm.uuid, image.disk.as_ref().unwrap().uuid), (uuid, uuid));
    assert_eq!(image.vm.name.as_deref(), Some("My Gateway"));
    let internal =
        NetworkCard { network: Nic::Internal("lab".to_owned()), mac: "52:54:00:ab:cd:01".parse().ok() };
    assert_eq!(image.vm.nics, [Nic::Nat.into(), internal, Nic::None.into()]);
    let shown = Project::new(&recipe.show().to_string()).recipe();
    assert_eq!(shown.images, recipe.images);
    let json = serde_json::to_value(&image.vm.nics).unwrap();
    let mac = serde_json::json!({ "network": "internal:lab", "mac": "52:54:00:ab:cd:01" });
    assert_eq!(json, serde_json::json!(["nat", mac, "none"]));
}

#[test]
fn wrong_ones_are_refused() {
    let mac = |mac: &str| format!("nics = [{{ network = \"nat\", mac = \"{mac}\" }}]");
    check_vm(&mac("525400123456"), "`525400123456` is not a MAC address | write `52:54:00:12:34:56`");
    check_vm(
        &mac("52:54:00"),
        "`52:54:00` is not a MAC address | MAC addresses are written like `52:54:00:12:34:56`",
    );
    check_vm(
        &mac("53:54:00:12:34:56"),
        "`53:54:00:12:34:56` is the MAC address of a group | the first byte of a card's is even, as in `52:54:00:12:34:56`",
    );
    check_vm(
        "nics = [{ mac = \"52:54:00:12:34:56\" }]",
        "a network card needs `network` | write `network = \"nat\"`",
    );
    check_vm(
        "nics = [{ network = \"nat\", mc = \"\" }]",
        "unknown key `mc` in a network card | did you mean `mac`?",
    );
    check_vm(
        "uuid = \"no\"",
        "`no` is not a UUID | UUIDs are written like `26ada0c0-1165-4098-884d-aafd2220c2c6`",
    );
    let rule = "it has 1 to 80 characters, none of which is `/`, `\\`, `:`, `*`, `?`, `\"`, `<`, `>`, `|` or a control character, and no blank or dot at its ends";
    for name in ["", "a/b", "a\\\\b", ".a", "a ", "a\\tb", &"x".repeat(81)] {
        let messages = pair(["", &format!("name = \"{name}\"")], ["", ""]).messages();
        let expected = messages.starts_with("a machine cannot be called \"") && messages.ends_with(rule);
        assert!(expected && messages.lines().count() == 1, "{name}: {messages}");
    }
}

#[test]
fn machines_of_one_appliance_differ() {
    const HINT: &str = "give each its own, or none: ibuild derives it from the image's name";
    let check = |of_a: [&str; 2], of_b: [&str; 2], key: &str| {
        let expected = format!("machines `a` and `b` have the same {key} | {HINT}");
        assert_eq!(pair(of_a, of_b).messages(), expected);
    };
    check(["", UUID], ["", UUID], "`uuid` of `vm`");
    let disk = format!(", {UUID}");
    check([&disk, ""], [&disk, ""], "`uuid` of `disk`");
    let mac = "nics = [\"nat\", { network = \"none\", mac = \"52:54:00:12:34:56\" }]";
    check(["", mac], ["", mac], "`mac`");
    check(["", "name = \"b\""], ["", ""], "`name` of `vm`");
    let twice = "nics = [{ network = \"nat\", mac = \"52:54:00:12:34:56\" }, { network = \"none\", mac = \"52:54:00:12:34:56\" }]";
    check_vm(twice, &format!("two network cards of the machine have the same `mac` | {HINT}"));
    pair(["", "name = \"B\""], [&disk, UUID]).recipe();
}

#[test]
fn extra_data_of_virtualbox() {
    let project =
        pair(["", r#"virtualbox-extra = { "GUI/\"a\"" = "yes", "VBoxInternal2/b" = "1" }"#], ["", ""]);
    let recipe = project.recipe();
    let extra = &recipe.images["a"].vm.virtualbox_extra;
    assert_eq!((extra.len(), extra["GUI/\"a\""].as_str()), (2, "yes"));
    assert_eq!(Project::new(&recipe.show().to_string()).recipe().images, recipe.images);
    check_vm(
        "virtualbox-extra = { a = 1 }",
        "expected a string, found an integer | write `\"1\"`, in quotes",
    );
    check_vm("virtualbox-extra = { a = \"\" }", "the value of `a` is empty | leave the key out");
    check_vm("virtualbox-extra = { a = \"b\\nc\" }", "the text contains a control character");
    let messages = pair(["", "virtualbox-extra = { \" a\" = \"b\" }"], ["", ""]).messages();
    assert!(
        messages.starts_with("\" a\" is not a key of VirtualBox's extra data | keys are written like"),
        "{messages}"
    );
}
