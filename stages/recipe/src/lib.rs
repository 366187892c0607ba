//! The user's `ibuild.toml`: parsed, checked and resolved before any work starts.
//!
//! A recipe passes through six hands, each adding to one report, so that a person sees every mistake at once:
//!
//! 1. `read` reads `ibuild.toml` and what it includes; nothing else opens TOML files.
//! 2. `parse` turns text into a draft: types, vars, unknown keys. It touches no files.
//! 3. `files` looks at what the draft names on disk and makes one step of every script.
//! 4. `profiles` takes out the steps of profiles that are not asked for.
//! 5. `check` judges names, references and the graph.
//! 6. `resolve` makes the [`Recipe`] of a draft without mistakes.
//!
//! Every path in a recipe, `include` too, is relative to the recipe's directory and may not leave it.

mod account;
mod check;
mod draft;
mod fetch;
mod files;
mod graph;
pub mod ignore;
mod image;
mod keys;
mod limits;
mod machine_test;
mod model;
mod names;
mod network;
mod package_list;
mod parse;
mod paths;
mod profiles;
mod project_dir;
mod read;
mod report;
mod resolve;
mod scripts;
mod show;
mod source;
mod special;
mod step;
mod step_machine;
pub mod suggest;
mod uuid_text;
mod values;
mod vars;
mod vm;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use account::Account;
pub use fetch::{FetchForm, FetchRule, Signature};
pub use graph::{FindStageError, StageRef};
pub use image::{Appliance, Disk, Image, ImageFormat};
pub use keys::keys;
pub use limits::Limits;
pub use machine_test::{Login, MachineTest, Plug, PlugError, Power, TestAction, TestStep};
pub use model::{Archive, Notice, NoticeReason, Project, Recipe, Rootfs, Vendor};
pub use names::{
    Architecture, ArchiveName, ArchiveNames, EnvName, ImageName, MachineName, NameError, PackageName,
    ProfileName, ProjectName, RootfsName, SecretName, StepName, StepPath, StepPathError, TestName, VarName,
};
pub use read::RECIPE_FILE;
pub use report::{Diagnostic, RecipeErrors, Style};
pub use show::Shown;
pub use source::Position;
pub use special::special_files;
pub use step::{CopyRule, Input, Network, Recommends, Reproducible, Step, StepKind, Variant};
pub use step::{INPUTS, SECRETS, SecretEffect, StepSecret};
pub use step_machine::{Readdir, StepClock, StepMachine};
pub use vars::Overrides;
pub use vm::{NetworkCard, Nic, Vm};

use report::Report;

impl Recipe {
    /// Reads, checks and resolves the recipe at `path`: an `ibuild.toml`, or the directory it is in.
    ///
    /// Nothing is run and nothing is written. Either the whole recipe is right, or all that was found wrong
    /// with it is returned.
    pub fn load(path: &Path, overrides: &Overrides) -> Result<Recipe, RecipeErrors> {
        let location = read::Location::of(path);
        let sources = read::read(&location)?;
        let report = Report::new(&sources);
        let mut draft = parse::parse(&sources, overrides, &report);
        files::expand(&mut draft, location.dir(), &report);
        profiles::apply(&mut draft, overrides.profile(), &report);
        check::check(&draft, &report);
        match report.finish() {
            Some(errors) => Err(errors),
            None => Ok(resolve::resolve(draft, &sources, location.dir())),
        }
    }
}
