//! Tests of `build.rs`.

use super::*;

#[test]
fn which_files_are_of_this_build_is_said_of_each() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let said = |new: &[&str], old: &[&str]| mixture(&names(new), &names(old)).unwrap_or_default();
    assert_eq!(said(&["a.ova"], &["a.raw", "a.vdi"]), "`a.ova` is of this build; `a.raw`, `a.vdi` are not");
    assert_eq!(said(&["a.ova", "b.ova"], &["a.raw"]), "`a.ova`, `b.ova` are of this build; `a.raw` is not");
    assert_eq!(said(&[], &["a.ova"]), "`a.ova` is not of this build");
    assert_eq!(said(&["a.ova"], &[]), "`a.ova` is of this build");
    assert_eq!(said(&[], &[]), "");
}
