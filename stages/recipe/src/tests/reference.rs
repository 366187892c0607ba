//! docs/recipe.md has every key that the parser knows and no other, and its examples are recipes.

use std::collections::BTreeSet;

use super::Project;
use crate::keys;

const REFERENCE: &str = include_str!("../../../../docs/recipe.md");

/// What stands between lines that open a block of TOML and those that close it.
fn examples() -> Vec<String> {
    let blocks = REFERENCE.split("```toml\n").skip(1);
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
        project.file("keys/tool.asc", include_str!("../../../../docs/recipe.md"));
        let errors = project.load().err().map(|errors| errors.to_string());
        // A key of nobody cannot be in a document.
        let errors = errors.filter(|errors| !errors.contains("it is no OpenPGP public key"));
        assert_eq!(errors, None, "{fragment}");
    }
}
