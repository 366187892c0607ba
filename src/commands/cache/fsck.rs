//! `ibuild cache fsck`: checks that all facts are true, and takes back those that are not.

use std::process::ExitCode;

use ibuild::cache::{LockMode, Store};
use ibuild::stages::{Checked, Finding, fsck};
use ibuild::{CheckFailed, Result};
use serde_json::{Value, json};

use super::take_alone;
use crate::cli::JsonArgs;
use crate::terminal::{print, print_json};
use crate::ui::{bytes, counted};

pub fn run(store: &Store, args: &JsonArgs) -> Result<ExitCode> {
    let _alone = take_alone(store, LockMode::Try)?;
    let checked = fsck(store)?;
    if args.json {
        print_json(as_json(&checked))?;
    } else {
        print(&as_text(&checked))?;
    }
    match checked.findings.iter().filter(|finding| finding.is_damage()).count() {
        0 => Ok(ExitCode::SUCCESS),
        count => {
            Err(CheckFailed(format!("{} found and put right", counted(count, "fault was", "faults were")))
                .into())
        }
    }
}

fn as_text(checked: &Checked) -> String {
    let mut text: String = checked.findings.iter().map(|finding| line(finding) + "\n").collect();
    let results = counted(checked.results, "result", "results");
    let layers = counted(checked.layers, "layer", "layers");
    text += &format!("{results} and {layers} are whole; read {}\n", bytes(checked.bytes));
    text
}

fn line(finding: &Finding) -> String {
    match finding {
        Finding::BrokenIndex { aside, reason } => format!(
            "broken   index, now at `{}`: {reason}; the history of builds, pins and last runs are lost",
            aside.display()
        ),
        Finding::Recovered(count) => {
            format!("found    {} in files beside the index", counted(*count, "result", "results"))
        }
        Finding::Unrecorded(count) => {
            format!("found    {} of a build that was killed", counted(*count, "result", "results"))
        }
        Finding::StrayResult(name) => format!("damaged  `results/{}`, removed", name.escape_debug()),
        Finding::DamagedBlob(blob) => format!("damaged  blob {blob}, removed"),
        Finding::DamagedTree(tree) => format!("damaged  directory {tree}, forgotten"),
        Finding::MissingLayer(layer) => format!("missing  layer {layer}, forgotten"),
        Finding::IncompleteResult(key) => format!("missing  part of the result of {key}, forgotten"),
        Finding::DamagedResultFile(key) => format!("damaged  file of the result of {key}, removed"),
        Finding::RewrittenResultFile(key) => {
            format!("damaged  file of the result of {key}, written again from the index")
        }
        Finding::StrayDirectory(name) => format!("unknown  unpacked layer {name}, removed"),
        Finding::StrayBlob(blob) => format!("unknown  blob {blob}, left to `ibuild cache gc`"),
    }
}

fn as_json(checked: &Checked) -> Value {
    let finding = |finding: &Finding| {
        let (kind, name) = match finding {
            Finding::BrokenIndex { aside, .. } => ("broken-index", aside.display().to_string()),
            Finding::Recovered(count) => ("recovered", count.to_string()),
            Finding::Unrecorded(count) => ("unrecorded", count.to_string()),
            Finding::StrayResult(name) => ("unknown-result", name.clone()),
            Finding::DamagedBlob(blob) => ("damaged-blob", blob.hex()),
            Finding::DamagedTree(tree) => ("damaged-tree", tree.clone()),
            Finding::MissingLayer(layer) => ("missing-layer", layer.clone()),
            Finding::IncompleteResult(key) => ("incomplete-result", key.hex()),
            Finding::DamagedResultFile(key) => ("damaged-result-file", key.hex()),
            Finding::RewrittenResultFile(key) => ("rewritten-result-file", key.hex()),
            Finding::StrayDirectory(name) => ("unknown-directory", name.clone()),
            Finding::StrayBlob(blob) => ("unknown-blob", blob.hex()),
        };
        json!({ "kind": kind, "name": name, "damage": finding.is_damage() })
    };
    json!({
        "findings": checked.findings.iter().map(finding).collect::<Vec<_>>(),
        "results": checked.results,
        "layers": checked.layers,
        "bytes": checked.bytes,
    })
}
