//! Chains of stages, and the names they are asked for by.

use super::model::{Recipe, Rootfs};
use super::names::{RootfsName, StepPath};
use super::step::Step;
use super::suggest;

/// A stage of a recipe: a step and its full name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRef<'r> {
    /// The name. Its rootfs is the one the step is written in, whoever goes on from there.
    pub name: StepPath,
    /// The step.
    pub step: &'r Step,
}

/// A text that names no stage of the recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no {what} `{name}`")]
pub struct FindStageError {
    what: &'static str,
    name: String,
    hint: Option<String>,
}

impl FindStageError {
    /// What was probably meant.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl Recipe {
    /// All stages that `rootfs` consists of, from the bootstrap to its last step.
    ///
    /// Rootfses that go on from the same one share its stages, names included. Empty for a rootfs that the
    /// recipe does not have.
    pub fn chain(&self, rootfs: &RootfsName) -> Vec<StageRef<'_>> {
        let first = self.rootfses.get(rootfs);
        let parent = |rootfs: &&Rootfs| rootfs.from.as_ref().and_then(|from| self.rootfses.get(from));
        let mut line: Vec<&Rootfs> = std::iter::successors(first, parent).collect();
        line.reverse();
        line.into_iter().flat_map(stages).collect()
    }

    /// The stage that makes what `rootfs` is. `None` for a rootfs that the recipe does not have.
    pub fn last_stage(&self, rootfs: &RootfsName) -> Option<StageRef<'_>> {
        self.rootfses.get(rootfs).and_then(|rootfs| stages(rootfs).last())
    }

    /// The step of a stage.
    pub fn step(&self, stage: &StepPath) -> Option<&Step> {
        let mut steps = self.rootfses.get(&stage.rootfs)?.steps.iter();
        steps.find(|step| step.name == stage.step)
    }

    /// The stage that `text` names: `rootfs/step`, or a rootfs, which means its last step.
    pub fn find_stage(&self, text: &str) -> Result<StepPath, FindStageError> {
        let (rootfs, step) = match text.split_once('/') {
            Some((rootfs, step)) => (rootfs, Some(step)),
            None => (text, None),
        };
        let Some(rootfs) = self.rootfses.get(rootfs) else {
            return Err(not_found(
                "rootfs",
                rootfs,
                self.rootfses.keys().map(|name| name.as_str().to_owned()),
            ));
        };
        let mut names = stages(rootfs).map(|stage| stage.name);
        let found = match step {
            Some(step) => names.find(|name| name.step.as_str() == step),
            None => names.last(),
        };
        found.ok_or_else(|| not_found("stage", text, stages(rootfs).map(|stage| stage.name.to_string())))
    }
}

fn not_found(what: &'static str, name: &str, known: impl Iterator<Item = String>) -> FindStageError {
    let known: Vec<String> = known.collect();
    FindStageError {
        what,
        name: name.to_owned(),
        hint: suggest::hint(name, known.iter().map(String::as_str)),
    }
}

fn stages(rootfs: &Rootfs) -> impl Iterator<Item = StageRef<'_>> {
    rootfs.steps.iter().map(|step| {
        let name = StepPath { rootfs: rootfs.name.clone(), step: step.name.clone() };
        StageRef { name, step }
    })
}
