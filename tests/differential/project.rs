//! A project as its choices make it: the recipe, the files, and what each stage is made of, for somebody who knows nothing of
//! keys.

use std::collections::BTreeMap;

use crate::archive::Archives;
use crate::choices::{Choices, Slot, Slots};
use crate::files::{Desk, Files};
use crate::recipe;

/// A project, written down.
#[derive(Debug, Clone)]
pub struct Project {
    /// All files, the recipe too.
    pub files: Files,
    /// What is added to the command that builds it.
    pub arguments: Vec<String>,
    /// Its stages, those that they stand on first.
    pub stages: Vec<Stage>,
    /// What is built, each by its name and format.
    pub targets: Vec<Target>,
    /// What else could have been chosen.
    pub slots: BTreeMap<String, Slot>,
}

/// A step of a root file system.
#[derive(Debug, Clone)]
pub struct Stage {
    pub name: String,
    /// All of it that can change what it makes, besides the trees that it is given.
    pub own: String,
    /// The stage that it stands on.
    pub parent: Option<String>,
    /// The last stage of what it copies from.
    pub from: Option<String>,
}

/// An image in a format.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    /// All that can change it, besides the root file systems in it.
    pub own: String,
    /// The last stages of these.
    pub roots: Vec<String>,
}

impl Project {
    pub fn write(chosen: &Choices, archives: &Archives) -> Self {
        let slots = Slots::default();
        let desk = Desk { chosen, slots: &slots, files: Files::default() };
        let written = recipe::write(desk, archives);
        Self {
            files: written.files,
            arguments: written.arguments,
            stages: written.stages,
            targets: written.targets,
            slots: slots.into_found(),
        }
    }

    /// The images that are built.
    pub fn images(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.targets.iter().map(|it| it.name.split_once('.').unwrap().0).collect();
        names.dedup();
        names
    }
}
