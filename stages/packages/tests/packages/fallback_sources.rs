//! Files that no mirror has any more.

use std::path::Path;
use std::time::{Duration, Instant};

use ibuild_cache::{MemoryIndex, Store};
use ibuild_debian::Base;
use ibuild_packages::{
    ArchiveFile, FallbackSources, FetchError, FetchReason, Fetcher, Lookup, Mirrors, PackageError, Upstream,
};

use crate::archive::{SMALL, Setup, archive, fetcher, file, noise, sha256, small};
use crate::upstream::{FakeUpstream, Reply};

fn other_store(dir: &Path) -> Store {
    Store::open(dir, |_| MemoryIndex::default()).unwrap()
}

/// A fetcher whose mirror is that of the setup, and which knows other places.
fn with(setup: &Setup, stores: &[String], snapshots: &[String]) -> Fetcher {
    let elsewhere = FallbackSources::parse(stores, snapshots).unwrap();
    let mirrors = Mirrors { elsewhere, ..setup.upstream.mirrors() };
    fetcher(&setup.store, Upstream::Mirrors(mirrors))
}

fn by_digest(bytes: &[u8]) -> String {
    let hex = sha256(bytes).hex();
    format!("/packages/{}/{}", &hex[..2], &hex[2..])
}

/// Fetches a file, and looks that nothing else is stored.
fn fetch(setup: &Setup, fetcher: &Fetcher, bytes: &[u8]) -> Result<(), FetchError> {
    let fetched = fetcher.fetch(&file(&["f"], bytes));
    let stored = setup.store.packages().list().unwrap();
    assert_eq!(stored.len(), usize::from(fetched.is_ok()));
    assert!(stored.iter().all(|stored| stored.digest == sha256(bytes)));
    fetched
}

#[test]
fn another_store_on_this_machine_is_asked_first() {
    let (setup, dir) = (Setup::new(), tempfile::tempdir().unwrap());
    other_store(dir.path()).packages().put(&small()).unwrap();
    let stores = [dir.path().display().to_string()];
    fetch(&setup, &with(&setup, &stores, &[]), &small()).unwrap();
    assert!(setup.upstream.seen("/debian/f").is_empty());
    setup.store.packages().remove(&sha256(&small())).unwrap();
    let offline = Upstream::Offline(FallbackSources::parse(&stores, &[]).unwrap().offline());
    fetch(&setup, &fetcher(&setup.store, offline), &small()).unwrap();
}

#[test]
fn a_damaged_store_is_no_harm() {
    let (setup, dir) = (Setup::new(), tempfile::tempdir().unwrap());
    let packages = other_store(dir.path()).packages();
    packages.put(&small()).unwrap();
    std::fs::write(packages.path(&sha256(&small())), noise(9, small().len())).unwrap();
    let fetcher = with(&setup, &[dir.path().display().to_string()], &[]);
    let error = fetch(&setup, &fetcher, &small()).unwrap_err();
    assert!(matches!(error.reason, FetchReason::NotFound(_)), "{error:?}");
    setup.upstream.reply("/debian/f", [Reply::Cut(small(), 100), Reply::File(small())]);
    fetch(&setup, &fetcher, &small()).unwrap();
}

#[test]
fn a_store_of_another_machine_has_it() {
    for (mirror, reply) in [
        (Reply::Status(404), Reply::File(small())),
        (Reply::Status(503), Reply::File(small())),
        (Reply::File(noise(9, small().len())), Reply::Chunked(small())),
        (Reply::Cut(small(), 5000), Reply::File(small())),
    ] {
        let (setup, store) = (Setup::new(), FakeUpstream::start());
        setup.upstream.reply("/debian/f", [mirror]);
        store.reply(&by_digest(&small()), [reply]);
        let fetcher = with(&setup, &[store.url("packages").to_string()], &[]);
        fetch(&setup, &fetcher, &small()).unwrap();
        assert_eq!(setup.upstream.seen("/debian/f").len(), 1);
    }
}

