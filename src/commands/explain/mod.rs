//! `ibuild explain`: why a stage ran, or would run. Root causes come first, then what follows from them.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use ibuild::graph::{DirtyReason, LastRun, Plan, StageId, Verdict};
use ibuild::stages::build::Project;
use ibuild::stages::packages::Timestamp;
use serde_json::{Value, json};

use super::plan;
use super::recipe::counted;
use crate::cli::{ExplainArgs, Global};
use crate::described::{change_lines, changes_as_json};
use crate::session::{Session, find_stages};
use crate::terminal::{print, print_json};
use crate::ui::seconds;

pub fn run(global: &Global, args: &ExplainArgs) -> Result<ExitCode> {
    let session = Session::open(global, &[])?;
    let project = Project::new(&session.recipe);
    let subjects = find_stages(&project, &args.name)?;
    let plan = plan::make(&session, &project, &subjects)?;
    let mut last_runs = Vec::new();
    for subject in &subjects {
        last_runs.push((*subject, session.memory().last_run(project.graph.name(*subject))?));
    }
    let explained = Explained { project: &project, plan: &plan, last_runs };
    if args.json {
        print_json(explained.as_json(&args.name))?;
    } else {
        print(&explained.as_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The plan of some stages, with their past.
struct Explained<'a> {
    project: &'a Project<'a>,
    plan: &'a Plan,
    last_runs: Vec<(StageId, Option<LastRun>)>,
}

impl Explained<'_> {
    fn name(&self, stage: StageId) -> &str {
        self.project.graph.name(stage).as_str()
    }

    fn verdict(&self, stage: StageId) -> &Verdict {
        let planned = self.plan.stages.iter().find(|planned| planned.stage == stage);
        &planned.expect("the plan has every stage that was asked about").verdict
    }

    /// The stages that run whatever happens, with the reason.
    fn causes(&self) -> impl Iterator<Item = (StageId, &DirtyReason)> {
        self.plan.stages.iter().filter_map(|planned| match &planned.verdict {
            Verdict::Dirty(reason) => Some((planned.stage, reason)),
            Verdict::Fresh | Verdict::Pending(_) => None,
        })
    }

    /// The stages that run unless those before them make the same as last time, with what they wait for.
    fn consequences(&self) -> impl Iterator<Item = (StageId, &[StageId])> {
        self.plan.stages.iter().filter_map(|planned| match &planned.verdict {
            Verdict::Pending(stages) => Some((planned.stage, stages.as_slice())),
            Verdict::Fresh | Verdict::Dirty(_) => None,
        })
    }

    fn as_text(&self) -> String {
        let mut lines: Vec<String> =
            self.last_runs.iter().flat_map(|(s, last)| self.subject(*s, last)).collect();
        for (stage, reason) in self.causes() {
            lines.push(format!("cause  {}", self.name(stage)));
            lines.extend(reason_lines(reason).into_iter().map(|line| format!("  {line}")));
        }
        for (stage, inputs) in self.consequences() {
            lines.push(format!("consequence  {}  waits for {}", self.name(stage), self.names(inputs)));
        }
        let (causes, consequences) = (self.causes().count(), self.consequences().count());
        if causes > 0 {
            let causes = counted(causes, "cause", "causes");
            lines.push(format!("{causes}, {}", counted(consequences, "consequence", "consequences")));
        }
        lines.join("\n") + "\n"
    }

    fn names(&self, stages: &[StageId]) -> String {
        let names: Vec<_> = stages.iter().map(|stage| format!("`{}`", self.name(*stage))).collect();
        names.join(" and ")
    }

    /// What was asked about, and its past.
    fn subject(&self, stage: StageId, last: &Option<LastRun>) -> Vec<String> {
        let said = match self.verdict(stage) {
            Verdict::Fresh => "is fresh: nothing would run".to_owned(),
            Verdict::Dirty(_) => "is dirty: it would run".to_owned(),
            Verdict::Pending(inputs) => {
                format!("is pending: it would run unless {} makes the same as last time", self.names(inputs))
            }
        };
        let mut lines = vec![format!("{} {said}", self.name(stage))];
        lines.extend(last.as_ref().map(|last| format!("  {}", past(last))));
        lines
    }

    fn as_json(&self, name: &str) -> Value {
        let subjects = self.last_runs.iter().map(|(stage, last)| self.subject_as_json(*stage, last));
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
        })
    }

    fn subject_as_json(&self, stage: StageId, last: &Option<LastRun>) -> Value {
        let past = last.as_ref().map(|last| {
            json!({
                "time": Timestamp(last.time).to_string(),
                "reason": last.reason,
                "seconds": last.millis as f64 / 1000.0,
                "key": last.key.hex(),
            })
        });
        json!({ "stage": self.name(stage), "verdict": plan::word(self.verdict(stage)), "last_run": past })
    }
}

/// When a stage last ran, why, and how long that took.
fn past(last: &LastRun) -> String {
    let (time, took) = (Timestamp(last.time), seconds(Duration::from_millis(last.millis)));
    match &last.reason {
        Some(reason) => format!("last ran at {time}: {reason}; took {took}"),
        None => format!("last found in the store at {time}; making it took {took}"),
    }
}

fn reason_lines(reason: &DirtyReason) -> Vec<String> {
    match reason {
        DirtyReason::Changed(changes) if !changes.is_empty() => change_lines(changes),
        reason => vec![reason.to_string()],
    }
}

fn cause_as_json(stage: &str, reason: &DirtyReason) -> Value {
    let (kind, changes) = match reason {
        DirtyReason::NeverBuilt => ("never-built", json!([])),
        DirtyReason::Changed(changes) => ("changed", changes_as_json(changes)),
        DirtyReason::OutputMissing => ("output-missing", json!([])),
        DirtyReason::Forced => ("forced", json!([])),
    };
    json!({ "stage": stage, "kind": kind, "reason": reason.to_string(), "changes": changes })
}
