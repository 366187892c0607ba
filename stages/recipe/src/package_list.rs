//! `packages-from`: names of packages in a file of the project, one a line.

use std::path::PathBuf;

use ibuild_host::bounded;

use super::names::PackageName;
use super::project_dir::{Found, ProjectDir};
use super::report::Problem;
use super::source::At;

/// All packages of Debian by their names are less.
const LARGEST_LIST: u64 = 4 << 20;

/// The names in a list, in their order; reports what is none. `#` begins a comment.
pub(super) fn package_list(project: &ProjectDir<'_>, list: &At<PathBuf>) -> Option<Vec<PackageName>> {
    let shown = list.value.display();
    let report = |problem: Problem| project.report.push(problem);
    let problem = |message: String| Problem::at(list.at.clone(), message);
    if let Found::Dir = project.find(list)? {
        report(problem(format!("`{shown}` is a directory")).hint("name a file with one package a line"));
        return None;
    }
    let bytes = match bounded::read(&project.dir.join(&list.value), LARGEST_LIST) {
        Ok(bytes) => bytes,
        Err(error) => {
            report(problem(format!("cannot read `{shown}`: {}", bounded::explain(&error))));
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        report(problem(format!("`{shown}` is not UTF-8 text")));
        return None;
    };
    let lines = (1..).zip(text.lines()).map(|(number, line)| (number, name_in(line)));
    let mut names = Vec::new();
    let mut is_right = true;
    for (number, name) in lines.filter(|(_, name)| !name.is_empty()) {
        match name.parse::<PackageName>() {
            Ok(name) => names.push(name),
            Err(error) => {
                is_right = false;
                report(
                    problem(format!("`{shown}:{number}`: {error}"))
                        .hint(format!("one name a line: {}", error.rule())),
                );
            }
        }
    }
    if is_right && names.is_empty() {
        report(problem(format!("there are no packages in `{shown}`")).hint("write one name a line"));
        return None;
    }
    is_right.then_some(names)
}

/// A line without its comment.
fn name_in(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}
