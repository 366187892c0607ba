//! Stores that are made by hand, damaged, and checked.

use std::path::Path;

use ibuild_cache::MemoryIndex;
use ibuild_graph::{Description, DirtyReason, FinishedRun, RunMemory, StageName};

use super::*;
use crate::packages_used::package_usage::PackageUsage;
use crate::snapshot::{Entry, Kind, Listing, Metadata};

fn open(dir: &Path) -> Store {
    Store::open(dir, |_| MemoryIndex::default()).unwrap()
}

/// A result with one layer, and a tree with one directory under its root.
fn build(store: &Store, stage: &str) -> (ActionKey, Layer, TreeId) {
    let stored = store.blobs().put(stage.as_bytes()).unwrap();
    let id = LayerId::from_bytes(*stored.digest.as_bytes());
    let layer = Layer { id, blob: stored.digest, raw_size: 1, blob_size: stored.size, changes: 1 };
    let trees = TreeStore::new(store);
    let inner = trees.add_listing(&Listing::default());
    let directory = |listing| Entry { meta: Metadata::default(), kind: Kind::Directory(listing) };
    let outer = Listing { entries: [(stage.as_bytes().to_vec(), directory(inner))].into() };
    let tree = trees.add_root(&directory(trees.add_listing(&outer)));
    let mut facts = Batch::default();
    facts.put(Table::Layers, id.as_bytes(), layer.to_bytes());
    trees.flush(&mut facts);
    fs::create_dir(LayerStore::new(store).unpacked_path(&id)).unwrap();
    let mut description = Description::new("run", 1);
    description.set("command", stage);
    PackageUsage::record(Some(PackageUsage::default()), &mut facts, &description.key());
    let output = StageOutput::Snapshot(Snapshot::of(tree, vec![id]));
    let memory = RunMemory::new(store, "lab");
    let stage = StageName::new(stage);
    memory
        .remember_run(
            &stage,
            FinishedRun {
                description: &description,
                facts,
                reason: DirtyReason::NeverBuilt.into(),
                millis: 1,
            },
            &output,
        )
        .unwrap();
    (description.key(), layer, inner)
}

fn findings(store: &Store) -> Vec<Finding> {
    fsck(store).unwrap().findings
}

#[test]
fn a_sound_store_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    assert_eq!(fsck(&store).unwrap(), Checked::default());
    build(&store, "x/1");
    build(&store, "x/2");
    let checked = fsck(&store).unwrap();
    assert_eq!((checked.results, checked.layers, checked.findings), (2, 2, vec![]));
}

#[test]
fn a_result_without_its_layer_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, layer, _) = build(&store, "x/1");
    build(&store, "x/2");
    let path = store.blobs().path(&layer.blob);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "X/1").unwrap();
    let name = Layout::layer_name(&layer.id);
    let expected = [
        Finding::DamagedBlob(layer.blob),
        Finding::MissingLayer(layer.id.hex()),
        Finding::IncompleteResult(key),
        Finding::StrayDirectory(name),
    ];
    assert_eq!(findings(&store), expected);
    assert_eq!(findings(&store), []);
    assert_eq!(RunMemory::new(&store, "lab").result(&key).unwrap(), None);
    assert_eq!(store.results().list().unwrap().len(), 1);
    assert!(!package_usage::actions(&store).unwrap().contains(&key));
}

#[test]
fn a_result_with_a_damaged_tree_is_a_miss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, _, inner) = build(&store, "x/1");
    let mut batch = Batch::default();
    batch.put(Table::Trees, inner.as_bytes(), b"something else".to_vec());
    store.index().commit(batch).unwrap();
    let expected = [Finding::DamagedTree(inner.hex()), Finding::IncompleteResult(key)];
    assert_eq!(findings(&store)[..2], expected);
    // What is left of it is garbage now.
    assert_eq!(findings(&store), []);
}

