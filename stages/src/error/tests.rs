//! Tests of `error.rs`.

use super::*;
use crate::sandbox::Exceeded;

fn stopped(source: SandboxError) -> StageError {
    let (program, tail) = ("`scripts/hog`".to_owned(), vec!["its last words".to_owned()]);
    StageError::Sandbox { program, tail, log: "/the/log".into(), source }
}

#[track_caller]
fn check(source: SandboxError, cause: &str, hint: &str) {
    let error = stopped(source);
    assert_eq!(error.to_string(), "`scripts/hog` was stopped");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), cause);
    assert_eq!(error.hint().unwrap(), hint);
    let (tail, log) = error.transcript().unwrap();
    assert_eq!((tail, log), (&["its last words".to_owned()][..], Path::new("/the/log")));
}

/// A regression: a container without rights was told that its stage had failed.
#[test]
fn a_sandbox_that_cannot_be_made_is_of_the_machine() {
    let error = stopped(SandboxError::Setup("cannot make namespaces: EPERM".to_owned()));
    assert!(error.is_environment() && error.hint().unwrap().contains("ibuild doctor"));
}

#[test]
fn a_limit_is_named_with_what_raises_it() {
    let raise = |key| format!("raise `{key}` in the `limits` of the step or of its rootfs");
    check(
        SandboxError::Exceeded(Exceeded::Memory(2 << 30)),
        "it needs more than 2 GiB of memory",
        &raise("memory"),
    );
    check(
        SandboxError::Exceeded(Exceeded::Processes(64)),
        "it starts more than 64 processes and threads",
        &raise("processes"),
    );
    check(SandboxError::Exceeded(Exceeded::Disk(1 << 30)), "it writes more than 1 GiB", &raise("disk"));
    check(
        SandboxError::DiskFull(1 << 30),
        "less than 1 GiB is left on the disk of the store",
        "make room: `ibuild cache gc` removes what no build needs any more",
    );
}

#[test]
fn an_archive_with_an_address_has_no_mirror() {
    let said = |hint, expected| assert_eq!(of_an_address(hint), expected);
    said("try again, or try another `mirror`", "try again, or correct its `url`");
    said("check `mirror`: this is no Debian archive", "check its `url`: this is no Debian archive");
    said("build once without `--offline`", "build once without `--offline`");
}

#[test]
fn what_never_ran_said_nothing() {
    assert!(stopped(SandboxError::Setup("no".to_owned())).transcript().is_none());
}

#[test]
fn a_full_disk_is_the_machines_fault_and_a_limit_the_stages() {
    assert!(stopped(SandboxError::DiskFull(1)).is_environment());
    assert!(!stopped(SandboxError::Exceeded(Exceeded::Disk(1))).is_environment());
}
