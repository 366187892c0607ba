//! docs/recipe.md has every key that the parser knows and no other, and its examples are recipes.

use std::collections::BTreeSet;

use super::Project;
use crate::keys;

const REFERENCE: &str = include_str!("../../../../docs/recipe.md");

/// What stands between lines that open a block of TOML and those that close it.
fn examples() -> Vec<String> {
    blocks(REFERENCE)
}

fn blocks(document: &str) -> Vec<String> {
    let blocks = document.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_has_the_keys_of_the_parser() {
    let mut documented = BTreeSet::new();
    for section in REFERENCE.split("\n## ").skip(1) {
        let table = section.lines().next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        for (key, rest) in rows {
            let columns = rest.matches(" |").count();
            assert_eq!(columns, 5, "the row of `{key}` in `{table}`: {rest}");
            assert!(documented.insert((table, key)), "`{key}` stands twice in `{table}`");
        }
    }
    assert_eq!(documented, keys().collect());
}

#[test]
fn its_examples_are_recipes() {
    let examples = examples();
    let (whole, fragments) = examples.split_first().expect("there is an example");
    assert!(fragments.len() > 5, "the examples are not where this test looks");
    Project::new(whole).recipe();
    for fragment in fragments {
        let project = Project::with(fragment);
        project.file("scripts/shared/20-locale", "#!/bin/sh\n");
        project.file("keys/tool.asc", include_str!("../../../../docs/recipe.md"));
        let errors = project.load().err().map(|errors| errors.to_string());
        // A key of nobody cannot be in a document.
        let errors = errors.filter(|errors| !errors.contains("it is not an OpenPGP public key"));
        assert_eq!(errors, None, "{fragment}");
    }
}

/// A row of a table of keys.
struct Row {
    table: &'static str,
    key: &'static str,
    kind: &'static str,
    default: &'static str,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for section in REFERENCE.split("\n## ").skip(1) {
        let table = section.lines().next().unwrap_or_default();
        for line in section.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [key, kind, default, ..] = cells.as_slice() else { panic!("a row has cells: {line}") };
            rows.push(Row { table, key: key.trim_matches('`'), kind, default });
        }
    }
    assert!(rows.len() > 80, "the rows are not where this test looks");
    rows
}

