//! What differs between two root file systems: files, and the packages that dpkg has installed.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use ibuild_stages::debian::compare_versions;
use ibuild_stages::packages::installed;
use ibuild_stages::snapshot::diff::{Difference, diff};
use ibuild_stages::snapshot::{Snapshot, TreeStore};
use ibuild_stages::{Inside, InsideError, StageError};

use super::Workspace;
use crate::error::Result;

const STATUS: &str = "/var/lib/dpkg/status";

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageDifference {
    /// Its name, and its architecture: `libc6:i386`.
    pub name: String,
    /// Its version in the first root file system, if it is installed there.
    pub old: Option<String>,
    /// Its version in the second.
    pub new: Option<String>,
}

impl PackageDifference {
    /// What happened to it: `installed`, `removed`, `upgraded` or `downgraded`.
    pub fn word(&self) -> &'static str {
        match (&self.old, &self.new) {
            (None, _) => "installed",
            (_, None) => "removed",
            (Some(old), Some(new)) if compare_versions(old, new) == Ordering::Greater => "downgraded",
            _ => "upgraded",
        }
    }
}

/// Two root file systems.
pub struct Comparison<'w> {
    /// The files that differ, by their paths without a slash in front.
    pub files: Vec<(Vec<u8>, Difference)>,
    /// The packages that differ, by name.
    pub packages: Vec<PackageDifference>,
    old: Inside<'w>,
    new: Inside<'w>,
}

impl Comparison<'_> {
    /// The bytes of a file in the first root file system.
    ///
    /// # Errors
    ///
    /// If it is not a regular file there, or if the store is damaged.
    pub fn old_bytes(&self, path: &[u8]) -> Result<Vec<u8>> {
        bytes(&self.old, path)
    }

    /// The same in the second.
    ///
    /// # Errors
    ///
    /// As [`Comparison::old_bytes`].
    pub fn new_bytes(&self, path: &[u8]) -> Result<Vec<u8>> {
        bytes(&self.new, path)
    }
}

impl Workspace {
    /// Compares what two names mean: stages or targets, `@N` appended: N builds back.
    ///
    /// # Errors
    ///
    /// As [`Workspace::inspect`].
    pub fn compare(&self, old: &str, new: &str) -> Result<Comparison<'_>> {
        let (old, new): (Snapshot, Snapshot) = (self.inspect(old)?, self.inspect(new)?);
        let files = diff(&TreeStore::new(&self.store), old.tree, new.tree).map_err(StageError::from)?;
        let (old, new) = (Inside::of(&self.store, &old), Inside::of(&self.store, &new));
        let packages = match files.iter().any(|(path, _)| path.as_slice() == &STATUS.as_bytes()[1..]) {
            true => packages(&versions(&old)?, &versions(&new)?),
            false => Vec::new(),
        };
        Ok(Comparison { files, packages, old, new })
    }
}

fn bytes(inside: &Inside<'_>, path: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    inside.read(path, &mut bytes)?;
    Ok(bytes)
}

/// The installed packages, with their versions.
fn versions(inside: &Inside<'_>) -> Result<BTreeMap<String, String>> {
    let mut status = Vec::new();
    match inside.read(STATUS, &mut status) {
        Ok(()) | Err(InsideError::Missing(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let packages = installed(&String::from_utf8_lossy(&status)).into_iter();
    Ok(packages.map(|it| (format!("{}:{}", it.name, it.architecture), it.version)).collect())
}

fn packages(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<PackageDifference> {
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let difference = |name: &String| PackageDifference {
        name: name.clone(),
        old: old.get(name).cloned(),
        new: new.get(name).cloned(),
    };
    names.into_iter().map(difference).filter(|it| it.old != it.new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_come_go_and_change() {
        let of = |list: &[(&str, &str)]| {
            list.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
        };
        let old = of(&[("a:all", "1"), ("b:amd64", "2.0~rc1"), ("c:all", "1"), ("d:all", "3")]);
        let new = of(&[("b:amd64", "2.0"), ("c:all", "1"), ("d:all", "2"), ("e:all", "1")]);
        let found: Vec<_> = packages(&old, &new).into_iter().map(|it| (it.name.clone(), it.word())).collect();
        let expected =
            [("a:all", "removed"), ("b:amd64", "upgraded"), ("d:all", "downgraded"), ("e:all", "installed")];
        assert_eq!(found, expected.map(|(name, word)| (name.to_owned(), word)));
    }
}
