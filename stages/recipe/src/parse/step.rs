//! One element of a `steps` array.

use std::path::{Path, PathBuf};

use super::fetch::fetch;
use super::ownership::{account, mode};
use super::patterns::patterns;
use super::scripts::scripts;
use super::settings::settings;
use super::{all, optional};
use crate::draft::{DraftKind, DraftStep, Links};
use crate::keys;
use crate::names::{ArchiveName, ArchiveNames, NameError, PackageName, RootfsName, StepName};
use crate::network::default_network;
use crate::report::Problem;
use crate::source::At;
use crate::step::{CopyRule, Recommends, StepKind, Variant};
use crate::suggest;
use crate::values::{Node, Table};

/// The keys that say what a step does. A step has exactly one of them.
const KINDS: [&str; 10] = [
    "bootstrap",
    "packages",
    "packages-from",
    "copy",
    "script",
    "scripts",
    "run",
    "copy-from",
    "fetch",
    "check",
];

/// The other keys, and the kinds of steps that they mean something to.
const SETTINGS: [(&str, &[&str]); 12] = [
    ("env", &["bootstrap", "packages", "packages-from", "script", "scripts", "run", "check"]),
    ("network", &["script", "scripts", "run", "check"]),
    ("machine", &["bootstrap", "packages", "packages-from", "script", "scripts", "run", "check"]),
    ("timeout", &["bootstrap", "packages", "packages-from", "script", "scripts", "run", "check"]),
    ("limits", &["bootstrap", "packages", "packages-from", "script", "scripts", "run", "check"]),
    ("inputs", &["script", "scripts", "run", "check"]),
    ("secrets", &["script", "scripts", "run", "check"]),
    (
        "volatile",
        &["bootstrap", "packages", "packages-from", "copy", "script", "scripts", "run", "copy-from", "fetch"],
    ),
    ("reproducible", &["bootstrap", "packages", "packages-from", "script", "scripts", "run"]),
    ("recommends", &["packages", "packages-from"]),
    ("skip", &["scripts"]),
    ("settings", &["scripts"]),
];

/// Reads a step; `None` if it is not even a table.
pub(super) fn step(node: Node<'_>) -> Option<DraftStep> {
    let table = node.table("a step", &keys::STEP)?;
    let kind_key = kind_key(&table);
    if let Some(kind_key) = kind_key {
        refuse_misplaced(&table, kind_key);
    }
    let mut settings = settings(&table);
    let profiles = table.get("profiles").and_then(Node::array).unwrap_or_default();
    let profiles = profiles.into_iter().filter_map(Node::parsed).collect();
    let kind = kind_key.and_then(|key| kind(&table, key));
    if let Some(DraftKind::Step { kind: StepKind::Run { command } | StepKind::Check { command }, .. }) = &kind
    {
        settings.network.get_or_insert_with(|| default_network(command));
    }
    Some(DraftStep { at: node.span(), name: name(&table, kind_key, kind.as_ref()), kind, settings, profiles })
}

