//! The lines of an `.ibuildignore`, which mean what they would mean to git.
//!
//! Of gitignore there are: `*`, `?`, `[a-z]`, `[!a-z]`, `**` as a whole name, a leading or inner `/` that ties a pattern to
//! the file's own directory, a trailing `/` for directories only, `!` that takes a pattern back, `#` comments, and the
//! backslash. There are no POSIX classes like `[[:alpha:]]`.

use super::glob;

/// Patterns in order; of those that match the last one decides.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    verdict: Verdict,
    names: Vec<Name>,
    /// Whether it is about a path from the file's directory on; else about the last name of any path.
    is_anchored: bool,
    only_directories: bool,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To be left out.
    Ignored,
    /// To be taken, whatever earlier rules say.
    Kept,
}

/// A name of a pattern's path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    /// `**`: any number of names.
    Any,
    One(Vec<u8>),
}

impl Rules {
    pub(super) fn parse(text: &[u8]) -> Self {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n');
        Self { rules: lines.filter_map(Rule::parse).collect() }
    }

    /// What the last rule that matches says of a path, which is relative to the rules' directory.
    pub(super) fn verdict(&self, path: &[u8], is_directory: bool) -> Option<Verdict> {
        let rule = self.rules.iter().rev().find(|rule| rule.matches(path, is_directory))?;
        Some(rule.verdict)
    }
}

impl Rule {
    fn parse(line: &[u8]) -> Option<Self> {
        let line = without_trailing_spaces(line.strip_suffix(b"\r").unwrap_or(line));
        if line.starts_with(b"#") {
            return None;
        }
        let (verdict, line) =
            line.strip_prefix(b"!").map_or((Verdict::Ignored, line), |rest| (Verdict::Kept, rest));
        let (only_directories, line) = line.strip_suffix(b"/").map_or((false, line), |rest| (true, rest));
        if line.is_empty() {
            return None;
        }
        let is_anchored = line.contains(&b'/');
        let path = line.strip_prefix(b"/").unwrap_or(line);
        let name = |name: &[u8]| match name {
            b"**" if is_anchored => Name::Any,
            name => Name::One(name.to_vec()),
        };
        let names = path.split(|byte| *byte == b'/').map(name).collect();
        Some(Self { verdict, names, is_anchored, only_directories })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.only_directories && !is_directory {
            return false;
        }
        let mut names = path.split(|byte| *byte == b'/');
        match (self.is_anchored, self.names.as_slice()) {
            (false, [Name::One(pattern)]) => {
                names.next_back().is_some_and(|last| glob::matches(pattern, last))
            }
            _ => matches_path(&self.names, &names.collect::<Vec<_>>()),
        }
    }
}

fn matches_path(pattern: &[Name], path: &[&[u8]]) -> bool {
    match (pattern, path) {
        ([], path) => path.is_empty(),
        // At the end it means what is inside, not the directory itself.
        ([Name::Any], path) => !path.is_empty(),
        ([Name::Any, rest @ ..], path) => (0..=path.len()).any(|skip| matches_path(rest, &path[skip..])),
        ([Name::One(_), ..], []) => false,
        ([Name::One(pattern), rest @ ..], [name, below @ ..]) => {
            glob::matches(pattern, name) && matches_path(rest, below)
        }
    }
}

/// Spaces at the end do not count, unless there is a backslash before them.
fn without_trailing_spaces(mut line: &[u8]) -> &[u8] {
    while let Some(shorter) = line.strip_suffix(b" ") {
        let quotes = shorter.iter().rev().take_while(|byte| **byte == b'\\').count();
        if quotes % 2 == 1 {
            break;
        }
        line = shorter;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rules: &str, path: &str, expected: Option<Verdict>) {
        let (path, is_directory) = path.strip_suffix('/').map_or((path, false), |dir| (dir, true));
        assert_eq!(Rules::parse(rules.as_bytes()).verdict(path.as_bytes(), is_directory), expected);
    }

    #[test]
    fn the_last_rule_decides() {
        check("*.o\n!keep.o\n", "a/x.o", Some(Verdict::Ignored));
        check("*.o\n!keep.o\n", "a/keep.o", Some(Verdict::Kept));
        check("!keep.o\n*.o\n", "keep.o", Some(Verdict::Ignored));
        check("*.o\n", "x.c", None);
    }

    #[test]
    fn comments_spaces_and_ends_of_lines() {
        check("# a\n\n", "# a", None);
        check("\\# a  \r\n", "# a", Some(Verdict::Ignored));
        check("a\\ \n", "a ", Some(Verdict::Ignored));
        check("\u{feff}a", "a", Some(Verdict::Ignored));
        check("\\!a", "!a", Some(Verdict::Ignored));
    }

    #[test]
    fn slashes() {
        check("build/", "x/build/", Some(Verdict::Ignored));
        check("build/", "x/build", None);
        check("/a", "x/a", None);
        check("x/a", "y/x/a", None);
        check("**/a", "x/y/a", Some(Verdict::Ignored));
        check("a/**", "a/", None);
        check("a/**", "a/b/c", Some(Verdict::Ignored));
        check("a/**/b", "a/b", Some(Verdict::Ignored));
        check("a/**/b", "a/x/y/b", Some(Verdict::Ignored));
    }
}
