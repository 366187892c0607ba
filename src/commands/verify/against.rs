//! `ibuild verify --against OTHER`: the digests of somebody else.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ibuild::graph::StageId;
use ibuild::stages::Project;
use ibuild::{Action, CheckFailed, Compared, Result, Workspace};
use serde_json::json;

use super::page::{self, Origin};
use super::{junit, write};
use crate::cli::VerifyArgs;
use crate::junit::{Case, Outcome, Suite};
use crate::markup::escape;
use crate::terminal::print;
use crate::ui::{counted, emit};

/// Digits of a digest that tell it from others.
const SHORT: usize = 12;

pub fn run(workspace: &Workspace, args: &VerifyArgs, other: &Path) -> Result<ExitCode> {
    let project = workspace.project();
    let stages = workspace.compare_with(&args.all(), other)?;
    let first = stages.iter().find(|(_, compared)| matches!(compared, Compared::Differs { .. }));
    let first = first.map(|(stage, _)| project.graph.name(*stage).to_string());
    if let Some(file) = &args.junit {
        write(file, &document(&project, &stages))?;
    }
    if let Some(file) = &args.report {
        write(file, &report(&project, &stages, &Origin::of(workspace)?))?;
    }
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

/// What differs, in a line.
fn detail(compared: &Compared) -> Option<String> {
    let Compared::Differs { here, there, action } = compared else { return None };
    let why = match action {
        Action::Same => "; both are made of the same",
        Action::Other => "; there it was made of something else",
        Action::Unknown => "",
    };
    Some(format!("b3:{here:.SHORT$} here, b3:{there:.SHORT$} there{why}"))
}

/// How many stages are the same, differ and are unknown.
fn sum(stages: &[(StageId, Compared)]) -> String {
    let count = |wanted: &str| stages.iter().filter(|(_, compared)| word(compared) == wanted).count();
    let sum = [("same", "same"), ("differs", "differ"), ("unknown", "unknown there")];
    let sum = sum.map(|(wanted, said)| (count(wanted), said)).into_iter().filter(|(count, _)| *count > 0);
    let sum: Vec<_> = sum.map(|(count, said)| format!("{count} {said}")).collect();
    format!("{}: {}", counted(stages.len(), "stage", "stages"), sum.join(", "))
}

fn text(project: &Project<'_>, stages: &[(StageId, Compared)]) -> String {
    let mut text = String::new();
    for (stage, compared) in stages {
        let detail = detail(compared).map_or_else(String::new, |detail| format!("  {detail}"));
        text += &format!("{:<7} {}{detail}\n", word(compared), project.graph.name(*stage));
    }
    text + &format!("{}\n", sum(stages))
}

/// As JUnit XML. A stage of which nothing is known there counts as skipped.
fn document(project: &Project<'_>, stages: &[(StageId, Compared)]) -> String {
    let case = |(stage, compared): &(StageId, Compared)| {
        let outcome = match compared {
            Compared::Same => Outcome::Passed,
            Compared::Unknown => Outcome::Skipped("nothing is known of it there".to_owned()),
            Compared::Differs { here, there, .. } => Outcome::Failed {
                message: detail(compared).unwrap_or_default(),
                account: format!("here:  b3:{here}\nthere: b3:{there}\n"),
            },
        };
        let (class, name) = junit::names(project, *stage);
        Case { class, name, elapsed: Duration::ZERO, outcome }
    };
    let name = format!("ibuild verify --against {}", project.recipe.project.name);
    Suite { name: &name, cases: stages.iter().map(case).collect() }.to_xml()
}

/// As one HTML page.
fn report(project: &Project<'_>, stages: &[(StageId, Compared)], origin: &Origin) -> String {
    let row = |(stage, compared): &(StageId, Compared)| {
        let (name, word) = (escape(project.graph.name(*stage).as_str()), word(compared));
        let detail = escape(&detail(compared).unwrap_or_default());
        format!("<tr><td><code>{name}</code></td><td class=\"{word}\">{word}</td><td>{detail}</td></tr>\n")
    };
    let rows: String = stages.iter().map(row).collect();
    let body = format!(
        "<p>Compared by digests with somebody else's results. {}. {}</p>\n\
         <table>\n<tr><th>stage</th><th>verdict</th><th>digests</th></tr>\n{rows}</table>\n",
        escape(&sum(stages)),
        origin.sentences()
    );
    page::page(project, &body)
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
