//! `copy`: files of the project, in order; later rules win.

use std::fs;
use std::path::{Path, PathBuf};

use ibuild_graph::{Description, Value};

use super::StepContext;
use crate::build::StageError;
use crate::build::changeroot::{Changeroot, MadeSnapshot, Work, environment, read_only};
use crate::recipe::{Account, CopyRule};
use crate::sandbox::{CopyItem, CopyStyle, Payload, RUN_DIR};

const IMPLEMENTATION: i64 = 1;

pub(super) fn describe(context: &StepContext<'_, '_>, rules: &[CopyRule]) -> Result<Description, StageError> {
    let mut description = Description::new("copy", IMPLEMENTATION);
    let mut described = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        // A number in front keeps the order in the key, and the name in messages.
        described.push((format!("{number} to {}", rule.to), describe_rule(context, rule)?));
    }
    description.set("copy", Value::map(described));
    Ok(description)
}

fn describe_rule(context: &StepContext<'_, '_>, rule: &CopyRule) -> Result<Value, StageError> {
    let account = |account: &Option<Account>| Value::option(account.as_ref().map(|a| a.to_string().into()));
    let mode = |mode: Option<u32>| Value::option(mode.map(|mode| format!("{mode:04o}").into()));
    let source = context.builder.project_dir().join(&rule.from);
    Ok(Value::map([
        ("to", rule.to.as_str().into()),
        ("owner", account(&rule.owner)),
        ("group", account(&rule.group)),
        ("mode", mode(rule.mode)),
        ("dirs", mode(rule.dirs)),
        ("files", context.builder.inputs().describe(&source)?),
    ]))
}

pub(super) fn run(context: &StepContext<'_, '_>, rules: &[CopyRule]) -> MadeSnapshot {
    let root = Changeroot::over(context.builder, context.parent())?;
    let mut binds = Vec::new();
    let mut items = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let source = context.builder.project_dir().join(&rule.from);
        let source = fs::canonicalize(&source).map_err(StageError::io("read", &source))?;
        let target = PathBuf::from(format!("copy/{number}"));
        items.push(item(rule, &source, &target));
        binds.push(read_only(source, target));
    }
    let work = Work {
        program: "the copy".to_owned(),
        payload: Payload::Copy(items),
        binds,
        from: None,
        archive: None,
        env: environment(context.builder.epoch(), &context.step.env),
        timeout: context.step.timeout,
        limits: context.step.limits,
    };
    root.run(context.builder, &context.name.to_string(), work)?.capture(context.builder, context.step)
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
    CopyItem { from: Path::new(RUN_DIR).join(target), to, style }
}
