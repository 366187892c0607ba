//! How ibuild was called: the workspace that is meant, and what the commands of a hint need to mean the same one.

use std::path::{Path, PathBuf};

use ibuild::stages::recipe::{Overrides, RECIPE_FILE, Recipe};
use ibuild::{Context, Result, UsageError, Workspace, WorkspaceOptions, find_project};

use crate::cli::{Global, SecretArgs};
use crate::terminal::note;

/// What stands between `ibuild` and its command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Invocation {
    options: String,
    /// The same for git, which works on the project's files.
    git_options: String,
}

impl Invocation {
    /// The options without which the same words would mean another project, store or profile. Variables of the environment
    /// are there for the next command, too.
    pub fn of(global: &Global) -> Self {
        let is_set = |name| std::env::var_os(name).map(PathBuf::from);
        let cache_dir =
            global.cache_dir.as_ref().filter(|dir| Some(*dir) != is_set("IBUILD_CACHE_DIR").as_ref());
        let words = |option: &str, dir: Option<&PathBuf>| {
            dir.map_or_else(String::new, |dir| format!("{option} {} ", shell_word(&dir.to_string_lossy())))
        };
        let profile = global.profile.iter().map(|profile| format!("--profile {profile} "));
        let options = words("-C", global.directory.as_ref()) + &words("--cache-dir", cache_dir);
        let options = options + &profile.collect::<String>();
        let project = global.directory.clone().unwrap_or_default().join(way_up());
        let git_options = words("-C", Some(&project).filter(|project| !project.as_os_str().is_empty()));
        Self { options, git_options }
    }

    /// A hint, with these options in the commands that it names.
    pub fn in_hint(&self, hint: &str) -> String {
        let ours = hint.replace("`ibuild ", &format!("`ibuild {}", self.options));
        ours.replace("`git ", &format!("`git {}", self.git_options))
    }
}

/// Opens the workspace that a command is about.
pub fn open(global: &Global, vars: &[String]) -> Result<Workspace> {
    open_with(global, vars, &SecretArgs::default())
}

/// The same for a command that runs stages, or asks whether they would.
pub fn open_with(global: &Global, vars: &[String], secrets: &SecretArgs) -> Result<Workspace> {
    let options = WorkspaceOptions {
        vars: overrides(global, vars)?,
        secrets: secrets.secrets.clone(),
        cache_dir: global.cache_dir.clone(),
    };
    Workspace::open(&recipe_dir()?, &options)
}

/// Keeps what is in the store there as long as the value lives, and says if that has to wait.
pub fn share_store(global: &Global, workspace: &Workspace) -> Result<ibuild::cache::FileLock> {
    workspace.share_store(|text| note(global, text))
}

/// The directory that relative paths of the command line are meant from, by now this process's own.
pub fn working_dir() -> Result<PathBuf> {
    std::env::current_dir().context("cannot find the directory that this was started in")
}

/// Where the project is, with the settings of the machine: the nearest directory with a recipe, or this one if there is none.
pub fn project_dir() -> Result<PathBuf> {
    let here = working_dir()?;
    Ok(find_project(&here)?.unwrap_or(here))
}

/// The same for a command that needs the recipe.
pub fn recipe_dir() -> Result<PathBuf> {
    let here = working_dir()?;
    let missing = || {
        UsageError::new(format!("there is no `{RECIPE_FILE}` in `{}`, nor above it", here.display()))
            .hint("`ibuild init` starts a project; `-C DIR` looks in another directory")
    };
    Ok(find_project(&here)?.ok_or_else(missing)?)
}

/// The way from here up to the project; empty if it is here.
fn way_up() -> PathBuf {
    let below = |project: PathBuf| Some(working_dir().ok()?.strip_prefix(project).ok()?.components().count());
    let levels = project_dir().ok().and_then(below).unwrap_or(0);
    std::iter::repeat_n("..", levels).collect()
}

/// The recipe in a directory.
pub fn load_recipe(global: &Global, dir: &Path, vars: &[String]) -> Result<Recipe> {
    ibuild::load_recipe(dir, &overrides(global, vars)?)
}

fn overrides(global: &Global, vars: &[String]) -> Result<Overrides> {
    let mut overrides = Overrides::default();
    if let Some(profile) = &global.profile {
        overrides.choose(profile.clone());
    }
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
