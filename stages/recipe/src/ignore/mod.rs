//! Which files of a project are not meant: those that editors leave behind, and what `.ibuildignore` says.

mod error;
mod rules;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

use ::ignore::gitignore::Gitignore;
use ibuild_host::bounded;

pub use error::{IgnoreError, PatternError};

use super::read::RECIPE_FILE;

/// The file of rules, in a copied directory or beside the recipe. It is never copied itself.
const RULES_FILE: &str = ".ibuildignore";

/// The largest file of rules, in bytes.
const MOST_RULES: u64 = 1 << 20;

/// What editors and file managers leave behind.
const EDITORS: &str = "*~\n.*.sw?\n\\#*\\#\n.#*\n4913\n.DS_Store\n";

/// What belongs to a checkout and not to an image.
const CHECKOUT: &str = ".git\n.ibuildignore\n";

/// Made once: whether a script is left out is asked of each of them alone.
static EDITOR_FILES: LazyLock<Ignore> = LazyLock::new(|| Ignore::built_in(EDITORS));

/// What is left out of every directory.
static ALWAYS: LazyLock<Ignore> = LazyLock::new(|| Ignore::built_in(&[EDITORS, CHECKOUT].concat()));

/// Whether a text can be a pattern of `exclude`, one of a list.
pub(super) fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    if pattern.contains('\n') {
        return Err(PatternError::SeveralLines);
    }
    if pattern.trim().is_empty() || pattern.starts_with('#') {
        return Err(PatternError::Nothing);
    }
    match rules::parse(pattern.as_bytes(), Path::new(RECIPE_FILE)) {
        Ok(_) => Ok(()),
        Err(IgnoreError::Pattern { source, .. }) => Err(source),
        Err(other) => Err(PatternError::Malformed(other.to_string())),
    }
}

/// Decides about the files of one directory.
#[derive(Debug, Clone)]
pub struct Ignore {
    /// Each with the directory's place below the one that has the rules; later ones win.
    sets: Vec<(Vec<u8>, Gitignore)>,
}

impl Ignore {
    /// Only what editors and file managers leave behind.
    pub fn editor_files() -> Self {
        EDITOR_FILES.clone()
    }

    /// The rules for a directory of a project: those for everything, the project's, its own. Later ones win.
    pub fn for_tree(project: &Path, tree: &Path) -> Result<Self, IgnoreError> {
        let mut ignore = ALWAYS.clone();
        match tree.strip_prefix(project) {
            Ok(below) if below != Path::new("") => {
                // However it is spelled: `files//sub` and `files/./sub` are `files/sub`.
                let below: PathBuf = below.components().filter(|part| *part != Component::CurDir).collect();
                let below = [below.as_os_str().as_bytes(), b"/"].concat();
                ignore.add(project, below)?;
            }
            _ => {}
        }
        ignore.add(tree, Vec::new())?;
        Ok(ignore)
    }

    /// The same with patterns that win over all others, as the recipe's `exclude` has them.
    pub fn excluding(mut self, patterns: &[String]) -> Result<Self, IgnoreError> {
        if !patterns.is_empty() {
            let rules = rules::parse(patterns.join("\n").as_bytes(), Path::new(RECIPE_FILE))?;
            self.sets.push((Vec::new(), rules));
        }
        Ok(self)
    }

    fn built_in(rules: &str) -> Self {
        let rules = rules::parse(rules.as_bytes(), Path::new("")).expect("the built-in rules are patterns");
        Self { sets: vec![(Vec::new(), rules)] }
    }

    fn add(&mut self, dir: &Path, below: Vec<u8>) -> Result<(), IgnoreError> {
        let file = dir.join(RULES_FILE);
        match bounded::read(&file, MOST_RULES) {
            Ok(text) => self.sets.push((below, rules::parse(&text, &file)?)),
            // A link that leads nowhere is no file without rules.
            Err(e) if e.kind() == io::ErrorKind::NotFound && file.symlink_metadata().is_err() => {}
            Err(source) => return Err(IgnoreError::Read { path: file, source }),
        }
        Ok(())
    }

