//! `ibuild stats`: how much of the builds came out of the store, and where time and space go.

use std::process::ExitCode;
use std::time::Duration;

use ibuild::graph::{Build, RememberedStage};
use ibuild::stages::StoreContents;
use ibuild::{Result, Workspace};
use serde_json::{Value, json};

use crate::cli::{Global, JsonArgs};
use crate::invocation;
use crate::table::{Align, table};
use crate::terminal::{print, print_json};
use crate::ui::{bytes, counted, seconds};

/// Stages of a list.
const SHOWN: usize = 10;

pub fn run(global: &Global, args: &JsonArgs) -> Result<ExitCode> {
    let stats = Stats::of(&invocation::open(global, &[])?)?;
    if args.json {
        print_json(stats.as_json())?;
    } else {
        print(&stats.as_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A stage with what it took.
struct Taken {
    stage: String,
    millis: u64,
    bytes: u64,
}

struct Stats {
    builds: usize,
    ran: usize,
    cached: usize,
    /// What the builds took, and what they would have taken if all their stages had run, in milliseconds.
    millis: u64,
    without_store: u64,
    stages: Vec<Taken>,
}

impl Stats {
    fn of(workspace: &Workspace) -> Result<Self> {
        let project = workspace.recipe.project.name.as_str();
        let (builds, contents) = (Build::all(&workspace.store)?, StoreContents::of(&workspace.store)?);
        let builds: Vec<_> =
            builds.iter().map(|(_, build)| build).filter(|build| build.project == project).collect();
        let all = || builds.iter().flat_map(|build| &build.stages);
        let mut stages = Vec::new();
        for stage in RememberedStage::all(&workspace.store)? {
            if stage.project == project {
                let bytes = contents.weight(&stage)?.map_or(0, |weight| weight.bytes);
                stages.push(Taken { stage: stage.stage.to_string(), millis: stage.last.millis, bytes });
            }
        }
        let ran = all().filter(|stage| stage.ran).count();
        Ok(Self {
            builds: builds.len(),
            ran,
            cached: all().count() - ran,
            millis: builds.iter().map(|build| build.millis).sum(),
            without_store: all().filter_map(|stage| contents.millis(&stage.key)).sum(),
            stages,
        })
    }

    /// The stages that took most of something, the first one most.
    fn most(&self, of: fn(&Taken) -> u64) -> Vec<&Taken> {
        let mut stages: Vec<_> = self.stages.iter().filter(|stage| of(stage) > 0).collect();
        stages.sort_by_key(|stage| std::cmp::Reverse(of(stage)));
        stages.truncate(SHOWN);
        stages
    }

    fn as_text(&self) -> String {
        let took = |millis| seconds(Duration::from_millis(millis));
        let share = self.cached * 100 / (self.ran + self.cached).max(1);
        let mut text = format!(
            "{}: {} stages ran, {} came out of the store ({share} %)\n\
             they took {}; with every stage they would have taken {} on one core\n",
            counted(self.builds, "build", "builds"),
            self.ran,
            self.cached,
            took(self.millis),
            took(self.without_store),
        );
        let list = |title: &str, rows: Vec<[String; 2]>| {
            format!("\n{title}\n{}", table([Align::Right, Align::Left], &rows))
        };
        let row = |value: String, stage: &Taken| [value, stage.stage.clone()];
        let slowest = self.most(|stage| stage.millis).into_iter().map(|it| row(took(it.millis), it));
        let largest = self.most(|stage| stage.bytes).into_iter().map(|it| row(bytes(it.bytes), it));
        text += &list("slowest stages", slowest.collect());
        text += &list("largest stages and images", largest.collect());
        text
    }

    fn as_json(&self) -> Value {
        let stages = self.stages.iter().map(|stage| {
            json!({ "stage": stage.stage, "seconds": stage.millis as f64 / 1000.0, "size": stage.bytes })
        });
        json!({
            "builds": self.builds,
            "run": self.ran,
            "cached": self.cached,
            "seconds": self.millis as f64 / 1000.0,
            "seconds_without_store": self.without_store as f64 / 1000.0,
            "stages": stages.collect::<Vec<_>>(),
        })
    }
}
