//! Why a stage is dirty, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::value::on_one_line;
use crate::{Description, Value};

/// One difference between two descriptions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The names on the way to what differs: the field, then keys of maps.
    pub path: Vec<String>,
    /// What it was; `None` if it was not there.
    pub old: Option<Value>,
    /// What it is; `None` if it is gone.
    pub new: Option<Value>,
}

/// One line for people. Long texts are shown by the first line that differs, long values by their beginning; all of it is
/// in the fields.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = on_one_line(&self.path.join(" "));
        match (&self.old, &self.new) {
            (Some(Value::Text(old)), Some(Value::Text(new))) if old.contains('\n') && new.contains('\n') => {
                fmt_lines(f, &path, old, new)
            }
            // What has parts, as a file with its owner and mode has, is not told in a line.
            (Some(Value::Map(_)), None) => write!(f, "{path}: gone"),
            (None, Some(Value::Map(_))) => write!(f, "{path}: new"),
            (Some(Value::Map(_)), Some(_)) | (Some(_), Some(Value::Map(_))) => {
                write!(f, "{path}: something else")
            }
            // Digests that begin alike, as when the end of one was mistyped.
            (Some(old), Some(new)) if short(old) == short(new) => write!(f, "{path}: {old:#} -> {new:#}"),
            (Some(old), Some(new)) => write!(f, "{path}: {} -> {}", short(old), short(new)),
            (Some(old), None) => write!(f, "{path}: gone (was {})", short(old)),
            (None, Some(new)) => write!(f, "{path}: new ({})", short(new)),
            (None, None) => write!(f, "{path}: unchanged"),
        }
    }
}

/// The longest value that is shown whole, in characters.
const SHOWN: usize = 60;

fn short(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Of texts with many lines only the first difference, because a reason is one line.
fn fmt_lines(f: &mut fmt::Formatter<'_>, path: &str, old: &str, new: &str) -> fmt::Result {
    let same = old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count();
    let number = same + 1;
    let line = |text: &str| cut(&on_one_line(text));
    let rest = |text| -> Vec<&str> { str::lines(text).skip(same).collect() };
    match first_difference(&rest(old), &rest(new)) {
        (Some(old), Some(new)) => {
            write!(f, "{path} line {number}: `{}` -> `{}`", line(old), line(new))
        }
        (Some(old), None) => write!(f, "{path} line {number}: gone (was `{}`)", line(old)),
        (None, Some(new)) => write!(f, "{path} line {number}: new (`{}`)", line(new)),
        (None, None) => write!(f, "{path}: the ends of lines"),
    }
}

/// The first line that is gone, the first that is new, or one in place of the other, of lines that differ from the first on.
/// Where a line comes again a little later in the other text, what stands before it there was put in.
fn first_difference<'t>(old: &[&'t str], new: &[&'t str]) -> (Option<&'t str>, Option<&'t str>) {
    let (Some(gone), Some(came)) = (old.first(), new.first()) else {
        return (old.first().copied(), new.first().copied());
    };
    let again = |line: &str, lines: &[&str]| lines.iter().position(|other| *other == line);
    match (again(gone, new), again(came, old)) {
        (Some(put_in), taken_out) if taken_out.is_none_or(|taken_out| put_in <= taken_out) => {
            (None, Some(came))
        }
        (_, Some(_)) => (Some(gone), None),
        _ => (Some(gone), Some(came)),
    }
}

/// Why a stage has to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirtyReason {
    /// No stage of this name was ever built into this store.
    NeverBuilt,
    /// No stage of this name was ever built into this store, because it failed.
    Failed,
    /// Something that it depends on is not what it was at its last run.
    Changed(Vec<Change>),
    /// It would be the same action as before, but what that made is not in the store any more.
    OutputMissing,
    /// The user asked for it.
    Forced,
}

impl fmt::Display for DirtyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("never built"),
            Self::Failed => f.write_str("it failed the last time"),
            Self::Changed(changes) => match changes.as_slice() {
                [] => f.write_str("changed"),
                [only] => write!(f, "{only}"),
                [first, rest @ ..] => write!(f, "{first} (and {} more)", rest.len()),
            },
            Self::OutputMissing => f.write_str("its result is not in the store any more"),
            Self::Forced => f.write_str("asked for"),
        }
    }
}

