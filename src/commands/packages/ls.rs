//! `ibuild packages ls`: the packages that the project's stages are made of.

use std::process::ExitCode;

use ibuild::Result;
use ibuild::cache::{Digest, Store};
use ibuild::stages::packages::Lock;
use serde_json::json;

use super::is_here;
use crate::cli::JsonArgs;
use crate::table::{Align, table};
use crate::terminal::{print, print_json};
use crate::ui::bytes;

pub fn run(store: &Store, lock: &Lock, args: &JsonArgs) -> Result<ExitCode> {
    let (mut rows, mut documents) = (Vec::new(), Vec::new());
    for (locked, stages) in lock.debs() {
        let (deb, here) = (&locked.deb, is_here(store, locked)?);
        let stages: Vec<_> = stages.iter().map(String::as_str).collect();
        documents.push(json!({
            "name": deb.name,
            "version": deb.version,
            "architecture": deb.architecture,
            "size": deb.size,
            "sha256": deb.sha256.to_hex(),
            "archive": locked.archive.to_string(),
            "base": deb.base.to_string(),
            "path": deb.path,
            "stages": stages,
            "stored": here,
        }));
        let presence = if here { "" } else { "not in the store" };
        let (name, version, architecture) = (&deb.name, &deb.version, &deb.architecture);
        let texts = [
            name.to_string(),
            version.to_string(),
            architecture.to_string(),
            bytes(deb.size),
            stages.join(","),
        ];
        let [name, version, architecture, size, stages] = texts;
        rows.push([name, version, architecture, size, stages, presence.to_owned()]);
    }
    if args.json {
        print_json(json!({ "packages": documents }))?;
    } else {
        let columns = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Left, Align::Left];
        print(&table(columns, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}
