//! Where a project is, for a command that is typed somewhere in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ibuild_stages::recipe::RECIPE_FILE;

use crate::error::{Result, UsageError};

/// The nearest directory with a recipe: `start`, or one above it. `None` if there is none.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage) for a recipe above `start` that belongs to neither this user, nor root, nor whoever owns
/// `start`: below a directory in which everybody may write, everybody could leave one.
pub fn find_project(start: &Path) -> Result<Option<PathBuf>> {
    for dir in start.ancestors() {
        let recipe = dir.join(RECIPE_FILE);
        // A link that leads nowhere is a mistake to be told, too.
        let Ok(found) = fs::symlink_metadata(&recipe) else { continue };
        if dir != start && !is_trusted(found.uid(), start) {
            let error = UsageError::new(format!(
                "`{}` belongs to somebody else, to the user with the id {}",
                recipe.display(),
                found.uid()
            ));
            return Err(error
                .hint(format!("if it is the one that you mean, name its directory: `-C {}`", dir.display()))
                .into());
        }
        return Ok(Some(dir.to_owned()));
    }
    Ok(None)
}

fn is_trusted(owner: u32, start: &Path) -> bool {
    let owner_of_start = fs::metadata(start).ok().map(|start| start.uid());
    owner == 0 || owner == nix::unistd::geteuid().as_raw() || Some(owner) == owner_of_start
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn the_nearest_recipe_is_found() {
        let root = tempfile::tempdir().unwrap();
        let (outer, inner) = (root.path().join("a"), root.path().join("a/b/c"));
        fs::create_dir_all(inner.join("d")).unwrap();
        fs::write(outer.join(RECIPE_FILE), "").unwrap();
        let found = |start: &Path| find_project(start).unwrap();
        assert_eq!(found(&inner.join("d")), Some(outer.clone()));
        assert_eq!(found(&outer), Some(outer));
        symlink("nowhere", inner.join(RECIPE_FILE)).unwrap();
        assert_eq!(found(&inner.join("d")), Some(inner));
    }

    /// Needs root.
    #[test]
    fn somebody_elses_recipe_is_not_come_upon() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("below");
        fs::create_dir(&below).unwrap();
        let recipe = root.path().join(RECIPE_FILE);
        fs::write(&recipe, "").unwrap();
        chown(&recipe, Some(1234), None).unwrap();
        let error = find_project(&below).unwrap_err();
        assert!(
            error.to_string().ends_with("belongs to somebody else, to the user with the id 1234"),
            "{error}"
        );
        assert!(find_project(root.path()).unwrap().is_some(), "it was named");
        chown(&below, Some(1234), None).unwrap();
        assert!(find_project(&below).unwrap().is_some(), "all is his");
    }
}
