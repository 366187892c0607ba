//! How ibuild was called: the workspace that is meant, and what the commands of a hint need to mean the same one.

use std::path::{Path, PathBuf};

use ibuild::stages::recipe::{Overrides, Recipe};
use ibuild::{Context, Result, UsageError, Workspace, WorkspaceOptions};

use crate::cli::Global;
use crate::terminal::note;

/// What stands between `ibuild` and its command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    options: String,
    /// The same for git, which works on the project's files.
    git_options: String,
}

impl Invocation {
    /// The options without which the same words would mean another project or another store. Variables of the environment
    /// are there for the next command, too.
    pub fn of(global: &Global) -> Self {
        let is_set = |name| std::env::var_os(name).map(PathBuf::from);
        let cache_dir =
            global.cache_dir.as_ref().filter(|dir| Some(*dir) != is_set("IBUILD_CACHE_DIR").as_ref());
        let words = |option: &str, dir: Option<&PathBuf>| {
            dir.map_or_else(String::new, |dir| format!("{option} {} ", shell_word(&dir.to_string_lossy())))
        };
        let git_options = words("-C", global.directory.as_ref());
        Self { options: git_options.clone() + &words("--cache-dir", cache_dir), git_options }
    }

    /// A hint, with these options in the commands that it names.
    pub fn in_hint(&self, hint: &str) -> String {
        let ours = hint.replace("`ibuild ", &format!("`ibuild {}", self.options));
        ours.replace("`git ", &format!("`git {}", self.git_options))
    }
}

/// Opens the workspace that a command is about.
pub fn open(global: &Global, vars: &[String]) -> Result<Workspace> {
    let options = WorkspaceOptions { vars: overrides(vars)?, cache_dir: global.cache_dir.clone() };
    Workspace::open(&project_dir()?, &options)
}

/// Keeps what is in the store there as long as the value lives, and says if that has to wait.
pub fn share_store(global: &Global, workspace: &Workspace) -> Result<ibuild::cache::FileLock> {
    workspace.share_store(|text| note(global, text))
}

/// The directory that the command works in, by now this process's own.
pub fn project_dir() -> Result<PathBuf> {
    std::env::current_dir().context("cannot find the directory that this was started in")
}

/// The recipe in the directory that the command works in.
pub fn load_recipe(dir: &Path, vars: &[String]) -> Result<Recipe> {
    ibuild::load_recipe(dir, &overrides(vars)?)
}

fn overrides(vars: &[String]) -> Result<Overrides> {
    let mut overrides = Overrides::default();
    for var in vars {
        let malformed = || UsageError::new(format!("`--var {var}` is not of the form `NAME=VALUE`"));
        let (name, value) = var.split_once('=').ok_or_else(malformed)?;
        let name = name.parse().map_err(|e| UsageError::new(format!("`--var {var}`: {e}")))?;
        overrides.set(name, value);
    }
    Ok(overrides)
}

/// A word of a command line, in quotes where a shell would take it apart.
pub fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_./:=@%+,-".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(shell_word("/srv/my-lab_1"), "/srv/my-lab_1");
        assert_eq!(shell_word("my lab"), "'my lab'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn only_commands_are_completed() {
        let invocation = Invocation {
            options: "-C 'my lab' --cache-dir x ".to_owned(),
            git_options: "-C 'my lab' ".to_owned(),
        };
        assert_eq!(
            invocation.in_hint("remove `ibuild.lock`: `ibuild lock` makes one, or `ibuild update`"),
            "remove `ibuild.lock`: `ibuild -C 'my lab' --cache-dir x lock` makes one, or `ibuild -C 'my lab' --cache-dir x update`"
        );
        assert_eq!(invocation.in_hint("`git status`"), "`git -C 'my lab' status`");
        assert_eq!(Invocation::default().in_hint("`ibuild lock`"), "`ibuild lock`");
    }
}
