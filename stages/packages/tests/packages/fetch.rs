//! What the fetcher makes of a mirror that misbehaves.

use std::time::Duration;

use ibuild_debian::Base;
use ibuild_packages::{FallbackSources, FetchError, FetchReason, Lookup, PackageError, Upstream, candidates};

use crate::archive::{SMALL, Setup, fetcher, file, noise, sha256, small};
use crate::upstream::{FakeUpstream, Reply};

/// Fetches a file that a mirror serves in its own way.
fn check(bytes: &[u8], replies: &[Reply]) -> (Setup, Result<(), FetchError>) {
    let setup = Setup::new();
    setup.upstream.reply("/debian/f", replies.to_vec());
    let wanted = file(&["f"], bytes);
    let result = setup.fetcher.fetch(&wanted);
    let stored = setup.store.packages().read(&wanted.known.sha256).unwrap();
    assert_eq!(stored.as_deref(), result.is_ok().then_some(bytes));
    assert_eq!(
        setup.store.packages().list().unwrap().len(),
        usize::from(result.is_ok()),
        "nothing else is stored"
    );
    (setup, result)
}

fn ranges(setup: &Setup) -> Vec<Option<String>> {
    setup.upstream.seen("/debian/f").into_iter().map(|seen| seen.range).collect()
}

#[test]
fn a_cut_body_is_continued() {
    let bytes = noise(3, 50_000);
    let (setup, result) = check(&bytes, &[Reply::Cut(bytes.clone(), 20_000), Reply::File(bytes.clone())]);
    result.unwrap();
    assert_eq!(ranges(&setup), [None, Some("bytes=20000-".to_owned())]);
}

#[test]
fn a_mirror_without_ranges_is_continued_too() {
    let bytes = noise(3, 50_000);
    check(&bytes, &[Reply::Cut(bytes.clone(), 20_000), Reply::WholeFile(bytes.clone())]).1.unwrap();
}

#[test]
fn a_bad_beginning_is_thrown_away() {
    let (bytes, bad) = (noise(3, 50_000), noise(4, 50_000));
    let replies = [Reply::Cut(bad, 20_000), Reply::File(bytes.clone()), Reply::File(bytes.clone())];
    let (setup, result) = check(&bytes, &replies);
    result.unwrap();
    assert_eq!(ranges(&setup), [None, Some("bytes=20000-".to_owned()), None]);
}

#[test]
fn passing_troubles_are_survived() {
    let bytes = small();
    for trouble in [
        Reply::Status(503),
        Reply::Status(429),
        Reply::File(noise(9, 10_000)),
        Reply::Length(b"<html>sign in</html>".to_vec(), 20),
        Reply::Length(noise(9, 20_000), 10_000),
        Reply::Hang(Duration::from_millis(10)),
        Reply::Hang(Duration::from_secs(2)),
        Reply::Slow(bytes.clone(), Duration::from_secs(2)),
    ] {
        check(&bytes, &[trouble, Reply::File(bytes.clone())]).1.unwrap();
    }
}

#[test]
fn wrong_bytes_are_never_stored() {
    let (setup, result) = check(&small(), &[Reply::File(noise(9, 10_000))]);
    let error = result.unwrap_err();
    assert!(matches!(error.reason, FetchReason::WrongBytes(_)), "{error:?}");
    assert_eq!(ranges(&setup).len(), 3);
}

#[test]
fn lasting_troubles_are_told() {
    let told = |reply: Reply, count: usize| {
        let (setup, result) = check(&small(), &[reply]);
        assert_eq!(ranges(&setup).len(), count);
        result.unwrap_err().reason.to_string()
    };
    assert_eq!(told(Reply::Status(404), 1), "the mirror does not have it (404 Not Found)");
    assert_eq!(told(Reply::Status(400), 1), "the mirror refuses it (400 Bad Request)");
    assert_eq!(told(Reply::Status(408), 3), "the mirror answers 408 Request Timeout");
    assert_eq!(told(Reply::Status(500), 3), "the mirror answers 500 Internal Server Error");
    assert_eq!(
        told(Reply::Redirect("/debian/f".to_owned()), 15),
        "the mirror cannot be reached: it redirects too often"
    );
    assert!(told(Reply::Redirect("ftp://x/".to_owned()), 3).contains("not an http or https address"));
}

