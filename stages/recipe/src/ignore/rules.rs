//! The lines of an `.ibuildignore`, which mean what they would mean to git.
//!
//! The `ignore` crate matches them. It follows git but for what is settled here before it gets a line: to it `{a,b}` is a choice,
//! so braces are escaped; in a class it takes a backslash for itself, and the name of a POSIX class that it does not know for
//! its letters, and `**//` for anything, so these are refused. So are lines by which git would match nothing.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::{CLASSES, IgnoreError, PatternError};

/// Makes a matcher of the text of a file of rules. Paths are relative to its directory.
pub(super) fn parse(text: &[u8], file: &Path) -> Result<Gitignore, IgnoreError> {
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(false);
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    for (line, rule) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        add(&mut builder, rule.strip_suffix(b"\r").unwrap_or(rule))
            .map_err(|source| IgnoreError::Pattern { file: file.to_owned(), line, source })?;
    }
    builder.build().map_err(|error| IgnoreError::TooMuch { file: file.to_owned(), why: message(error) })
}

fn add(builder: &mut GitignoreBuilder, rule: &[u8]) -> Result<(), PatternError> {
    if rule.starts_with(b"#") {
        return Ok(());
    }
    let rule = std::str::from_utf8(rule).map_err(|_| PatternError::NotText)?;
    builder.add_line(None, &translate(rule)?).map_err(|error| PatternError::Malformed(message(error)))?;
    Ok(())
}

fn message(error: ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err,
        error => error.to_string(),
    }
}

