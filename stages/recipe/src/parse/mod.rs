//! From text to a draft, without looking at the disk.

mod archive;
mod environment;
mod fetch;
mod image;
mod limits;
mod machine_test;
mod network_card;
mod ownership;
mod patterns;
mod profile;
mod rootfs;
mod scripts;
mod sections;
mod settings;
mod step;
mod step_machine;
mod uuid;
mod vm;

use std::collections::BTreeMap;

use sections::Sections;
use toml::Spanned;
use toml::de::DeTable;

use super::draft::Draft;
use super::keys;
use super::model::Project;
use super::names::VarName;
use super::report::{Problem, Report};
use super::source::{At, FileId, SourceMap, Span};
use super::values::{Context, Node, Table};
use super::vars::{Overrides, Vars};

pub(super) use step::step_name_of;

/// Reads all files of a recipe. What is wrong goes to `report`; the draft has gaps in its place.
pub(super) fn parse(sources: &SourceMap, overrides: &Overrides, report: &Report) -> Draft {
    let tables = syntax(sources, report);
    if !report.is_empty() {
        return Draft::default();
    }
    let no_vars = Vars::default();
    let plain = Context { sources, vars: &no_vars, report };
    if !sections::schema_is_known(&plain, &tables) {
        return Draft::default();
    }
    let sections = Sections::collect(&plain, &tables);
    let mut raw = raw_vars(&sections);
    for (name, value) in overrides.profile().into_iter().flat_map(|it| profile::raw_vars(&sections, it)) {
        raw.entry(name).and_modify(|replaced| *replaced = value);
    }
    let vars = Vars::resolve(&raw, overrides, report);
    let context = Context { sources, vars: &vars, report };
    let sections = sections.with(&context);
    let mut draft = Draft {
        project: sections.project().and_then(project),
        archives: sections.named("archive", archive::archive),
        rootfses: sections.named("rootfs", rootfs::rootfs),
        images: sections.named("image", image::image),
        tests: sections.named("test", machine_test::test),
        profiles: sections.named("profile", |name, node| profile::profile(name, node, &raw)),
        ..Draft::default()
    };
    draft.vars = vars.into_values();
    draft
}

/// The tables of the files, in their order; reports what is not TOML.
fn syntax<'a>(sources: &'a SourceMap, report: &Report) -> Vec<Spanned<DeTable<'a>>> {
    let parse = |id| {
        let (table, errors) = DeTable::parse_recoverable(&sources.file(id).text);
        // What comes after a bracket that is not closed is read as a part of it, and is no mistake of its own.
        let unclosed = errors.iter().position(|error| error.message().starts_with("unclosed"));
        let told = unclosed.map_or(&errors[..], |at| &errors[at..=at]);
        told.iter().for_each(|error| report.push(syntax_problem(sources, id, error)));
        table
    };
    sources.ids().map(parse).collect()
}

fn syntax_problem(sources: &SourceMap, file: FileId, error: &toml::de::Error) -> Problem {
    let range = error.span().unwrap_or(0..0);
    let message = match error.message() {
        // The parser leaves it to the snippet which one; in a list of messages that would be lost.
        "duplicate key" => format!("duplicate key `{}`", &sources.file(file).text[range.clone()]),
        other => other.replace('\n', ", "),
    };
    Problem::at(Span { file, range }, message)
}

fn raw_vars(sections: &Sections<'_>) -> BTreeMap<VarName, At<String>> {
    let text = |node: Node<'_>| profile::text(node).or_else(|| node.wrong_type("a string or an integer"));
    let value = |_: &VarName, node: Node<'_>| Some(At { value: text(node)?, at: node.span() });
    sections.named("vars", value).into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn project(node: Node<'_>) -> Option<Project> {
    let table = node.table("`[project]`", &keys::PROJECT)?;
    let name = table.require("`[project]`", "name", "write `name = \"demo\"`").and_then(Node::parsed);
    let epoch = table
        .require(
            "`[project]`",
            "epoch",
            "write `epoch = 1767225600`: the time of everything built, in seconds since 1970",
        )
        .and_then(epoch);
    Some(Project { name: name?.value, epoch: epoch? })
}

/// The first second of the year 10000, where four-digit years end.
const END_OF_TIME: i64 = 253_402_300_800;

fn epoch(node: Node<'_>) -> Option<i64> {
    let seconds = node.integer()?;
    if (0..END_OF_TIME).contains(&seconds) {
        return Some(seconds);
    }
    node.push(node.problem(format!("`{seconds}` is not a time")).hint("`epoch` counts seconds since 1970"));
    None
}

/// `Some(None)` if the key is absent, `None` if it is wrong.
fn optional<'a, T>(table: &Table<'a>, key: &str, read: impl Fn(Node<'a>) -> Option<T>) -> Option<Option<T>> {
    match table.get(key) {
        Some(node) => read(node).map(Some),
        None => Some(None),
    }
}

/// Reads every element, so that all wrong ones are reported.
fn all<'a, T>(nodes: Vec<Node<'a>>, read: impl Fn(Node<'a>) -> Option<T>) -> Option<Vec<T>> {
    let read: Vec<Option<T>> = nodes.into_iter().map(read).collect();
    read.into_iter().collect()
}
