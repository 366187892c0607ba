//! Build records: `ibuild attest`, and comparing somebody's record with what is built here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ibuild_graph::{RecordedStage as StoredStage, StageId};
use ibuild_stages::packages::Lock;
use ibuild_stages::release::{RecordedImage, RecordedStage, ReleaseFacts, Statement, statement};
use ibuild_stages::{Job, Project, StageExecutor, StageOutput, Target};

use super::super::names::requested_targets;
use super::super::{BuildRequest, ExecutionOptions, NullObserver, Workspace};
use super::dependencies::dependencies;
use super::facts::Machine;
use super::{image_path, stage_of};
use crate::error::{Context, EnvironmentError, Result, UsageError};
use crate::release::FileDigests;

/// A target with all stages that it needs, as the store has them.
pub(super) struct BuiltTarget<'p> {
    project: &'p Project<'p>,
    stages: Vec<StoredStage<StageOutput>>,
}

impl<'p> BuiltTarget<'p> {
    /// Looks the stages up. One that is missing is an error.
    pub(super) fn of(workspace: &Workspace, project: &'p Project<'p>, target: &Target) -> Result<Self> {
        let executor = workspace.quiet_executor(project)?;
        let needed: BTreeSet<StageId> =
            project.graph.needed_for(&[stage_of(project, target)]).into_iter().collect();
        let stages = workspace.built(project, &executor, &needed)?;
        Ok(Self { project, stages })
    }

    fn image(&self) -> &StoredStage<StageOutput> {
        self.stages.last().expect("a target needs its own stage, which comes last")
    }

    /// The digest of the image, in hexadecimal.
    pub(super) fn blake3(&self) -> String {
        self.image().output.digest()
    }

    /// Its machines, with their root file systems.
    pub(super) fn machines(&self) -> Vec<Machine<'_>> {
        let Job::Image { machines, .. } = self.project.job(self.image().stage) else {
            unreachable!("a target is an image");
        };
        let several = machines.len() > 1;
        let inputs = machines.iter().zip(&self.image().inputs);
        let machine = inputs.map(|(image, input)| Machine {
            name: several.then(|| image.name.as_str()),
            snapshot: input.snapshot().expect("an image is made of root file systems"),
        });
        machine.collect()
    }

    /// The stages in build order.
    fn recorded(&self) -> Vec<RecordedStage> {
        self.stages.iter().map(|it| recorded(self.project, it)).collect()
    }

    /// The record of the target's build.
    pub(super) fn record(&self, release: &ReleaseFacts, lock: &Lock, image: &RecordedImage) -> String {
        let stages: Vec<_> = self.stages.iter().collect();
        let dependencies = dependencies(self.project, lock, &stages);
        statement(release, std::slice::from_ref(image), &dependencies, &self.recorded())
    }
}

fn recorded(project: &Project<'_>, it: &StoredStage<StageOutput>) -> RecordedStage {
    RecordedStage {
        stage: project.graph.name(it.stage).to_string(),
        action: it.description.key().hex(),
        output: it.output.digest(),
    }
}

/// How a stage of somebody's record compares with what is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordedVerdict {
    /// Both made the same.
    Same,
    /// They made different things.
    Differs {
        /// What it made here, in hexadecimal.
        here: String,
        /// What the record says.
        there: String,
        /// Whether everything that can change the result was the same.
        same_action: SameAction,
    },
    /// The record has no such stage.
    NotThere,
    /// The project has no such stage, or it is not built.
    NotHere,
}

/// Whether two stages were made of the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameAction {
    /// Everything that can change the result was the same: the stage is not reproducible.
    Yes,
    /// They were made of different things.
    No,
}

/// A record compared with what is built here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedRecord {
    /// The stages in build order, those that only one side has last.
    pub stages: Vec<(String, RecordedVerdict)>,
    /// The version of ibuild that made the record.
    pub builder: String,
}

impl ComparedRecord {
    /// The first stage that differs.
    pub fn first_difference(&self) -> Option<&str> {
        let differs =
            |(_, verdict): &&(String, RecordedVerdict)| matches!(verdict, RecordedVerdict::Differs { .. });
        self.stages.iter().find(differs).map(|(stage, _)| stage.as_str())
    }

    /// Whether some stages cannot be compared.
    pub fn is_partial(&self) -> bool {
        let unknown = |verdict: &RecordedVerdict| {
            matches!(verdict, RecordedVerdict::NotHere | RecordedVerdict::NotThere)
        };
        self.stages.iter().any(|(_, verdict)| unknown(verdict))
    }
}

impl Workspace {
    /// The build record of targets that are built, as a text.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) for names that the recipe does not have, and for targets that are not built.
    pub fn attest(&self, targets: &[String], execution: &ExecutionOptions) -> Result<String> {
        let project = self.project();
        let targets = requested_targets(&project, targets)?;
        let lock = self.released_lock()?;
        let built = targets.iter().map(|target| BuiltTarget::of(self, &project, target));
        let built = built.collect::<Result<Vec<_>>>()?;
        let images = self.recorded_images(&targets, &built, execution)?;
        let release = self.release_facts("");
        let mut known = BTreeSet::new();
        let stages = built.iter().flat_map(|target| &target.stages).filter(|it| known.insert(it.stage));
        let stages: Vec<_> = stages.collect();
        let dependencies = dependencies(&project, &lock, &stages);
        let recorded: Vec<_> = stages.iter().map(|it| recorded(&project, it)).collect();
        Ok(statement(&release, &images, &dependencies, &recorded))
    }

