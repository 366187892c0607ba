//! Texts, line by line.

use std::time::Duration;

use similar::{Algorithm, ChangeTag, TextDiff};

use crate::{Arrangement, Cause, Finding, words};

/// Longer texts are not aligned line by line: that would cost more than it tells.
const MOST_BYTES: usize = 2 << 20;

/// Aligning texts that have nothing in common takes the square of their length. After so long what is left counts as different.
const PATIENCE: Duration = Duration::from_secs(2);

/// Lines of an account.
const MOST_LINES: usize = 24;

/// Characters of a line of it.
const WIDEST: usize = 160;

/// The differing lines of two texts; `None` if one of them is none.
pub(crate) fn find(old: &[u8], new: &[u8], now: i64) -> Option<Finding> {
    if old.len().max(new.len()) > MOST_BYTES {
        return None;
    }
    let (old, new) = (as_text(old)?, as_text(new)?);
    if words::is_key(old) && words::is_key(new) {
        // Reports are for many eyes.
        let line = "two keys, which are not shown here".to_owned();
        return Some(Finding::new("text", vec![line], Some(Cause::Key)));
    }
    let lines = first_hunks(old, new);
    if is_permuted(old, new) {
        let cause = Some(Cause::DirectoryOrder);
        return Some(Finding { format: "text", arrangement: Arrangement::Permuted, lines, cause });
    }
    let cause = words::cause(&pairs(old, new), now);
    Some(Finding::new("text", lines, cause))
}

/// Text has no zero byte; anything else may occur in it.
fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

fn is_permuted(old: &str, new: &str) -> bool {
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    old.lines().nth(1).is_some() && sorted(old) == sorted(new)
}

/// All differing lines of two texts in the form of `diff -u`, without the names of the files; `None` if one of them is no text,
/// or too long to be aligned.
pub fn unified(old: &[u8], new: &[u8]) -> Option<String> {
    if old.len().max(new.len()) > MOST_BYTES {
        return None;
    }
    let (old, new) = (as_text(old)?, as_text(new)?);
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE).diff_lines(old, new);
    Some(diff.unified_diff().context_radius(3).to_string())
}

fn first_hunks(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE).diff_lines(old, new);
    let mut lines = Vec::new();
    for hunk in diff.unified_diff().context_radius(1).iter_hunks() {
        lines.push(hunk.header().to_string());
        lines.extend(hunk.iter_changes().map(|change| format!("{}{}", change.tag(), shown(change.value()))));
        if lines.len() > MOST_LINES {
            break;
        }
    }
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES);
        lines.push("...".to_owned());
    }
    lines
}

/// A line without what a terminal would take for a command, not too long.
pub(crate) fn shown(line: &str) -> String {
    let line = words::without_secrets(line.trim_end_matches('\n'));
    let mut text: String = line.chars().take(WIDEST).flat_map(visible).collect();
    if line.chars().nth(WIDEST).is_some() {
        text.push_str("...");
    }
    text
}

fn visible(c: char) -> Vec<char> {
    match c {
        c if c.is_control() => c.escape_default().collect(),
        c => vec![c],
    }
}

/// The lines that stand in each other's place.
fn pairs(old: &str, new: &str) -> Vec<(String, String)> {
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(PATIENCE).diff_lines(old, new);
    let mut pairs = Vec::new();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Delete => removed.push(change.value().to_owned()),
            ChangeTag::Insert => added.push(change.value().to_owned()),
            ChangeTag::Equal => pairs.extend(removed.drain(..).zip(added.drain(..))),
        }
    }
    pairs.extend(removed.into_iter().zip(added));
    pairs
}