    /// Whether what is at `path`, relative to the directory, is left out with all that is in it. What is in a directory
    /// that is left out is not asked about.
    pub fn ignores(&self, path: &[u8], is_directory: bool) -> bool {
        let mut said = self.sets.iter().rev().map(|(below, rules)| match below.as_slice() {
            [] => rules.matched(OsStr::from_bytes(path), is_directory),
            below => rules.matched(OsStr::from_bytes(&[below, path].concat()), is_directory),
        });
        said.find(|said| !said.is_none()).is_some_and(|said| said.is_ignore())
    }

    /// Whether this is the file that the directory's rules were read from: nobody expects it in an image.
    pub fn is_own_rules(path: &[u8]) -> bool {
        path == RULES_FILE.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};

    use super::*;

    /// So many files of rules git is asked about.
    const ROUNDS: usize = 200;

    #[test]
    fn rules_that_never_end_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let rules = dir.path().join(RULES_FILE);
        nix::unistd::mkfifo(&rules, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Ignore::for_tree(dir.path(), dir.path()).is_err());
        fs::remove_file(&rules).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &rules).unwrap();
        assert!(Ignore::for_tree(dir.path(), dir.path()).is_err());
    }

    #[test]
    fn editors_leave_nothing_in_an_image() {
        let nowhere = Path::new("/nonexistent");
        let always = Ignore::for_tree(nowhere, nowhere).unwrap();
        for left in
            ["a~", ".a.swp", "etc/.a.swo", "#a#", ".#a", "4913", "x/.DS_Store", ".git", ".ibuildignore"]
        {
            assert!(always.ignores(left.as_bytes(), false), "{left}");
        }
        for kept in ["a", ".bashrc", "a#", "a.swp", "49130", ".gitconfig", "#", "etc/skel/.profile"] {
            assert!(!always.ignores(kept.as_bytes(), false), "{kept}");
        }
    }

    /// A regression: the project's rules applied to no other spelling of a path.
    #[test]
    fn a_path_may_be_spelled_in_other_ways() {
        let project = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(project.path().join("files/sub")).unwrap();
        std::fs::write(project.path().join(".ibuildignore"), "/files/sub/secret\n").unwrap();
        for spelled in ["files/sub", "files//sub", "files/./sub", "files/sub/", "./files/sub"] {
            let ignore = Ignore::for_tree(project.path(), &project.path().join(spelled)).unwrap();
            assert!(ignore.ignores(b"secret", false), "{spelled}");
        }
    }

    #[test]
    fn rules_behind_a_link_that_leads_nowhere_are_an_error() {
        let project = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", project.path().join(".ibuildignore")).unwrap();
        assert!(matches!(Ignore::for_tree(project.path(), project.path()), Err(IgnoreError::Read { .. })));
    }

    #[test]
    fn the_directorys_own_rules_win() {
        let project = tempfile::tempdir().unwrap();
        let files = project.path().join("files");
        fs::create_dir(&files).unwrap();
        fs::write(project.path().join(RULES_FILE), "/files/a\n*.log\n").unwrap();
        fs::write(files.join(RULES_FILE), "!keep.log\n!b~\n/c\n").unwrap();
        let ignore = Ignore::for_tree(project.path(), &files).unwrap();
        let ignored = |path: &str| ignore.ignores(path.as_bytes(), false);
        assert!(ignored("a") && ignored("x.log") && ignored("c") && ignored("c~"));
        assert!(!ignored("x/a") && !ignored("keep.log") && !ignored("b~") && !ignored("x/c"));
    }

    /// Names and patterns of few letters, so that they meet.
    fn random_path(random: &mut fastrand::Rng, letters: &[&str], names: usize) -> String {
        let name = |random: &mut fastrand::Rng| -> String {
            (0..random.usize(1..4)).map(|_| letters[random.usize(..letters.len())]).collect()
        };
        (0..random.usize(1..=names)).map(|_| name(random)).collect::<Vec<_>>().join("/")
    }

    /// What patterns are made of: letters, wildcards, classes, escapes, and what means something to others.
    const ELEMENTS: [&str; 33] = [
        "a",
        "b",
        "c",
        "*",
        "?",
        "[ab]",
        "[!a]",
        "[a-b]",
        "\\*",
        "~",
        " ",
        "[[:alpha:]]",
        "[[:space:]]",
        "[^[:digit:]]",
        "[[:punct:]1]",
        "[]a]",
        "[a-]",
        "[!]]",
        "1",
        "-",
        "]",
        "{",
        "}",
        "{a,b}",
        "[{]",
        "\\{",
        "\\[",
        "\\a",
        "\\ ",
        "a.",
        ".b",
        "é",
        "#",
    ];

    const LETTERS: [&str; 15] = ["a", "b", "c", "*", "~", " ", "1", "-", "]", "{", "}", "a.", ".b", "é", "#"];

    fn random_rule(random: &mut fastrand::Rng) -> String {
        // Few of them at a time, so that rules meet files.
        let from = random.usize(..ELEMENTS.len() - 12);
        let (few, names) = if random.bool() { (12, 3) } else { (ELEMENTS.len() - from, 2) };
        let elements = &ELEMENTS[from..from + few];
        let rule = random_path(random, elements, names);
        let (far, near) = (random.usize(..6) == 0, random_path(random, elements, 1));
        let rule = if far { format!("{rule}/+/{near}") } else { rule };
        // Within a name git takes two stars for one, or for any number of names, as it happens.
        let mut rule = rule.replace("**", "*").replace("**", "*").replace('+', "**");
        for (chance, before) in [(6, "/"), (6, "**/"), (4, "!")] {
            if random.usize(..chance) == 0 {
                rule.insert_str(0, before);
            }
        }
        for (chance, after) in [(6, "/**"), (5, "/"), (9, " "), (20, "\\ "), (20, "\r")] {
            if random.usize(..chance) == 0 {
                rule.push_str(after);
            }
        }
        rule.replace("//", "/")
    }

    /// Git itself is asked about random rules and paths that are all files. It looks at each directory on the way, too.
    #[test]
    fn real_git_agrees() {
        if Command::new("git").arg("--version").output().is_err() {
            eprintln!("SKIPPED: no git to compare with");
            return;
        }
        let mut random = fastrand::Rng::with_seed(7);
        let dir = tempfile::tempdir().unwrap();
        assert!(Command::new("git").args(["init", "-q"]).current_dir(dir.path()).status().unwrap().success());
        for _ in 0..ROUNDS {
            let rules: Vec<_> = (0..random.usize(1..5)).map(|_| random_rule(&mut random)).collect();
            let paths: Vec<_> = (0..200).map(|_| random_path(&mut random, &LETTERS, 3)).collect();
            let theirs = git_ignores(dir.path(), &rules.join("\n"), &paths);
            let ours = rules::parse(rules.join("\n").as_bytes(), Path::new("")).unwrap();
            for path in &paths {
                let is_ignored = |end: usize| ours.matched(&path[..end], end < path.len()).is_ignore();
                let mut ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
                assert_eq!(ends.any(is_ignored), theirs.contains(path), "{path} by {rules:#?}");
            }
        }
    }

    fn git_ignores(dir: &Path, rules: &str, paths: &[String]) -> Vec<String> {
        use std::io::Write;
        fs::write(dir.join(".gitignore"), rules).unwrap();
        let mut git = Command::new("git");
        git.args(["-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--stdin", "--no-index"]);
        let mut git = git.current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        git.stdin.take().unwrap().write_all(paths.join("\0").as_bytes()).unwrap();
        let said = String::from_utf8(git.wait_with_output().unwrap().stdout).unwrap();
        said.split('\0').map(str::to_owned).collect()
    }
}