    /// The digests of the images, which are made of what the store has, beside the project's other files.
    fn recorded_images(
        &self,
        targets: &[Target],
        built: &[BuiltTarget<'_>],
        execution: &ExecutionOptions,
    ) -> Result<Vec<RecordedImage>> {
        let scratch = self.store.run_dir()?;
        let request = BuildRequest {
            output: Some(scratch.path().to_owned()),
            execution: execution.clone(),
            ..BuildRequest::of(targets.iter().map(ToString::to_string))
        };
        self.build(&request, Arc::new(NullObserver))?;
        let image = |(target, built): (&Target, &BuiltTarget<'_>)| {
            let sha256 = FileDigests::of(&image_path(scratch.path(), target))?.sha256;
            Ok(RecordedImage { file: target.to_string(), sha256, blake3: built.blake3() })
        };
        targets.iter().zip(built).map(image).collect()
    }

    /// Compares somebody's build record with what is built here. Nothing is run.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage) if it is of targets that the recipe does not have. Of kind
    /// [`Environment`](crate::ErrorKind::Environment) if nothing of it is built here.
    pub fn compare_with_record(&self, record: &Statement) -> Result<ComparedRecord> {
        let project = self.project();
        let executor = self.quiet_executor(&project)?;
        let here = self.built_of_record(&project, &executor, record)?;
        let there: BTreeMap<_, _> = record.stages.iter().map(|it| (it.stage.as_str(), it)).collect();
        let mut stages = Vec::new();
        for stage in &here {
            let name = project.graph.name(stage.stage).to_string();
            let verdict = there.get(name.as_str()).map_or(RecordedVerdict::NotThere, |it| compare(stage, it));
            stages.push((name, verdict));
        }
        stages.extend(self.contradictions(&project, record, &stages)?);
        let known: BTreeSet<_> = stages.iter().map(|(name, _)| name.clone()).collect();
        let others = record.stages.iter().filter(|it| !known.contains(&it.stage));
        stages.extend(others.map(|it| (it.stage.clone(), RecordedVerdict::NotHere)));
        Ok(ComparedRecord { stages, builder: record.builder.clone() })
    }

    /// What a record says of images besides their stages, where that is something else: people look images up by it. An image that is the
    /// same here is made of what the store has.
    fn contradictions(
        &self,
        project: &Project<'_>,
        record: &Statement,
        stages: &[(String, RecordedVerdict)],
    ) -> Result<Vec<(String, RecordedVerdict)>> {
        let is_same = |image: &&RecordedImage| stages.contains(&(image.file.clone(), RecordedVerdict::Same));
        let names: Vec<_> = record.images.iter().filter(is_same).map(|image| image.file.clone()).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let targets = record_targets(project, &names)?;
        let built = targets.iter().map(|target| BuiltTarget::of(self, project, target));
        let built = built.collect::<Result<Vec<_>>>()?;
        let here = self.recorded_images(&targets, &built, &ExecutionOptions::default())?;
        let there = record.images.iter().filter(is_same);
        let differs = |(here, there): (&RecordedImage, &RecordedImage)| {
            let pairs = [(&here.sha256, &there.sha256), (&here.blake3, &there.blake3)];
            let (here, other) = pairs.into_iter().find(|(here, there)| !here.eq_ignore_ascii_case(there))?;
            let verdict = RecordedVerdict::Differs {
                here: here.clone(),
                there: other.clone(),
                same_action: SameAction::Yes,
            };
            Some((format!("{} (as the record's subject)", there.file), verdict))
        };
        Ok(here.iter().zip(there).filter_map(differs).collect())
    }

    /// Refuses a record of a project of another name.
    ///
    /// # Errors
    ///
    /// Of kind [`Usage`](crate::ErrorKind::Usage).
    pub fn check_record_project(&self, record: &Statement) -> Result<()> {
        let here = self.recipe.project.name.as_str();
        if record.project == here {
            return Ok(());
        }
        let other = record.project.escape_debug();
        let error = UsageError::new(format!("the record is of the project `{other}`, this one is `{here}`"));
        Err(error.hint("`-C DIR` names the project that the record is of").into())
    }

    fn built_of_record(
        &self,
        project: &Project<'_>,
        executor: &StageExecutor<'_>,
        record: &Statement,
    ) -> Result<Vec<StoredStage<StageOutput>>> {
        let names: Vec<_> = record.images.iter().map(|image| image.file.clone()).collect();
        let targets = record_targets(project, &names)?;
        let stages: Vec<_> = targets.iter().map(|target| stage_of(project, target)).collect();
        let wanted: BTreeSet<_> = project.graph.needed_for(&stages).into_iter().collect();
        let found = self.recorded(executor, &wanted)?.stages;
        if found.is_empty() {
            let message = format!("nothing of `{}` is built here", names.join("`, `"));
            let hint = "`--rebuild` builds it; without it nothing is run".to_owned();
            return Err(EnvironmentError { message, hint }.into());
        }
        Ok(found)
    }
}

/// The targets that a record is of.
fn record_targets(project: &Project<'_>, names: &[String]) -> Result<Vec<Target>> {
    requested_targets(project, names).context("the record is of another recipe")
}

fn compare(here: &StoredStage<StageOutput>, there: &RecordedStage) -> RecordedVerdict {
    let digest = here.output.digest();
    if digest.eq_ignore_ascii_case(&there.output) {
        return RecordedVerdict::Same;
    }
    let is_same = here.description.key().hex().eq_ignore_ascii_case(&there.action);
    let same_action = if is_same { SameAction::Yes } else { SameAction::No };
    RecordedVerdict::Differs { here: digest, there: there.output.clone(), same_action }
}
