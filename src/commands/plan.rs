//! `ibuild plan`: what a build would do, why, and for how long.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use ibuild::graph::{Plan, PlannedStage, StageId, Verdict, plan};
use ibuild::stages::build::Project;
use serde_json::{Value, json};

use crate::cli::{Global, PlanArgs};
use crate::failure::UsageError;
use crate::session::Session;
use crate::ui::seconds;

pub fn run(global: &Global, args: &PlanArgs) -> Result<ExitCode> {
    let session = Session::open(global, &args.targets.vars)?;
    let project = Project::new(&session.recipe);
    let mut stages = Vec::new();
    for text in &args.targets.targets {
        stages.extend(project.targets(text)?.iter().filter_map(|target| project.target_stage(target)));
    }
    if stages.is_empty() {
        return Err(UsageError::new("no target was named").hint("pass `--target`").into());
    }
    let plan = make(&session, &project, &stages)?;
    if args.json {
        println!("{}", as_json(&project, &plan, &args.targets.targets));
    } else {
        print(&project, &plan);
    }
    Ok(ExitCode::SUCCESS)
}

/// Plans a build of `stages`.
pub fn make(session: &Session, project: &Project<'_>, stages: &[StageId]) -> Result<Plan> {
    let builder = session.quiet_builder(project)?;
    let made = plan(&project.graph, &session.memory(), &builder, stages)?;
    // Digests that were learnt on the way only save time: a store that cannot be written can still be asked.
    let _ = builder.finish();
    Ok(made)
}

fn print(project: &Project<'_>, plan: &Plan) {
    let name = |stage: StageId| project.graph.name(stage).to_string();
    let width = plan.stages.iter().map(|planned| name(planned.stage).len()).max().unwrap_or(0);
    for planned in &plan.stages {
        let (word, why) = sentence(project, planned);
        println!("{word:<7} {:<width$}  {why}", name(planned.stage));
    }
    let took = Duration::from_millis(plan.millis());
    match plan.dirty() {
        0 => println!("nothing to do: all {} stages are fresh", plan.stages.len()),
        dirty => {
            println!("{dirty} of {} stages, at most {} by their last runs", plan.stages.len(), seconds(took))
        }
    }
}

/// A verdict as a word and a reason.
fn sentence(project: &Project<'_>, planned: &PlannedStage) -> (&'static str, String) {
    match &planned.verdict {
        Verdict::Fresh => ("fresh", String::new()),
        Verdict::Dirty(reason) => ("run", reason.to_string()),
        Verdict::Pending(stages) => {
            let names: Vec<_> = stages.iter().map(|s| format!("`{}`", project.graph.name(*s))).collect();
            ("maybe", format!("unless {} makes the same as before", names.join(" and ")))
        }
    }
}

/// A verdict as the word that programs know it by.
pub fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Fresh => "fresh",
        Verdict::Dirty(_) => "dirty",
        Verdict::Pending(_) => "pending",
    }
}

fn as_json(project: &Project<'_>, plan: &Plan, targets: &[String]) -> Value {
    let stages = plan.stages.iter().map(|planned| {
        let (_, why) = sentence(project, planned);
        json!({
            "stage": project.graph.name(planned.stage).as_str(),
            "verdict": word(&planned.verdict),
            "reason": why,
            "seconds": planned.millis.map(|millis| millis as f64 / 1000.0),
        })
    });
    json!({
        "v": 1,
        "targets": targets,
        "stages": stages.collect::<Vec<_>>(),
        "run": plan.dirty(),
        "seconds": plan.millis() as f64 / 1000.0,
    })
}
