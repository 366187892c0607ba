//! The top-level tables of all files, put together.

use std::collections::BTreeMap;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys;
use crate::report::Problem;
use crate::source::{At, FileId, Span};
use crate::values::{Context, Explained, Node, Table};

/// The version of the recipe language that this code reads.
const SCHEMA: i64 = 1;

/// Where to point when something should be there and is not.
const START: Span = Span { file: FileId::FIRST, range: 0..0 };

/// The tables of all files as if they stood in one.
///
/// Tables that hold named things (`[rootfs.NAME]`) are joined; the same name in two files is a mistake.
pub(super) struct Sections<'a> {
    context: &'a Context<'a>,
    entries: Vec<Entry<'a>>,
}

/// `[project]`, or one entry of a table of named things.
#[derive(Clone)]
struct Entry<'a> {
    section: &'static str,
    file: FileId,
    key: At<&'a str>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Sections<'a> {
    /// Puts the files' tables together; reports unknown and repeated ones.
    pub(super) fn collect(context: &'a Context<'a>, tables: &'a [Spanned<DeTable<'a>>]) -> Self {
        let mut sections = Self { context, entries: Vec::new() };
        for (file, table) in context.sources.ids().zip(tables) {
            let top = Table::top(context, file, table.get_ref());
            top.refuse_unknown("a recipe", &keys::TOP);
            for section in ["vars", "profile", "archive", "rootfs", "image", "test"] {
                let named = top.get(section).and_then(Node::entries);
                let entries = named.iter().flat_map(Table::entries);
                entries.for_each(|(key, node)| sections.add(section, file, key, node.spanned()));
            }
            let project = top.entries().into_iter().find(|(key, _)| key.value == "project");
            project.into_iter().for_each(|(key, node)| sections.add("project", file, key, node.spanned()));
        }
        if !sections.entries.iter().any(|entry| entry.section == "project") {
            let problem = Problem::at(START, "there is no `[project]` table");
            context.report.push(problem.hint("write `[project]` with a `name` and an `epoch`"));
        }
        sections
    }

    fn add(
        &mut self,
        section: &'static str,
        file: FileId,
        key: At<&'a str>,
        value: &'a Spanned<DeValue<'a>>,
    ) {
        let twin = self.entries.iter().find(|entry| entry.section == section && entry.key.value == key.value);
        if let Some(twin) = twin {
            let name =
                if section == "project" { section.to_owned() } else { format!("{section}.{}", key.value) };
            let problem = Problem::at(key.at, format!("`{name}` is defined twice")).label("again here");
            return self.context.report.push(problem.also(twin.key.at.clone(), "first here"));
        }
        self.entries.push(Entry { section, file, key, value });
    }

    /// The same tables, read with other vars.
    pub(super) fn with<'b>(&self, context: &'b Context<'b>) -> Sections<'b>
    where
        'a: 'b,
    {
        Sections { context, entries: self.entries.clone() }
    }

    /// The `[project]` table.
    pub(super) fn project(&self) -> Option<Node<'a>> {
        let entry = self.entries.iter().find(|entry| entry.section == "project")?;
        Some(Node::new(self.context, entry.file, entry.value))
    }

    /// One thing of a section.
    pub(super) fn entry(&self, section: &str, name: &str) -> Option<Node<'a>> {
        let entry = self.entries.iter().find(|entry| entry.section == section && entry.key.value == name)?;
        Some(Node::new(self.context, entry.file, entry.value))
    }

    /// The things of one section by name; those that `read` could not read are gaps.
    pub(super) fn named<N, T>(&self, section: &str, read: impl Fn(&N, Node<'a>) -> T) -> BTreeMap<N, T>
    where
        N: FromStr<Err: Explained> + Ord,
    {
        let entries = self.entries.iter().filter(|entry| entry.section == section);
        let read = |entry: &Entry<'a>| match N::from_str(entry.key.value) {
            Ok(name) => {
                let value = read(&name, Node::new(self.context, entry.file, entry.value));
                Some((name, value))
            }
            Err(error) => {
                let problem = Problem::at(entry.key.at.clone(), error.to_string());
                self.context.report.push(problem.hint(error.advice()));
                None
            }
        };
        entries.filter_map(read).collect()
    }
}

/// Whether every file is written in the language that this code reads; others would only be misread.
pub(super) fn schema_is_known<'a>(context: &'a Context<'a>, tables: &'a [Spanned<DeTable<'a>>]) -> bool {
    let mut files = context.sources.ids().zip(tables);
    let known = |node: Node<'_>| match node.integer() {
        Some(SCHEMA) => true,
        Some(other) => {
            let problem = node.problem(format!("schema {other} is not known to this ibuild"));
            node.push(problem.hint(format!("it reads schema {SCHEMA}; a newer recipe needs a newer ibuild")));
            false
        }
        None => true,
    };
    files.all(|(file, table)| {
        let top = Table::top(context, file, table.get_ref());
        match top.get("schema") {
            Some(node) => known(node),
            // An included file is part of a recipe that has said it.
            None if file != FileId::FIRST => true,
            None => {
                top.push(
                    Problem::at(top.span(), "the recipe does not start with `schema`")
                        .hint("write `schema = 1` as its first line"),
                );
                true
            }
        }
    })
}
