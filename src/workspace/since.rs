//! The actions that a project had at an earlier time: in one of its builds, or at a revision of its repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use ibuild_cache::ActionKey;
use ibuild_graph::Build;

use super::names::listed_stages;
use super::{LOCK_FILE, Workspace, load_recipe};
use crate::error::{Context, EnvironmentError, Result, UsageError};

/// An earlier time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// The build so many builds before the last one.
    BuildsBack(usize),
    /// The build with this number.
    Build(u64),
    /// A revision of the git repository in which the project is.
    Revision(String),
}

impl FromStr for Since {
    type Err = std::convert::Infallible;

    /// `@1` is a build back, `12` the number of a build, anything else a revision.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let back = text.strip_prefix('@').and_then(|back| back.parse().ok()).map(Self::BuildsBack);
        // The name of a commit may have digits only; of a push that has no predecessor it is all zeros.
        let number = || text.parse().ok().filter(|_| !is_whole_name(text)).map(Self::Build);
        Ok(back.or_else(number).unwrap_or_else(|| Self::Revision(text.to_owned())))
    }
}

/// The keys of all actions of a project at an earlier time, as far as they are known. An action that is not known counts as new.
pub(super) fn keys_since(workspace: &Workspace, since: &Since) -> Result<BTreeSet<ActionKey>> {
    match since {
        Since::Revision(revision) => keys_at(workspace, revision),
        Since::BuildsBack(back) => {
            let builds = builds_of(workspace)?;
            let build = builds.iter().rev().nth(*back);
            build.map(|(_, build)| keys_of(build)).ok_or_else(|| no_build(&format!("@{back}"), &builds))
        }
        Since::Build(number) => {
            let builds = builds_of(workspace)?;
            let build = builds.iter().find(|(known, _)| known == number);
            build.map(|(_, build)| keys_of(build)).ok_or_else(|| no_build(&number.to_string(), &builds))
        }
    }
}

fn builds_of(workspace: &Workspace) -> Result<Vec<(u64, Build)>> {
    let project = workspace.recipe.project.name.as_str();
    let all = Build::all(&workspace.store)?;
    Ok(all.into_iter().filter(|(_, build)| build.project == project).collect())
}

fn keys_of(build: &Build) -> BTreeSet<ActionKey> {
    build.stages.iter().map(|stage| stage.key).collect()
}

fn no_build(name: &str, builds: &[(u64, Build)]) -> crate::Error {
    let error = UsageError::new(format!("there is no build `{name}` of this project"));
    let hint = match builds.last() {
        Some((last, _)) => format!("the last one is {last}, or `@0`"),
        None => "nothing of it was built yet".to_owned(),
    };
    error.hint(hint).into()
}

/// Whether a text is the name of a commit in full.
fn is_whole_name(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// The actions of the project as its repository has it at a revision. Of a commit that the repository does not have, as the one before a
/// new branch or a forced push, nothing is known, so everything is new.
fn keys_at(workspace: &Workspace, revision: &str) -> Result<BTreeSet<ActionKey>> {
    let scratch = workspace.store.run_dir()?;
    let commit = format!("{revision}^{{commit}}");
    if is_whole_name(revision) && git(&workspace.dir, scratch.path(), &["cat-file", "-e", &commit]).is_err() {
        return Ok(BTreeSet::new());
    }
    let dir = check_out(&workspace.dir, revision, scratch.path())?;
    let earlier = Workspace {
        recipe: load_recipe(&dir, &workspace.vars)?,
        store: workspace.store.clone(),
        settings: workspace.settings.clone(),
        vars: workspace.vars.clone(),
        secrets: workspace.secrets.clone(),
        dir,
    };
    if !earlier.lock_path().exists() {
        // The state of the archives is in every key.
        let missing = format!("`{LOCK_FILE}` is not in the revision `{revision}`");
        let hint = "commit the lock: without it nobody knows which packages were meant";
        return Err(UsageError::new(missing).hint(hint).into());
    }
    let project = earlier.project();
    let executor = earlier.quiet_executor(&project)?;
    let all = listed_stages(&project).into_iter().collect();
    let known = earlier.recorded(&executor, &all)?.stages;
    Ok(known.iter().map(|stage| stage.description.key()).collect())
}

/// Puts the files of a revision below `scratch`, and tells where the project's are. Index and work tree of the repository
/// stay as they are.
fn check_out(project: &Path, revision: &str, scratch: &Path) -> Result<PathBuf> {
    let text = |arguments: &[&str]| git(project, scratch, arguments).map(|said| said.trim_end().to_owned());
    let commit = format!("{revision}^{{commit}}");
    if git(project, scratch, &["rev-parse", "--verify", "--quiet", &commit]).is_err() {
        let error = UsageError::new(format!("`{revision}` is neither a build nor a revision of git here"));
        let hint =
            "a number or `@N` names a build, `HEAD~1` or `main` a revision; a shallow clone has few of them";
        return Err(error.hint(hint).into());
    }
    let (top, prefix) = (text(&["rev-parse", "--show-toplevel"])?, text(&["rev-parse", "--show-prefix"])?);
    let files = scratch.join("files");
    git(Path::new(&top), scratch, &["read-tree", revision])?;
    let place = format!("--prefix={}/", files.display());
    git(Path::new(&top), scratch, &["checkout-index", "--all", &place])?;
    Ok(files.join(prefix))
}

/// What git says, with an index of its own.
fn git(dir: &Path, scratch: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    // Nothing that the repository wants to have run is run, and it is the one that the project is in.
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
    command.arg("-C").arg(dir).args(arguments);
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env("GIT_INDEX_FILE", scratch.join("index"));
    let output = command.output().context("cannot start `git`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let message = format!("`git {}` failed: {said}", arguments.join(" "));
        return Err(EnvironmentError {
            message,
            hint: "`--since` needs the project in a git repository".to_owned(),
        }
        .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_and_revisions_are_told_apart() {
        let check = |text: &str, expected: Since| assert_eq!(text.parse::<Since>(), Ok(expected));
        check("@0", Since::BuildsBack(0));
        check("12", Since::Build(12));
        check(&"0".repeat(40), Since::Revision("0".repeat(40)));
        check("HEAD~1", Since::Revision("HEAD~1".to_owned()));
        check("@{upstream}", Since::Revision("@{upstream}".to_owned()));
    }
}