/// The one kind that a step's table asks for.
fn kind_key(table: &Table<'_>) -> Option<&'static str> {
    let found: Vec<&'static str> = KINDS.into_iter().filter(|key| table.get(key).is_some()).collect();
    match found.as_slice() {
        [one] => return Some(one),
        // What was not understood was probably the kind, and has been reported.
        [] if table.has_keys_beyond(&keys::STEP) => {}
        [] => {
            let hint = format!("a step has one of {}", suggest::list(&KINDS));
            table.push(Problem::at(table.span(), "the step does nothing").hint(hint));
        }
        many => {
            let message = format!("the step does {} things: {}", many.len(), suggest::list(many));
            table.push(Problem::at(table.span(), message).hint("make it several steps"));
        }
    }
    None
}

fn refuse_misplaced(table: &Table<'_>, kind: &str) {
    for (key, _) in table.entries() {
        let setting = SETTINGS.iter().find(|(name, _)| *name == key.value);
        if let Some((name, kinds)) = setting.filter(|(_, kinds)| !kinds.contains(&kind)) {
            let message = format!("`{name}` means nothing to a `{kind}` step");
            table.push(Problem::at(key.at, message).hint(format!("it belongs to {}", suggest::list(kinds))));
        }
    }
}

/// The step's name. Scripts are named after their file unless told otherwise; a directory of scripts names no
/// stage itself, but may carry a name for its readers.
fn name(table: &Table<'_>, key: Option<&str>, kind: Option<&DraftKind>) -> Option<At<StepName>> {
    if let Some(node) = table.get("name") {
        return node.parsed().filter(|_| key != Some("scripts"));
    }
    match (key, kind) {
        (Some("scripts"), _) => None,
        (Some("script"), kind) => {
            let Some(DraftKind::Step { links: Links { script: Some(script), .. }, .. }) = kind else {
                return None;
            };
            match step_name_of(&script.value) {
                Ok(value) => Some(At { value, at: script.at.clone() }),
                Err(error) => {
                    let hint = format!("give it a `name`: {}", error.rule());
                    table.push(Problem::at(script.at.clone(), error.to_string()).hint(hint));
                    None
                }
            }
        }
        _ => {
            let problem = Problem::at(table.span(), "the step has no `name`");
            table.push(problem.hint("stages are named `rootfs/step`: write `name = \"...\"`"));
            None
        }
    }
}

/// The name of a step that runs the script at `path`.
pub fn step_name_of(path: &Path) -> Result<StepName, NameError> {
    path.file_name().unwrap_or_default().to_string_lossy().parse()
}

fn kind(table: &Table<'_>, key: &str) -> Option<DraftKind> {
    let node = table.get(key)?;
    let plain = |kind| DraftKind::Step { kind, links: Links::default() };
    match key {
        "bootstrap" => bootstrap(node),
        "packages" => packages(table, node).map(plain),
        "packages-from" => packages_from(table, node),
        "copy" => copy(node),
        "script" => script(node),
        "scripts" => scripts(table, node).map(DraftKind::Scripts),
        "copy-from" => copy_from(node),
        "fetch" => fetch(node),
        "run" => command(node).map(|command| plain(StepKind::Run { command })),
        _ => command(node).map(|command| plain(StepKind::Check { command })),
    }
}

const ARCHIVE: &str = "write `archive = \"debian\"`, the name of an `[archive.NAME]`";

fn bootstrap(node: Node<'_>) -> Option<DraftKind> {
    let table = node.table("`bootstrap`", &keys::BOOTSTRAP)?;
    let archive = table.require("`bootstrap`", "archive", ARCHIVE);
    let archives = archive.and_then(archive_names);
    let variant = optional(&table, "variant", |node| node.word("variant", &[("minbase", Variant::Minbase)]));
    let include = optional(&table, "include", |node| all(node.array()?, package));
    let archives = archives?;
    let kind = StepKind::Bootstrap {
        archive: ArchiveNames::new(archives.iter().map(|name| name.value.clone()).collect())?,
        variant: variant?.unwrap_or(Variant::Minbase),
        include: include?.unwrap_or_default(),
    };
    Some(DraftKind::Step { kind, links: Links { archives, ..Links::default() } })
}

/// One name, or several of which each counts once.
fn archive_names(node: Node<'_>) -> Option<Vec<At<ArchiveName>>> {
    if node.raw().as_array().is_none() {
        return Some(vec![node.parsed()?]);
    }
    let names: Vec<At<ArchiveName>> = all(node.filled_array("archives", ARCHIVE)?, Node::parsed)?;
    for (number, name) in names.iter().enumerate() {
        if names[..number].iter().any(|earlier| earlier.value == name.value) {
            node.push(Problem::at(name.at.clone(), format!("archive `{}` is listed twice", name.value)));
        }
    }
    Some(names)
}

fn packages(table: &Table<'_>, node: Node<'_>) -> Option<StepKind> {
    let names = node.filled_array("packages", "write `packages = [\"sudo\"]`");
    let names = names.and_then(|nodes| all(nodes, package));
    let recommends = recommends(table)?;
    Some(StepKind::Packages { names: names?, recommends })
}

/// The names are read with all other files.
fn packages_from(table: &Table<'_>, node: Node<'_>) -> Option<DraftKind> {
    let list = node.inner_path();
    let recommends = recommends(table)?;
    Some(DraftKind::PackagesFrom { list: list?, recommends })
}

fn recommends(table: &Table<'_>) -> Option<Recommends> {
    Some(match optional(table, "recommends", Node::boolean)? {
        Some(false) => Recommends::Skip,
        Some(true) | None => Recommends::Install,
    })
}

fn package(node: Node<'_>) -> Option<PackageName> {
    node.parsed().map(|name| name.value)
}

fn copy(node: Node<'_>) -> Option<DraftKind> {
    const COPIES: &str = "write `copy = [{ from = \"files/shared\", to = \"/\" }]`";
    let (rules, copied) = all(node.filled_array("copies", COPIES)?, copy_rule)?.into_iter().unzip();
    Some(DraftKind::Step { kind: StepKind::Copy(rules), links: Links { copied, ..Links::default() } })
}

fn copy_rule(node: Node<'_>) -> Option<(CopyRule, At<PathBuf>)> {
    const EXAMPLE: &str = "write `{ from = \"files/shared\", to = \"/\" }`";
    let table = node.table("a copy", &keys::COPY)?;
    let from = table.require("a copy", "from", EXAMPLE).and_then(Node::inner_path);
    let to = table.require("a copy", "to", EXAMPLE).and_then(Node::machine_path);
    let owner = optional(&table, "owner", account);
    let group = optional(&table, "group", account);
    let file_mode = optional(&table, "mode", mode);
    let dirs = optional(&table, "dirs", mode);
    let exclude = optional(&table, "exclude", patterns);
    let from = from?;
    let rule = CopyRule {
        from: from.value.clone(),
        to: to?,
        owner: owner?,
        group: group?,
        mode: file_mode?,
        dirs: dirs?,
        exclude: exclude?.unwrap_or_default(),
    };
    Some((rule, from))
}

fn script(node: Node<'_>) -> Option<DraftKind> {
    let path = node.inner_path()?;
    let kind = StepKind::Script { path: path.value.clone() };
    Some(DraftKind::Step { kind, links: Links { script: Some(path), ..Links::default() } })
}

fn command(node: Node<'_>) -> Option<String> {
    let text = node.text()?.value;
    let problem = if text.trim().is_empty() {
        node.problem("the command is empty")
    } else if text.contains('\0') {
        node.problem("the command contains a NUL")
            .hint("no program can be given one: `printf '\\\\0'` writes one")
    } else {
        return Some(text);
    };
    node.push(problem);
    None
}

fn copy_from(node: Node<'_>) -> Option<DraftKind> {
    const EXAMPLE: &str = "write `{ rootfs = \"tools\", paths = [\"/opt/tool\"] }`";
    let table = node.table("`copy-from`", &keys::COPY_FROM)?;
    let rootfs = table.require("`copy-from`", "rootfs", EXAMPLE).and_then(Node::parsed::<RootfsName>);
    let paths = table.require("`copy-from`", "paths", EXAMPLE);
    let paths = paths.and_then(|node| all(node.filled_array("paths", EXAMPLE)?, Node::machine_path));
    let rootfs = rootfs?;
    let kind = StepKind::CopyFrom { rootfs: rootfs.value.clone(), paths: paths? };
    Some(DraftKind::Step { kind, links: Links { rootfs: Some(rootfs), ..Links::default() } })
}
