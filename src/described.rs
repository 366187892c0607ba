//! Values of descriptions: as JSON, as lines for people, and what changed between two of them.

use ibuild::graph::{Change, Value, on_one_line};
use ibuild::stages::fields;
use serde_json::json;

/// A list that is longer than this, in characters, is shown by its items.
const LONG_LIST: usize = 60;

/// Unchanged lines that are shown around changed ones.
const CONTEXT: usize = 1;

/// A value for programs.
pub fn as_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Number(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(String::from_utf8_lossy(bytes)),
        Value::Digest(digest) | Value::Tree(digest) => json!(hex(digest)),
        Value::List(values) => values.iter().map(as_json).collect(),
        Value::Map(values) => {
            let pair = |(name, value): (&Vec<u8>, &Value)| (text(name), as_json(value));
            serde_json::Value::Object(values.iter().map(pair).collect())
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A named value for people: short ones on one line, texts of several lines and maps below their name.
pub fn lines(name: &str, value: &Value) -> Vec<String> {
    let below = |lines: Vec<String>| {
        let first = std::iter::once(format!("{}:", on_one_line(name)));
        first.chain(lines.into_iter().map(|line| format!("  {line}"))).collect()
    };
    match value {
        Value::Text(text) if text.contains('\n') => below(text.lines().map(printable).collect()),
        Value::Map(values) if !values.is_empty() => {
            below(values.iter().flat_map(|(name, value)| lines(&text(name), value)).collect())
        }
        value => vec![format!("{}: {value}", on_one_line(name))],
    }
}

/// Changes for programs.
pub fn changes_as_json(changes: &[Change]) -> serde_json::Value {
    let one = |change: &Change| {
        json!({
            "path": change.path,
            "old": change.old.as_ref().map(as_json),
            "new": change.new.as_ref().map(as_json),
        })
    };
    changes.iter().map(one).collect()
}

/// Changes for people: files of a tree as a list of paths, long texts line by line, long lists item by item, all else as old
/// and new.
pub fn change_lines(changes: &[Change]) -> Vec<String> {
    let mut found = Vec::new();
    let mut tree = None;
    for change in changes {
        // Of a tree whose listing is gone, only that it is another can be said.
        let is_unlisted = matches!((&change.old, &change.new), (Some(Value::Tree(_)), Some(Value::Tree(_))));
        let Some((title, file)) = in_a_tree(&change.path).filter(|_| !is_unlisted) else {
            found.extend(plain_lines(change));
            tree = None;
            continue;
        };
        if tree.as_ref() != Some(&title) {
            found.push(format!("{}:", on_one_line(&title)));
            tree = Some(title);
        }
        let line = format!("  {}", file_line(change, &file));
        // A file of which several things differ is one change to a person.
        if !found.last().is_some_and(|last| last == &line || last.starts_with(&format!("{line}  "))) {
            found.push(line);
        }
        if let (Some(detail), Some(last)) = (detail(change), found.last_mut()) {
            *last += &format!("  {detail}");
        }
    }
    found
}

/// Where a tree's files start in the path of a change, and what a file's own properties are called.
fn in_a_tree(path: &[String]) -> Option<(String, String)> {
    let start = match path.first().map(String::as_str) {
        Some(fields::INPUTS) => 1,
        Some(fields::COPY) => path.iter().position(|name| name == fields::COPY_FILES)? + 1,
        // The root file system that a step or an image stands on; one of which the files are not known is no tree.
        Some(fields::PARENT_TREE | fields::TREE) if path.len() > 1 => 1,
        _ => return None,
    };
    let properties = ["content", "type", "link", "mode", "owner", "time", "attributes", "target"];
    let end = path.len() - usize::from(path.last().is_some_and(|last| properties.contains(&last.as_str())));
    let file = path.get(start..end)?;
    let title = path[..start].iter().map(|name| name.as_str()).filter(|name| *name != fields::COPY_FILES);
    let name = if file.is_empty() { "the file itself".to_owned() } else { file.join("/") };
    Some((title.collect::<Vec<_>>().join(" "), name))
}

fn file_line(change: &Change, file: &str) -> String {
    let shown = on_one_line(file);
    let is_property = !change.path.last().is_some_and(|last| file.ends_with(last.as_str()));
    match (&change.old, &change.new) {
        (None, Some(_)) if !is_property => format!("+ {shown}"),
        (Some(_), None) if !is_property => format!("- {shown}"),
        _ => format!("~ {shown}"),
    }
}

/// What a list of names does not tell: a property with a name and short values. Contents and times have none that anybody
/// reads.
fn detail(change: &Change) -> Option<String> {
    let (old, new) = (change.old.as_ref()?, change.new.as_ref()?);
    let name =
        change.path.last().filter(|name| ["type", "mode", "owner", "link"].contains(&name.as_str()))?;
    let is_short = |value: &Value| matches!(value, Value::Text(_) | Value::Number(_) | Value::Bytes(_));
    (is_short(old) && is_short(new)).then(|| format!("{name}: {old} -> {new}"))
}

fn plain_lines(change: &Change) -> Vec<String> {
    let by_lines = |old: &str, new: &str| {
        let first = std::iter::once(format!("{}:", on_one_line(&change.path.join(" "))));
        first.chain(line_diff(old, new).into_iter().map(|line| format!("  {line}"))).collect()
    };
    let is_long = |list: &Value| list.to_string().chars().count() > LONG_LIST;
    match (&change.old, &change.new) {
        (Some(Value::Text(old)), Some(Value::Text(new))) if old.contains('\n') || new.contains('\n') => {
            by_lines(old, new)
        }
        (Some(old @ Value::List(_)), Some(new @ Value::List(_))) if is_long(old) || is_long(new) => {
            by_lines(&items(old).join("\n"), &items(new).join("\n"))
        }
        _ => vec![change.to_string()],
    }
}

/// What is in a list, and in lists in it.
fn items(value: &Value) -> Vec<String> {
    match value {
        Value::List(values) => values.iter().flat_map(items).collect(),
        value => vec![value.to_string()],
    }
}

/// What a terminal may be shown of somebody else's text.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

/// A line of a difference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Old,
    New,
}

/// The difference of two texts by lines: `-` gone, `+` new, a little of what is around, `...` where more is left out.
pub fn line_diff(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let all = aligned(&old, &new);
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(all.len());
        all[around].iter().any(|(side, _)| *side != Side::Both)
    };
    let mut shown = Vec::new();
    let mut is_cut = false;
    for (at, (side, line)) in all.iter().enumerate() {
        if !near(at) {
            is_cut = true;
            continue;
        }
        if std::mem::take(&mut is_cut) {
            shown.push("...".to_owned());
        }
        let mark = match side {
            Side::Both => ' ',
            Side::Old => '-',
            Side::New => '+',
        };
        shown.push(format!("{mark} {}", printable(line)));
    }
    if shown.is_empty() {
        shown.push("only the ends of lines differ".to_owned());
    }
    shown
}

