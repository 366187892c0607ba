//! `ibuild cache verify`: reads everything again. What is damaged is removed, and made or fetched again when needed.

use std::process::ExitCode;

use ibuild::cache::{Digest, Scrubbed, Store};
use ibuild::{CheckFailed, Result};
use serde_json::{Value, json};

use crate::cli::JsonArgs;
use crate::terminal::{print, print_json};
use crate::ui::bytes;

pub fn run(store: &Store, args: &JsonArgs) -> Result<ExitCode> {
    let (blobs, packages) = std::thread::scope(|scope| {
        let packages = scope.spawn(|| store.packages().scrub());
        (store.blobs().scrub(), packages.join().expect("reading does not panic"))
    });
    let (blobs, packages) = (blobs?, packages?);
    if args.json {
        print_json(json!({ "blobs": as_json(&blobs), "packages": as_json(&packages) }))?;
    } else {
        print(&(as_text("blobs", &blobs) + &as_text("packages", &packages)))?;
    }
    match blobs.damaged.len() + packages.damaged.len() {
        0 => Ok(ExitCode::SUCCESS),
        1 => Err(CheckFailed("a damaged file was found and removed".to_owned()).into()),
        count => Err(CheckFailed(format!("{count} damaged files were found and removed")).into()),
    }
}

pub fn as_text<D: Digest>(what: &str, scrubbed: &Scrubbed<D>) -> String {
    let damaged = scrubbed
        .damaged
        .iter()
        .map(|stored| format!("damaged  {what}  {}  {}, removed\n", stored.digest, bytes(stored.size)));
    let damaged: String = damaged.collect();
    let (count, size) = (scrubbed.count, bytes(scrubbed.bytes));
    format!("{damaged}{what}: {count} read, {size}, {} damaged\n", scrubbed.damaged.len())
}

pub fn as_json<D: Digest>(scrubbed: &Scrubbed<D>) -> Value {
    let damaged = scrubbed.damaged.iter();
    let damaged = damaged.map(|stored| json!({ "digest": stored.digest.to_hex(), "size": stored.size }));
    json!({
        "count": scrubbed.count,
        "size": scrubbed.bytes,
        "damaged": damaged.collect::<Vec<_>>(),
    })
}
