//! `ibuild clean`: removes finished targets. Only a file with a manifest of ibuild's beside it is one.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ibuild::stages::Project;
use ibuild::stages::host::bounded;
use ibuild::stages::recipe::ImageFormat;
use ibuild::{Context, Result, output_dir};

use crate::cli::{CleanArgs, Global};
use crate::invocation::{load_recipe, project_dir};
use crate::terminal::{print, tell};
use crate::ui::bytes;

const MANIFEST: &str = ".manifest.json";

pub fn run(global: &Global, args: &CleanArgs) -> Result<ExitCode> {
    let dir = project_dir()?;
    let made = made_in(&output_dir(&dir, args.output.as_deref()))?;
    let wanted: Vec<_> = match &args.target {
        Some(text) => made.into_iter().filter(|made| made.is_meant_by(text)).collect(),
        None => made,
    };
    if let (Some(text), true) = (&args.target, wanted.is_empty()) {
        // Nothing to remove is fine, but a name that means nothing is a slip.
        Project::new(&load_recipe(global, &dir, &[])?).targets(text)?;
    }
    if wanted.is_empty() {
        tell!("nothing to remove");
    }
    for made in wanted {
        made.remove()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A target in its place.
struct Made {
    target: String,
    path: PathBuf,
    manifest: PathBuf,
}

/// The targets in a directory: what has a manifest that names it.
fn made_in(dir: &Path) -> Result<Vec<Made>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("cannot read `{}`", dir.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read `{}`", dir.display()))?.file_name();
        if let Some(target) = name.to_str().and_then(|name| name.strip_suffix(MANIFEST)) {
            let made = Made { target: target.to_owned(), path: dir.join(target), manifest: dir.join(&name) };
            found.extend(Some(made).filter(Made::is_ours));
        }
    }
    found.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(found)
}

impl Made {
    fn is_ours(&self) -> bool {
        const LARGEST: u64 = 16 << 20;
        let manifest = bounded::read(&self.manifest, LARGEST).ok();
        let manifest = manifest.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
        manifest.is_some_and(|manifest| manifest["target"] == self.target && manifest["blake3"].is_string())
    }

    /// A target means itself, an image all its formats, also those that the recipe no longer lists.
    fn is_meant_by(&self, text: &str) -> bool {
        let format = self.target.strip_prefix(text).and_then(|rest| rest.strip_prefix('.'));
        self.target == text || format.is_some_and(|format| format.parse::<ImageFormat>().is_ok())
    }

    /// The manifest goes last: a crash in between leaves what the next `clean` removes.
    fn remove(&self) -> Result<()> {
        let size = fs::symlink_metadata(&self.path).map_or(0, |meta| meta.len());
        for path in [&self.path, &self.manifest] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot remove `{}`", path.display()));
                }
                _ => {}
            }
        }
        Ok(print(&format!("removed {}  {}\n", self.target, bytes(size)))?)
    }
}