#[test]
fn redirects_are_followed() {
    let setup = Setup::new();
    setup.upstream.reply("/debian/f", [Reply::Redirect("/elsewhere".to_owned())]);
    setup.upstream.reply("/elsewhere", [Reply::File(small())]);
    setup.fetcher.fetch(&file(&["f"], &small())).unwrap();
}

#[test]
fn the_next_mirror_is_asked_whatever_is_wrong_with_the_first() {
    for bad in [
        Reply::Status(503),
        Reply::Status(404),
        Reply::Status(451),
        Reply::Cut(small(), 100),
        Reply::File(noise(9, small().len())),
        Reply::Hang(Duration::from_secs(2)),
    ] {
        let (setup, second) = (Setup::new(), FakeUpstream::start());
        setup.upstream.reply("/debian/f", [bad.clone()]);
        second.reply("/debian/f", [Reply::File(small())]);
        second.reply("/debian/g", [Reply::File(small())]);
        let mut mirrors = setup.upstream.mirrors();
        mirrors.main.push(second.url("debian"));
        let fetcher = fetcher(&setup.store, Upstream::Mirrors(mirrors));
        fetcher.fetch(&file(&["f"], &small())).unwrap_or_else(|e| panic!("{bad:?}: {e}"));
        assert_eq!((setup.upstream.seen("/debian/f").len(), second.seen("/debian/f").len()), (1, 1));
        assert_eq!(fetcher.fetch_root(&Base::Main, "g").unwrap(), small());
    }
}

#[test]
fn candidates_are_found_by_name() {
    let setup = Setup::with_archive();
    let view = setup.view(&setup.record().unwrap()).unwrap();
    let found = candidates(&view, view.architecture(), &setup.fetcher, &["none", "small"].into()).unwrap();
    let told: Vec<_> = found.iter().map(|deb| (deb.name.as_str(), deb.sha256, deb.path.as_str())).collect();
    assert_eq!(told, [("small", sha256(&small()), SMALL)]);
}

#[test]
fn the_next_name_is_tried() {
    let setup = Setup::new();
    setup.upstream.reply("/debian/plain", [Reply::File(small())]);
    setup.fetcher.fetch(&file(&["by-hash", "plain"], &small())).unwrap();
    assert_eq!(setup.upstream.seen("/debian/by-hash").len(), 1);
}

#[test]
fn offline_opens_no_socket() {
    let setup = Setup::new();
    let offline = fetcher(&setup.store, Upstream::Offline(FallbackSources::default()));
    let error = offline.fetch(&file(&["f"], &small())).unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("build once without `--offline`"));
    setup.store.packages().put(&small()).unwrap();
    offline.fetch(&file(&["f"], &small())).unwrap();
    assert!(setup.upstream.seen("/debian/f").is_empty());
}

#[test]
fn a_recorded_view_needs_no_mirror() {
    let setup = Setup::with_archive();
    let lock = setup.record().unwrap();
    setup.upstream.stop();
    let view = setup.view(&lock).unwrap();
    let index = "dists/trixie/main/binary-amd64/Packages";
    let Lookup::File(file) = view.lookup(&ibuild_debian::Base::Main, index) else { panic!("not listed") };
    setup.fetcher.fetch(&file).unwrap();
}

#[test]
fn a_mirror_that_moved_on_is_told() {
    let setup = Setup::with_archive();
    let lock = setup.record().unwrap();
    setup.publish("Sun, 13 Sep 2026 07:55:41 UTC");
    setup.view(&lock).unwrap();
    setup.store.packages().remove(&lock.releases()[0].inrelease.sha256).unwrap();
    let error = setup.view(&lock).err().unwrap();
    assert!(matches!(error, PackageError::MovedOn { .. }), "{error}");
    assert_eq!(error.hint().as_deref(), Some("run `ibuild update` to lock what the mirror has now"));
    setup.publish("Sat, 12 Sep 2026 07:55:41 UTC");
    setup.view(&lock).unwrap();
}

#[test]
fn an_incomplete_update_is_not_adopted() {
    let setup = Setup::with_archive();
    setup.upstream.reply("/debian/dists/trixie/main/binary-amd64/Packages", [Reply::File(small())]);
    assert!(matches!(setup.record(), Err(PackageError::Fetch(_))));
    let roots = setup.upstream.seen("/debian/dists/trixie/InRelease");
    assert_eq!(roots.len(), 1);
    setup.publish("Sat, 12 Sep 2026 07:55:41 UTC");
    setup.record().unwrap();
}
