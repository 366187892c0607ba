//! Tests of `builder.rs`.

use super::*;

#[test]
fn many_names_are_told_in_a_line() {
    let names = ["sleep", "tor", "sleep"].map(str::to_owned);
    assert_eq!(counted(&names), "sleep (2 times), tor");
    let names: Vec<_> = (10..40).map(|n| n.to_string()).collect();
    assert_eq!(counted(&names), "10, 11, 12, 13, 14, 15, 16, 17, 18, 19, ...");
}