#[test]
fn a_lost_index_is_made_again_from_the_results() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (whole, ..) = build(&store, "x/1");
    let (lost, layer, _) = build(&store, "x/2");
    let (torn, ..) = build(&store, "x/3");
    store.blobs().remove(&layer.blob).unwrap();
    fs::write(store.results().path(&torn), "torn").unwrap();
    let before = RunMemory::new(&store, "lab").result(&whole).unwrap();
    drop(store);
    let store = open(dir.path());
    let found = findings(&store);
    assert_eq!(found[0], Finding::Recovered(2));
    assert!(found.contains(&Finding::DamagedResultFile(torn)), "{found:?}");
    assert!(found.contains(&Finding::IncompleteResult(lost)), "{found:?}");
    let memory = RunMemory::new(&store, "lab");
    assert_eq!(memory.result(&whole).unwrap(), before);
    assert!(before.is_some() && memory.result(&lost).unwrap().is_none());
    assert_eq!(package_usage::actions(&store).unwrap(), [whole].into());
    assert!(memory.result(&torn).unwrap().is_none());
}

#[test]
fn a_damaged_or_missing_file_of_a_whole_result_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (torn, ..) = build(&store, "x/1");
    let (gone, ..) = build(&store, "x/2");
    fs::write(store.results().path(&torn), "torn").unwrap();
    store.results().remove(&gone).unwrap();
    let mut found = findings(&store);
    found.sort_by_key(|finding| *finding == Finding::RewrittenResultFile(gone));
    assert_eq!(found, [Finding::RewrittenResultFile(torn), Finding::RewrittenResultFile(gone)]);
    assert_eq!(findings(&store), []);
    drop(store);
    let store = open(dir.path());
    assert_eq!(findings(&store), [Finding::Recovered(2)]);
    assert_eq!(package_usage::actions(&store).unwrap(), [torn, gone].into());
}

/// A build that is killed between the two leaves a result's file and no fact.
#[test]
fn a_result_that_only_its_file_knows_is_no_fault() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (unrecorded, ..) = build(&store, "x/1");
    build(&store, "x/2");
    let mut batch = Batch::default();
    batch.delete(Table::Actions, unrecorded.as_bytes());
    store.index().commit(batch).unwrap();
    let found = findings(&store);
    assert_eq!(found, [Finding::Unrecorded(1)]);
    assert!(!found[0].is_damage());
    assert!(RunMemory::new(&store, "lab").result(&unrecorded).unwrap().is_some());
}

/// A regression: one directory where a file was to be ended every check, and every build that made that result.
#[test]
fn what_is_no_result_among_results_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (key, ..) = build(&store, "x/1");
    let place = store.results().path(&key);
    let replace = |path: &Path| {
        fs::remove_dir_all(path).or_else(|_| fs::remove_file(path)).unwrap();
        fs::create_dir_all(path.join("below")).unwrap();
    };
    replace(&place);
    fs::write(place.parent().unwrap().parent().unwrap().join("zz"), "a file").unwrap();
    let found = findings(&store);
    assert_eq!(found.iter().filter(|found| matches!(found, Finding::StrayResult(_))).count(), 2, "{found:?}");
    assert!(found.contains(&Finding::RewrittenResultFile(key)), "{found:?}");
    assert_eq!(findings(&store), []);
    replace(&place);
    store.results().write(&key, &Batch::default()).unwrap();
    assert!(place.is_file());
}

/// A regression: what a link led to was removed.
#[test]
fn results_that_are_a_link_are_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"));
    let (key, ..) = build(&store, "x/1");
    let results = store.results().path(&key).ancestors().nth(2).unwrap().to_owned();
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("precious/below")).unwrap();
    fs::rename(&results, dir.path().join("aside")).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &results).unwrap();
    assert!(fsck(&store).is_err());
    assert!(elsewhere.join("precious/below").is_dir());
    fs::remove_file(&results).unwrap();
    fs::rename(dir.path().join("aside"), &results).unwrap();
    // Names that are no text, and digits that are cut elsewhere.
    use std::os::unix::ffi::OsStrExt;
    fs::write(results.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "").unwrap();
    fs::create_dir(results.join("26b2")).unwrap();
    fs::write(results.join("26b2").join("0".repeat(60)), "").unwrap();
    assert_eq!(findings(&store).len(), 2);
    assert_eq!(findings(&store), []);
}

#[test]
fn blobs_that_nothing_names_are_left_to_garbage_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let stray = store.blobs().put(b"stray").unwrap().digest;
    assert_eq!(findings(&store), [Finding::StrayBlob(stray)]);
    assert_eq!(store.blobs().list().unwrap().len(), 1);
}
