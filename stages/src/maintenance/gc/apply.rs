//! Does what a plan says.

use std::fs;
use std::path::Path;

use ibuild_cache::{Batch, Store, Table, Usage};
use ibuild_graph::RunMemory;

use super::decision::{GcPlan, Thing};
use crate::StageError;
use crate::image::boot_loaders;
use crate::image::grains::GrainMemory;
use crate::packages_used::package_usage;

/// What came of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collected {
    /// The bytes of the store before.
    pub before: u64,
    /// The bytes of the store now.
    pub after: u64,
}

/// Removes what the plan says. The caller has the store alone, and made the plan since then.
///
/// What no fact points at goes first: on a disk that is full, the index needs the room to be written. Then all facts go at
/// once, then what they pointed at: a crash in between leaves files that nobody knows, which the next garbage collection
/// finds. A result's own file goes before its content, because it could bring the facts back.
pub fn apply(store: &Store, plan: &GcPlan) -> Result<Collected, StageError> {
    let (free, content): (Vec<_>, Vec<_>) = plan.removals.iter().partition(|removal| is_free(&removal.thing));
    for removal in free {
        remove_content(store, &removal.thing)?;
    }
    store.index().commit(facts(store, plan)?)?;
    for removal in &plan.removals {
        if let Thing::Result(key) = &removal.thing {
            store.results().remove(key)?;
        }
    }
    for removal in content {
        remove_content(store, &removal.thing)?;
    }
    store.index().compact()?;
    Ok(Collected { before: plan.before, after: Usage::of(store.layout().root())?.bytes })
}

/// Whether no fact says that it is there.
fn is_free(thing: &Thing) -> bool {
    use Thing::{Blob, Failed, Lock, Log, PreviousOutput, Unpacked};
    matches!(thing, Blob(_) | Unpacked(_) | Failed(_) | PreviousOutput(_) | Log(_) | Lock(_))
}

fn facts(store: &Store, plan: &GcPlan) -> Result<Batch, StageError> {
    let mut batch = Batch::default();
    let files = plan.removals.iter().filter_map(|removal| match removal.thing {
        Thing::Artifact(blob) => Some(blob),
        _ => None,
    });
    let files = files.collect();
    GrainMemory::new(store).forget(&files, &mut batch)?;
    boot_loaders::forget(store, &files, &mut batch)?;
    for removal in &plan.removals {
        match &removal.thing {
            Thing::Result(key) => {
                batch.delete(Table::Actions, key.as_bytes());
                package_usage::forget(&mut batch, key);
            }
            Thing::Layer(layer) => batch.delete(Table::Layers, layer.as_bytes()),
            Thing::Tree(tree) => batch.delete(Table::Trees, tree.as_bytes()),
            Thing::LastRun(last) => {
                RunMemory::new(store, &last.project).forget_last_run(&last.stage, &mut batch);
            }
            Thing::Memos => {
                let rows = store.index().scan(Table::Memo, &[])?;
                rows.iter().for_each(|(key, _)| batch.delete(Table::Memo, key));
            }
            _ => {}
        }
    }
    Ok(batch)
}

fn remove_content(store: &Store, thing: &Thing) -> Result<(), StageError> {
    match thing {
        Thing::Tarball(blob) | Thing::Artifact(blob) | Thing::Blob(blob) => store.blobs().remove(blob)?,
        Thing::Package(package) => store.packages().remove(package)?,
        Thing::Unpacked(name) => store.discard(&store.layout().layers().join(name))?,
        Thing::Failed(dir) => store.discard(dir)?,
        Thing::PreviousOutput(file) | Thing::Log(file) | Thing::Lock(file) => remove_file(file)?,
        Thing::Result(_) | Thing::Layer(_) | Thing::Tree(_) | Thing::LastRun(_) | Thing::Memos => {}
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<(), StageError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StageError::io("remove", path)(e)),
        _ => Ok(()),
    }
}
