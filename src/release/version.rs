//! The version of a release.

use std::path::Path;
use std::process::Command;

use crate::error::{Result, UsageError};

/// A version that can be a part of a file's name.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage).
pub fn checked_version(version: &str) -> Result<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".+-~_".contains(c);
    let is_one = version.chars().all(is_plain) && version.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_one && version.len() <= 64 {
        return Ok(version.to_owned());
    }
    let error = UsageError::new(format!("`{}` is not a version", version.escape_debug()));
    Err(error
        .hint("a version has letters, digits, and `.+-~_` after the first; `--version 1.2` names one")
        .into())
}

/// What git calls the state of a project: the last tag, and how far that is from here.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage) if the project is in no repository.
pub fn describe_version(project: &Path) -> Result<String> {
    let mut command = Command::new("git");
    command.args(["-c", "core.fsmonitor=false", "-C"]).arg(project);
    command
        .args(["describe", "--tags", "--always", "--dirty"])
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE");
    let said = command.output().ok().filter(|output| output.status.success());
    let said = said.and_then(|output| String::from_utf8(output.stdout).ok());
    let none = || {
        UsageError::new("the release has no version, and the project is in no git repository that has one")
            .hint("`--version 1.2` names one")
    };
    checked_version(&said.ok_or_else(none)?.trim().replace('/', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_part_of_a_name() {
        for version in ["1", "1.2~rc1+b3", "v2026.11", "6877cbc-dirty"] {
            assert_eq!(checked_version(version).unwrap(), version);
        }
        for version in ["", "../1", "-x", ".1", "1/2", "a b", "1\n"] {
            assert!(checked_version(version).is_err(), "{version:?}");
        }
    }

    #[test]
    fn without_git_there_is_a_hint() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        assert!(describe_version(dir.path()).unwrap_err().hints()[0].contains("--version"));
    }
}
