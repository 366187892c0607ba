//! `ibuild packages sources`: the source packages that a root file system is made of, their licences and where they are.

use std::collections::BTreeSet;
use std::process::ExitCode;

use ibuild::stages::packages::{SourcePackage, installed, licences, source_packages};
use ibuild::stages::{Inside, InsideError};
use ibuild::{Result, UsageError};
use serde_json::json;

use super::locked;
use crate::cli::{Global, SourcesArgs};
use crate::invocation;
use crate::terminal::{harmless, print, print_json};

const STATUS: &str = "/var/lib/dpkg/status";

pub fn run(global: &Global, args: &SourcesArgs) -> Result<ExitCode> {
    let workspace = invocation::open(global, &[])?;
    let snapshot = workspace.inspect(&args.name)?;
    let _shared = invocation::share_store(global, &workspace)?;
    let inside = Inside::of(&workspace.store, &snapshot);
    let no_packages = || UsageError::new(format!("`{}` has no packages: there is no `{STATUS}`", args.name));
    let packages = installed(&text(&inside, STATUS)?.ok_or_else(no_packages)?);
    let mut failed = None;
    let licences_of = |name: &str| match text(&inside, &format!("/usr/share/doc/{name}/copyright")) {
        Ok(copyright) => copyright.map(|copyright| licences(&copyright)).unwrap_or_default(),
        Err(error) => {
            failed = Some(error);
            BTreeSet::new()
        }
    };
    let sources = source_packages(&packages, &locked()?, licences_of);
    if let Some(error) = failed {
        return Err(error);
    }
    if args.json {
        print_json(json!({ "v": 1, "sources": sources.iter().map(described).collect::<Vec<_>>() }))?;
    } else {
        print(&sources.iter().map(line).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file, if it is there.
fn text(inside: &Inside<'_>, path: &str) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    match inside.read(path, &mut bytes) {
        Ok(()) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(InsideError::Missing(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A line with tabs, for programs as well as for people. What is not known is `-`.
fn line(source: &SourcePackage) -> String {
    let list = |names: &BTreeSet<String>| {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(", ") }
    };
    let columns = [
        source.source.name.clone(),
        source.source.version.clone(),
        list(&source.licences),
        source.url.clone().unwrap_or_else(|| "-".to_owned()),
        list(&source.packages),
    ];
    let columns: Vec<_> = columns.iter().map(|column| harmless(column)).collect();
    columns.join("\t") + "\n"
}

fn described(source: &SourcePackage) -> serde_json::Value {
    json!({
        "name": source.source.name,
        "version": source.source.version,
        "licences": source.licences,
        "url": source.url,
        "packages": source.packages,
    })
}