/// Where a table stands in a recipe, and what it needs besides a key.
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn place_of(table: &str, key: &str) -> (&'static str, Vec<(&'static str, &'static str)>) {
    const FETCHED: &str = "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"";
    const DISK: (&str, &str) = ("disk", "{ size = \"8 GiB\" }");
    let base = ("from", "\"base\"");
    match table {
        // Without archives there is no root file system.
        "recipe" if key == "archive" => {
            ("[KEYS]", vec![("schema", "1"), ("project", "{ name = \"demo\", epoch = 1 }")])
        }
        "recipe" => (
            "[KEYS]",
            vec![
                ("schema", "1"),
                ("project", "{ name = \"demo\", epoch = 1 }"),
                ("archive", "{ debian = { suites = [\"trixie\"] } }"),
                ("rootfs", "{ base = { steps = [{ name = \"b\", bootstrap = { archive = \"debian\" } }] } }"),
            ],
        ),
        "profile" => ("[BASE][profile.x]\n[KEYS]\n", vec![]),
        "project" => ("schema = 1\n[project]\n[KEYS]\n", vec![("name", "\"demo\""), ("epoch", "1")]),
        "archive" if key == "key" => (
            "[BASE][archive.x]\n[KEYS]\n",
            vec![("suites", "[\"trixie\"]"), ("url", "\"http://example.org/x\"")],
        ),
        "archive" => ("[BASE][archive.x]\n[KEYS]\n", vec![("suites", "[\"trixie\"]")]),
        "rootfs" if key == "from" => (
            "[BASE][rootfs.ws]\n[KEYS]\n",
            vec![("steps", "[{ name = \"a\", bootstrap = { archive = \"debian\" } }]")],
        ),
        "rootfs" => {
            ("[BASE][rootfs.ws]\n[KEYS]\n", vec![base, ("steps", "[{ name = \"a\", run = \"true\" }]")])
        }
        "step" => {
            let kinds = [
                "bootstrap",
                "packages",
                "packages-from",
                "copy",
                "script",
                "scripts",
                "run",
                "copy-from",
                "fetch",
                "check",
            ];
            let mut needs = vec![("name", "\"a\"")];
            match key {
                "recommends" => needs.push(("packages", "[\"sudo\"]")),
                "skip" | "settings" => needs.push(("scripts", "\"scripts/ws\"")),
                _ if kinds.contains(&key) => {}
                _ => needs.push(("run", "\"true\"")),
            }
            ("[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ [KEYS] }]\n", needs)
        }
        "settings" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ scripts = \"scripts/ws\", settings.30-user = { [KEYS] } }]\n",
            vec![],
        ),
        "input" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", run = \"true\", inputs = [{ [KEYS] }] }]\n",
            vec![("path", "\"files\"")],
        ),
        "secret" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", run = \"true\", secrets = [{ [KEYS] }] }]\n",
            vec![("name", "\"A\"")],
        ),
        "bootstrap" => (
            "[BASE][rootfs.ws]\nsteps = [{ name = \"a\", bootstrap = { [KEYS] } }]\n",
            vec![("archive", "\"debian\"")],
        ),
        "copy" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", copy = [{ [KEYS] }] }]\n",
            vec![("from", "\"files/shared\""), ("to", "\"/\"")],
        ),
        "copy-from" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", copy-from = { [KEYS] } }]\n",
            vec![("rootfs", "\"base\""), ("paths", "[\"/opt\"]")],
        ),
        "fetch" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", fetch = { [KEYS] } }]\n",
            vec![("url", "\"http://example.org/x\""), ("sha256", FETCHED), ("to", "\"/opt/x\"")],
        ),
        "signature" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", fetch = { url = \"http://example.org/x\", \
             sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\", to = \"/opt/x\", \
             signature = { [KEYS] } } }]\n",
            vec![("url", "\"http://example.org/x.asc\""), ("key", "\"files/shared/etc/motd\"")],
        ),
        "limits" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", run = \"true\", limits = { [KEYS] } }]\n",
            vec![],
        ),
        "machine" => (
            "[BASE][rootfs.ws]\nfrom = \"base\"\nsteps = [{ name = \"a\", run = \"true\", machine = { [KEYS] } }]\n",
            vec![],
        ),
        "image" if key == "machines" => ("[BASE][image.x]\n[KEYS]\n", vec![("formats", "[\"ova\"]")]),
        "image" => {
            ("[BASE][image.x]\n[KEYS]\n", vec![("rootfs", "\"base\""), ("formats", "[\"raw\"]"), DISK])
        }
        "disk" => (
            "[BASE][image.x]\nrootfs = \"base\"\nformats = [\"raw\"]\ndisk = { [KEYS] }\n",
            vec![("size", "\"8 GiB\"")],
        ),
        "vm" => (
            "[BASE][image.x]\nrootfs = \"base\"\nformats = [\"raw\"]\ndisk = { size = \"8 GiB\" }\nvm = { [KEYS] }\n",
            vec![],
        ),
        "nic" => (
            "[BASE][image.x]\nrootfs = \"base\"\nformats = [\"raw\"]\ndisk = { size = \"8 GiB\" }\nvm = { nics = [{ [KEYS] }] }\n",
            vec![("network", "\"nat\"")],
        ),
        "test" => ("[TESTED][KEYS]\n", vec![("machines", "{ ws = \"ws\" }")]),
        "login" => (
            "[TESTED]machines = { ws = \"ws\" }\nlogin = { [KEYS] }\n",
            vec![("user", "\"user\""), ("password", "\"word\"")],
        ),
        "test step" => {
            let action = ("type", "\"x\"");
            let needs = if key == "on" { vec![action] } else { vec![("on", "\"ws\"")] };
            ("[TESTED]machines = { ws = \"ws\" }\nsteps = [{ [KEYS] }]\n", needs)
        }
        other => panic!("no recipe has a table `{other}`: say where it stands"),
    }
}

/// A recipe in which a table has `value` for a key, or has not got the key.
fn recipe_with(row: &Row, value: Option<&str>) -> Project {
    const IMAGE: &str =
        "[image.ws]\nrootfs = \"base\"\nformats = [\"raw\"]\ndisk = { size = \"8 GiB\" }\n[test.t]\n";
    const REST: &str = "[archive.debian]\nsuites = [\"trixie\"]\n[rootfs.base]\n\
         steps = [{ name = \"b\", bootstrap = { archive = \"debian\" } }]\n";
    let (place, needs) = place_of(row.table, row.key);
    let mut keys: Vec<_> = needs.into_iter().filter(|(key, _)| *key != row.key).collect();
    keys.extend(value.map(|value| (row.key, value)));
    let separator = if place.contains("{ [KEYS]") { ", " } else { "\n" };
    let keys: Vec<_> = keys.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let text = place.replace("[KEYS]", &keys.join(separator));
    let text = text.replace("[TESTED]", &format!("{}{IMAGE}", super::BASE)).replace("[BASE]", super::BASE);
    Project::new(&if row.table == "project" { format!("{text}{REST}") } else { text })
}

/// What a recipe comes to, or what is wrong with it, with the hints.
fn outcome(project: &Project) -> Result<serde_json::Value, String> {
    match project.load() {
        Ok(recipe) => Ok(serde_json::to_value(&recipe).expect("a recipe can be shown")),
        Err(_) => Err(project.messages()),
    }
}

