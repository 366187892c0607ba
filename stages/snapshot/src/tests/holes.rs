//! What has blocks and what is a hole, from a stage's directory to its layer and back; and who gives up on the way.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};

use super::super::allocated::parts;
use super::super::capture::capture_until;
use super::*;
use ibuild_cache::Cancel;

const MIB: u64 = 1 << 20;

/// Data, blocks that were never written, a hole, zeros, and a hole again.
fn mixed(dir: &Path) {
    let file = File::create(dir.join("mixed")).unwrap();
    file.set_len(10 * MIB).unwrap();
    file.write_all_at(b"data", 0).unwrap();
    fallocate(&file, FallocateFlags::empty(), MIB, MIB).unwrap();
    file.write_all_at(&vec![0; MIB as usize], 4 * MIB).unwrap();
}

fn found(file: &Path) -> Vec<Range<u64>> {
    let file = File::open(file).unwrap();
    parts(&file, file.metadata().unwrap().len()).unwrap()
}

#[test]
fn what_has_blocks_and_what_is_a_hole_comes_back() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    mixed(&upper);
    let snapshot = lab.stage(&upper, None);
    let expected = [0..4096, MIB..2 * MIB, 4 * MIB..5 * MIB];
    let hot = LayerStore::new(&lab.store).unpacked_path(&snapshot.layers[0]);
    assert_eq!(found(&hot.join("mixed")), expected);
    assert_eq!(found(&lab.cold(&snapshot).join("mixed")), expected);
    let flat = lab.upper("flat");
    unpack(&lab.flat(&snapshot)[..], &flat, Dialect::Layer).unwrap();
    assert_eq!(found(&flat.join("mixed")), expected);
    lab.assert_same(lab.capture(&flat, None).tree, snapshot.tree);
}

/// It does not show whether somebody looked at the file, or whether its bytes are on the disk yet.
#[test]
fn blocks_are_the_same_whenever_they_are_looked_at() {
    let lab = Lab::new();
    let (plain, read, flushed) = (lab.upper("plain"), lab.upper("read"), lab.upper("flushed"));
    [&plain, &read, &flushed].into_iter().for_each(|dir| mixed(dir));
    fs::read(read.join("mixed")).unwrap();
    File::open(flushed.join("mixed")).unwrap().sync_all().unwrap();
    let time = fs::metadata(plain.join("mixed")).unwrap().modified().unwrap();
    for dir in [&read, &flushed] {
        File::options().write(true).open(dir.join("mixed")).unwrap().set_modified(time).unwrap();
    }
    let trees = [&plain, &read, &flushed].map(|dir| lab.capture(dir, None).tree);
    lab.assert_same(trees[0], trees[1]);
    lab.assert_same(trees[0], trees[2]);
}

#[test]
fn zeros_are_another_tree_and_another_layer_than_a_hole() {
    let lab = Lab::new();
    let made = ["written", "allocated", "hole"].map(|how| {
        let dir = lab.upper(how);
        let file = File::create(dir.join("file")).unwrap();
        match how {
            "written" => file.write_all_at(&vec![0; MIB as usize], 0).unwrap(),
            "allocated" => fallocate(&file, FallocateFlags::empty(), 0, MIB).unwrap(),
            _ => file.set_len(MIB).unwrap(),
        }
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
        file.set_modified(time).unwrap();
        lab.stage(&dir, None)
    });
    assert_eq!(made[0], made[1]);
    assert!(made[0].tree != made[2].tree && made[0].layers != made[2].layers);
}

/// Each of these would take hours if holes were read.
#[test]
fn holes_take_no_time() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    let file = File::create(upper.join("huge")).unwrap();
    file.set_len(15 << 40).unwrap();
    file.write_all_at(b"island", 7 << 40).unwrap();
    let snapshot = lab.stage(&upper, None);
    assert_eq!(found(&lab.cold(&snapshot).join("huge")), [7 << 40..(7 << 40) + 4096]);
    assert!(lab.flat(&snapshot).len() < 20_000);
}

#[test]
fn who_gives_up_during_a_capture_gets_nothing() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    fs::write(upper.join("file"), vec![7; 3 * MIB as usize]).unwrap();
    let trees = TreeStore::new(&lab.store);
    let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
    let cancel = Cancel::default();
    cancel.cancel();
    let no_bytes = lab.upper("no bytes");
    fs::create_dir(no_bytes.join("directory")).unwrap();
    for dir in [&upper, &no_bytes] {
        let gave_up = capture_until(&cancel, &context, dir, None);
        assert!(matches!(gave_up, Err(SnapshotError::Interrupted)), "{}", dir.display());
    }
    let captured = lab.capture(&upper, None);
    let layers = LayerStore::new(&lab.store).until(&cancel);
    let mut batch = Batch::default();
    let gave_up = layers.publish(&upper, &captured.changes, &mut batch);
    assert!(matches!(gave_up, Err(SnapshotError::Interrupted)));
    assert_eq!(fs::read_dir(lab.store.layout().layers()).unwrap().count(), 0);
}

#[test]
fn who_gives_up_while_a_layer_is_packed_or_unpacked_can_do_it_again() {
    let lab = Lab::new();
    let upper = lab.upper("u");
    fs::write(upper.join("file"), vec![7; 3 * MIB as usize]).unwrap();
    let captured = lab.capture(&upper, None);
    let (layers, cancel) = (LayerStore::new(&lab.store), Cancel::default());
    let id = layers.adopt(&upper, &captured.changes).unwrap();
    cancel.cancel();
    let mut batch = Batch::default();
    let given_up = LayerStore::new(&lab.store).until(&cancel);
    assert!(matches!(given_up.pack(&id, &captured.changes, &mut batch), Err(SnapshotError::Interrupted)));
    layers.pack(&id, &captured.changes, &mut batch).unwrap();
    lab.store.index().commit(batch).unwrap();
    lab.store.discard(&layers.unpacked_path(&id)).unwrap();
    assert!(matches!(given_up.unpacked(&id), Err(SnapshotError::Interrupted)));
    assert!(layers.find(&id).unwrap().is_some(), "nothing is wrong with its tarball");
    assert!(fs::read(layers.unpacked(&id).unwrap().join("file")).unwrap() == vec![7; 3 * MIB as usize]);
}
