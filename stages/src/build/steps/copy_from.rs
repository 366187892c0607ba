//! `copy-from`: files out of another root file system, as they are there.

use std::path::{Path, PathBuf};

use ibuild_graph::{Description, Value};

use super::StepContext;
use crate::build::StageError;
use crate::build::changeroot::{Changeroot, MadeSnapshot, Work};
use crate::build::environment::environment_of;
use crate::recipe::RootfsName;
use crate::sandbox::{CopyItem, CopyStyle, Payload, RUN_DIR};
use crate::snapshot::Snapshot;

const IMPLEMENTATION: i64 = 1;

/// Only what is copied counts, not the rest of the other root file system.
pub(super) fn describe(
    context: &StepContext<'_, '_>,
    rootfs: &RootfsName,
    paths: &[String],
) -> Result<Description, StageError> {
    let trees = context.builder.trees();
    let mut description = Description::new("copy-from", IMPLEMENTATION);
    let mut described = Vec::new();
    for path in paths {
        let found = trees.find(other(context).tree, path.as_bytes())?;
        let missing = || StageError::NothingToCopy { path: path.clone(), rootfs: rootfs.to_string() };
        let entry = found.ok_or_else(missing)?;
        described.push((path.as_str(), Value::Digest(*entry.tree_id().as_bytes())));
    }
    description.set("paths", Value::map(described));
    Ok(description)
}

fn other<'a>(context: &StepContext<'a, '_>) -> &'a Snapshot {
    context.inputs.get(1).copied().expect("the other root file system is the second input")
}

pub(super) fn run(context: &StepContext<'_, '_>, paths: &[String]) -> MadeSnapshot {
    let root = Changeroot::over(context.builder, context.parent())?;
    let item = |path: &String| CopyItem {
        from: Path::new(RUN_DIR).join("from").join(path.trim_start_matches('/')),
        to: PathBuf::from(path),
        style: CopyStyle::Preserve,
        list: None,
    };
    let work = Work {
        program: "the copy".to_owned(),
        payload: Payload::Copy(paths.iter().map(item).collect()),
        binds: Vec::new(),
        from: Some(other(context)),
        archives: &[],
        env: environment_of(context.builder, context.name, context.step),
        timeout: context.step.timeout,
        limits: context.step.limits,
    };
    root.run(context.builder, &context.name.to_string(), work)?.capture(context.builder, context.step)
}
