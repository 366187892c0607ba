//! Why stages ran in a build that is over: where it began, and through which files it went on.

use std::collections::{BTreeMap, BTreeSet};

use ibuild_cache::Store;
use ibuild_graph::{Build, BuiltStage, Change, LastRun, RunMemory, RunReason, StageName};

use crate::StageError;
use crate::executor::context::StageContext;
use crate::fields::{self, PARENT_LAYERS, PARENT_TREE};

/// Fields of descriptions that say what a stage's inputs made.
const MADE_BY_INPUTS: [&str; 5] = [PARENT_TREE, fields::TREE, fields::PATHS, PARENT_LAYERS, fields::LAYERS];
/// Those that can change although all inputs made the same, because inputs that are found stand upon other layers.
const LAYERS: [&str; 2] = [PARENT_LAYERS, fields::LAYERS];

/// A build that is over, as far as one stage is concerned.
#[derive(Debug, Clone)]
pub struct PastBuild {
    /// When it ended, seconds since 1970.
    pub time: u64,
    /// What was asked for.
    pub targets: Vec<String>,
    /// The stage in question, if it ran, and those before it that it ran on account of, in build order.
    pub ran: Vec<PastRun>,
}

/// A stage that ran.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Its name.
    pub stage: String,
    /// Why.
    pub why: PastReason,
}

/// Why a stage ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PastReason {
    /// Something of its own was another, or it was asked for. What its inputs made may have been another besides.
    Cause {
        /// As it was said then.
        said: String,
        /// Those of its inputs that made something else besides.
        of: Vec<String>,
        /// What differed from its run before, if that is still known. First what is its own.
        changes: Vec<Change>,
    },
    /// Stages that it needs had made something else.
    Consequence {
        /// Those of its inputs that ran, or, of inputs that were found, the last ones before them that ran.
        of: Vec<String>,
        /// What differed from its run before, file by file as far as that is still known.
        changes: Vec<Change>,
    },
}

impl PastBuild {
    /// The build so many builds before the last one that needed the stage. Builds in which nothing ran are not counted.
    pub fn find(
        store: &Store,
        context: &StageContext<'_>,
        stage: &StageName,
        back: usize,
    ) -> Result<Option<Self>, StageError> {
        let needs = |build: &Build| build.stages.iter().any(|built| built.stage == stage.as_str());
        let is_ours = |build: &Build| build.project == context.project_name() && needs(build);
        let builds = Build::all(store)?.into_iter().map(|(_, build)| build).filter(is_ours);
        let ran = |build: &Build| build.stages.iter().any(|built| built.ran);
        let found = builds.rev().filter(ran).nth(back);
        found.map(|build| Self::of(store, context, &build, stage)).transpose()
    }

    fn of(
        store: &Store,
        context: &StageContext<'_>,
        build: &Build,
        stage: &StageName,
    ) -> Result<Self, StageError> {
        let memory = RunMemory::new(store, context.project_name());
        let mut ran = BTreeMap::new();
        let place = |name: &str| build.stages.iter().position(|built| built.stage == name);
        let mut open: Vec<_> = place(stage.as_str()).into_iter().collect();
        while let Some(at) = open.pop() {
            let built = &build.stages[at];
            if !built.ran || ran.contains_key(&at) {
                continue;
            }
            let why = why(context, build, built, &memory.last_runs(&StageName::new(&built.stage))?);
            // Where something came from outside there is further to go.
            let (PastReason::Cause { of, .. } | PastReason::Consequence { of, .. }) = &why;
            open.extend(of.iter().filter_map(|name| place(name)));
            ran.insert(at, PastRun { stage: built.stage.clone(), why });
        }
        Ok(Self { time: build.time, targets: build.targets.clone(), ran: ran.into_values().collect() })
    }
}

fn why(context: &StageContext<'_>, build: &Build, built: &BuiltStage, runs: &[LastRun]) -> PastReason {
    let is_it = |run: &LastRun| run.key == built.key && run.reason.is_some() && run.time <= build.time;
    let Some(place) = runs.iter().position(is_it) else {
        let said = "its key is not kept any more".to_owned();
        return PastReason::Cause { said, of: Vec::new(), changes: Vec::new() };
    };
    let (run, before) = (&runs[place], runs.get(place + 1));
    let descriptions = before.and_then(|before| before.description()).zip(run.description());
    let mut changes = descriptions.map_or_else(Vec::new, |(old, new)| context.inputs().changes(&old, &new));
    changes.sort_by_key(is_made_by_inputs);
    let inherited: Vec<_> = changes.iter().filter(|change| is_made_by_inputs(change)).collect();
    let of = match inherited.is_empty() {
        true => Vec::new(),
        false if inherited.iter().all(|change| LAYERS.contains(&field(change))) => {
            ran_before(build, built, Reach::Far)
        }
        false => ran_before(build, built, Reach::Inputs),
    };
    if !changes.is_empty() && inherited.len() == changes.len() {
        return PastReason::Consequence { of, changes };
    }
    let said = run.reason.as_ref().map_or_else(String::new, RunReason::to_string);
    PastReason::Cause { said, of, changes }
}

/// Whether a change of a description says no more than that an input made something else.
pub(crate) fn is_made_by_inputs(change: &Change) -> bool {
    MADE_BY_INPUTS.contains(&field(change))
}

fn field(change: &Change) -> &str {
    change.path.first().map_or("", String::as_str)
}

/// How far before a stage something may have happened that shows in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// An input made something else.
    Inputs,
    /// An input that was found has a layer below its own that is another.
    Far,
}

/// The last stages before this one that ran, in build order.
fn ran_before(build: &Build, built: &BuiltStage, reach: Reach) -> Vec<String> {
    let (mut open, mut seen, mut found) = (built.inputs.clone(), BTreeSet::new(), BTreeSet::new());
    while let Some(input) = open.pop() {
        let Some(stage) = build.stages.get(input as usize).filter(|_| seen.insert(input)) else { continue };
        match stage.ran {
            true => drop(found.insert(input)),
            false if reach == Reach::Far => open.extend(&stage.inputs),
            false => {}
        }
    }
    found.into_iter().map(|input| build.stages[input as usize].stage.clone()).collect()
}
