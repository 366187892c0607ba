//! `ibuild cache ls`: what stages of all projects have made.

use std::process::ExitCode;
use std::time::Duration;

use ibuild::Result;
use ibuild::cache::Store;
use ibuild::graph::{Comparisons, Pin, RememberedStage, StageName};
use ibuild::stages::debian::Timestamp;
use ibuild::stages::{StoreContents, Weight};
use serde_json::{Value, json};

use crate::cli::JsonArgs;
use crate::table::{Align, table};
use crate::terminal::{print, print_json, tell};
use crate::ui::{bytes, seconds};

pub fn run(store: &Store, args: &JsonArgs) -> Result<ExitCode> {
    let contents = StoreContents::of(store)?;
    let pins = Pin::all(store)?;
    let mut listed = Vec::new();
    let compared = Comparisons::all(store)?;
    for stage in RememberedStage::all(store)? {
        let weight = contents.weight(&stage)?;
        let pin = pins.iter().find(|pin| pin.project == stage.project && pin.stage == stage.stage).cloned();
        let is_of = |(project, name, known): &&(String, StageName, Comparisons)| {
            (project, name, known.key) == (&stage.project, &stage.stage, stage.last.key)
        };
        let compared = compared.iter().find(is_of).map(|(_, _, known)| known.clone());
        listed.push(Listed { stage, weight, pin, compared });
    }
    if args.json {
        print_json(json!({ "stages": listed.iter().map(as_json).collect::<Vec<_>>() }))?;
    } else if listed.is_empty() {
        tell!("no stage has been built into this store yet");
    } else {
        print(&as_table(&listed))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A stage, and what is known of what it made.
struct Listed {
    stage: RememberedStage,
    weight: Option<Weight>,
    pin: Option<Pin>,
    compared: Option<Comparisons>,
}

impl Listed {
    /// Whether it made the same each time that its runs were compared.
    fn reproducible(&self) -> &'static str {
        match &self.compared {
            None => "",
            Some(known) if known.are_equal() => "yes",
            Some(_) => "no",
        }
    }
}

fn as_table(listed: &[Listed]) -> String {
    use Align::{Left, Right};
    let head = ["PROJECT", "STAGE", "ACTION", "SIZE", "CHANGES", "LAST RUN", "TOOK", "SAME", "PINNED"]
        .map(str::to_owned);
    let rows = listed.iter().map(|listed| {
        let Listed { stage, weight, pin, .. } = listed;
        let (size, changes) = match weight {
            Some(weight) => (bytes(weight.bytes), weight.changes.to_string()),
            None => ("gone".to_owned(), String::new()),
        };
        [
            stage.project.clone(),
            stage.stage.to_string(),
            stage.last.key.short(),
            size,
            changes,
            Timestamp(stage.last.time).to_string(),
            seconds(Duration::from_millis(stage.last.millis)),
            listed.reproducible().to_owned(),
            pin.as_ref().map_or_else(String::new, |pin| pin.key.short()),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    table([Left, Left, Left, Right, Right, Left, Right, Left, Left], &rows)
}

fn as_json(listed: &Listed) -> Value {
    let Listed { stage, weight, pin, compared } = listed;
    json!({
        "project": stage.project,
        "stage": stage.stage.as_str(),
        "key": stage.last.key.hex(),
        "size": weight.map(|weight| weight.bytes),
        "changes": weight.map(|weight| weight.changes),
        "time": Timestamp(stage.last.time).to_string(),
        "seconds": stage.last.millis as f64 / 1000.0,
        "compared": compared.as_ref().map(|known| known.runs),
        "differed": compared.as_ref().map(|known| known.differed),
        "pinned": pin.as_ref().map(|pin| pin.key.hex()),
    })
}
