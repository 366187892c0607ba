//! `ibuild explain`: why a stage ran, or would run. Root causes come first, then what follows from them.

mod past;

use std::process::ExitCode;
use std::time::Duration;

use ibuild::graph::{DirtyReason, LastRun, PlannedStage, RunReason, StageId, Verdict};
use ibuild::stages::debian::Timestamp;
use ibuild::stages::{FailedState, PastBuild, Project};
use ibuild::{Explanation, Result, StageHistory, UsageError, builds_back};
use serde_json::{Value, json};

use super::plan;
use crate::cli::{ExplainArgs, Global};
use crate::described::{change_lines, changes_as_json};
use crate::invocation;
use crate::terminal::{harmless_line, print, print_json};
use crate::ui::{counted, seconds};

pub fn run(global: &Global, args: &ExplainArgs) -> Result<ExitCode> {
    let workspace = invocation::open_with(global, &[], &args.secrets)?;
    let project = Project::new(&workspace.recipe);
    let (name, back) = builds_back(&args.name);
    let subjects = workspace.find_stages(name)?;
    if let Some(back) = back {
        return tell_past(&project, args, back, workspace.past_builds(&subjects, back)?);
    }
    let explained = Explained { project: &project, explanation: workspace.explain(&subjects)? };
    if args.json {
        print_json(explained.as_json(name))?;
    } else {
        print(&explained.as_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what happened in one build.
fn tell_past(
    project: &Project<'_>,
    args: &ExplainArgs,
    back: usize,
    builds: Vec<(StageId, Option<PastBuild>)>,
) -> Result<ExitCode> {
    let name = |stage: &StageId| project.graph.name(*stage).to_string();
    let told = builds.iter().filter_map(|(stage, build)| Some((name(stage), build.as_ref()?)));
    let told: Vec<_> = told.collect();
    if told.is_empty() {
        let error = UsageError::new(format!("there is no build {back} builds back that needed it"));
        return Err(error.hint("builds in which nothing ran are not counted; 0 is the last one").into());
    }
    if args.json {
        let stages =
            told.iter().map(|(stage, build)| json!({ "stage": stage, "build": past::as_json(build) }));
        print_json(json!({ "name": args.name, "stages": stages.collect::<Vec<_>>() }))?;
    } else {
        let lines: Vec<_> = told.iter().flat_map(|(stage, build)| past::lines(stage, build)).collect();
        print(&(lines.join("\n") + "\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The most lines about one reason.
const LINES_SHOWN: usize = 40;

/// The first lines, and how many there are more.
fn limited(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > LINES_SHOWN {
        let more = lines.len() - LINES_SHOWN;
        lines.truncate(LINES_SHOWN);
        lines.push(format!("... and {more} more"));
    }
    lines
}

fn counts(causes: usize, consequences: usize) -> String {
    let causes = counted(causes, "cause", "causes");
    format!("{causes}, {}", counted(consequences, "consequence", "consequences"))
}

/// An explanation, with the names of stages.
struct Explained<'a> {
    project: &'a Project<'a>,
    explanation: Explanation,
}

impl Explained<'_> {
    fn name(&self, stage: StageId) -> &str {
        self.project.graph.name(stage).as_str()
    }

    fn planned(&self, stage: StageId) -> &PlannedStage {
        let planned = self.explanation.plan.stages.iter().find(|planned| planned.stage == stage);
        planned.expect("the plan has every stage that was asked about")
    }

    fn verdict(&self, stage: StageId) -> &Verdict {
        &self.planned(stage).verdict
    }

    /// The stages that run whatever happens, with the reason.
    fn causes(&self) -> impl Iterator<Item = (StageId, &DirtyReason)> {
        self.explanation.plan.stages.iter().filter_map(|planned| match &planned.verdict {
            Verdict::Dirty(reason) => Some((planned.stage, reason)),
            Verdict::Fresh | Verdict::Pending(_) => None,
        })
    }

    /// The stages that run unless those before them make the same as last time, with what they wait for.
    fn consequences(&self) -> impl Iterator<Item = (StageId, &[StageId])> {
        self.explanation.plan.stages.iter().filter_map(|planned| match &planned.verdict {
            Verdict::Pending(stages) => Some((planned.stage, stages.as_slice())),
            Verdict::Fresh | Verdict::Dirty(_) => None,
        })
    }

    fn as_text(&self) -> String {
        let mut lines: Vec<String> =
            self.explanation.histories.iter().flat_map(|history| self.subject(history)).collect();
        for (stage, files) in &self.explanation.ignored {
            lines.extend(files.iter().map(|file| format!("ignored  {stage}  `{}`", file.escape_debug())));
        }
        for (stage, reason) in self.causes() {
            lines.push(format!("cause  {}", self.name(stage)));
            lines.extend(limited(reason_lines(reason)).into_iter().map(|line| format!("  {line}")));
        }
        for (stage, inputs) in self.consequences() {
            lines.push(format!("consequence  {}  waits for {}", self.name(stage), self.names(inputs)));
        }
        let (causes, consequences) = (self.causes().count(), self.consequences().count());
        if causes > 0 {
            lines.push(counts(causes, consequences));
        }
        lines.join("\n") + "\n"
    }

    fn names(&self, stages: &[StageId]) -> String {
        let names: Vec<_> = stages.iter().map(|stage| format!("`{}`", self.name(*stage))).collect();
        names.join(" and ")
    }

    /// What was asked about, and its past.
    fn subject(&self, history: &StageHistory) -> Vec<String> {
        let StageHistory { stage, last, failed, build } = history;
        let stage = *stage;
        let said = match self.verdict(stage) {
            Verdict::Fresh => "is fresh: nothing would run".to_owned(),
            Verdict::Dirty(_) => "is dirty: it would run".to_owned(),
            Verdict::Pending(inputs) => {
                format!("is pending: it would run unless {} makes the same as last time", self.names(inputs))
            }
        };
        let mut lines = vec![format!("{} {said}", self.name(stage))];
        lines.extend(last.as_ref().map(|last| format!("  {}", last_run_line(last))));
        lines.extend(failed.as_ref().map(|failed| format!("  {}", failure_line(self.name(stage), failed))));
        lines.extend(self.planned(stage).noise().map(|noise| format!("  {noise}")));
        // What would run is the news; else it is what the last build did.
        if let (Verdict::Fresh, Some(build)) = (self.verdict(stage), build) {
            lines.extend(past::lines(self.name(stage), build));
        }
        lines
    }

    fn as_json(&self, name: &str) -> Value {
        let subjects = self.explanation.histories.iter().map(|history| self.subject_as_json(history));
        let ignored =
            self.explanation.ignored.iter().map(|(stage, files)| json!({ "stage": stage, "files": files }));
        let causes = self.causes().map(|(stage, reason)| cause_as_json(self.name(stage), reason));
        let consequences = self.consequences().map(|(stage, inputs)| {
            let inputs: Vec<_> = inputs.iter().map(|input| self.name(*input)).collect();
            json!({ "stage": self.name(stage), "waits_for": inputs })
        });
        json!({
            "name": name,
            "stages": subjects.collect::<Vec<_>>(),
            "causes": causes.collect::<Vec<_>>(),
            "consequences": consequences.collect::<Vec<_>>(),
            "ignored": ignored.collect::<Vec<_>>(),
        })
    }

    fn subject_as_json(&self, history: &StageHistory) -> Value {
        let StageHistory { stage, last, failed, build } = history;
        let past = last.as_ref().map(|last| {
            json!({
                "time": Timestamp(last.time).to_string(),
                "reason": last.reason.as_ref().map(RunReason::to_string),
                "kind": last.reason.as_ref().map(|reason| kind(&reason.dirty)),
                "changes": last.reason.as_ref().map(|reason| changes_as_json(reason.changes())),
                "seconds": last.millis as f64 / 1000.0,
                "key": last.key.hex(),
            })
        });
        json!({
            "stage": self.name(*stage),
            "verdict": plan::word(self.verdict(*stage)),
            "last_run": past,
            "failed": failed.as_ref().map(|failed| Timestamp(failed.time()).to_string()),
            "failed_because": failed.as_ref().and_then(FailedState::why),
            "differed": self.planned(*stage).differed(),
            "last_build": build.as_ref().map(past::as_json),
        })
    }
}

/// When a stage last ran, why, and how long that took.
fn last_run_line(last: &LastRun) -> String {
    let (time, took) = (Timestamp(last.time), seconds(Duration::from_millis(last.millis)));
    match &last.reason {
        Some(reason) => format!("last ran at {time}: {}; took {took}", harmless_line(&reason.to_string())),
        None => format!("last found in the store at {time}; making it took {took}"),
    }
}

/// When a stage failed that has not succeeded since, and what tells more.
fn failure_line(stage: &str, failed: &FailedState) -> String {
    let time = Timestamp(failed.time());
    let why = failed.why().map_or_else(String::new, |why| format!("{}; ", harmless_line(why)));
    let made = match failed.is_kept() {
        true => format!("`ibuild shell --failed {stage}` what it had made"),
        false => "what it had made is not kept".to_owned(),
    };
    format!("failed at {time}: {why}`ibuild log {stage}` has what it said, {made}")
}

fn reason_lines(reason: &DirtyReason) -> Vec<String> {
    match reason {
        DirtyReason::Changed(changes) if !changes.is_empty() => change_lines(changes),
        reason => vec![reason.to_string()],
    }
}

fn cause_as_json(stage: &str, reason: &DirtyReason) -> Value {
    let changes = match reason {
        DirtyReason::Changed(changes) => changes_as_json(changes),
        _ => json!([]),
    };
    json!({ "stage": stage, "kind": kind(reason), "reason": reason.to_string(), "changes": changes })
}

/// A word for programs.
fn kind(reason: &DirtyReason) -> &'static str {
    match reason {
        DirtyReason::NeverBuilt => "never-built",
        DirtyReason::Failed => "failed",
        DirtyReason::Changed(_) => "changed",
        DirtyReason::OutputMissing => "output-missing",
        DirtyReason::Forced => "forced",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_back_are_taken_off_the_name() {
        assert_eq!(builds_back("x/1@2"), ("x/1", Some(2)));
        assert_eq!(builds_back("x/1"), ("x/1", None));
        assert_eq!(builds_back("x/1@home"), ("x/1@home", None));
    }

    #[test]
    fn long_reasons_are_cut() {
        let lines = |count: usize| (0..count).map(|line| line.to_string()).collect::<Vec<_>>();
        assert_eq!(limited(lines(LINES_SHOWN)), lines(LINES_SHOWN));
        assert_eq!(limited(lines(LINES_SHOWN + 2)).last().unwrap(), "... and 2 more");
    }
}
