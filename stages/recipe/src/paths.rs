//! Paths in a recipe.

use super::report::Problem;
use super::source::Span;

/// Refuses paths that are absolute or climb out of the recipe's directory.
pub(super) fn stays_inside(path: &str, span: &Span) -> Result<(), Problem> {
    let problem = |message: String| Problem::at(span.clone(), message);
    if path.is_empty() {
        return Err(problem("the path is empty".to_owned()));
    }
    if path.starts_with('/') {
        return Err(problem(format!("`{path}` is an absolute path"))
            .hint("paths are relative to the recipe's directory"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(
            problem(format!("`{path}` contains `..`")).hint("paths may not leave the recipe's directory")
        );
    }
    Ok(())
}