#[test]
fn what_another_machine_sends_is_judged() {
    let (setup, store) = (Setup::new(), FakeUpstream::start());
    let fetcher = with(&setup, &[store.url("packages").to_string()], &[]);
    store.reply(&by_digest(&small()), [Reply::File(noise(9, small().len()))]);
    let error = fetch(&setup, &fetcher, &small()).unwrap_err();
    // The mirror's answer is what somebody can do something about.
    assert!(
        error.what.ends_with("/debian/f") && matches!(error.reason, FetchReason::NotFound(_)),
        "{error:?}"
    );
}

/// As the fake archive calls the moment of its state.
const MOMENT: &str = "20260912T075541Z";

#[test]
fn a_snapshot_service_has_the_locked_state() {
    let (setup, service) = (Setup::with_archive(), FakeUpstream::start());
    let lock = setup.record().unwrap();
    let root = setup.store.packages().read(&lock.releases()[0].inrelease.sha256).unwrap().unwrap();
    for stored in setup.store.packages().list().unwrap() {
        setup.store.packages().remove(&stored.digest).unwrap();
    }
    setup.publish("Sun, 13 Sep 2026 07:55:41 UTC");
    setup.upstream.reply("/debian/pool/main/s/small_1%2bb%7e1_amd64.deb", [Reply::Status(404)]);
    let fetcher = with(&setup, &[], &[service.url("archive/debian").to_string()]);
    let open = || {
        ibuild_packages::ArchiveView::open(
            &setup.store,
            &archive(),
            &lock,
            &fetcher,
            &crate::archive::FakeVerifier,
        )
    };
    assert!(matches!(open().err().unwrap(), PackageError::MovedOn { .. }));
    let at = |path: &str| format!("/archive/debian/{MOMENT}/{path}");
    service.reply(&at("dists/trixie/InRelease"), [Reply::File(root)]);
    let view = open().unwrap();
    let Lookup::Needs(indices) = view.lookup(&Base::Main, SMALL) else { panic!("nothing was read yet") };
    fetcher.fetch(&indices[0]).unwrap();
    view.load(&indices[0]).unwrap();
    let Lookup::File(deb) = view.lookup(&Base::Main, SMALL) else { panic!("not listed") };
    assert!(matches!(fetcher.fetch(&deb).unwrap_err().reason, FetchReason::NotFound(_)));
    service.reply(&at("pool/main/s/small_1%2bb%7e1_amd64.deb"), [Reply::Redirect("/file/1".to_owned())]);
    service.reply("/file/1", [Reply::File(noise(9, small().len())), Reply::File(small())]);
    // The first answer was wrong; the state a day later is asked for next, and has nothing.
    assert!(fetcher.fetch(&deb).is_err());
    fetcher.fetch(&deb).unwrap();
}

#[test]
fn a_snapshot_service_is_treated_with_courtesy() {
    let (setup, service) = (Setup::new(), FakeUpstream::start());
    let fetcher = with(&setup, &[], &[service.url("archive/debian").to_string()]);
    fetcher.look_back(&Base::Main, "2026-09-12T07:55:41Z".parse().unwrap());
    let named = |seed: u8| {
        let bytes = noise(seed, 1000);
        let path = format!("pool/{seed}");
        (path, bytes)
    };
    let files: Vec<ArchiveFile> = (10..18).map(named).map(|(path, bytes)| file(&[&path], &bytes)).collect();
    for (path, bytes) in (10..18).map(named) {
        let slow = Reply::Slow(bytes, Duration::from_millis(50));
        service.reply(&format!("/archive/debian/{MOMENT}/{path}"), [slow]);
    }
    fetcher.fetch_all(&files, 8).unwrap();
    assert_eq!(service.most_at_once(), 2);

    let (path, bytes) = named(20);
    let at = format!("/archive/debian/{MOMENT}/{path}");
    service.reply(&at, [Reply::Busy(429, 1), Reply::File(bytes.clone())]);
    let since = Instant::now();
    fetcher.fetch(&file(&[&path], &bytes)).unwrap();
    assert!(since.elapsed() >= Duration::from_secs(1), "it was asked again at once");
    assert_eq!(service.seen(&at).len(), 2);

    let (path, bytes) = named(21);
    let at = format!("/archive/debian/{MOMENT}/{path}");
    service.reply(&at, [Reply::Status(404)]);
    assert!(fetcher.fetch(&file(&[&path], &bytes)).is_err());
    assert_eq!(service.seen(&at).len(), 1);
}
