//! `copy-from`: files out of another root file system, as they are there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use ibuild_graph::Value;

use super::StepRequest;
use super::copy::copy_step;
use crate::StageError;
use crate::executor::resolved::ResolvedStep;
use crate::fields::PATHS;
use crate::recipe::RootfsName;
use crate::sandbox::{CopyItem, CopySource};
use crate::snapshot::Snapshot;

const IMPLEMENTATION: i64 = 2;

/// Only what is copied counts, not the rest of the other root file system. Links on the way to a path are followed there; a
/// path that is a link itself is copied as a link. Later paths are copied over earlier ones.
pub(super) fn resolve(
    request: &StepRequest<'_, '_>,
    rootfs: &RootfsName,
    paths: &[String],
) -> Result<ResolvedStep, StageError> {
    let (trees, other) = (request.context.trees(), other(request));
    let (mut described, mut items) = (Vec::new(), Vec::new());
    for path in paths {
        let missing = || StageError::NothingToCopy { path: path.clone(), rootfs: rootfs.to_string() };
        let (place, entry) = trees.find_through_links(other.tree, path.as_bytes())?.ok_or_else(missing)?;
        let entry = entry.tree_id();
        described.push((path.as_str(), Value::Digest(*entry.as_bytes())));
        let source = CopySource::Root { path: PathBuf::from(OsString::from_vec(place)), entry };
        items.push(CopyItem { source, to: PathBuf::from(path) });
    }
    let resolved = copy_step(request, "copy-from", IMPLEMENTATION, items)?;
    let request = vec![("order", Value::texts(paths)), (PATHS, Value::map(described))];
    Ok(ResolvedStep { request, from: Some(other.clone()), ..resolved })
}

fn other<'a>(request: &StepRequest<'a, '_>) -> &'a Snapshot {
    request.inputs.get(1).copied().expect("the other root file system is the second input")
}
