//! What a layer hides of the layers below it.

use super::*;

fn names(captured: &Captured) -> Vec<&str> {
    captured.changes.iter().map(|(path, _)| std::str::from_utf8(path).unwrap()).collect()
}

/// The whole file system.
fn unpacked(lab: &Lab, snapshot: &Snapshot) -> PathBuf {
    let out = lab.upper("out");
    unpack(&lab.flat(snapshot)[..], &out, Dialect::Layer).unwrap();
    out
}

#[test]
fn what_is_removed_stays_hidden() {
    let lab = Lab::new();
    let first = lab.upper("first");
    fs::write(first.join("gone"), "gone").unwrap();
    let base = lab.stage(&first, None);
    let second = lab.upper("second");
    make_whiteout(&second.join("gone")).unwrap();
    make_whiteout(&second.join("never there")).unwrap();
    assert_eq!(names(&lab.capture(&second, Some(base.tree))), ["", "gone"]);
    let snapshot = lab.stage(&second, Some(&base));
    assert!(!unpacked(&lab, &snapshot).join("gone").exists());
    // Unpacked anew, the layer hides the same.
    assert_eq!(fs::symlink_metadata(lab.cold(&snapshot).join("gone")).unwrap().rdev(), 0);
}

/// `d` with `old`, `same` and `sub/deep` in it.
fn directory_with_some(lab: &Lab) -> Snapshot {
    let upper = lab.upper("some");
    fs::create_dir_all(upper.join("d/sub")).unwrap();
    for name in ["old", "same", "sub/deep", "sub/same"] {
        fs::write(upper.join("d").join(name), name).unwrap();
    }
    lab.stage(&upper, None)
}

/// A directory that was removed and made again hides all that was in it; in its layer is only what is different, and so the
/// layer is the one that edits make.
#[test]
fn a_directory_made_again_is_its_differences() {
    let lab = Lab::new();
    let base = directory_with_some(&lab);
    let again = lab.upper("again");
    fs::create_dir_all(again.join("d/sub")).unwrap();
    // The kernel marks what was made anew, not what is in it.
    xattr::set_opaque(&again.join("d")).unwrap();
    for name in ["new", "same", "sub/same"] {
        fs::write(again.join("d").join(name), name).unwrap();
    }
    let edited = lab.upper("edited");
    fs::create_dir_all(edited.join("d/sub")).unwrap();
    fs::write(edited.join("d/new"), "new").unwrap();
    make_whiteout(&edited.join("d/old")).unwrap();
    make_whiteout(&edited.join("d/sub/deep")).unwrap();
    let captured = lab.capture(&again, Some(base.tree));
    assert_eq!(names(&captured), ["", "d", "d/new", "d/old", "d/sub", "d/sub/deep"]);
    assert!(!xattr::is_opaque(&again.join("d")));
    let snapshot = lab.stage(&again, Some(&base));
    assert_eq!(snapshot, lab.stage(&edited, Some(&base)));
    let out = unpacked(&lab, &snapshot);
    assert!(out.join("d/new").exists() && out.join("d/sub/same").exists());
    assert!(!out.join("d/old").exists() && !out.join("d/sub/deep").exists());
}

#[test]
fn a_directory_made_again_as_it_was_is_no_change() {
    let lab = Lab::new();
    let base = directory_with_some(&lab);
    let again = lab.upper("again");
    fs::create_dir_all(again.join("d/sub")).unwrap();
    xattr::set_opaque(&again.join("d")).unwrap();
    for name in ["old", "same", "sub/deep", "sub/same"] {
        fs::write(again.join("d").join(name), name).unwrap();
    }
    let captured = lab.capture(&again, Some(base.tree));
    assert_eq!((captured.tree, captured.changes.as_slice()), (base.tree, &[][..]));
    assert!(!again.join("d").exists(), "the upper directory still hides the parent");
}

#[test]
fn what_equals_the_parent_is_no_change() {
    let lab = Lab::new();
    let first = lab.upper("first");
    fs::create_dir(first.join("d")).unwrap();
    fs::write(first.join("d/same"), "same").unwrap();
    let base = lab.stage(&first, None);
    let second = lab.upper("second");
    fs::create_dir(second.join("d")).unwrap();
    fs::write(second.join("d/same"), "same").unwrap();
    let captured = lab.capture(&second, Some(base.tree));
    assert_eq!(captured.changes, []);
    assert_eq!(captured.tree, base.tree);
    assert!(!second.join("d").exists(), "the upper directory still hides the parent");
}
