//! `copy`: files of the project, in order; later rules win.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ibuild_graph::Value;

use super::StepRequest;
use crate::StageError;
use crate::executor::resolved::{Changes, ResolvedStep};
use crate::fields::{COPY, COPY_FILES, copy_rule};
use crate::inputs::ResolvedInput;
use crate::recipe::{Account, CopyRule};
use crate::sandbox::{
    CopyItem, CopySource, Look, NetworkSpec, Payload, ProjectContent, SandboxView, VisibleMachine,
};

const IMPLEMENTATION: i64 = 2;

pub(super) fn resolve(request: &StepRequest<'_, '_>, rules: &[CopyRule]) -> Result<ResolvedStep, StageError> {
    let (mut described, mut items, mut ignored) = (Vec::new(), Vec::new(), Vec::new());
    for (number, rule) in rules.iter().enumerate() {
        let resolved = request.context.inputs().resolve(&rule.from, &rule.exclude)?;
        let ResolvedInput { content, ignored: left_out } = resolved;
        ignored.extend(left_out.iter().map(|file| rule.from.join(file).display().to_string()));
        let to = target(rule, &content);
        described.push((copy_rule(number, &rule.to), describe_rule(rule, &to, content.value())));
        items.push(CopyItem { source: CopySource::Project { content, look: look(rule) }, to });
    }
    request.context.reports().ignored(&request.name.to_string(), &ignored);
    let resolved = copy_step(request, "copy", IMPLEMENTATION, items)?;
    Ok(ResolvedStep { request: vec![(COPY, Value::map(described))], ..resolved })
}

/// A step that copies. No program runs in it, so it needs no environment and reaches nothing.
pub(super) fn copy_step(
    request: &StepRequest<'_, '_>,
    kind: &'static str,
    implementation: i64,
    items: Vec<CopyItem>,
) -> Result<ResolvedStep, StageError> {
    let view = SandboxView {
        machine: VisibleMachine::canonical(),
        shown: Vec::new(),
        secrets: Vec::new(),
        inject: Vec::new(),
        epoch: request.context.epoch(),
        network: NetworkSpec::Isolated,
        env: BTreeMap::new(),
        payload: Payload::Copy(items),
    };
    Ok(ResolvedStep {
        kind,
        implementation,
        request: Vec::new(),
        program: "the copy".to_owned(),
        start: request.start(),
        view,
        archives: None,
        from: None,
        fetched: Vec::new(),
        output: request.output(Changes::Kept),
    })
}

/// The target is that of the copy, which may have the file's own name at its end.
fn describe_rule(rule: &CopyRule, to: &Path, files: Value) -> Value {
    Value::map([
        ("to", to.display().to_string().into()),
        ("owner", account_value(&rule.owner)),
        ("group", account_value(&rule.group)),
        ("mode", mode_value(rule.mode)),
        ("dirs", mode_value(rule.dirs)),
        (COPY_FILES, files),
    ])
}

pub(super) fn account_value(account: &Option<Account>) -> Value {
    Value::option(account.as_ref().map(|account| account.to_string().into()))
}

pub(super) fn mode_value(mode: Option<u32>) -> Value {
    Value::option(mode.map(|mode| format!("{mode:04o}").into()))
}

fn look(rule: &CopyRule) -> Look {
    Look {
        owner: rule.owner.as_ref().map(Account::to_string),
        group: rule.group.as_ref().map(Account::to_string),
        mode: rule.mode,
        dirs: rule.dirs,
    }
}

/// A file goes into what ends with `/`, and takes the name of what does not.
fn target(rule: &CopyRule, content: &ProjectContent) -> PathBuf {
    let into_directory = matches!(content, ProjectContent::File { .. }) && rule.to.ends_with('/');
    let name = rule.from.file_name().filter(|_| into_directory);
    name.map_or_else(|| PathBuf::from(&rule.to), |name| Path::new(&rule.to).join(name))
}
