//! `ibuild verify --against OTHER`: the digests of somebody else.

use std::path::Path;
use std::process::ExitCode;

use ibuild::graph::StageId;
use ibuild::stages::Project;
use ibuild::{Action, CheckFailed, Compared, Result, Workspace};
use serde_json::json;

use crate::cli::VerifyArgs;
use crate::terminal::print;
use crate::ui::{counted, emit};

/// Digits of a digest that tell it from others.
const SHORT: usize = 12;

pub fn run(workspace: &Workspace, args: &VerifyArgs, other: &Path) -> Result<ExitCode> {
    let project = workspace.project();
    let stages = workspace.compare_with(&args.all(), other)?;
    let first = stages.iter().find(|(_, compared)| matches!(compared, Compared::Differs { .. }));
    let first = first.map(|(stage, _)| project.graph.name(*stage).to_string());
    match args.json {
        true => events(&project, &stages, first.as_deref()),
        false => print(&text(&project, &stages))?,
    }
    match first {
        None => Ok(ExitCode::SUCCESS),
        Some(first) => Err(CheckFailed(format!("the first stage that differs is `{first}`")).into()),
    }
}

fn word(compared: &Compared) -> &'static str {
    match compared {
        Compared::Same => "same",
        Compared::Differs { .. } => "differs",
        Compared::Unknown => "unknown",
    }
}

fn text(project: &Project<'_>, stages: &[(StageId, Compared)]) -> String {
    let mut text = String::new();
    for (stage, compared) in stages {
        let detail = match compared {
            Compared::Differs { here, there, action } => {
                let why = match action {
                    Action::Same => "; both are made of the same",
                    Action::Other => "; there it was made of something else",
                    Action::Unknown => "",
                };
                format!("  b3:{:.SHORT$} here, b3:{:.SHORT$} there{why}", here, there)
            }
            _ => String::new(),
        };
        text += &format!("{:<7} {}{detail}\n", word(compared), project.graph.name(*stage));
    }
    let count = |wanted: &str| stages.iter().filter(|(_, compared)| word(compared) == wanted).count();
    let sum = [("same", "same"), ("differs", "differ"), ("unknown", "unknown there")];
    let sum = sum.map(|(wanted, said)| (count(wanted), said)).into_iter().filter(|(count, _)| *count > 0);
    let sum: Vec<_> = sum.map(|(count, said)| format!("{count} {said}")).collect();
    text + &format!("{}: {}\n", counted(stages.len(), "stage", "stages"), sum.join(", "))
}

fn events(project: &Project<'_>, stages: &[(StageId, Compared)], first: Option<&str>) {
    for (stage, compared) in stages {
        let (here, there) = match compared {
            Compared::Differs { here, there, .. } => (Some(here), Some(there)),
            _ => (None, None),
        };
        emit(json!({
            "event": "compared",
            "stage": project.graph.name(*stage).as_str(),
            "outcome": word(compared),
            "here": here,
            "there": there,
        }));
    }
    emit(json!({ "event": "compared-all", "stages": stages.len(), "first": first }));
}
