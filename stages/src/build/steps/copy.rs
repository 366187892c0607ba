//! `copy`: files of the project, in order; later rules win.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use ibuild_graph::{Description, Value};

use super::StepContext;
use crate::build::StageError;
use crate::build::changeroot::{Changeroot, MadeSnapshot, Work, read_only};
use crate::build::environment::environment_of;
use crate::build::inputs::Described;
use crate::recipe::{Account, CopyRule};
use crate::sandbox::{CopyItem, CopyStyle, Payload, RUN_DIR};

const IMPLEMENTATION: i64 = 1;

pub(super) fn describe(context: &StepContext<'_, '_>, rules: &[CopyRule]) -> Result<Description, StageError> {
    let mut description = Description::new("copy", IMPLEMENTATION);
    let (mut described, mut ignored) = (Vec::new(), Vec::new());
    for (number, rule) in rules.iter().enumerate() {
        let (files, left_out) = describe_files(context, rule)?;
        ignored.extend(left_out);
        // A number in front keeps the order in the key, and the name in messages.
        described.push((format!("{number} to {}", rule.to), describe_rule(rule, files)));
    }
    context.builder.report_ignored(&context.name.to_string(), &ignored);
    description.set("copy", Value::map(described));
    Ok(description)
}

/// What a rule copies, and the paths in the project of what it leaves out.
fn describe_files(
    context: &StepContext<'_, '_>,
    rule: &CopyRule,
) -> Result<(Value, Vec<String>), StageError> {
    let Described { value, ignored } = context.builder.inputs().describe(&rule.from)?;
    let ignored = ignored.iter().map(|file| rule.from.join(file).display().to_string());
    Ok((value, ignored.collect()))
}

fn describe_rule(rule: &CopyRule, files: Value) -> Value {
    let account = |account: &Option<Account>| Value::option(account.as_ref().map(|a| a.to_string().into()));
    let mode = |mode: Option<u32>| Value::option(mode.map(|mode| format!("{mode:04o}").into()));
    Value::map([
        ("to", rule.to.as_str().into()),
        ("owner", account(&rule.owner)),
        ("group", account(&rule.group)),
        ("mode", mode(rule.mode)),
        ("dirs", mode(rule.dirs)),
        ("files", files),
    ])
}

pub(super) fn run(context: &StepContext<'_, '_>, rules: &[CopyRule]) -> MadeSnapshot {
    let root = Changeroot::over(context.builder, context.parent())?;
    let mut binds = Vec::new();
    let mut items = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let source = context.builder.project_dir().join(&rule.from);
        let list = list(context, &root, number, &source)?;
        let source = fs::canonicalize(&source).map_err(StageError::io("read", &source))?;
        let target = PathBuf::from(format!("copy/{number}"));
        items.push(CopyItem {
            list: list.as_ref().map(|_| Path::new(RUN_DIR).join(format!("lists/{number}"))),
            ..item(rule, &source, &target)
        });
        binds.extend(list.map(|list| read_only(list, format!("lists/{number}"))));
        binds.push(read_only(source, target));
    }
    let work = Work {
        program: "the copy".to_owned(),
        payload: Payload::Copy(items),
        binds,
        from: None,
        archives: &[],
        env: environment_of(context.builder, context.name, context.step),
        timeout: context.step.timeout,
        limits: context.step.limits,
    };
    root.run(context.builder, &context.name.to_string(), work)?.capture(context.builder, context.step)
}

/// The file that lists what is to be copied of a directory: what the key covers and nothing else.
fn list(
    context: &StepContext<'_, '_>,
    root: &Changeroot,
    number: usize,
    source: &Path,
) -> Result<Option<PathBuf>, StageError> {
    if !source.is_dir() {
        return Ok(None);
    }
    let paths = context.builder.inputs().tree(source)?.scanned.paths();
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    root.side_file(&format!("list-{number}"), &bytes).map(Some)
}

/// A file goes into what ends with `/`, and takes the name of what does not.
fn item(rule: &CopyRule, source: &Path, target: &Path) -> CopyItem {
    let into_directory = source.is_file() && rule.to.ends_with('/');
    let name = rule.from.file_name().filter(|_| into_directory);
    let to = name.map_or_else(|| PathBuf::from(&rule.to), |name| Path::new(&rule.to).join(name));
    let style = CopyStyle::FromHost {
        owner: rule.owner.as_ref().map(Account::to_string),
        group: rule.group.as_ref().map(Account::to_string),
        mode: rule.mode,
        dirs: rule.dirs,
    };
    CopyItem { from: Path::new(RUN_DIR).join(target), to, style, list: None }
}
