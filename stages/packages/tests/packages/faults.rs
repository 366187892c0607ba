//! Every way in which a mirror can go wrong: what becomes of a file, the one message about it, and that nothing wrong is kept.

use std::time::Duration;

use ibuild_packages::{Lock, PackageError, Staleness};

use crate::archive::{Setup, file, noise, small};
use crate::upstream::Reply;

/// Fetches a file of 10,000 bytes from a mirror that never does better.
#[track_caller]
fn told(reply: Reply, message: &str) {
    let setup = Setup::new();
    setup.upstream.reply("/debian/f", [reply.clone()]);
    let error = setup.fetcher.fetch(&file(&["f"], &small())).expect_err("it was kept");
    let said = format!("{error}: {}", error.reason);
    assert!(said.contains(message), "{reply:?}: {said}");
    assert!(error.hint().is_some(), "{said}");
    assert_eq!(setup.store.packages().list().unwrap(), [], "{reply:?}");
}

/// The file comes whole in spite of everything.
#[track_caller]
fn survived(replies: impl IntoIterator<Item = Reply>) {
    let setup = Setup::new();
    setup.upstream.reply("/debian/f", replies);
    setup.fetcher.fetch(&file(&["f"], &small())).unwrap_or_else(|e| panic!("{e}: {}", e.reason));
}

#[test]
fn odd_but_right() {
    survived([Reply::Chunked(small())]);
    survived([Reply::NoLength(small())]);
    survived([Reply::Reset(10_000), Reply::File(small())]);
    survived([Reply::Cut(small(), 5000), Reply::Reset(10_000), Reply::File(small())]);
    survived([Reply::Cut(small(), 5000), Reply::Chunked(small())]);
}

#[test]
fn broken_connections() {
    told(Reply::Cut(small(), 5000), "the mirror cannot be reached: ");
    told(Reply::Reset(10_000), "the mirror cannot be reached: ");
    told(Reply::Hang(Duration::from_secs(9)), "no answer within ");
    told(Reply::Drip(small(), Duration::from_secs(1)), "no answer within ");
    told(Reply::Redirect("/debian/f".to_owned()), "it redirects too often");
}

#[test]
fn wrong_bytes() {
    let wrong = "the mirror sent other bytes than the archive's signed indices name: ";
    told(Reply::File(noise(9, 10_000)), wrong);
    told(Reply::Chunked(noise(9, 10_000)), wrong);
    told(Reply::NoLength(noise(9, 10_000)), wrong);
    told(Reply::Chunked(noise(9, 10_001)), "more than 10000 bytes");
    told(Reply::Chunked(noise(9, 9_999)), "it broke off after 9999 of 10000 bytes");
    told(Reply::Length(small(), 9_999), "9999 bytes instead of 10000");
    told(Reply::File(b"<html>sign in</html>".to_vec()), "20 bytes instead of 10000");
}

#[test]
fn statuses() {
    for status in [500, 502, 503, 504, 429] {
        told(Reply::Status(status), &format!("the mirror answers {status}"));
        told(Reply::Trouble(status, "<html>later</html>"), &format!("the mirror answers {status}"));
    }
    for status in [403, 404, 410] {
        told(Reply::Trouble(status, "<html>no</html>"), &format!("the mirror does not have it ({status}"));
    }
    // A part that nobody asked for.
    told(Reply::Trouble(206, "part"), "the mirror answers 206");
}

const FRIDAY: &str = "Fri, 11 Sep 2026 07:55:41 UTC";
const SATURDAY: &str = "Sat, 12 Sep 2026 07:55:41 UTC";
const EXPIRED: &str = "Sat, 12 Sep 2026 07:55:41 UTC\nValid-Until: Sun, 13 Sep 2026 07:55:41 UTC";
const VALID: &str = "Sat, 12 Sep 2026 07:55:41 UTC\nValid-Until: Tue, 15 Sep 2026 07:55:41 UTC";

#[test]
fn an_expired_state_is_refused_unless_it_is_wanted() {
    let setup = Setup::new();
    setup.publish(VALID);
    let valid = setup.record().unwrap();
    setup.publish(EXPIRED);
    let error = setup.record().unwrap_err();
    assert_eq!(error.to_string(), "the mirror's state of `trixie` expired on 2026-09-13T07:55:41Z");
    assert!(error.hint().unwrap().contains("`ibuild update --allow-expired`"), "{:?}", error.hint());
    let lock = setup.record_after(&Lock::default(), &[Staleness::Expired]).unwrap();
    // What is locked does not expire.
    setup.view(&lock).unwrap();
    // A regression: whoever compared an expired lock with its mirror was told of the mirror, and not of the lock.
    let compare = |lock: &Lock| setup.record_after(lock, &[Staleness::ExpiredAsLocked]);
    assert_eq!(compare(&lock).unwrap(), lock);
    assert!(matches!(compare(&valid), Err(PackageError::Expired { .. })));
}

#[test]
fn an_older_state_is_refused_unless_it_is_wanted() {
    let setup = Setup::new();
    setup.publish(SATURDAY);
    let saturday = setup.record().unwrap();
    setup.record_after(&saturday, &[]).unwrap();
    setup.publish(FRIDAY);
    let stored = setup.store.packages().list().unwrap();
    let error = setup.record_after(&saturday, &[Staleness::Expired]).unwrap_err();
    assert!(matches!(error, PackageError::RolledBack { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "the mirror's state of `trixie` is of 2026-09-11T07:55:41Z, older than the locked one of 2026-09-12T07:55:41Z"
    );
    assert!(error.hint().unwrap().contains("`ibuild update --allow-rollback`"), "{:?}", error.hint());
    let count = setup.store.packages().list().unwrap().len();
    // The signed text is remembered with its verdict, but the root is not a state to build from.
    assert!(count <= stored.len() + 1, "{count}");
    setup.record_after(&saturday, &[Staleness::RolledBack]).unwrap();
}
