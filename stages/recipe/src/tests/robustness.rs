//! Half a recipe is what an editor saves: it may be wrong in any way, but never a panic.

use super::Project;
use super::model::EXAMPLE;
use crate::Style;

/// Loads `text`, and draws what is wrong with it.
fn survives(project: &Project, text: &str) {
    project.file("ibuild.toml", text);
    if let Err(errors) = project.load() {
        assert!(!errors.render(Style::Plain).is_empty(), "an error says something, for:\n{text}");
    }
}

#[test]
fn every_beginning_of_a_recipe() {
    let project = Project::new("");
    for end in (0..EXAMPLE.len()).filter(|end| EXAMPLE.is_char_boundary(*end)) {
        survives(&project, &EXAMPLE[..end]);
    }
}

#[test]
fn a_recipe_without_any_one_of_its_lines() {
    let project = Project::new("");
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    for left_out in 0..lines.len() {
        let (before, after) = lines.split_at(left_out);
        survives(&project, &[before, &after[1..]].concat().join("\n"));
    }
}

#[test]
fn a_recipe_with_any_value_of_another_type() {
    let project = Project::new("");
    for (at, _) in EXAMPLE.match_indices("= ") {
        let end = EXAMPLE[at..].find([',', '\n', '}']).map_or(EXAMPLE.len(), |length| at + length);
        for value in ["7", "\"é{vars.\"", "[]", "{}", "1.5", "[[{}]]", "{ a = [1] }"] {
            survives(&project, &format!("{}= {value}{}", &EXAMPLE[..at], &EXAMPLE[end..]));
        }
    }
}