/// What differs between two descriptions.
pub fn changes(old: &Description, new: &Description) -> Vec<Change> {
    let keyed = |fields: &BTreeMap<String, Value>| -> BTreeMap<Vec<u8>, Value> {
        fields.iter().map(|(name, value)| (name.clone().into_bytes(), value.clone())).collect()
    };
    let mut found = Vec::new();
    compare_maps(&[], &keyed(old.fields()), &keyed(new.fields()), &mut found);
    found
}

/// What differs between two values that are found under `path`, of which one may not be there.
pub fn value_changes(path: Vec<String>, old: Option<&Value>, new: Option<&Value>) -> Vec<Change> {
    let mut found = Vec::new();
    compare(path, old, new, &mut found);
    found
}

fn compare_maps(
    path: &[String],
    old: &BTreeMap<Vec<u8>, Value>,
    new: &BTreeMap<Vec<u8>, Value>,
    found: &mut Vec<Change>,
) {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for name in names {
        let mut path = path.to_vec();
        path.push(String::from_utf8_lossy(name).into_owned());
        compare(path, old.get(name), new.get(name), found);
    }
}

fn compare(path: Vec<String>, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Change>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Map(old)), Some(Value::Map(new))) => compare_maps(&path, old, new, found),
        _ => found.push(Change { path, old: old.cloned(), new: new.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(pairs: &[(&str, Value)]) -> Description {
        let mut description = Description::default();
        for (name, value) in pairs {
            description.set(name, value.clone());
        }
        description
    }

    #[test]
    fn only_what_differs_is_named() {
        let file = || Value::map([("mode", 0o644.into()), ("owner", 0.into())]);
        let old = described(&[
            ("script", "echo a".into()),
            ("env", Value::map([("A", "1".into()), ("B", "2".into())])),
            ("gone", 1.into()),
            ("tree", Value::map([("/etc/a", file()), ("/etc/b", file()), ("/etc/c", "link".into())])),
        ]);
        let new = described(&[
            ("script", "echo b".into()),
            ("env", Value::map([("A", "1".into()), ("C", "3".into())])),
            ("tree", Value::map([("/etc/b", file()), ("/etc/c", file()), ("/etc/d", file())])),
        ]);
        let said: Vec<_> = changes(&old, &new).iter().map(Change::to_string).collect();
        assert_eq!(
            said,
            [
                "env B: gone (was `2`)",
                "env C: new (`3`)",
                "gone: gone (was 1)",
                "script: `echo a` -> `echo b`",
                "tree /etc/a: gone",
                "tree /etc/c: something else",
                "tree /etc/d: new",
            ]
        );
        assert_eq!(changes(&new, &new), []);
    }

    #[test]
    fn of_long_texts_the_first_difference_is_told() {
        let said = |old: &str, new: &str| {
            let change =
                Change { path: vec!["script".to_owned()], old: Some(old.into()), new: Some(new.into()) };
            change.to_string()
        };
        assert_eq!(said("a\nb\nc\n", "a\nx\nc\n"), "script line 2: `b` -> `x`");
        assert_eq!(said("a\n", "a\nb\n"), "script line 2: new (`b`)");
        assert_eq!(said("a\nb\n", "a\n"), "script line 2: gone (was `b`)");
        assert_eq!(said("a\nb\nc\n", "a\nx\nb\nc\n"), "script line 2: new (`x`)");
        assert_eq!(said("a\nb\nc\n", "x\na\ny\nb\nz\n"), "script line 1: new (`x`)");
        assert_eq!(said("a\nx\nb\n", "a\nb\n"), "script line 2: gone (was `x`)");
        assert_eq!(said("a\r\n", "a\n"), "script: the ends of lines");
        assert_eq!(said(&"x".repeat(99), "y"), format!("script: `{}... -> `y`", "x".repeat(59)));
    }

    #[test]
    fn a_reason_is_one_line() {
        let change = Change { path: vec!["script".to_owned()], old: Some(1.into()), new: Some(2.into()) };
        let changed = |n| DirtyReason::Changed(vec![change.clone(); n]).to_string();
        assert_eq!(changed(1), "script: 1 -> 2");
        assert_eq!(changed(3), "script: 1 -> 2 (and 2 more)");
        assert_eq!(DirtyReason::NeverBuilt.to_string(), "never built");
        let change = Change {
            path: vec!["files".to_owned(), "bad\x1b[31m\nname".to_owned()],
            old: None,
            new: Some(2.into()),
        };
        assert_eq!(change.to_string(), "files bad\\u{1b}[31m\\nname: new (2)");
    }
}