/// A rule of git as the `ignore` crate writes it.
fn translate(rule: &str) -> Result<String, PatternError> {
    let mut out = String::with_capacity(rule.len());
    let mut rest = rule.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.as_str().starts_with('/') => return Err(PatternError::EscapedSlash),
            '\\' => {
                out.push(c);
                out.extend(rest.next());
            }
            '/' if out.ends_with('/') => return Err(PatternError::EmptyName),
            '{' | '}' => out.extend(['\\', c]),
            '[' => {
                let (class, after) = rest.as_str().split_at(class_length(rest.as_str())?);
                out.push(c);
                out.push_str(class);
                rest = after.chars();
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// The length of a class behind its `[`.
fn class_length(text: &str) -> Result<usize, PatternError> {
    let mut at = usize::from(text.starts_with(['!', '^']));
    // A class has a member, so the first one may be what would end it.
    at += usize::from(text[at..].starts_with(']'));
    loop {
        let rest = &text[at..];
        match rest.chars().next().ok_or(PatternError::UnclosedClass)? {
            ']' => return Ok(at + 1),
            '\\' => return Err(PatternError::BackslashInClass),
            c => match posix_class(rest)? {
                None => at += c.len_utf8(),
                Some(name) => {
                    at += name.len() + "[::]".len();
                    let after = &text[at..];
                    if after.starts_with('-') && !after.starts_with("-]") {
                        return Err(PatternError::RangeFromClass);
                    }
                }
            },
        }
    }
}

/// The name in the `[:name:]` that a text begins with, if it does.
fn posix_class(text: &str) -> Result<Option<&str>, PatternError> {
    let name = || text.strip_prefix("[:")?.split_once(']')?.0.strip_suffix(':');
    match name() {
        Some(name) if !CLASSES.contains(&name) => Err(PatternError::UnknownClass(name.to_owned())),
        name => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// Whether what the rules say of a path is to leave it out or to keep it.
    #[derive(Debug, PartialEq, Eq)]
    enum Said {
        Ignored,
        Kept,
        Nothing,
    }

    use Said::{Ignored, Kept, Nothing};

    #[track_caller]
    fn check(rules: &str, path: &str, expected: Said) {
        check_bytes(rules, path.as_bytes(), expected);
    }

    #[track_caller]
    fn check_bytes(rules: &str, path: &[u8], expected: Said) {
        let (path, is_directory) = path.strip_suffix(b"/").map_or((path, false), |dir| (dir, true));
        let rules = parse(rules.as_bytes(), Path::new("rules")).unwrap();
        let said = match rules.matched(OsStr::from_bytes(path), is_directory) {
            ignore::Match::None => Nothing,
            ignore::Match::Ignore(_) => Ignored,
            ignore::Match::Whitelist(_) => Kept,
        };
        assert_eq!(said, expected);
    }

    #[test]
    fn the_last_rule_decides() {
        check("*.o\n!keep.o\n", "a/x.o", Ignored);
        check("*.o\n!keep.o\n", "a/keep.o", Kept);
        check("!keep.o\n*.o\n", "keep.o", Ignored);
        check("*.o\n", "x.c", Nothing);
    }

    #[test]
    fn comments_spaces_and_ends_of_lines() {
        check("# a\n\n", "# a", Nothing);
        check("\\# a  \r\n", "# a", Ignored);
        check("a\\ \n", "a ", Ignored);
        check("a  \n", "a", Ignored);
        check("\u{feff}a", "a", Ignored);
        check("\\!a", "!a", Ignored);
        check("!\n/\n", "a", Nothing);
    }

    #[test]
    fn slashes() {
        check("build/", "x/build/", Ignored);
        check("build/", "x/build", Nothing);
        check("/a", "x/a", Nothing);
        check("x/a", "y/x/a", Nothing);
        check("**/a", "x/y/a", Ignored);
        check("a/**", "a/", Nothing);
        check("a/**", "a/b/c", Ignored);
        check("a/**/b", "a/b", Ignored);
        check("a/**/b", "a/x/y/b", Ignored);
    }

    #[test]
    fn names() {
        check(".*.sw?", ".a.swp", Ignored);
        check(".*.sw?", ".a.swpx", Nothing);
        check("???", "abc", Ignored);
        check("???", "a/c", Nothing);
        check("\\*a", "ba", Nothing);
        check("a.", "x/a.", Ignored);
        check("A", "a", Nothing);
        check_bytes("*.o", b"\xff.o", Ignored);
        check_bytes("?", b"\xff", Ignored);
    }

    #[test]
    fn classes() {
        check("[!a-c]x", "dx", Ignored);
        check("[!a-c]x", "/x", Nothing);
        check("[]-]", "]", Ignored);
        check("[a-]", "-", Ignored);
        check("a[[:space:]]b", "a b", Ignored);
        check("a[[:space:]]b", "asb", Nothing);
        check("[^[:alpha:]_]", "1", Ignored);
        check("[^[:alpha:]_]", "_", Nothing);
        check("[[:a]", ":", Ignored);
    }

    #[test]
    fn braces_are_themselves() {
        check("{a,b}", "{a,b}", Ignored);
        check("{a,b}", "a", Nothing);
        check("\\{a[{]", "{a{", Ignored);
        check("x}{", "x}{", Ignored);
    }

    #[track_caller]
    fn refused(rules: &[u8], at: usize, why: &PatternError) {
        let IgnoreError::Pattern { file, line, source } = parse(rules, Path::new("rules")).unwrap_err()
        else {
            panic!("it is about a pattern");
        };
        assert_eq!((file.as_path(), line, &source), (Path::new("rules"), at, why));
    }

    #[test]
    fn what_would_match_nothing_is_refused() {
        refused(b"a\n[a\n", 2, &PatternError::UnclosedClass);
        refused(b"[]", 1, &PatternError::UnclosedClass);
        refused(b"\n\n[[:spaces:]]", 3, &PatternError::UnknownClass("spaces".to_owned()));
        refused(b"[\\]]", 1, &PatternError::BackslashInClass);
        refused(b"# \xff\n\xff", 2, &PatternError::NotText);
        refused(b"a//b", 1, &PatternError::EmptyName);
        refused(b"a\\/", 1, &PatternError::EscapedSlash);
        refused(b"x[[:upper:]-z]", 1, &PatternError::RangeFromClass);
        refused(b"a\\", 1, &PatternError::Malformed("dangling '\\'".to_owned()));
        refused(b"[b-a]", 1, &PatternError::Malformed("invalid range; 'b' > 'a'".to_owned()));
    }
}
