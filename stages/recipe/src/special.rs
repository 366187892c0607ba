//! Looks for what no copy can hold, before any stage does. That is a walk through all that is copied, so it is for `recipe check`
//! and for plans of what was never built: whoever describes a stage looks at what it copies anyway.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ignore::{Ignore, IgnoreError};
use super::model::Recipe;
use super::step::StepKind;

/// The sockets, pipes and devices among what the steps of a recipe in `dir` copy or read, relative to it.
pub fn special_files(recipe: &Recipe, dir: &Path) -> Result<Vec<PathBuf>, IgnoreError> {
    let steps = recipe.rootfses.values().flat_map(|rootfs| &rootfs.steps);
    let mut trees: Vec<(&Path, &[String])> = Vec::new();
    for step in steps {
        trees.extend(step.inputs.iter().map(|input| (input.path.as_path(), input.exclude.as_slice())));
        if let StepKind::Copy(rules) = &step.kind {
            trees.extend(rules.iter().map(|rule| (rule.from.as_path(), rule.exclude.as_slice())));
        }
    }
    trees.sort_unstable();
    trees.dedup();
    let mut found = Vec::new();
    for (tree, exclude) in trees.into_iter().filter(|(tree, _)| dir.join(tree).is_dir()) {
        let ignore = Ignore::for_tree(dir, &dir.join(tree))?.excluding(exclude)?;
        let mut below = special_below(&ignore, &dir.join(tree))?;
        below.sort();
        found.extend(below.into_iter().map(|path| tree.join(path)));
    }
    found.dedup();
    Ok(found)
}

fn special_below(ignore: &Ignore, top: &Path) -> Result<Vec<PathBuf>, IgnoreError> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = open.pop() {
        let unreadable = |source| IgnoreError::Read { path: top.join(&dir), source };
        for child in fs::read_dir(top.join(&dir)).map_err(unreadable)? {
            let child = child.map_err(unreadable)?;
            let (path, kind) = (dir.join(child.file_name()), child.file_type().map_err(unreadable)?);
            if ignore.ignores(path.as_os_str().as_bytes(), kind.is_dir()) {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else if !kind.is_file() && !kind.is_symlink() {
                found.push(path);
            }
        }
    }
    Ok(found)
}
