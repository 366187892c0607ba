//! Tests of `mounts.rs`.

use super::*;

#[test]
fn the_way_goes_over_what_is_shared() {
    let way = |from: &str, to: &str| lower_name(Path::new(from), Path::new(to));
    assert_eq!(way("/s/layers/boot", "/s/runs/1/upper"), "../../runs/1/upper");
    assert_eq!(way("/a:b/layers", "/a:b/runs/x"), "../runs/x");
    assert_eq!(way("/a", "/a/b"), "b");
}