/// Texts between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A default that is a value of TOML is what the parser takes where the key is missing; a key that is required is missed, and one
/// that has no default is not.
#[test]
fn its_defaults_are_those_of_the_parser() {
    let mut compared = 0;
    for row in rows() {
        let Row { table, key, default, .. } = row;
        let without = outcome(&recipe_with(&row, None));
        let literal = default.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        let literal = literal.filter(|text| format!("x = {text}").parse::<toml::Table>().is_ok());
        if default.starts_with("required ") {
            assert!(without.is_err(), "`{key}` of `{table}` is {default}");
        } else if default == "required" {
            let missed = without.expect_err(&format!("`{key}` of `{table}` is required"));
            assert!(
                missed.contains(&format!("`{key}`")) || missed.contains(&format!("`[{key}]`")),
                "{missed}"
            );
        } else if let Some(literal) = literal {
            let with = outcome(&recipe_with(&row, Some(literal)));
            assert_eq!(with, without, "`{key} = {literal}` of `{table}`, and without it");
            assert!(with.is_ok(), "{with:?}");
            compared += 1;
        } else if default == "none" {
            assert!(without.is_ok(), "`{key}` of `{table}`: {without:?}");
        }
    }
    assert!(compared > 15, "only {compared} defaults are values of TOML");
}

/// What the parser says that it expected, for the first word of a type.
fn expected(kind: &str) -> &'static str {
    let first = kind.split([' ', ',']).next().unwrap_or_default();
    match first {
        "list" => "an array",
        "table" | "tables" => "a table",
        "number" | "seconds" | "`1`" => "an integer",
        "boolean" => "`true` or `false`",
        "name" | "path" | "text" | "line" | "time" | "size" | "UUID" | "MAC" | "address" | "regular" => {
            "a string"
        }
        word if word.starts_with("`\"") => "a string",
        other => panic!("`{other}` is no type: {kind}"),
    }
}

#[test]
fn its_types_are_those_of_the_parser() {
    let mut kind_above = "";
    for mut row in rows() {
        if row.kind == "the same" {
            row.kind = kind_above;
        }
        kind_above = row.kind;
        let wrong = if row.kind == "boolean" { "1" } else { "true" };
        let said = outcome(&recipe_with(&row, Some(wrong))).expect_err("that is no value of it");
        let wanted = format!("expected {}, found", expected(row.kind));
        assert!(said.contains(&wanted), "`{}` of `{}` is {}: {said}", row.key, row.table, row.kind);
    }
}

/// A type that lists words lists those of the parser.
#[test]
fn its_words_are_those_of_the_parser() {
    let mut count = 0;
    let mut kind_above = "";
    for mut row in rows() {
        if row.kind == "the same" {
            row.kind = kind_above;
        }
        kind_above = row.kind;
        let words: Vec<_> = quoted(row.kind).filter(|word| word.starts_with('"')).collect();
        let is_free = words.is_empty() || row.kind.contains("0o") || row.kind.contains('/');
        if is_free || row.kind.starts_with("size") {
            continue;
        }
        let write =
            |word: &str| if row.kind.starts_with("list") { format!("[{word}]") } else { word.to_owned() };
        let said =
            outcome(&recipe_with(&row, Some(&write("\"zzzzzzzzzzzzzzzz\"")))).expect_err("that is no word");
        let known: BTreeSet<_> = quoted(said.split(" | ").nth(1).unwrap_or_default())
            .map(|word| word.trim_matches('"').to_owned())
            .collect();
        let documented: BTreeSet<_> = words.iter().map(|word| word.trim_matches('"').to_owned()).collect();
        assert_eq!(documented, known, "`{}` of `{}`: {said}", row.key, row.table);
        count += 1;
    }
    assert!(count > 8, "only {count} types are words");
}

/// Fragments of recipes in other documents name things that are not there, but no key that the language does not have.
#[test]
fn other_documents_have_no_unknown_keys() {
    let documents = [
        ("fetch.md", include_str!("../../../../docs/fetch.md")),
        ("images.md", include_str!("../../../../docs/images.md")),
        ("isolation.md", include_str!("../../../../docs/isolation.md")),
        ("secrets.md", include_str!("../../../../docs/secrets.md")),
        ("packages.md", include_str!("../../../../docs/packages.md")),
        ("tests.md", include_str!("../../../../docs/tests.md")),
    ];
    let mut count = 0;
    for (name, document) in documents {
        let fragments = blocks(document).into_iter().filter(|block| block.starts_with('['));
        for fragment in fragments {
            let base = if fragment.contains("[archive.debian]") {
                "schema = 1\n[project]\nname = \"demo\"\nepoch = 1\n"
            } else {
                super::BASE
            };
            let said = outcome(&Project::new(&format!("{base}{fragment}"))).err().unwrap_or_default();
            let is_wrong = ["unknown key", "expected", "is not a"].iter().any(|words| said.contains(words));
            assert!(!is_wrong, "{name}:\n{fragment}\n{said}");
            count += 1;
        }
    }
    assert!(count > 4, "the fragments are not where this test looks");
}
