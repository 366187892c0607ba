//! `ibuild cache ls`: what stages of all projects have made.

use std::process::ExitCode;
use std::time::Duration;

use ibuild::Result;
use ibuild::cache::Store;
use ibuild::graph::{Pin, RememberedStage};
use ibuild::stages::debian::Timestamp;
use ibuild::stages::{Contents, Weight};
use serde_json::{Value, json};

use crate::cli::JsonArgs;
use crate::table::{Align, table};
use crate::terminal::{print, print_json, tell};
use crate::ui::{bytes, seconds};

pub fn run(store: &Store, args: &JsonArgs) -> Result<ExitCode> {
    let contents = Contents::of(store)?;
    let pins = Pin::all(store)?;
    let mut listed = Vec::new();
    for stage in RememberedStage::all(store)? {
        let weight = contents.weight(&stage)?;
        let pin = pins.iter().find(|pin| pin.project == stage.project && pin.stage == stage.stage).cloned();
        listed.push((stage, weight, pin));
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

type Listed = (RememberedStage, Option<Weight>, Option<Pin>);

fn as_table(listed: &[Listed]) -> String {
    use Align::{Left, Right};
    let head =
        ["PROJECT", "STAGE", "ACTION", "SIZE", "CHANGES", "LAST RUN", "TOOK", "PINNED"].map(str::to_owned);
    let rows = listed.iter().map(|(stage, weight, pin)| {
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
            pin.as_ref().map_or_else(String::new, |pin| pin.key.short()),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    table([Left, Left, Left, Right, Right, Left, Right, Left], &rows)
}

fn as_json((stage, weight, pin): &Listed) -> Value {
    json!({
        "project": stage.project,
        "stage": stage.stage.as_str(),
        "key": stage.last.key.hex(),
        "size": weight.map(|weight| weight.bytes),
        "changes": weight.map(|weight| weight.changes),
        "time": Timestamp(stage.last.time).to_string(),
        "seconds": stage.last.millis as f64 / 1000.0,
        "pinned": pin.as_ref().map(|pin| pin.key.hex()),
    })
}
