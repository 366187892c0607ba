//! `ibuild graph`: the stages as a drawing, with what a build would do to each.

mod dot;
mod html;
mod json;
mod mermaid;
mod svg;

use std::process::ExitCode;

use ibuild::graph::{Plan, StageId};
use ibuild::stages::{Job, Project};
use ibuild::{Result, listed_stages};

use super::plan;
use crate::cli::{Global, GraphArgs, GraphFormat};
use crate::invocation;
use crate::terminal::{note, print, print_json};

pub fn run(global: &Global, args: &GraphArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let project = Project::new(&workspace.recipe);
    let plan = match workspace.plan_stages(&listed_stages(&project)) {
        Ok(plan) => Some(plan),
        Err(error) => {
            note(global, &format!("drawn without what a build would do: {error:#}"));
            None
        }
    };
    let drawing = Drawing::of(&project, plan.as_ref());
    match args.format {
        GraphFormat::Dot => print(&dot::draw(&drawing))?,
        GraphFormat::Mermaid => print(&mermaid::draw(&drawing))?,
        GraphFormat::Svg => print(&svg::draw(&drawing))?,
        GraphFormat::Html => print(&html::draw(&drawing))?,
        GraphFormat::Json => print_json(json::draw(&drawing))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What would happen to a stage, as far as a drawing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Fresh,
    Dirty,
    Pending,
}

impl State {
    /// The states that mean something, for legends.
    const KNOWN: [State; 3] = [State::Fresh, State::Dirty, State::Pending];

    fn of(plan: Option<&Plan>, stage: StageId) -> Self {
        let planned = plan.and_then(|plan| plan.stages.iter().find(|planned| planned.stage == stage));
        planned.map_or(Self::Unknown, |planned| match plan::word(&planned.verdict) {
            "fresh" => Self::Fresh,
            "dirty" => Self::Dirty,
            _ => Self::Pending,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Fresh => "fresh",
            Self::Dirty => "dirty",
            Self::Pending => "pending",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Unknown => "not known",
            Self::Fresh => "its result is in the store",
            Self::Dirty => "would run",
            Self::Pending => "would run unless what it waits for makes the same as last time",
        }
    }

    /// Colour alone says nothing to some people, so drawings have the mark too.
    fn mark(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Fresh => "✓",
            Self::Dirty => "●",
            Self::Pending => "?",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Unknown => "#eeeeee",
            Self::Fresh => "#d5efd5",
            Self::Dirty => "#f9cfc4",
            Self::Pending => "#fbeeb8",
        }
    }
}

/// What differed when a stage ran several times.
fn differed(plan: Option<&Plan>, stage: StageId) -> Option<Vec<String>> {
    let planned = plan?.stages.iter().find(|planned| planned.stage == stage)?;
    planned.differed().map(<[String]>::to_vec)
}

/// The mark of a stage that made something else when it ran once more.
const DIFFERS: &str = "≠";

/// A stage in a drawing.
struct Shape {
    name: String,
    /// The kind of its step, or `image`.
    kind: &'static str,
    state: State,
    /// What differed when it ran several times; nothing, if it never did.
    differed: Option<Vec<String>>,
    /// The shapes it uses, by their places in the drawing.
    inputs: Vec<usize>,
    /// How many stages come before it on the longest way.
    depth: usize,
}

impl Shape {
    /// Its name, with the mark of its state if that is known, and with another one if it is not reproducible.
    fn label(&self) -> String {
        let marks = [self.state.mark(), if self.differed.is_some() { DIFFERS } else { "" }, &self.name];
        marks.into_iter().filter(|mark| !mark.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// A graph as it is drawn: shapes, each after those it uses.
struct Drawing {
    project: String,
    shapes: Vec<Shape>,
}

impl Drawing {
    fn of(project: &Project<'_>, plan: Option<&Plan>) -> Self {
        let stages = listed_stages(project);
        let mut shapes: Vec<Shape> = Vec::new();
        for stage in &stages {
            let inputs = project.graph.inputs(*stage);
            let inputs: Vec<_> = inputs.iter().filter_map(|i| stages.iter().position(|s| s == i)).collect();
            shapes.push(Shape {
                name: project.graph.name(*stage).to_string(),
                kind: match project.job(*stage) {
                    Job::Step { step, .. } => step.kind.key(),
                    Job::Image { .. } => "image",
                },
                state: State::of(plan, *stage),
                differed: differed(plan, *stage),
                depth: inputs.iter().map(|input| shapes[*input].depth + 1).max().unwrap_or(0),
                inputs,
            });
        }
        Self { project: project.recipe.project.name.to_string(), shapes }
    }

    /// Pairs of a stage and one that uses it.
    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let of = |(to, shape): (usize, &Shape)| {
            shape.inputs.iter().map(move |from| (*from, to)).collect::<Vec<_>>()
        };
        self.shapes.iter().enumerate().flat_map(of)
    }
}
