//! Trees as deep as they may be, and deeper, in threads as every program has them.

use rustix::fs::{OFlags, mkdirat, openat};

use super::*;
use crate::depth::{MOST_BYTES, MOST_LEVELS};
use crate::files::{read_layer, read_tree};
use crate::layer_groups::Merged;

/// Directories within each other, with a file in the last one.
fn make_deep(dir: &Path, name: &str, levels: usize) {
    let open = |base: std::os::fd::BorrowedFd<'_>, path: &Path| {
        openat(base, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    };
    let mut place = open(CWD, dir);
    for _ in 0..levels {
        mkdirat(&place, name, Mode::from(0o755)).unwrap();
        place = open(std::os::fd::AsFd::as_fd(&place), Path::new(name));
    }
    openat(&place, "f", OFlags::CREATE | OFlags::WRONLY, Mode::from(0o644)).unwrap();
}

#[test]
fn what_is_deeper_than_a_tree_may_be_is_refused() {
    let lab = Lab::new();
    let trees = TreeStore::new(&lab.store);
    for (name, levels) in [("d", MOST_LEVELS + 1), ("d", 10_000), (&"n".repeat(250), 100)] {
        let upper = lab.upper(&format!("{}{levels}", name.len()));
        make_deep(&upper, name, levels);
        let context = CaptureContext { trees: &trees, epoch: EPOCH, volatile: VolatileList::with(&[]) };
        let refused = capture(&context, &upper, None).unwrap_err();
        let limit = match name.len() {
            1 => format!("it is nested deeper than {MOST_LEVELS} levels"),
            _ => format!("its path is longer than {MOST_BYTES} bytes"),
        };
        assert!(refused.to_string().ends_with(&limit), "{refused}");
        assert!(refused.to_string().starts_with(&format!("cannot keep `/{name}/{name}/")), "{refused}");
        lab.store.discard(&upper).unwrap();
        assert!(!upper.exists());
    }
}

#[test]
fn what_is_as_deep_as_a_tree_may_be_is_like_any_other() {
    let lab = Lab::new();
    let make = |name: &str, content: &str| {
        let upper = lab.upper(name);
        make_deep(&upper, "d", MOST_LEVELS);
        make_deep(&upper, &"n".repeat(254), MOST_BYTES / 255);
        fs::write(upper.join("d/".repeat(MOST_LEVELS)).join("f"), content).unwrap();
        upper
    };
    let base = lab.stage(&make("first", "one"), None);
    let snapshot = lab.stage(&make("second", "two"), Some(&base));
    let trees = TreeStore::new(&lab.store);
    let changed = format!("{}f", "d/".repeat(MOST_LEVELS));
    let found = diff(&trees, base.tree, snapshot.tree).unwrap();
    assert_eq!(found.iter().map(|(path, _)| path.as_slice()).collect::<Vec<_>>(), [changed.as_bytes()]);
    let out = lab.upper("out");
    unpack(&lab.flat(&snapshot)[..], &out, Dialect::Layer).unwrap();
    assert_eq!(fs::read_to_string(out.join(&changed)).unwrap(), "two");
    lab.assert_same(lab.capture(&out, None).tree, snapshot.tree);
    let (cold, layers) = (lab.cold(&snapshot), LayerStore::new(&lab.store));
    assert_eq!(read_layer(&cold, &ibuild_cache::Cancel::default()).unwrap().len(), 1 + MOST_LEVELS + 1);
    let total = 1 + MOST_LEVELS + 1 + MOST_BYTES / 255 + 1;
    assert_eq!(read_tree(&trees, &snapshot).unwrap().len(), total);
    let (work, place) = (lab.root.path().join("work"), lab.root.path().join("merged"));
    let dirs: Vec<_> = snapshot.layers.iter().map(|layer| layers.unpacked_path(layer)).collect();
    Merged::above(&snapshot.layers, 0).make(&dirs, &[], &work, &place).unwrap();
    assert_eq!(fs::read_to_string(place.join(&changed)).unwrap(), "two");
}

/// A regression: hard links made the number of links of a file depend on what other chains had been merged.
#[test]
fn merging_leaves_the_files_of_layers_as_they_are() {
    use std::os::unix::fs::MetadataExt;
    let lab = Lab::new();
    let upper = lab.upper("layer");
    fs::write(upper.join("single"), "1").unwrap();
    fs::write(upper.join("first"), "2").unwrap();
    fs::hard_link(upper.join("first"), upper.join("second")).unwrap();
    std::os::unix::fs::symlink("single", upper.join("link")).unwrap();
    let snapshot = lab.stage(&upper, None);
    let layer = LayerStore::new(&lab.store).unpacked_path(&snapshot.layers[0]);
    let (work, place) = (lab.root.path().join("work"), lab.root.path().join("merged"));
    Merged::above(&snapshot.layers, 0).make(std::slice::from_ref(&layer), &[], &work, &place).unwrap();
    for (name, links) in [("single", 1), ("first", 2), ("second", 2), ("link", 1)] {
        for root in [&layer, &place] {
            assert_eq!(
                fs::symlink_metadata(root.join(name)).unwrap().nlink(),
                links,
                "{name} in {}",
                root.display()
            );
        }
    }
}
