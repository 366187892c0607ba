//! Tests of `view.rs`.

use super::*;
use ibuild_cache::MemoryIndex;
use ibuild_debian::{Known, Release};

const PACKAGES: &str = "Package: a\nFilename: pool/main/a/a_1_amd64.deb\nSize: 7\n\
        SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

fn view(store: &Store) -> ArchiveView {
    let stored = store.packages().put(PACKAGES.as_bytes()).unwrap();
    let (digest, size) = (stored.digest.hex(), stored.size);
    let text = format!(
        "Suite: stable\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n {digest} {size} main/binary-amd64/Packages\n"
    );
    let pocket = Pocket {
        base: Base::Main,
        suite: "trixie".parse().unwrap(),
        components: vec!["main".parse().unwrap()],
        foreign: Vec::new(),
    };
    let inrelease = Known { sha256: stored.digest, size: 1 };
    let pinned = PinnedPocket { pocket, inrelease, release: Release::parse(&text).unwrap() };
    ArchiveView::new(store, "amd64".parse().unwrap(), vec![pinned])
}

#[test]
fn the_chain_is_followed_to_the_deb() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
    let view = view(&store);
    let Lookup::Needs(indices) = view.lookup(&Base::Main, "pool/main/a/a_1_amd64.deb") else { panic!() };
    assert_eq!(indices[0].path(), "dists/trixie/main/binary-amd64/Packages");
    assert_eq!(view.lookup(&Base::Main, &indices[0].paths[0]), Lookup::File(indices[0].clone()));
    assert_eq!(view.lookup(&Base::Main, &indices[0].paths[1]), Lookup::File(indices[0].clone()));
    view.load(&indices[0]).unwrap();
    let Lookup::File(deb) = view.lookup(&Base::Main, "pool/main/a/a_1_amd64.deb") else { panic!() };
    assert_eq!(deb.known.size, 7);
}

#[test]
fn source_packages_are_found_by_their_own_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
    let mut view = view(&store);
    let sha = "89".repeat(32);
    let text = format!("Package: a\nDirectory: pool/main/a\nChecksums-Sha256:\n {sha} 7 a_1.dsc\n");
    let stored = store.packages().put(text.as_bytes()).unwrap();
    let release = format!(
        "Suite: stable\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n {} {} main/source/Sources\n",
        stored.digest.hex(),
        stored.size
    );
    view.pockets[0].release = Release::parse(&release).unwrap();
    let Lookup::Needs(indices) = view.lookup(&Base::Main, "pool/main/a/a_1.dsc") else { panic!() };
    view.load(&indices[0]).unwrap();
    let Lookup::File(dsc) = view.lookup(&Base::Main, "pool/main/a/a_1.dsc") else { panic!() };
    assert_eq!(dsc.known.sha256.hex(), sha);
    assert!(matches!(view.lookup(&Base::Main, "pool/main/a/a_2.dsc"), Lookup::Missing(_)));
}

#[test]
fn what_is_not_in_it_is_missing_for_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), |_| MemoryIndex::default()).unwrap();
    let view = view(&store);
    let why = |base: &Base, path: &str| match view.lookup(base, path) {
        Lookup::Missing(missing) => missing.to_string(),
        other => panic!("{path}: {other:?}"),
    };
    assert_eq!(why(&Base::Main, "dists/sid/InRelease"), "the archive is declared with the suites trixie");
    assert_eq!(why(&Base::Main, "dists/trixie/Release"), "the signed Release of trixie does not list it");
    assert_eq!(why(&Base::Main, "pool/main/a/a_1.dsc"), "no signed index is about such files");
    assert_eq!(why(&Base::Security, "pool/a_1_amd64.deb"), "no signed index is about such files");
    assert_eq!(why(&Base::Main, "dists/trixie"), "the signed Release of trixie does not list it");
}

#[test]
fn equal_views_have_equal_digests() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let open = |dir: &tempfile::TempDir| view(&Store::open(dir.path(), |_| MemoryIndex::default()).unwrap());
    assert_eq!(open(&a).digest(), open(&b).digest());
    let mut other = open(&a);
    other.pockets[0].inrelease.sha256 = Sha256::of(b"other");
    assert_ne!(open(&a).digest(), other.digest());
}
