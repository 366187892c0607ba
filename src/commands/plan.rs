//! `ibuild plan`: what a build would do, why, and for how long.

use std::process::ExitCode;
use std::time::Duration;

use ibuild::graph::{DirtyReason, Plan, PlannedStage, StageId, Verdict};
use ibuild::stages::Project;
use ibuild::stages::recipe::SecretName;
use ibuild::{Result, Workspace};
use serde_json::{Value, json};

use crate::cli::{Global, PlanArgs};
use crate::invocation;
use crate::terminal::{note, print};
use crate::ui::{counted, seconds};

pub fn run(global: &Global, args: &PlanArgs) -> Result<ExitCode> {
    let workspace = invocation::open_with(global, &args.targets.vars, &args.secrets)?;
    let project = Project::new(&workspace.recipe);
    let plan = workspace.plan(&args.targets.all())?;
    // Of what was never built nothing can be found.
    let known = |planned: &&PlannedStage| planned.millis.is_some() && !planned.is_fresh();
    let stages: Vec<_> = plan.stages.iter().filter(known).map(|planned| planned.stage).collect();
    for archive in workspace.unlocked_archives(&stages)? {
        let text =
            "a build records its state first, and may then find results that this plan does not know of";
        note(global, &format!("lock  `ibuild.lock` does not cover `{archive}`: {text}"));
    }
    if plan.count(is_unseen) > 0 {
        // Nobody looks at what they copy before there is something to copy it onto.
        workspace.refuse_special_files()?;
    }
    if args.json {
        let targets = match args.targets.all() {
            all if all.is_empty() => project.recipe.products().map(|(name, _)| name.to_string()).collect(),
            named => named,
        };
        let mut json = as_json(&project, &plan, &targets);
        if let Some(profile) = &workspace.recipe.profile {
            json["profile"] = json!(profile.as_str());
        }
        add_secrets(&mut json, &workspace, &project, &plan);
        print(&format!("{json}\n"))?;
    } else {
        let profile = workspace.recipe.profile.iter().map(|profile| format!("profile `{profile}`\n"));
        print(
            &(profile.collect::<String>()
                + &as_text(&project, &plan)
                + &secret_lines(&workspace, &project, &plan)),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The secrets that stages of a plan need which may run, and whether they are given.
fn secrets_needed(
    workspace: &Workspace,
    project: &Project<'_>,
    plan: &Plan,
) -> Vec<(StageId, Vec<(SecretName, bool)>)> {
    let may_run = plan.stages.iter().filter(|planned| !planned.is_fresh()).map(|planned| planned.stage);
    let needed = may_run.map(|stage| (stage, workspace.secrets_needed(project, stage)));
    needed.filter(|(_, secrets)| !secrets.is_empty()).collect()
}

/// A line for each stage that may run and needs secrets.
fn secret_lines(workspace: &Workspace, project: &Project<'_>, plan: &Plan) -> String {
    let said = |(name, given): &(SecretName, bool)| match given {
        true => format!("`{name}`"),
        false => format!("`{name}`, which is not given"),
    };
    let line = |(stage, secrets): &(StageId, Vec<(SecretName, bool)>)| {
        let secrets: Vec<_> = secrets.iter().map(said).collect();
        format!("secret  {} needs {}\n", project.graph.name(*stage), secrets.join("; "))
    };
    secrets_needed(workspace, project, plan).iter().map(line).collect()
}

fn add_secrets(json: &mut Value, workspace: &Workspace, project: &Project<'_>, plan: &Plan) {
    let secret = |(name, given): &(SecretName, bool)| json!({ "name": name.as_str(), "given": given });
    let stages = secrets_needed(workspace, project, plan).into_iter().map(|(stage, secrets)| {
        let secrets: Vec<_> = secrets.iter().map(secret).collect();
        json!({ "stage": project.graph.name(stage).as_str(), "secrets": secrets })
    });
    json["secrets"] = stages.collect();
}

/// Whether a stage waits for others, and was never built upon what they made.
fn is_unseen(planned: &PlannedStage) -> bool {
    planned.is_consequence() && planned.millis.is_none()
}

fn as_text(project: &Project<'_>, plan: &Plan) -> String {
    let name = |stage: StageId| project.graph.name(stage).to_string();
    let width = plan.stages.iter().map(|planned| name(planned.stage).len()).max().unwrap_or(0);
    let mut text = String::new();
    // Causes before consequences, each in build order.
    for which in [PlannedStage::is_fresh, PlannedStage::is_cause, PlannedStage::is_consequence] {
        for planned in plan.stages.iter().filter(|planned| which(planned)) {
            let (word, why) = sentence(project, planned);
            text += &format!("{word:<7} {:<width$}  {why}\n", name(planned.stage));
        }
    }
    summary(plan).iter().for_each(|line| text += &format!("{line}\n"));
    text
}

/// How much there is to do, and how long it takes.
fn summary(plan: &Plan) -> Vec<String> {
    let (causes, consequences) =
        (plan.count(PlannedStage::is_cause), plan.count(PlannedStage::is_consequence));
    let fresh = plan.stages.len() - causes - consequences;
    if causes == 0 {
        return vec![format!("nothing to do: all {} stages are fresh", plan.stages.len())];
    }
    let took = |which: fn(&PlannedStage) -> bool| seconds(Duration::from_millis(plan.millis(which)));
    let counts = format!(
        "{}, {}",
        counted(causes, "cause", "causes"),
        counted(consequences, "consequence", "consequences")
    );
    let is_unknown = |planned: &PlannedStage| !planned.is_fresh() && planned.millis.is_none();
    let mut lines = match plan.count(is_unknown) {
        unknown if unknown == causes + consequences => {
            vec![format!("{counts}; none of them was ever built, so their times are not known")]
        }
        unknown => {
            let (least, likely) = (took(PlannedStage::is_cause), took(|planned| planned.likely));
            let most = took(|planned| !planned.is_fresh());
            let besides = if unknown > 0 { format!(", and {unknown} never built") } else { String::new() };
            vec![format!(
                "{counts}; by their last runs at least {least}, likely {likely}, at most {most}{besides}"
            )]
        }
    };
    if fresh > 0 {
        let fresh = counted(fresh, "fresh stage saves", "fresh stages save");
        lines.push(format!("{fresh} {}", took(PlannedStage::is_fresh)));
    }
    lines
}

/// A verdict as a word and a reason.
fn sentence(project: &Project<'_>, planned: &PlannedStage) -> (&'static str, String) {
    let (word, why) = verdict(project, planned);
    match (planned.noise(), why.is_empty()) {
        (Some(noise), true) => (word, noise),
        (Some(noise), false) => (word, format!("{why}; {noise}")),
        (None, _) => (word, why),
    }
}

fn verdict(project: &Project<'_>, planned: &PlannedStage) -> (&'static str, String) {
    let failed = if planned.failed { "; it failed the last time" } else { "" };
    match &planned.verdict {
        Verdict::Fresh => ("fresh", String::new()),
        Verdict::Dirty(DirtyReason::Failed) => ("run", DirtyReason::Failed.to_string()),
        Verdict::Dirty(reason) => ("run", format!("{reason}{failed}")),
        // Whatever it will stand on, there is nothing that it could be found as.
        Verdict::Pending(_) if is_unseen(planned) && planned.failed => {
            ("run", DirtyReason::Failed.to_string())
        }
        Verdict::Pending(_) if is_unseen(planned) => ("run", DirtyReason::NeverBuilt.to_string()),
        Verdict::Pending(stages) => {
            let names: Vec<_> = stages.iter().map(|s| format!("`{}`", project.graph.name(*s))).collect();
            ("maybe", format!("unless {} makes the same as before{failed}", names.join(" and ")))
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
            "likely": planned.likely,
            "failed": planned.failed,
            "differed": planned.differed(),
        })
    });
    let took = |which: fn(&PlannedStage) -> bool| plan.millis(which) as f64 / 1000.0;
    json!({
        "v": 1,
        "targets": targets,
        "stages": stages.collect::<Vec<_>>(),
        "run": plan.count(|planned| !planned.is_fresh()),
        "causes": plan.count(PlannedStage::is_cause),
        "consequences": plan.count(PlannedStage::is_consequence),
        "seconds": took(|planned| !planned.is_fresh()),
        "least_seconds": took(PlannedStage::is_cause),
        "likely_seconds": took(|planned| planned.likely),
        "saved_seconds": took(PlannedStage::is_fresh),
    })
}

#[cfg(test)]
mod tests {
    use ibuild::graph::{GraphBuilder, StageName};

    use super::*;

    /// Stages with these verdicts, all likely but the last, which took 1 s, 2 s and so on.
    fn plan_of(verdicts: &[Verdict], known: usize) -> Plan {
        let mut graph = GraphBuilder::default();
        let planned = |(at, verdict): (usize, &Verdict)| PlannedStage {
            stage: graph.stage(StageName::new(at.to_string())).unwrap(),
            verdict: verdict.clone(),
            millis: (at < known).then_some((at as u64 + 1) * 1000),
            likely: *verdict != Verdict::Fresh && at + 1 < verdicts.len(),
            failed: false,
            comparisons: None,
        };
        Plan { stages: verdicts.iter().enumerate().map(planned).collect() }
    }

    #[test]
    fn a_plan_is_summed_up() {
        let dirty = || Verdict::Dirty(DirtyReason::NeverBuilt);
        let verdicts = [Verdict::Fresh, dirty(), Verdict::Pending(vec![]), Verdict::Pending(vec![])];
        assert_eq!(
            summary(&plan_of(&verdicts, 4)),
            [
                "1 cause, 2 consequences; by their last runs at least 2.0 s, likely 5.0 s, at most 9.0 s",
                "1 fresh stage saves 1.0 s",
            ]
        );
        assert_eq!(
            summary(&plan_of(&verdicts, 3))[0],
            "1 cause, 2 consequences; by their last runs at least 2.0 s, likely 5.0 s, at most 5.0 s, \
             and 1 never built"
        );
        assert_eq!(
            summary(&plan_of(&verdicts[1..], 0)),
            ["1 cause, 2 consequences; none of them was ever built, so their times are not known"]
        );
        let fresh = [Verdict::Fresh, Verdict::Fresh];
        assert_eq!(summary(&plan_of(&fresh, 2)), ["nothing to do: all 2 stages are fresh"]);
    }
}
