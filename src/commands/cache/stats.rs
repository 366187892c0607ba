//! `ibuild cache stats`: what is in the store, and what it takes of the disk.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use ibuild::cache::{BlobId, Store, Usage};
use ibuild::graph::RememberedStage;
use ibuild::stages::StageError;
use ibuild::stages::snapshot::LayerStore;
use ibuild::{Context, Result};
use serde_json::{Value, json};

use crate::cli::JsonArgs;
use crate::table::{Align, table};
use crate::terminal::{print, print_json};
use crate::ui::bytes;

pub fn run(store: &Store, args: &JsonArgs) -> Result<ExitCode> {
    let rows = rows(store)?;
    if args.json {
        print_json(as_json(&rows))?;
    } else {
        print(&as_table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One kind of thing. Not everything is counted, and not everything takes space of its own.
struct Row {
    what: &'static str,
    count: Option<u64>,
    bytes: Option<u64>,
}

fn rows(store: &Store) -> Result<Vec<Row>> {
    let layout = store.layout();
    let (layers, artifacts) = blobs(store)?;
    let used = |path: &Path| Usage::of(path);
    let stages = RememberedStage::all(store)?.len() as u64;
    let packages = used(store.packages().dir())?;
    let (logs, failed) = (used(&layout.logs())?, used(&layout.failed())?);
    let row = |what, count, bytes| Row { what, count, bytes };
    Ok(vec![
        row("stages", Some(stages), None),
        row("layers", Some(layers.files), Some(layers.bytes)),
        row("artifacts", Some(artifacts.files), Some(artifacts.bytes)),
        row("spare files", None, Some(used(&layout.spares())?.bytes)),
        row("unpacked layers", Some(directories_in(&layout.layers())?), Some(used(&layout.layers())?.bytes)),
        row("packages", Some(packages.files), Some(packages.bytes)),
        row("logs", Some(logs.files), Some(logs.bytes)),
        row("failed stages", None, Some(failed.bytes)),
        row("index", None, Some(used(&layout.index())?.bytes)),
        row("total", None, Some(used(layout.root())?.bytes)),
    ])
}

/// What tarballs of layers take, and what all other blobs take.
fn blobs(store: &Store) -> Result<(Usage, Usage)> {
    let known = LayerStore::new(store).all().map_err(StageError::from)?;
    let tarballs: BTreeSet<BlobId> = known.iter().map(|layer| layer.blob).collect();
    let (mut layers, mut artifacts) = (Usage::default(), Usage::default());
    for blob in store.blobs().list()? {
        let sum = if tarballs.contains(&blob.digest) { &mut layers } else { &mut artifacts };
        *sum += Usage::of(&store.blobs().path(&blob.digest))?;
    }
    Ok((layers, artifacts))
}

fn directories_in(dir: &Path) -> Result<u64> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.count() as u64),
        // A store that cannot be written has no place for the layers of this start.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e).with_context(|| format!("cannot read `{}`", dir.display())),
    }
}

fn as_table(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let count = row.count.map_or_else(String::new, |count| count.to_string());
        [row.what.to_owned(), count, row.bytes.map_or_else(String::new, bytes)]
    });
    table([Align::Left, Align::Right, Align::Right], &cells.collect::<Vec<_>>())
}

fn as_json(rows: &[Row]) -> Value {
    let pair = |row: &Row| (row.what.replace(' ', "_"), json!({ "count": row.count, "bytes": row.bytes }));
    Value::Object(rows.iter().map(pair).collect())
}
