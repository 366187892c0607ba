//! `exclude`: patterns of files that are left out.

use super::all;
use crate::ignore::check_pattern;
use crate::values::Node;

/// Patterns that match something, as they would in an `.ibuildignore`.
pub(super) fn patterns(node: Node<'_>) -> Option<Vec<String>> {
    all(node.array()?, pattern)
}

fn pattern(node: Node<'_>) -> Option<String> {
    let text = node.text()?.value;
    match check_pattern(&text) {
        Ok(()) => Some(text),
        Err(error) => {
            let problem = node.problem(format!("`{}` is not a pattern: {error}", text.escape_debug()));
            node.push(problem.hint(error.remedy()));
            None
        }
    }
}
