//! `ibuild diff`: what differs between two root file systems.

use std::process::ExitCode;

use ibuild::stages::compare::unified;
use ibuild::stages::snapshot::diff::Difference;
use ibuild::stages::snapshot::{Entry, Kind};
use ibuild::{Comparison, PackageDifference, Result};
use serde_json::{Value, json};

use crate::cli::{DiffArgs, Global};
use crate::invocation;
use crate::terminal::{harmless, harmless_line, print, print_json};
use crate::ui::{bytes, counted};

pub fn run(global: &Global, args: &DiffArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &args.vars)?;
    let _shared = invocation::share_store(global, &workspace)?;
    let compared = workspace.compare(&args.old, &args.new)?;
    if args.json {
        print_json(as_json(&compared, args)?)?;
    } else {
        print(&as_text(&compared, args)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(compared: &Comparison<'_>, args: &DiffArgs) -> Result<String> {
    let mut text: String = compared.packages.iter().map(package).collect();
    for (path, difference) in &compared.files {
        text += &format!("{}\n", file(path, difference));
        if !args.stat
            && let Some(lines) = content(compared, path, difference)?
        {
            text += &harmless(&lines);
        }
    }
    let (files, packages) = (compared.files.len(), compared.packages.len());
    let sum = match (files, packages) {
        (0, _) => "no difference".to_owned(),
        (files, 0) => counted(files, "file differs", "files differ"),
        (files, packages) => {
            format!(
                "{}, {}",
                counted(files, "file differs", "files differ"),
                counted(packages, "package", "packages")
            )
        }
    };
    Ok(text + &sum + "\n")
}

fn package(package: &PackageDifference) -> String {
    let versions: Vec<_> = package.old.iter().chain(&package.new).map(String::as_str).collect();
    harmless_line(&format!("package {}  {}  {}", package.word(), package.name, versions.join(" -> "))) + "\n"
}

/// A line for a file: `+` if only the second side has it, `-` if only the first, `~` if it is another.
fn file(path: &[u8], difference: &Difference) -> String {
    let path = harmless_line(&format!("/{}", String::from_utf8_lossy(path)));
    match difference {
        Difference::Added(entry) => format!("+ {path}  {}", describe(entry)),
        Difference::Removed(entry) => format!("- {path}  {}", describe(entry)),
        Difference::Changed(old, new) => format!("~ {path}  {}", changes(old, new).join(", ")),
    }
}

fn describe(entry: &Entry) -> String {
    let meta = &entry.meta;
    let size = match &entry.kind {
        Kind::File { size, .. } => format!(" {}", bytes(*size)),
        Kind::Symlink(target) => format!(" -> {}", harmless_line(&String::from_utf8_lossy(target))),
        _ => String::new(),
    };
    format!("{} {:04o} {}:{}{size}", word(&entry.kind), meta.mode, meta.uid, meta.gid)
}

fn changes(old: &Entry, new: &Entry) -> Vec<String> {
    let mut said = Vec::new();
    match (&old.kind, &new.kind) {
        (Kind::File { content: a, size: from, .. }, Kind::File { content: b, size: to, .. }) => {
            if a != b && from == to {
                said.push(format!("content ({})", bytes(*to)));
            } else if a != b {
                said.push(format!("content ({} -> {})", bytes(*from), bytes(*to)));
            }
        }
        (Kind::Symlink(a), Kind::Symlink(b)) if a != b => {
            let shown = |target: &[u8]| harmless_line(&String::from_utf8_lossy(target));
            said.push(format!("target {} -> {}", shown(a), shown(b)));
        }
        (a, b) if word(a) != word(b) => said.push(format!("{} -> {}", word(a), word(b))),
        _ => {}
    }
    let (before, after) = (&old.meta, &new.meta);
    if before.mode != after.mode {
        said.push(format!("mode {:04o} -> {:04o}", before.mode, after.mode));
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        said.push(format!("owner {}:{} -> {}:{}", before.uid, before.gid, after.uid, after.gid));
    }
    if before.xattrs != after.xattrs {
        said.push("attributes".to_owned());
    }
    if said.is_empty() && before.mtime != after.mtime {
        said.push(format!("time {} -> {}", before.mtime, after.mtime));
    }
    if said.is_empty() {
        said.push("links".to_owned());
    }
    said
}

fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory(_) => "directory",
        Kind::File { .. } => "file",
        Kind::Symlink(_) => "link",
        Kind::Char(..) | Kind::Block(..) => "device",
        Kind::Fifo => "fifo",
    }
}

/// The differing lines of a text that both sides have.
fn content(compared: &Comparison<'_>, path: &[u8], difference: &Difference) -> Result<Option<String>> {
    let Difference::Changed(old, new) = difference else { return Ok(None) };
    match (&old.kind, &new.kind) {
        (Kind::File { content: a, .. }, Kind::File { content: b, .. }) if a != b => {
            Ok(unified(&compared.old_bytes(path)?, &compared.new_bytes(path)?))
        }
        _ => Ok(None),
    }
}

fn as_json(compared: &Comparison<'_>, args: &DiffArgs) -> Result<Value> {
    let packages = compared
        .packages
        .iter()
        .map(|it| json!({ "name": it.name, "change": it.word(), "old": it.old, "new": it.new }));
    let mut files = Vec::new();
    for (path, difference) in &compared.files {
        let (change, old, new) = match difference {
            Difference::Added(new) => ("added", None, Some(new)),
            Difference::Removed(old) => ("removed", Some(old), None),
            Difference::Changed(old, new) => ("changed", Some(old), Some(new)),
        };
        let lines = if args.stat { None } else { content(compared, path, difference)? };
        files.push(json!({
            "path": format!("/{}", String::from_utf8_lossy(path)),
            "change": change,
            "old": old.map(entry),
            "new": new.map(entry),
            "diff": lines,
        }));
    }
    Ok(json!({ "old": args.old, "new": args.new, "packages": packages.collect::<Vec<_>>(), "files": files }))
}

fn entry(entry: &Entry) -> Value {
    let (size, digest) = match &entry.kind {
        Kind::File { size, content, .. } => (Some(*size), Some(content.hex())),
        _ => (None, None),
    };
    let target = match &entry.kind {
        Kind::Symlink(target) => Some(String::from_utf8_lossy(target).into_owned()),
        _ => None,
    };
    json!({
        "type": word(&entry.kind),
        "mode": format!("{:04o}", entry.meta.mode),
        "uid": entry.meta.uid,
        "gid": entry.meta.gid,
        "mtime": entry.meta.mtime,
        "size": size,
        "blake3": digest,
        "target": target,
    })
}