/// Both texts in one, by their longest common sequence of lines. Quadratic in the part that differs, which is small
/// in what people edit.
fn aligned<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Side, &'t str)> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    let both = |lines: &[&'t str]| lines.iter().map(|line| (Side::Both, *line)).collect::<Vec<_>>();
    let mut all = both(&old[..start]);
    all.extend(aligned_middle(old_middle, new_middle));
    all.extend(both(&old[old.len() - end..]));
    all
}

fn aligned_middle<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Side, &'t str)> {
    let common = common_lengths(old, new);
    let (mut a, mut b) = (0, 0);
    let mut all = Vec::new();
    while a < old.len() || b < new.len() {
        let is_old = b == new.len() || (a < old.len() && common[a + 1][b] >= common[a][b + 1]);
        if a < old.len() && b < new.len() && old[a] == new[b] {
            all.push((Side::Both, old[a]));
            (a, b) = (a + 1, b + 1);
        } else if is_old {
            all.push((Side::Old, old[a]));
            a += 1;
        } else {
            all.push((Side::New, new[b]));
            b += 1;
        }
    }
    all
}

/// For each pair of ends of the texts, how many lines they have in common.
fn common_lengths(old: &[&str], new: &[&str]) -> Vec<Vec<u32>> {
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            common[a][b] = match old[a] == new[b] {
                true => common[a + 1][b + 1] + 1,
                false => common[a + 1][b].max(common[a][b + 1]),
            };
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        assert_eq!(line_diff(old, new), expected);
    }

    #[test]
    fn only_what_differs_and_a_little_around_it() {
        check("a\nb\nc\nd\ne\n", "a\nb\nX\nd\ne\n", &["...", "  b", "- c", "+ X", "  d"]);
        check("", "a\n", &["+ a"]);
        check("a\nb\n", "b\n", &["- a", "  b"]);
        check("a\nb\n", "a\nx\nb\ny\n", &["  a", "+ x", "  b", "+ y"]);
        check("a\n", "a", &["only the ends of lines differ"]);
        check("\x1b[31m\n", "", &["- [31m"]);
    }

    fn change(path: &[&str], old: Option<Value>, new: Option<Value>) -> Change {
        Change { path: path.iter().map(|name| (*name).to_owned()).collect(), old, new }
    }

    #[test]
    fn files_are_listed_by_their_paths() {
        let files = |path: &[&'static str]| [&["copy", "0 to /", "files"], path].concat();
        let digest = |n| Some(Value::Digest([n; 32]));
        let file = || Some(Value::map([("type", "file".into())]));
        let changes = [
            change(&files(&["etc/a", "content"]), digest(1), digest(2)),
            change(&files(&["etc/a", "type"]), Some("file".into()), Some("executable".into())),
            change(&files(&["etc/\x1b[31mred"]), None, file()),
            change(&files(&["etc/gone"]), file(), None),
            change(&files(&["etc/new"]), None, file()),
            change(&["env", "LANG"], Some("C".into()), Some("C.UTF-8".into())),
            change(&["inputs", "notes.txt", "content"], digest(1), digest(2)),
        ];
        let expected = [
            "copy 0 to /:",
            "  ~ etc/a  type: `file` -> `executable`",
            "  + etc/\\u{1b}[31mred",
            "  - etc/gone",
            "  + etc/new",
            "env LANG: `C` -> `C.UTF-8`",
            "inputs:",
            "  ~ notes.txt",
        ];
        assert_eq!(change_lines(&changes), expected);
    }

    #[test]
    fn the_root_file_system_below_is_listed_like_a_copied_tree() {
        let changes = [
            change(&["parent tree", "/etc/shadow", "content"], Some(1.into()), Some(2.into())),
            change(&["parent tree", "/etc/shadow", "time"], Some(1.into()), Some(2.into())),
            change(&["parent tree", "/etc/gone"], Some(1.into()), None),
        ];
        assert_eq!(change_lines(&changes), ["parent tree:", "  ~ /etc/shadow", "  - /etc/gone"]);
        let unlisted =
            change(&["copy", "0 to /", "files"], Some(Value::Tree([1; 32])), Some(Value::Tree([2; 32])));
        assert_eq!(change_lines(&[unlisted]), ["copy 0 to / files: 01010101 -> 02020202"]);
    }

    #[test]
    fn long_lists_are_compared_item_by_item() {
        let layers = |numbers: &[u8]| {
            let digests = numbers.iter().map(|number| Value::Digest([*number; 32]));
            Some(Value::List(vec![Value::List(digests.collect())]))
        };
        let changes = [change(&["layers"], layers(&[1, 2, 3, 4, 5, 6, 7]), layers(&[1, 2, 3, 4, 5, 8, 7]))];
        let expected = ["layers:", "  ...", "    05050505", "  - 06060606", "  + 08080808", "    07070707"];
        assert_eq!(change_lines(&changes), expected);
        let changes = [change(&["layers"], layers(&[1, 2]), layers(&[1, 3]))];
        assert_eq!(change_lines(&changes), ["layers: [01010101, 02020202] -> [01010101, 03030303]"]);
    }

    #[test]
    fn scripts_are_compared_by_lines() {
        let changes = [change(&["script"], Some("a\nb\n".into()), Some("a\nc\n".into()))];
        assert_eq!(change_lines(&changes), ["script:", "    a", "  - b", "  + c"]);
    }
}
