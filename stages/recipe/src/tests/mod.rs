//! Recipes in temporary directories, right and wrong ones.

mod errors;
mod exclude;
mod fetch;
mod files;
mod forms;
mod identities;
mod model;
mod packages;
mod profiles;
mod reference;
mod rendering;
mod robustness;
mod scripts;
mod secrets;
mod words;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{Overrides, Recipe, RecipeErrors};

/// A recipe that is right, to which a test adds.
const BASE: &str = r#"schema = 1
[project]
name = "demo"
epoch = 1767225600
[archive.debian]
suites = ["trixie"]
[rootfs.base]
steps = [{ name = "bootstrap", bootstrap = { archive = "debian" } }]
"#;

/// A project on disk.
struct Project {
    dir: TempDir,
}

impl Project {
    /// A project with the recipe `text`, and a few files for it to name.
    fn new(text: &str) -> Self {
        let project = Self { dir: tempfile::tempdir().expect("a directory can be made") };
        project.file("ibuild.toml", text);
        project.file("files/shared/etc/motd", "hello");
        project.file("scripts/ws/10-tools", "#!/bin/sh -e\napt-get install -y sudo\n");
        project.file("scripts/ws/30-user", "#!/bin/sh -e\nuseradd user\n");
        project.file("scripts/bare", "echo no interpreter\n");
        project
    }

    /// [`BASE`] and `more`.
    fn with(more: &str) -> Self {
        Self::new(&format!("{BASE}{more}"))
    }

    /// [`BASE`] and a rootfs `ws` with one step.
    fn with_step(step: &str) -> Self {
        Self::with(&format!("[rootfs.ws]\nfrom = \"base\"\nsteps = [{{ {step} }}]\n"))
    }

    /// Writes a file, executable if it is a script.
    fn file(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("files are in the project"))
            .expect("directories can be made");
        fs::write(&path, text).expect("files can be written");
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("modes can be set");
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn load(&self) -> Result<Recipe, RecipeErrors> {
        Recipe::load(self.path(), &Overrides::default())
    }

    fn recipe(&self) -> Recipe {
        self.load().unwrap_or_else(|errors| panic!("the recipe is right, but:\n{errors}"))
    }

    fn errors(&self) -> RecipeErrors {
        self.load().expect_err("the recipe is wrong")
    }

    /// All messages, one a line, each followed by ` | ` and its hint if it has one.
    fn messages(&self) -> String {
        let errors = self.errors();
        let lines = errors.diagnostics().iter().map(|diagnostic| match diagnostic.hint() {
            Some(hint) => format!("{} | {hint}", diagnostic.message()),
            None => diagnostic.message().to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}
