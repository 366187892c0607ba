//! An earlier release, as far as a later one is compared with it.

use std::collections::BTreeMap;
use std::path::Path;

use ibuild_stages::host::bounded;
use ibuild_stages::release::{Edition, LineError, Size, read_file_list, read_package_list};

use super::{Index, checked_version};
use crate::error::{Context, Result, UsageError};
use crate::workspace::{LOCK_FILE, RELEASED_RECIPE};

/// Lists are read as a whole; this is the longest.
const LONGEST: u64 = 256 << 20;

/// Reads a release from its folder, or from the folder of one of its files.
///
/// # Errors
///
/// Of kind [`Usage`](crate::ErrorKind::Usage) if there is none, or if one of its lists is malformed.
pub fn read_edition(path: &Path) -> Result<Edition> {
    let dir = match path.is_dir() {
        true => path,
        false if path.exists() => {
            path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
        }
        false => return Err(UsageError::new(format!("there is no `{}`", path.display())).into()),
    };
    let index = Index::read(dir)?;
    checked_version(&index.version)?;
    let (mut packages, mut files) = (BTreeMap::new(), BTreeMap::new());
    for image in &index.images {
        packages.insert(image.file.clone(), list(dir, &image.file, "packages", read_package_list)?);
        files.insert(image.file.clone(), list(dir, &image.file, "files", read_file_list)?);
    }
    let lock = text(dir, LOCK_FILE)?;
    let archives =
        lock.lines().filter(|line| line.starts_with("release ")).map(|line| line.to_owned() + "\n");
    let sizes = index.images.iter().map(|image| Size { file: image.file.clone(), bytes: image.size });
    Ok(Edition {
        version: index.version.clone(),
        packages,
        files,
        sizes: sizes.collect(),
        recipe: text(dir, RELEASED_RECIPE)?,
        archives: archives.collect(),
    })
}

fn list<T>(
    dir: &Path,
    image: &str,
    ending: &str,
    read: impl FnOnce(&str) -> std::result::Result<Vec<T>, LineError>,
) -> Result<Vec<T>> {
    let name = format!("{image}.{ending}");
    let wrong = |error: LineError| UsageError::new(format!("`{}`: {error}", dir.join(&name).display()));
    Ok(read(&text(dir, &name)?).map_err(wrong)?)
}

fn text(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    let bytes = bounded::read(&path, LONGEST).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(String::from_utf8(bytes).map_err(|_| UsageError::new(format!("`{}` is not text", path.display())))?)
}
